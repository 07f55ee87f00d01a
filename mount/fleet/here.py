"""What a piece works with on its worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from catalog.access.session import Session
from catalog.screen.phases import Phase
from catalog.vault import Vault

_LOOK_EVERY = 0.5  # seconds between two looks whether a piece is still wanted


class Wanted:
    """Follows a piece, and stops it (KeyboardInterrupt) once it is no longer wanted."""

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        self._is_wanted = is_wanted
        self._looked = time.monotonic()

    def check(self) -> None:
        """Raise KeyboardInterrupt if the command has ended, or this worker is cut off from it."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            if not self._is_wanted():
                raise KeyboardInterrupt

    def phase(self, phase: Phase) -> None:
        self.check()


class Here(NamedTuple):
    """What a piece works with. `follow.check()` belongs into its long loops.

    `kept` is what pieces of this run keep for others; it lives as long as the vault is open.
    """

    session: Session
    vault: Vault
    follow: Wanted
    kept: dict[str, object]
