"""Making a copy of a vault a vault in its own right."""
