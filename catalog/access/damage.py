"""Packs that were found damaged on this machine, noted in a file of the state folder.

Whatever reads a pack (a drive, a restore, a listing, a backup) and twice gets other bytes than were written there
notes the pack. The next backup of the machine that wrote it no longer refers to it, reads the files again that did,
and stores their data anew: new points heal from the source.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path

from catalog.errors import LocalError
from catalog.format.blocks import PackKind
from catalog.format.packs import pack_name, pack_named

MOST_BYTES = 1 << 20  # of the file: some 18,000 packs
_LINE = re.compile(rb"(?m)^[a-z]+/[0-9a-f/]+$")


class DamagedPacks:
    """The damaged packs that this machine knows of at one place of a vault.

    Thread-safe; processes may use it at once.
    """

    def __init__(self, state: Path, state_id: str) -> None:
        self._path = state / f"damaged-{state_id}.txt"
        self._lock = threading.Lock()
        self._noted: set[bytes] = set()

    def note(self, kind: PackKind, pack: bytes) -> None:
        """Note a pack. A note that can't be written is dropped: whoever reads the pack again notes it then."""
        with self._lock:
            if pack not in self._noted:
                with suppress(OSError):
                    self._write(kind, pack)
                self._noted.add(pack)

    def record(self, kind: PackKind, pack: bytes) -> None:
        """Note a pack for one that will not find the damage again. Raises LocalError if that fails."""
        with self._lock:
            try:
                self._write(kind, pack)
            except OSError as e:
                raise LocalError(
                    f"a damaged pack can't be noted in {self._path}: {e.strerror}",
                    "check the permissions of its folder and the free space there",
                ) from e
            self._noted.add(pack)

    def _write(self, kind: PackKind, pack: bytes) -> None:
        if pack in self._read() or self._size() > MOST_BYTES:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.open("ab") as file:  # one short write at the end: no process loses another's
            file.write(b"\n" + pack_name(kind, pack).encode() + b"\n")

    def packs(self) -> frozenset[bytes]:
        """The packs noted; only those of this process if the file can't be read."""
        with self._lock:
            try:
                return self._read() | self._noted
            except OSError:
                return frozenset(self._noted)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _read(self) -> frozenset[bytes]:
        try:
            with self._path.open("rb") as file:
                text = file.read(2 * MOST_BYTES)
        except FileNotFoundError:
            text = b""
        names = (pack_named(line.decode()) for line in _LINE.findall(text))
        return frozenset(pack for pack in names if pack is not None)
