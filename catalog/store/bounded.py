"""Bounds of what is taken from a store."""

from __future__ import annotations

from catalog.errors import ObjectTooLarge


def check_size(name: str, size: int, most: int) -> None:
    """Raise ObjectTooLarge if an object of `size` bytes is larger than the `most` bytes it may have."""
    if size > most:
        raise ObjectTooLarge(f"{name} has {size} bytes, more than the {most} it may have")
