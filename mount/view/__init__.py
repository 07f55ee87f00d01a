"""The contents of drives, defined once for all drivers. nodes.py has the interface, and a list of the views."""
