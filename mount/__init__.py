"""The drive: what it shows, and the drivers that show it."""
