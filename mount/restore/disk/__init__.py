"""Writing restored files: the system's calls, temporary names, attributes."""
