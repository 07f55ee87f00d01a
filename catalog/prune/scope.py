"""Which machines' recovery points may refer to the packs of a series: its own, and those that share them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from catalog.errors import RpdriveError
from catalog.format.keys import ID_BYTES
from catalog.format.packs import SERIES_BYTES
from catalog.format.records import Machine, MachineName
from catalog.format.sealed import Kind
from catalog.vault import Vault


class Series(NamedTuple):
    """A series of packs. `own` are the ids of its machines, `others` of those whose trees may refer to it, too."""

    id: bytes
    own: tuple[bytes, ...]
    others: tuple[bytes, ...]

    @property
    def machines(self) -> tuple[bytes, ...]:
        return self.own + self.others


class Scope:
    """The machines of a vault, each with all that any version of its record says that it shares.

    Old points may refer to what the newest version no longer shares. A machine of which a version can't be read, or
    that has points and no record, may share anything: its points count for every series.
    """

    def __init__(
        self, machines: Mapping[bytes, Machine], doubtful: Iterable[bytes], nameless: Iterable[bytes] = ()
    ) -> None:
        self.machines = machines
        self.doubtful = frozenset(doubtful)
        self.nameless = sorted(nameless)  # machines that have points, and no record that opens

    @classmethod
    def of(cls, vault: Vault) -> Scope:
        """Two listings, and one request for each version of a machine's record that is not cached."""
        names = [
            name for info in vault.store.list("machines/") if (name := MachineName.parse(info.name)) is not None
        ]
        names.sort(key=lambda name: (name.id, name.version))
        machines: dict[bytes, Machine] = {}
        shares: dict[bytes, set[bytes]] = {}
        doubtful: set[bytes] = set()
        for name, record in zip(names, vault.read_each(Kind.MACHINE, Machine, names), strict=True):
            if isinstance(record, RpdriveError):
                doubtful.add(name.id)
                continue
            shares.setdefault(name.id, set()).update(record.shares)
            machines[name.id] = record
        machines = {one: msgspec.structs.replace(m, shares=sorted(shares[one])) for one, m in machines.items()}
        with_points = {one for text in vault.store.folders("points/") if (one := _id(text)) is not None}
        nameless = with_points - machines.keys()
        return cls(machines, doubtful | nameless, nameless)

    def series(self, machine: bytes) -> Series:
        """The series of a machine."""
        one = machine[:SERIES_BYTES]
        own = {m for m in (*self.machines, *self.doubtful, machine) if m[:SERIES_BYTES] == one}
        sharing = {m.id for m in self.machines.values() if any(other[:SERIES_BYTES] == one for other in m.shares)}
        return Series(one, tuple(sorted(own)), tuple(sorted((sharing | self.doubtful) - own)))

    def foreign(self, machine: bytes, series: bytes) -> set[bytes]:
        """The other series to which trees of a machine may refer, beside this one."""
        known = self.machines.get(machine)
        shares = known.shares if known is not None else ()
        return {one[:SERIES_BYTES] for one in (machine, *shares)} - {series}

    def all_series(self) -> list[Series]:
        """All series that have a machine."""
        found = {self.series(machine).id: self.series(machine) for machine in sorted(self.machines)}
        return list(found.values())


def _id(text: str) -> bytes | None:
    try:
        one = bytes.fromhex(text)
    except ValueError:
        return None
    return one if len(one) == ID_BYTES and one.hex() == text else None
