"""Remembers the recovery points that this machine has seen, to report those that vanish.

A point's sequence increases by one within its item, and this machine records the highest one it saw of each item.
The owner of the store can delete points or restore an old state of the vault; no key prevents that, but a gap in
the sequence, or a highest one that decreased, reveals it. Only points whose records opened count: whoever may
create objects can give one the name of any point.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from catalog.access.settings import write_private
from catalog.errors import LocalError
from catalog.format.records import PointName

Highest = dict[tuple[bytes, bytes], int]


class Gap(NamedTuple):
    """Sequences `first` to `last` of an item, which should be in the vault and are not."""

    machine: bytes
    item: bytes
    first: int
    last: int

    def __str__(self) -> str:
        which = f"point {self.first}" if self.first == self.last else f"points {self.first} to {self.last}"
        return f"recovery {which} of item {self.item.hex()[:8]} vanished from the vault"


def gaps(names: Iterable[PointName], highest: Mapping[tuple[bytes, bytes], int]) -> list[Gap]:
    """The complete points that are missing among `names`, up to the highest sequence of each item.

    A name above that is nobody's; one below it is not missing, even if its record does not open: it is damaged.
    """
    found: dict[tuple[bytes, bytes], set[int]] = {key: set() for key in highest}
    for n in names:
        key = n.machine, n.item
        if not n.partial and n.sequence <= highest.get(key, 0):
            found[key].add(n.sequence)
    missing = []
    for (machine, item), there in sorted(found.items()):
        expected = 1
        for sequence in [*sorted(there), highest[machine, item] + 1]:
            if sequence > expected:
                missing.append(Gap(machine, item, expected, sequence - 1))
            expected = sequence + 1
    return missing


class Seen:
    """The highest sequences that this machine has seen in one vault, in a file in the state folder."""

    def __init__(self, state: Path, vault_id: bytes) -> None:
        self._path = state / f"seen-{vault_id.hex()}.json"

    def highest(self) -> Highest:
        """The highest sequence by machine and item. Empty if nothing was seen, or the file can't be read."""
        try:
            rows = json.loads(self._path.read_bytes())
            return {(bytes.fromhex(r[0]), bytes.fromhex(r[1])): int(r[2]) for r in rows}
        except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
            return {}

    def note(self, name: PointName) -> None:
        """Record a point that this machine has written. A record that can't be saved is made by a later command."""
        key = (name.machine, name.item)
        now = self.highest()
        if name.sequence > now.get(key, 0):
            self._save(now | {key: name.sequence})

    def check(self, names: Iterable[PointName], opened: Iterable[PointName]) -> list[Gap]:
        """Compare with a listing of the points of some or all items, and record it. Returns the gaps.

        `opened` are those whose records opened.
        """
        names, before = list(names), self.highest()
        now = dict(before)
        for n in opened:
            if not n.partial:
                key = n.machine, n.item
                now[key] = max(now.get(key, 0), n.sequence)
        items = {(n.machine, n.item) for n in names}
        missing = gaps(names, {key: sequence for key, sequence in now.items() if key in items})
        if now != before:
            self._save(now)
        return missing

    def _save(self, highest: Highest) -> None:
        rows = [[m.hex(), i.hex(), sequence] for (m, i), sequence in sorted(highest.items())]
        try:
            write_private(self._path, json.dumps(rows).encode() + b"\n")
        except LocalError:
            pass  # recorded by a later command
