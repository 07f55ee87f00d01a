"""Repairing a vault: what can be known again, what has another copy, and what is lost. docs/repair.md."""
