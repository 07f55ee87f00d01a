"""Tests of mount/winfsp."""
