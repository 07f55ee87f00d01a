"""Jobs: records of backups and restores, and how they ended."""
