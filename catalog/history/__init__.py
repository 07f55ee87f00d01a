"""Changes from point to point: versions, differences, search, timelines."""
