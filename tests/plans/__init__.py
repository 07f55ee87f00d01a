"""Plans: what is backed up and when."""
