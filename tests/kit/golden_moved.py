"""The golden vault after upkeep, the same bytes each time: packs in carriers, one lost, and its chunks elsewhere.

The tree that a reader finds is that of the golden vault.
"""

from __future__ import annotations

from catalog.format.blocks import PackKind
from catalog.format.carriers import CarrierBuilder
from catalog.format.packs import PackBuilder
from catalog.format.places import (
    BrokenRow,
    DeadRow,
    InsteadRow,
    LeavingRow,
    MovedRow,
    PlacesRecord,
    RunRow,
    encode_places,
    far,
    places_folder,
)
from catalog.format.sealed import Kind
from catalog.format.signed import seal_signed
from tests.kit.golden_vault import (
    KEYS,
    MACHINE,
    PRIVATE,
    TIME,
    GoldenVault,
    chunk_that_ends_a_page,
    fixed,
    pack_id,
    put,
)

DATA, TREE = PackKind.DATA, PackKind.TREE


class GoldenMovedVault(GoldenVault):
    """`places` are the names of the records that count: of the series, and of a shard."""

    def _records(self) -> None:
        super()._records()
        one, two = self.data
        first = self._carrier("carrier one", DATA, (one, 1))
        second = self._carrier("carrier two", DATA, (one, 0))
        trees = self._carrier("carrier of trees", TREE, (self.tree, 1), (self.tree, 0))
        copies = PackBuilder(KEYS, DATA, MACHINE, pack_id=pack_id("copies"))
        lost = self.ending, self.last
        _unused, *found = put(copies, b"unused", chunk_that_ends_a_page(), b"hello, there\n")
        self.objects[copies.name] = b"".join(copies.finish())

        gone = pack_id("carrier that is gone")
        below, top = self.tree.rows
        tree = MovedRow(
            self.tree.id,
            int(TREE),
            [RunRow(0, below.offset, below.stored, 8 + top.stored), RunRow(0, top.offset, top.stored, 8)],
        )
        small, large = one.rows
        data = MovedRow(
            one.id, int(DATA), [RunRow(1, small.offset, small.stored, 8), RunRow(0, large.offset, large.stored, 8)]
        )
        older = MovedRow(one.id, int(DATA), [RunRow(0, 8, one.size - 8, 8)])
        digits = one.id.hex()[10:12]
        self.records = {
            "older": self._places(1, carriers=[gone], moved=[older]),
            "series": self._places(
                2,
                carriers=[trees.id],
                moved=[tree],
                leaving=[LeavingRow(two.id, int(DATA), TIME)],
                instead=[
                    InsteadRow(was.pack, int(DATA), was.offset, was.inner, far(now))
                    for was, now in zip(lost, found, strict=True)
                ],
                broken=[BrokenRow(two.id, int(DATA), None, TIME, "missing")],
            ),
            "shard": self._places(
                1,
                digits,
                carriers=[first.id, second.id],
                moved=[data],
                dead=[DeadRow(one.id, int(DATA), 0, [(8, 9)]), DeadRow(copies.id, int(DATA), None, [])],
            ),
        }
        self.places = {
            label: places_folder(r.series, r.digits) + f"{r.number:08d}" for label, r in self.records.items()
        }
        for label, record in self.records.items():
            self.objects[self.places[label]] = self.signed(self.places[label], record)
        self.objects[places_folder(MACHINE[:4]) + "00000003"] = b"junk"
        for pack in (one, two, self.tree):
            del self.objects[pack.name]
        self.carriers = {"one": first, "two": second, "trees": trees}

    def signed(self, name: str, record: PlacesRecord) -> bytes:
        return seal_signed(
            KEYS, self.admin, PRIVATE, Kind.PLACES, name, encode_places(record), salt=fixed(name, 32)
        )

    def _places(self, number: int, digits: str = "", **fields: object) -> PlacesRecord:
        return PlacesRecord(
            series=MACHINE[:4],
            digits=digits,
            number=number,
            by=MACHINE,
            began=TIME,
            **fields,  # type: ignore[arg-type]
        )

    def _carrier(self, label: str, kind: PackKind, *blocks: tuple[PackBuilder, int]) -> CarrierBuilder:
        """A carrier of blocks of packs, by their numbers."""
        carrier = CarrierBuilder(KEYS, kind, MACHINE, carrier_id=pack_id(label))
        for pack, n in blocks:
            carrier.add(pack.id, [pack.rows[n]], [pack.parts[n + 1]])
        self.objects[carrier.name] = b"".join(carrier.finish())
        return carrier
