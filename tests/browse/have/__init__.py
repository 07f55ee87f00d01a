"""Tests of downloads from the page."""
