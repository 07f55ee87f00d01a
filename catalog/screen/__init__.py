"""Output for people: text, tables, progress."""
