"""Pruning: what no recovery point refers to is hidden, and a week later deleted. docs/prune.md."""
