"""Restores that outlive the page: each a process of its own, with a file that says how far it is."""
