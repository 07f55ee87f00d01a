"""Checking a vault: levels 0 to 3 of `rpdrive check`. docs/check.md."""
