"""Binding and serving the page."""
