"""Drivers: each translates the view for one file-system interface."""
