"""Everything that writes recovery points."""
