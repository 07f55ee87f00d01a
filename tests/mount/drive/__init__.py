"""Tests of mount/drive."""
