"""What the systems do differently with rpdrive's own files: one interface, chosen once."""
