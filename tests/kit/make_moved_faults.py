"""Vectors of carriers and records of places with one fault each."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.blocks import PackKind, seal_block
from catalog.format.packs import TRAILER
from catalog.format.places import InsteadRow, MovedRow, RunRow, far
from tests.kit import golden_vault as g
from tests.kit.golden_moved import GoldenMovedVault
from tests.kit.make_page_faults import Fault, fault


def moved_faults() -> dict[str, Fault]:
    with g.raw_frames():
        made = GoldenMovedVault()
        return _vaults(made) | _places(made) | _carriers(made)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _vaults(made: GoldenMovedVault) -> dict[str, Fault]:
    """The golden vault after upkeep, with some objects replaced (null: missing)."""

    def vault(what: str, error: str, layer: str, replace: dict[str, bytes | None]) -> Fault:
        rows = {n: None if b is None else b.hex() for n, b in replace.items()}
        return fault(what, error, layer, how="vault", base="moved.json", replace=rows)

    series, shard = made.places["series"], made.places["shard"]
    record = made.records["series"]
    lost, other = record.instead
    another = msgspec.structs.replace(lost, extent=other.extent)
    swapped = msgspec.structs.replace(record, instead=[another, other])
    (row,) = record.moved
    cut = msgspec.structs.replace(row, runs=row.runs[1:])
    first, second = row.runs
    shifted = msgspec.structs.replace(row, runs=[first, msgspec.structs.replace(second, at=second.at + 1)])
    none: dict[str, bytes | None] = {n: None for n in made.objects if n.startswith("places/")}
    one, trees = made.carriers["one"], made.carriers["trees"]

    def with_moved(moved: MovedRow) -> dict[str, bytes | None]:
        return {series: made.signed(series, msgspec.structs.replace(record, moved=[moved]))}

    return {
        "moved-carrier-missing": vault("a carrier is gone", "MissingData", "fetch", {trees.name: None}),
        "moved-data-carrier-missing": vault("a carrier of data is gone", "MissingData", "fetch", {one.name: None}),
        "moved-carrier-flipped": vault(
            "a bit of a block in a carrier", "Damaged", "block", {one.name: _flip(made.objects[one.name], 30)}
        ),
        "moved-places-missing": vault("the records of places are gone", "MissingData", "fetch", none),
        "moved-places-older": vault(
            "the newest record is gone, and the one before doesn't know", "MissingData", "fetch", {series: None}
        ),
        "moved-places-unsigned": vault(
            "the newest record is changed, and the one before doesn't know",
            "MissingData",
            "fetch",
            {series: _flip(made.objects[series], 60)},
        ),
        "moved-shard-missing": vault("the record of a shard is gone", "MissingData", "fetch", {shard: None}),
        "moved-run-missing": vault("no run has the block", "MissingData", "fetch", with_moved(cut)),
        "moved-run-shifted": vault("a run is a byte off", "Damaged", "block", with_moved(shifted)),
        "moved-instead-of-another": vault(
            "another chunk is given in place of a lost one",
            "MissingData",
            "fetch",
            {series: made.signed(series, swapped)},
        ),
    }


def _places(made: GoldenMovedVault) -> dict[str, Fault]:
    """Contents of records of places."""
    name, record = made.places["series"], made.records["series"]
    (row,) = record.moved
    run, second = row.runs

    def places(what: str, layer: str, **fields: Any) -> Fault:
        content = msgspec.msgpack.decode(msgspec.msgpack.encode(record)) | fields
        content = {key: value for key, value in content.items() if value is not ...}
        return fault(what, "Damaged", layer, how="places", name=name, content=msgspec.msgpack.encode(content).hex())

    def moved(what: str, layer: str, runs: list[RunRow], kind: int = 2, more: Any = ()) -> Fault:
        return places(what, layer, moved=[MovedRow(row.pack, kind, runs), *more])

    def changed(of: RunRow, **fields: int) -> RunRow:
        return msgspec.structs.replace(of, **fields)

    extent = far(made.small)
    return {
        "places-of-another-series": places("a record of another series", "places", series=b"laps"),
        "places-of-another-number": places("a record of another number", "places", number=3),
        "places-of-a-shard": places("a record of a shard under the series' name", "places", digits="00"),
        "places-series-short": places("a series of 3 bytes", "message", series=b"mac"),
        "places-without-number": places("a record without a number", "message", number=...),
        "places-pack-twice": moved("a pack twice", "places", row.runs, more=[row]),
        "places-carrier-out-of-table": moved("carrier 1 of 1", "runs", [changed(run, carrier=1)]),
        "places-runs-descend": moved("runs out of order", "runs", [second, run]),
        "places-runs-overlap": moved("runs that overlap", "runs", [changed(run, length=run.length + 1), second]),
        "places-run-too-far": moved("a run beyond 2^48", "runs", [changed(run, at=(1 << 48) - 1)]),
        "places-run-empty": moved("a run of 0 bytes", "message", [changed(run, length=0)]),
        "places-run-negative": moved("a run at -1", "message", [changed(run, at=-1)]),
        "places-no-runs": moved("a moved pack without runs", "message", []),
        "places-kind-3": moved("a moved pack of kind 3", "message", row.runs, kind=3),
        "places-pack-id-short": places("a pack id of 15 bytes", "message", moved=[[row.pack[1:], 2, row.runs]]),
        "places-instead-without-stored": places(
            "an extent without a stored length",
            "message",
            instead=[InsteadRow(made.small.pack, 1, 8, 0, msgspec.structs.replace(extent, stored=0))],
        ),
    }


def _carriers(made: GoldenMovedVault) -> dict[str, Fault]:
    """Whole carriers."""
    trees = made.carriers["trees"]
    data = made.objects[trees.name]

    def carrier(what: str, error: str, layer: str, changed: bytes, kind: int = 2) -> Fault:
        return fault(what, error, layer, how="carrier", kind=kind, id=trees.id.hex(), data=changed.hex())

    def contents(rows: Any, kind: PackKind = PackKind.TREE_CARRIED) -> bytes:
        sealed = seal_block(g.KEYS, kind, trees.id, trees.size, g.raw_frame(msgspec.msgpack.encode(rows)))
        return data[: trees.size] + sealed + TRAILER.pack(trees.size, len(sealed), b"RPDT")

    first, second = trees.packs
    (block,) = first.blocks
    without = msgspec.structs.replace(first, blocks=[msgspec.structs.replace(block, ids=block.ids[16:])])
    return {
        "carrier-header-flipped": carrier("a bit of the magic", "Damaged", "carrier", _flip(data, 0)),
        "carrier-newer": carrier("a carrier of version 2", "NewerFormat", "carrier", data[:7] + b"\2" + data[8:]),
        "carrier-cut": carrier("cut within the header", "Damaged", "carrier", data[:5]),
        "carrier-is-a-pack": carrier(
            "a pack in place of a carrier", "Damaged", "carrier", b"".join(made.tree.finish())
        ),
        "carrier-of-another-kind": carrier("a carrier of the other kind", "Damaged", "block", data, kind=1),
        "carrier-contents-of-a-pack": carrier(
            "contents sealed as those of a pack", "Damaged", "block", contents([], PackKind.TREE_CONTENTS)
        ),
        "carrier-block-unlisted": carrier("a block that is not listed", "Damaged", "carrier", contents([first])),
        "carrier-contents-without-ids": carrier(
            "an id too few", "Damaged", "contents rows", contents([without, second])
        ),
        "carrier-contents-garbage": carrier("contents of another form", "Damaged", "message", contents({"a": 1})),
        "carrier-of-another-key": fault(
            "a carrier that is sealed with a later master key",
            "NewerFormat",
            "block",
            how="carrier",
            kind=2,
            id=(trees.id[:4] + b"\1" + trees.id[5:]).hex(),
            data=data.hex(),
        ),
    }
