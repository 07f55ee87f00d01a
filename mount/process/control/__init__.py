"""Asks drives for their status and closes them: through the table of mounts and a socket, or through a pipe."""
