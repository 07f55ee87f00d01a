"""Alerts: what is wrong with the protection of machines, as states that open, remind and resolve."""
