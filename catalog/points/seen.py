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
from catalog.promoted import Jumps, Noted
from catalog.vault import Vault

Highest = dict[tuple[bytes, bytes], int]
_ROW = 6  # elements of a row about a promoted copy


class Gap(NamedTuple):
    """Sequences `first` to `last` of an item, which should be in the vault and are not."""

    machine: bytes
    item: bytes
    first: int
    last: int

    def __str__(self) -> str:
        which = f"point {self.first}" if self.first == self.last else f"points {self.first} to {self.last}"
        return f"recovery {which} of item {self.item.hex()[:8]} vanished from the vault"


def gaps(
    names: Iterable[PointName], highest: Mapping[tuple[bytes, bytes], int], jumps: Jumps | None = None
) -> list[Gap]:
    """The complete points that are missing among `names`, up to the highest sequence of each item.

    A name above that is nobody's; one below it is not missing, even if its record does not open: it is damaged.
    Numbers that the item skipped when the copy was promoted (`jumps`) are not missing.
    """
    found: dict[tuple[bytes, bytes], set[int]] = {key: set() for key in highest}
    for n in names:
        key = n.machine, n.item
        if not n.partial and n.sequence <= highest.get(key, 0):
            found[key].add(n.sequence)
    missing = []
    for (machine, item), there in sorted(found.items()):
        skipped = jumps.skipped((machine, item), there) if jumps is not None else None
        expected = 1
        spans = [*((n, n) for n in there), *([skipped] if skipped is not None else [])]
        for first, last in [*sorted(spans), (highest[machine, item] + 1, highest[machine, item] + 1)]:
            if first > expected:
                missing.append(Gap(machine, item, expected, first - 1))
            expected = max(expected, last + 1)
    return missing


class Seen:
    """The highest sequences that this machine has seen at one place of a vault, in a file in the state folder.

    Other places of the vault have files of their own: a copy that is behind has lost nothing.
    """

    def __init__(self, state: Path, vault: Vault) -> None:
        self._state, self._vault, self._jumps = state, vault, vault.jumps
        self._path = state / f"seen-{vault.state_id}.json"
        self.highest()  # what is noted there of a promotion

    def highest(self) -> Highest:
        """The highest sequence by machine and item. Empty if nothing was seen, or the file can't be read."""
        found: Highest = {}
        for row in _rows(self._path):
            key, found[key] = row[:2], row[2]
            if row.promoted != self._jumps.promoted:  # seen before the promotion
                self._jumps.noted.setdefault(key, Noted(row.highest, 0))
            else:
                self._jumps.noted.setdefault(key, Noted(row.before, row.after))
        return found

    def taken(self) -> Highest:
        """The numbers above which a new point must be: in a promoted copy, those of all places of the vault.

        So no number means one point in the copy and another one at the place that it was copied from.
        """
        found = self.highest()
        if self._vault.file.copy is None:
            return found
        for highest in self.elsewhere().values():
            for key, sequence in highest.items():
                found[key] = max(found.get(key, 0), sequence)
        return found

    def elsewhere(self) -> dict[str, Highest]:
        """What this machine has seen at other places of the vault, by their `state_id`."""
        vault_id = self._vault.id.hex()
        others = [path for path in self._state.glob(f"seen-{vault_id}*.json") if path != self._path]
        found = {}
        for path in sorted(others):
            found[path.stem.removeprefix("seen-")] = {row[:2]: row[2] for row in _rows(path)}
        return found

    def note(self, name: PointName) -> None:
        """Record a point that this machine has written. A record that can't be saved is made by a later command."""
        key = (name.machine, name.item)
        now = self.highest()
        if name.sequence > now.get(key, 0):
            self._jumps.wrote(key, name.sequence)
            self._save(now | {key: name.sequence})

    def check(self, names: Iterable[PointName], opened: Iterable[PointName]) -> list[Gap]:
        """Compare with a listing of the points of some or all items, and record it. Returns the gaps.

        `opened` are those whose records opened.
        """
        names, before = list(names), self.highest()
        noted = dict(self._jumps.noted)
        now, numbers = dict(before), dict[tuple[bytes, bytes], list[int]]()
        for n in opened:
            if not n.partial:
                key = n.machine, n.item
                now[key] = max(now.get(key, 0), n.sequence)
                numbers.setdefault(key, []).append(n.sequence)
        items = {(n.machine, n.item) for n in names}
        missing = gaps(names, {key: sequence for key, sequence in now.items() if key in items}, self._jumps)
        for key, some in numbers.items():
            self._jumps.note(key, some)
        if now != before or noted != self._jumps.noted:
            self._save(now)
        return missing

    def _save(self, highest: Highest) -> None:
        rows = [[m.hex(), i.hex(), sequence, *self._more((m, i))] for (m, i), sequence in sorted(highest.items())]
        try:
            write_private(self._path, json.dumps(rows).encode() + b"\n")
        except LocalError:
            pass  # recorded by a later command

    def _more(self, key: tuple[bytes, bytes]) -> list[int]:
        """What a row says of a promotion: nothing where there was none, as in files of earlier versions."""
        if not self._jumps.promoted:
            return []
        return [*self._jumps.noted.get(key, Noted(0, 0)), self._jumps.promoted]


class _Row(NamedTuple):
    machine: bytes
    item: bytes
    highest: int
    before: int = 0
    after: int = 0
    promoted: int = 0


def _rows(path: Path) -> list[_Row]:
    try:
        rows = json.loads(path.read_bytes())
        return [
            _Row(bytes.fromhex(r[0]), bytes.fromhex(r[1]), int(r[2]), *(int(n) for n in r[3:_ROW])) for r in rows
        ]
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return []
