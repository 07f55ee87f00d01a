"""Protects the memory of processes that hold keys."""

from __future__ import annotations

from catalog.systems.this import SYSTEM


def protect_memory() -> None:
    """Keep keys out of core dumps, and from other processes of the same user. Call it before there are any."""
    SYSTEM.protect_memory()
