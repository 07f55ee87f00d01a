"""Tests of catalog/mark."""
