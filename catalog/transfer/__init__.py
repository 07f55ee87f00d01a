"""Copying objects between two stores. It knows no vault and no keys."""
