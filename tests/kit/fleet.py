"""A vault of many machines and points out of nothing: names and records are made when they are asked for.

Two thousand machines of ten thousand points each are 20 million names, of which a store in memory would hold 10 GB.
The store here makes the names of a listing while it is listed, and seals the record of a point when it is fetched;
machines, items and trees are real objects in memory. All that reads it is the real code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from catalog.format.records import Item, Machine, Point, PointName, Root, encode_record
from catalog.format.sealed import Kind, seal_object
from catalog.format.values import Subtree
from catalog.store.base import ObjectInfo
from catalog.store.bounded import check_size
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore, Traffic
from catalog.vault import Vault, open_vault
from tests.kit.vaults import PASSPHRASE, new_vault

HOUR = 3600 * 10**9
START = 1_750_000_000 * 10**9  # of the first point
_SIZE = 700  # bytes of a point's record, about
_TOP = "points/"


class FleetStore(MemoryStore):
    """The points of each of `machines` machines, all of one item, an hour apart from START on; and real objects.

    `points` may grow, and `gone` has numbers (machine, point) of points that were deleted. `roots` are the trees of
    points, by turns of `turn` points; none at first.
    """

    def __init__(self, machines: int, points: int) -> None:
        super().__init__()
        self.machines, self.points = machines, points
        self.gone: set[tuple[int, int]] = set()
        self.roots: Sequence[Subtree] = ()
        self.turn = 1
        self.vault: Vault | None = None

    @staticmethod
    def machine_id(m: int) -> bytes:
        return hashlib.blake2b(b"%d" % m, digest_size=8).digest() + m.to_bytes(8)

    @staticmethod
    def item_id(m: int) -> bytes:
        return b"item" + m.to_bytes(12)

    def name(self, m: int, p: int) -> PointName:
        """The name of the p-th point of the m-th machine, both from 0 on."""
        unique = hashlib.blake2b(b"%d %d" % (m, p), digest_size=16).digest()
        return PointName(self.machine_id(m), self.item_id(m), START + p * HOUR, p + 1, unique, partial=False)

    def _number(self, machine: str) -> int | None:
        m = int(machine[16:32] or "0", 16)
        return m if m < self.machines and self.machine_id(m).hex() == machine else None

    def _folders(self) -> list[tuple[str, int]]:
        return sorted((self.machine_id(m).hex(), m) for m in range(self.machines))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from super().list(prefix)  # other points of these machines, if a test adds some: not in order
        if not (_TOP.startswith(prefix) or prefix.startswith(_TOP)):
            return
        some = self._folders()
        if len(prefix) > len(_TOP):
            m = self._number(prefix.split("/")[1])
            some = [] if m is None else [(prefix.split("/")[1], m)]
        for _machine, m in some:
            for p in range(self.points):
                name = self.name(m, p)
                text = str(name)
                if (m, p) not in self.gone and text.startswith(prefix):
                    yield ObjectInfo(text, _SIZE, name.time)

    def folders(self, prefix: str) -> Iterator[str]:
        found = set(super().folders(prefix))
        if prefix == _TOP:
            found.update(machine for machine, _m in self._folders())
        elif prefix.startswith(_TOP) and prefix.count("/") == 2:
            m = self._number(prefix.split("/")[1])
            found.update(() if m is None else (self.item_id(m).hex(),))
        yield from sorted(found)

    def get(self, name: str, most: int) -> bytes:
        parsed = PointName.parse(name)
        if parsed is None or name in self.objects or (m := self._number(parsed.machine.hex())) is None:
            return super().get(name, most)
        p = parsed.sequence - 1
        if not 0 <= p < self.points or (m, p) in self.gone or self.name(m, p) != parsed or self.vault is None:
            return super().get(name, most)
        root = self.roots[p // self.turn % len(self.roots)] if self.roots else None
        point = Point(
            id=parsed.id, machine=parsed.machine, item=parsed.item, machine_name=f"host{m:04d}", item_name="home",
            hostname=f"host{m:04d}", system="Linux", sequence=parsed.sequence, time=parsed.time,
            finished=parsed.time, paths=[b"/home"], root=Root.of(root) if root is not None else None,
        )  # fmt: skip
        data = seal_object(self.vault.keys, Kind.POINT, name, encode_record(point))
        check_size(name, len(data), most)
        return data


class Fleet:
    """Such a vault behind a meter. Its machines are called host0000, host0001, …; the item of each is home."""

    def __init__(self, machines: int, points: int) -> None:
        self.store = FleetStore(machines, points)
        self.meter = MeteredStore(self.store)
        self.vault = self.store.vault = new_vault(self.store)
        for m in range(machines):
            machine = self.store.machine_id(m)
            name = f"host{m:04d}"
            record = Machine(id=machine, name=name, hostname=name, system="Linux", created=START)
            self.vault.add_machine(record)
            self.vault.add_item(
                Item(id=self.store.item_id(m), machine=machine, name="home", paths=[b"/home"], created=START)
            )

    def opened(self) -> Vault:
        """The vault, opened once more as another process would."""
        return open_vault(self.meter, passphrase=PASSPHRASE)

    def spent(self, since: Traffic) -> Traffic:
        return self.meter.snapshot() - since
