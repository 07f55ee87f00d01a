"""What the page shows, as plain functions and values, without HTTP."""
