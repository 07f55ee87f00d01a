"""Chooses the places for drives of the operating system that this process runs on."""

from __future__ import annotations

import os

from mount.place.base import Places


def _chosen() -> Places:
    if os.name == "nt":
        from mount.place.windows import WindowsPlaces

        return WindowsPlaces()
    from mount.place.posix import PosixPlaces

    return PosixPlaces()


PLACES = _chosen()
