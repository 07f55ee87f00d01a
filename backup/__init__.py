"""Backs up files: everything that writes recovery points."""
