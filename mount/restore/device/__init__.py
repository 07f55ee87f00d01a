"""Writing an image of a recovery point back to a device."""
