"""`rpdrive doctor`: looks at what breaks in practice, and names the command that mends it."""
