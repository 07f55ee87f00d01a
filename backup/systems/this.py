"""Which system this process runs on."""

from __future__ import annotations

import os

from backup.systems.base import System


def this_system(*, fetch: bool = False) -> System:
    """The one that this process runs on. `fetch`: read files, too, that would be fetched from a cloud for it."""
    if os.name == "nt":
        from backup.systems.windows import WindowsSource

        return WindowsSource(fetch=fetch)
    from backup.systems import posix as source

    return source
