"""Calls for rpdrive's own files that differ between operating systems: one interface, chosen once."""
