"""The JSON interface of the page, under /api/v1."""
