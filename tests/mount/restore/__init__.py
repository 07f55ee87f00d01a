"""Tests of mount/restore."""
