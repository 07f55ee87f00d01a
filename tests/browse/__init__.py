"""Tests of the restore browser."""
