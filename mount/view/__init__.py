"""What a drive shows, defined once for all drivers. The interface, and a list of the views, is in nodes.py."""
