"""Restores of whole volumes: what stands against one, and the roll-back that removes what the point has not."""
