"""Tests of catalog/store."""
