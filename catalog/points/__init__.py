"""Recovery points: choosing and listing them, and noticing those that vanished."""
