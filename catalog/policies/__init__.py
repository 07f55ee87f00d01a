"""The policies of a vault: its records of retention, and the commands `rpdrive policy …`."""
