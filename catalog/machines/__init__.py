"""Machines: registering, renaming, forgetting and listing them."""
