"""Notifications: configuration, spool, and delivery to real servers."""
