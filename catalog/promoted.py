"""Numbers of recovery points that only the source of a promoted copy had: they are no gap.

docs/format.md, "Copies of a vault". A point that this machine has seen in the copy is never taken for one of those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from catalog.format.records import PointName
from catalog.format.vaultfile import VaultFile

Key = tuple[bytes, bytes]  # machine and item
_S = 10**9  # ns


class Noted(NamedTuple):
    """What this machine has seen of an item in the copy: the highest number from before the promotion, and the
    lowest from after it; 0: none."""

    before: int
    after: int


class Jumps:
    """What listings of a vault have shown of the time of its promotion; nothing if it is no promoted copy."""

    def __init__(self, file: VaultFile) -> None:
        at = file.copy.promoted if file.copy is not None else None
        self.promoted = 0 if at is None else at  # seconds since 1970; 0: it was not promoted
        self._is_promoted = at is not None
        self._after: dict[Key, set[int]] = {}
        self.noted: dict[Key, Noted] = {}

    def stored(self, name: PointName, modified: int) -> None:
        """Note a point of a listing, and when it was stored, by the store's clock (ns)."""
        if self._is_promoted and modified > self.promoted * _S and not name.partial:
            self._after.setdefault((name.machine, name.item), set()).add(name.sequence)

    def skipped(self, key: Key, present: Iterable[int]) -> tuple[int, int] | None:
        """The numbers, first and last, that an item skipped when the copy was promoted; None: none.

        `present` are those of the points that are listed.
        """
        if not self._is_promoted:
            return None
        seen, after = self.noted.get(key, Noted(0, 0)), self._later(key)
        first = min([*after, *([seen.after] if seen.after else [])], default=0)
        before = max((n for n in present if n < first and n not in after), default=0)
        before = max(before, seen.before)
        return (before + 1, first - 1) if before + 1 < first else None

    def _later(self, key: Key) -> set[int]:
        """The numbers of points from after the promotion.

        An object that was moved may look younger than it is: what was seen of the copy earlier counts more.
        """
        before = self.noted.get(key, Noted(0, 0)).before
        return {n for n in self._after.get(key, ()) if n > before}

    def wrote(self, key: Key, number: int) -> None:
        """Remember the number of a point that this machine has written."""
        if self._is_promoted:
            seen = self.noted.get(key, Noted(0, 0))
            self.noted[key] = seen._replace(after=min(number, seen.after or number))

    def edges(self, key: Key, present: Iterable[int]) -> set[int]:
        """Of the numbers that are listed, those which `note` should be told of if their points open."""
        if not self._is_promoted:
            return set()
        after, numbers = self._later(key), list(present)
        before = [n for n in numbers if n not in after]
        return {*([max(before)] if before else []), *([min(after)] if after else [])}

    def note(self, key: Key, numbers: Iterable[int]) -> None:
        """Remember the numbers of points of an item that opened."""
        if not self._is_promoted:
            return
        after, seen = self._later(key), self.noted.get(key, Noted(0, 0))
        numbers = list(numbers)
        before = max((n for n in numbers if n not in after), default=0)
        first = min((n for n in numbers if n in after), default=0)
        self.noted[key] = Noted(max(before, seen.before), min(first or seen.after, seen.after or first))
