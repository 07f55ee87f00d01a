"""From extent to plaintext, quickly."""
