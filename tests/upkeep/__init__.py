"""Upkeep of a vault: retention, pruning, checking, repairing."""
