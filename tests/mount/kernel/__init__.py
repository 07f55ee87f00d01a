"""Tests of mount/kernel."""
