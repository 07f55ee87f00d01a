"""Limits of the traffic with a vault."""
