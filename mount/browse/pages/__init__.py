"""The shell that all screens share, and the static files."""
