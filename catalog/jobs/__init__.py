"""Jobs: the records of what ran and how it ended."""
