"""Images in a drive as loop devices: `rpdrive loop`."""
