"""docs/format.md and the code agree: sizes, order of fields, numbers, names of keys."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
import pytest

import catalog
from catalog.format import (
    admins,
    blocks,
    carriers,
    checks,
    keys,
    ledger,
    message,
    packs,
    pages,
    places,
    plan,
    records,
    retention,
    sealed,
    seeds,
    slots,
    values,
    vaultfile,
    windows,
    writing,
)

PAGE = (Path(catalog.__file__).parent.parent / "docs" / "format.md").read_text()


def table(mark: str) -> list[list[str]]:
    """The rows of the table after a mark, without its head and rule."""
    _before, found, after = PAGE.partition(f"<!-- {mark} -->")
    assert found, f"docs/format.md has no table marked {mark!r}"
    rows = []
    for line in after.lstrip("\n").splitlines():
        if not line.startswith("|"):
            break
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        rows.append([cell.strip().strip("`") for cell in cells])
    assert len(rows) > 2, f"the table {mark!r} is empty"
    return rows[2:]


def marks(kind: str) -> set[str]:
    return set(re.findall(rf"<!-- {kind}: (.+?) -->", PAGE))


STRUCTS = {
    "frame": blocks.FRAME,
    "pack header": packs.HEADER,
    "pack trailer": packs.TRAILER,
    "block associated data": blocks.BLOCK_AD,
    "sealed header": sealed.HEADER,
    "carrier header": packs.HEADER,
}
AFTER = {"frame": ["payload"], "sealed header": ["salt", "sealed frame"]}  # rows beyond the struct
CODES = {"1": "B", "2": "H", "4": "I", "8": "Q"}


@pytest.mark.parametrize("name", STRUCTS)
def test_byte_tables_are_the_structs(name: str) -> None:
    rows, code = table(f"struct: {name}"), ">"
    beyond = AFTER.get(name, [])
    assert [r[3].split(",")[0] for r in rows[len(rows) - len(beyond) :]] == beyond
    offset = 0
    for row in rows[: len(rows) - len(beyond)]:
        assert int(row[0]) == offset, f"{name}: {row[3]} does not begin where the row above it ends"
        code += CODES[row[1]] if row[2] == "integer" else f"{row[1]}s"
        offset += int(row[1])
    assert code == STRUCTS[name].format
    assert offset == struct.calcsize(code)
    for row in rows[len(rows) - len(beyond) :]:
        assert int(row[0]) == offset
        offset += int(row[1] or 0)


def test_every_byte_table_is_compared() -> None:
    assert marks("struct") == set(STRUCTS)


def test_magics_and_versions() -> None:
    for name, magic in (
        ("pack header", packs.MAGIC),
        ("pack trailer", packs.TRAILER_MAGIC),
        ("carrier header", carriers.MAGIC),
        ("block associated data", b"RPDB"),
        ("sealed header", sealed.MAGIC),
    ):
        said = [r[3].strip('"').encode() for r in table(f"struct: {name}") if r[3].startswith('"')]
        assert said == [magic], name
    assert f"# The vault's format, version {keys.VERSION}\n" in PAGE
    assert table("struct: sealed header")[4][1:] == [str(sealed.SALT_BYTES), "bytes", "salt, random"]


ARRAYS: dict[str, list[str]] = {
    "Leaf": ["packs", "owners", "sets", "entries"],
    "FolderIndex": ["packs", "children"],
    "PieceLeaf": ["packs", "rows"],
    "PieceIndex": ["packs", "children"],
    "Owner": list(values.Owner._fields),
} | {
    cls.__name__: list(cls.__struct_fields__)
    for cls in (
        packs.BlockRow,
        pages.ExtentRow,
        pages.Entry,
        pages.FolderChild,
        pages.PieceRow,
        pages.PieceChild,
        records.Root,
        records.Problem,
        records.IndexedPack,
        windows.StreamRow,
        places.DeadRow,
        places.MovedRow,
        places.RunRow,
        places.LeavingRow,
        places.InsteadRow,
        places.FarExtent,
        places.BrokenRow,
        checks.SliceRow,
        checks.PartRow,
        checks.BadRow,
        checks.DamagedRow,
        ledger.ForgottenRow,
        ledger.HeldRow,
        ledger.GoneRow,
        ledger.PastRow,
    )
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_have_their_fields_in_order(name: str) -> None:
    rows = table(f"array: {name}")
    assert [int(r[0]) for r in rows] == list(range(len(rows)))
    assert [r[1] for r in rows] == ARRAYS[name]


def test_pages_are_as_long_as_the_page_says() -> None:
    # The structs of pages have a field that is not on the wire. These are the types that the decoders decode.
    for name, decoder in (
        ("Leaf", pages.leaf_decoder),
        ("FolderIndex", pages.folder_index_decoder),
        ("PieceLeaf", pages.piece_leaf_decoder),
        ("PieceIndex", pages.piece_index_decoder),
    ):
        assert len(get_args(decoder.type)) == len(ARRAYS[name])
        cls = getattr(pages, name)
        assert list(cls.__struct_fields__)[: len(ARRAYS[name])] == ARRAYS[name]


def test_every_array_is_compared() -> None:
    assert marks("array") == set(ARRAYS)


MAPS: dict[str, type[msgspec.Struct]] = {
    "Machine": records.Machine,
    "Item": records.Item,
    "Point": records.Point,
    "Volume": records.Volume,
    "Job": records.Job,
    "IndexObject": records.IndexObject,
    "PagedRow": pages.PagedRow,
    "WindowsRow": windows.WindowsRow,
    "PlacesRecord": places.PlacesRecord,
    "LedgerRecord": ledger.LedgerRecord,
    "Retention": retention.Retention,
    "RetentionRule": retention.RetentionRule,
    "ChecksRecord": checks.ChecksRecord,
    "SeedRecord": seeds.SeedRecord,
    "SeedEnded": seeds.SeedEnded,
    "PlanRecord": plan.PlanRecord,
    "Schedule": plan.Schedule,
    "Window": plan.Window,
    "Limit": plan.Limit,
    "Care": plan.Care,
    "Pause": plan.Pause,
    "Stop": plan.Stop,
}
TYPES: dict[str, Any] = {
    "id": message.Id,
    "whole": message.Whole,
    "length": message.Length,
    "level": message.Level,
    "text": str,
    "int": int,
    "bool": bool,
    "id or nil": message.Id | None,
    "array of bin": list[bytes],
    "array of id": list[message.Id],
    "array of text": list[str],
    "root or nil": records.Root | None,
    "array of problem": list[records.Problem],
    "array of volume": list[records.Volume],
    "array of indexed pack": list[records.IndexedPack],
    "extent": pages.ExtentRow,
    "array of length": list[message.Length],
    "bin": bytes,
    "totals": values.Totals,
    "array of block row": list[packs.BlockRow],
    "any": Any,
    "map or nil": dict[str, Any] | None,
    "u32": message.U32,
    "size": message.Size,
    "size or nil": message.Size | None,
    "int or nil": int | None,
    "mode": message.Mode,
    "owner id": message.Owned,
    "u31": message.U31,
    "u31 or nil": message.U31 | None,
    "row": message.Row,
    "offset": message.Offset,
    "offset or nil": message.Offset | None,
    "series": places.Series,
    "pack kind": places.Kind,
    "whole or nil": message.Whole | None,
    "array of span": list[tuple[message.Offset, message.Offset]],
    "array of run": Annotated[list[places.RunRow], msgspec.Meta(min_length=1)],
    "array of dead row": list[places.DeadRow],
    "array of moved row": list[places.MovedRow],
    "array of leaving row": list[places.LeavingRow],
    "array of instead row": list[places.InsteadRow],
    "array of broken row": list[places.BrokenRow],
    "far extent": places.FarExtent,
    "stored": message.Stored,
    "stored or 0": message.HomeStored,
    "array of stream": list[windows.StreamRow],
    "sequence": ledger.Sequence,
    "way": ledger.Way,
    "counts": ledger.Counts,
    "array of forgotten row": list[ledger.ForgottenRow],
    "array of held row": list[ledger.HeldRow],
    "array of gone row": list[ledger.GoneRow],
    "array of past row": list[ledger.PastRow],
    "kept": retention.Kept,
    "slice": checks.SliceNumber,
    "check level": checks.CheckLevel,
    "array of slice row": list[checks.SliceRow],
    "array of part row": list[checks.PartRow],
    "array of bad row": list[checks.BadRow],
    "array of damaged row": list[checks.DamagedRow],
    "kept or nil": retention.Kept | None,
    "zone or nil": retention.ZoneName | None,
    "rule or nil": retention.RetentionRule | None,
    "array of minute": list[retention.Minute],
    "array of weekday": list[retention.Weekday],
    "array of week": list[retention.Week],
    "array of day": list[retention.Day],
    "array of month": list[retention.Month],
    "minute": plan.Minute,
    "end minute": plan.EndMinute,
    "period": plan.Period,
    "weeks": plan.Weeks,
    "anchor": plan.Anchor,
    "spread or nil": plan.Spread | None,
    "grace or nil": plan.Grace | None,
    "load or nil": plan.Load | None,
    "at most or nil": plan.AtMost | None,
    "hours": plan.Hours,
    "budget": plan.Budget,
    "percent": plan.Percent,
    "rate or nil": plan.Rate | None,
    "time": plan.Time,
    "note": plan.Note,
    "word or nil": plan.Word | None,
    "bool or nil": bool | None,
    "file name or nil": plan.FileName | None,
    "array of path or nil": list[plan.PathBytes] | None,
    "array of pattern or nil": list[plan.Pattern] | None,
    "array of window or nil": list[plan.Window] | None,
    "array of limit or nil": list[plan.Limit] | None,
    "schedule or nil": plan.Schedule | None,
    "care or nil": plan.Care | None,
    "pause or nil": plan.Pause | None,
    "stop or nil": plan.Stop | None,
}
DEFAULTS: dict[str, Any] = {"nil": None, "[]": [], "false": False, "true": True, "0": 0, "1": 1, "4": 4, '""': ""}


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def said_default(row: list[str]) -> Any:
    if not row[2]:
        return msgspec.NODEFAULT
    return b"" if row[1] == "bin" else DEFAULTS[row[2]]


@pytest.mark.parametrize("name", MAPS)
def test_maps_have_their_fields_types_and_defaults(name: str) -> None:
    hints = get_type_hints(MAPS[name], include_extras=True)
    code = [(f.encode_name, hints[f.name], default_of(f)) for f in msgspec.structs.fields(MAPS[name])]
    said = [(r[0], TYPES[r[1]], said_default(r)) for r in table(f"map: {name}")]
    assert said == code


@pytest.mark.parametrize(
    "cls",
    [
        packs.BlockRow,
        pages.ExtentRow,
        pages.Entry,
        pages.PieceRow,
        records.Root,
        records.IndexedPack,
        windows.StreamRow,
        places.DeadRow,
        places.MovedRow,
        places.RunRow,
        places.LeavingRow,
        places.InsteadRow,
        places.FarExtent,
        places.BrokenRow,
        checks.SliceRow,
        checks.PartRow,
        checks.BadRow,
        checks.DamagedRow,
        ledger.ForgottenRow,
        ledger.HeldRow,
        ledger.GoneRow,
        ledger.PastRow,
    ],
)
def test_arrays_have_their_types(cls: type) -> None:
    hints = get_type_hints(cls, include_extras=True)
    assert [TYPES[r[2]] for r in table(f"array: {cls.__name__}")] == list(hints.values())


def test_every_map_is_compared() -> None:
    assert marks("map") == set(MAPS)


ENUMS: dict[str, Any] = {
    "pack kinds": blocks.PackKind,
    "object kinds": sealed.Kind,
    "node kinds": values.NodeKind,
}


@pytest.mark.parametrize("name", ENUMS)
def test_every_kind_is_in_the_page(name: str) -> None:
    rows = table(f"enum: {name}")
    assert [int(r[0]) for r in rows] == [int(kind) for kind in ENUMS[name]]
    for row, kind in zip(rows, ENUMS[name], strict=True):
        if isinstance(kind, sealed.Kind):
            assert row[1].split(",")[0] == kind.name.lower()
        elif isinstance(kind, values.NodeKind):
            assert row[1].split()[0].lower() == kind.name.lower().split("_")[0].replace("char", "character")
        else:
            assert row[2] == f"{kind.folder}/"
            assert ("contents" in row[1]) == ("CONTENTS" in kind.name or "CARRIED" in kind.name)
            assert ("carrier" in row[1]) == ("CARRIED" in kind.name)


def test_every_enum_is_compared() -> None:
    assert marks("enum") == set(ENUMS)


def test_bounds_of_retention() -> None:
    for name, said in (("weekly", "weeks, at most"), ("monthly", "months, at most"), ("yearly", "years, at most")):
        row = next(r for r in table("map: Retention") if r[0] == name)
        assert row[3] == f"{said} {retention.MOST[name]:,}"
    (times,) = (r for r in table("map: RetentionRule") if r[0] == "times")
    assert times[3].startswith(f"at most {retention.MOST_TIMES};")


def test_bounds_of_plans() -> None:
    said = {row[0]: row[3] for row in table("map: PlanRecord")}
    for name, most in plan.MOST.items():
        assert f"at most {most:,}" in said[name], name
    assert f"at most {plan.MOST_TIMES}" in next(r[3] for r in table("map: Schedule") if r[0] == "times")
    assert f"more than {plan.MAX_PLAN} bytes" in PAGE.replace(",", "")
    bounds = {row[0]: row[2].split(":")[0] for row in types_table() if len(row) > 2}
    assert (bounds["rate"], bounds["time"]) == ("0 to 10^12", "0 to 2^63 - 1")
    numbers: dict[str, Any] = {
        "minute": plan.Minute, "end minute": plan.EndMinute, "period": plan.Period, "weeks": plan.Weeks,
        "anchor": plan.Anchor, "spread": plan.Spread, "grace": plan.Grace, "load": plan.Load,
        "at most": plan.AtMost, "hours": plan.Hours, "budget": plan.Budget, "percent": plan.Percent,
    }  # fmt: skip
    for name, kind in numbers.items():
        (meta,) = (m for m in get_args(kind) if isinstance(m, msgspec.Meta))
        assert bounds[name] == f"{meta.ge:,} to {meta.le:,}", name
    texts: dict[str, Any] = {
        "path": plan.PathBytes, "pattern": plan.Pattern, "file name": plan.FileName, "note": plan.Note,
        "word": plan.Word,
    }  # fmt: skip
    for name, kind in texts.items():
        (meta,) = (m for m in get_args(kind) if isinstance(m, msgspec.Meta))
        assert f"{meta.max_length:,} " in bounds[name], name
    assert [m.le for m in (*get_args(plan.Rate), *get_args(plan.Time)) if isinstance(m, msgspec.Meta)] == [
        10**12,
        2**63 - 1,
    ]


def types_table() -> list[list[str]]:
    """The rows of the table of types."""
    _before, _found, after = PAGE.partition("| type | MessagePack | bounds |\n")
    lines = after.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_limits() -> None:
    assert [(r[0], int(r[1])) for r in table("constants")] == [
        ("raw bytes of a data block", blocks.MAX_RAW[blocks.PackKind.DATA]),
        ("raw bytes of a tree block", blocks.MAX_RAW[blocks.PackKind.TREE]),
        ("raw bytes of a table of contents", blocks.MAX_RAW[blocks.PackKind.DATA_CONTENTS]),
        ("raw bytes of a sealed object's content", sealed.MAX_OBJECT_RAW),
        ("bytes of a sealed object of kind 4", sealed.MAX_SEALED_INDEX),
        ("bytes of a sealed object of any other kind", sealed.MAX_SEALED),
        ("bytes of a sealed block", message.MAX_BLOCK),
        ("offset in a pack", message.MAX_OFFSET),
        ("entries of a tree, without its root", message.MAX_ENTRIES),
        ("bytes of vault.json", vaultfile.MAX_VAULT_FILE),
        ("key slots", vaultfile.MAX_SLOTS),
        ("depth of vault.json", vaultfile.MAX_DEPTH),
        ("Argon2id memory x passes of all slots, KiB", slots.MAX_KDF_SUM),
        ("Argon2id memory, KiB", slots.MAX_KDF_MEMORY_KIB),
        ("Argon2id passes", slots.MAX_KDF_PASSES),
        ("Argon2id lanes", slots.MAX_KDF_LANES),
        ("level of a page", message.MAX_LEVEL),
        ("pieces in an entry", writing.INLINE_PIECES),
        ("pieces in a page", writing.PIECES_MAX),
        ("bytes of a page, as written", writing.PAGE_MAX),
        ("bytes of an xattr value in a page, as written", writing.INLINE_XATTR),
        ("bytes of a data pack at which it is closed", packs.PACK_TARGET),
        ("UTF-16 units of a stream's name", windows.STREAM_NAME_MAX),
        ("bytes of an entry's streams in a page, as written", windows.STREAMS_MAX),
        ("characters of a new passphrase, at least", slots.MIN_PASSPHRASE),
    ]
    assert blocks.MAX_RAW[blocks.PackKind.TREE_CONTENTS] == blocks.MAX_RAW[blocks.PackKind.DATA_CONTENTS]


def test_names_of_keys() -> None:
    _before, _found, after = PAGE.partition("with one of these names:\n")
    said = re.findall(r"^\| `([a-z ]+)` \|", after.partition("\nFurther keys")[0], re.M)
    vault = keys.Keys(bytes(range(32)), bytes(range(16)))
    want = {name: keys.derive(vault.master, vault.vault_id, b"rpdrive/1 " + name.encode()) for name in said}
    have = {
        name.replace("_", " "): getattr(vault, name)
        for name in ("chunk_ids", "data_packs", "tree_packs", "records", "index", "vault_file", "admin_keys")
    }
    assert int.from_bytes(want.pop("cutter seed")[:8], "big") >> 1 == vault.cutter_seed
    assert want == have


def test_fields_of_vault_json() -> None:
    for heading, fields in (
        ("## vault.json", vaultfile._FIELDS),
        ("### Key slots", slots.SLOT_FIELDS),
        ("### Admins", admins.OWN_FIELDS | admins.MASTER_FIELDS),
    ):
        _before, _found, after = PAGE.partition(f"\n{heading}\n")
        section = re.split(r"\n##+ ", after)[0]
        assert set(re.findall(r"^\| `([a-z_]+)` \|", section, re.M)) == fields
    standard = slots.KdfParameters()
    assert f"writes {standard.memory_kib:,} KiB, {standard.passes} passes, {standard.lanes} lanes" in PAGE
