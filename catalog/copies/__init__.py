"""A second copy of a vault: `rpdrive vault copy` makes it, and keeps it current."""
