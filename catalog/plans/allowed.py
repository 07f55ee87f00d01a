"""`plans.toml` in the folder of settings: which paths this machine backs up by itself, whatever a plan says.

Everybody with the vault's key can write a plan for every machine. With this file, which only this user or root may
change, a plan can't have a machine save what it should not.

    only_below = ["/home", "/srv"]
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from catalog.access.trusted import read_trusted
from catalog.errors import LocalError, UsageError
from catalog.plans.paths import path_on, shown_path

FILE = "plans.toml"
_LONGEST = 64 << 10  # bytes


class Allowed:
    """What may be saved: everything without a file, else what is below its paths. `system` is this machine's.

    A link below them that leads elsewhere does not make that a part of them.
    Raises LocalError if there is a file that can't be used.
    """

    def __init__(self, config: Path, system: str) -> None:
        self._system = system
        self._below: list[bytes] | None = None
        self._real: list[bytes] = []
        path = config / FILE
        data = read_trusted(path, _LONGEST)
        if data is None:
            return
        try:
            row = tomllib.loads(data.decode())
            below = row.pop("only_below")
            if row or not isinstance(below, list) or not all(isinstance(one, str) for one in below):
                raise ValueError("it is to have `only_below`, a list of texts, and nothing else")
            self._below = [path_on(system, os.path.normpath(one)) for one in below]
            self._real = [_real(one, system) for one in self._below]
        except (ValueError, KeyError, RecursionError, UsageError) as e:
            raise LocalError(f"{path} can't be used: {e}", "see docs/plans.md") from e

    def refuses_system(self) -> str:
        """Why the system state must not be saved; empty if it may: it has files of the whole machine."""
        return "" if self._below is None else f"{FILE} of this machine does not allow the system state"

    def refuses(self, path: bytes) -> bool:
        """Whether a path, as a point has it, must not be saved."""
        if self._below is None:
            return False
        parts, real = path.split(b"/"), _real(path, self._system)
        is_below = any(_is_below(path, one) for one in self._below) and any(
            _is_below(real, one) for one in self._real
        )
        return b".." in parts or b"." in parts or not is_below


def _real(path: bytes, system: str) -> bytes:
    """A path without links; empty if it is none of this system."""
    try:
        return path_on(system, os.path.realpath(shown_path(path, system)))
    except (OSError, ValueError, UsageError):
        return b""


def _is_below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
