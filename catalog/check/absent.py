"""Records that should be there: of machines and items that have points, and the copy of vault.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from catalog.check.finding import Finding, What
from catalog.format.records import ItemName, MachineName, PointName

LEVEL = 0
_MENDED = "`rpdrive repair` makes it anew"


class Records:
    """The names of records that were listed, as far as something must be there."""

    def __init__(self) -> None:
        self._machines = set[bytes]()
        self._items = set[tuple[bytes, bytes]]()
        self._copies = set[str]()

    def add(self, name: str) -> None:
        if (machine := MachineName.parse(name)) is not None:
            self._machines.add(machine.id)
        elif (item := ItemName.parse(name)) is not None:
            self._items.add((item.machine, item.id))
        elif name.startswith("vault/"):
            self._copies.add(name)

    def missing(self, points: Iterable[PointName], copy: str | None) -> Iterator[Finding]:
        """What is not there, of the machines and items that these points are of. `copy` is the name of the copy of
        vault.json that there must be; None: it was not looked for."""
        items = {(name.machine, name.item) for name in points}
        for machine in sorted({machine for machine, _item in items} - self._machines):
            reason = f"there are points of this machine, and no record of it, so that it is not pruned; {_MENDED}"
            yield Finding(LEVEL, What.MISSING, f"machines/{machine.hex()}/", reason)
        for machine, item in sorted(items - self._items):
            reason = f"there are points of this item, and no record of it; {_MENDED}"
            yield Finding(LEVEL, What.MISSING, f"items/{machine.hex()}/{item.hex()}/", reason)
        if copy is not None and copy not in self._copies:
            yield Finding(LEVEL, What.MISSING, copy, f"it is the copy of vault.json; {_MENDED}")
