"""Tests of mount."""
