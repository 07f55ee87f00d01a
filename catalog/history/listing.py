"""Found paths, versions and differences, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from catalog.format.pages import Entry, Leaf
from catalog.format.records import Point
from catalog.format.values import NodeKind
from catalog.history.difference import Change
from catalog.history.overlay import first, last, numbers
from catalog.history.search import Hit
from catalog.history.timeline import Timeline
from catalog.history.variants import Variant
from catalog.history.versions import Versions
from catalog.points.listing import entry_json, entry_size, kind_name
from catalog.screen.text import iso_time, local_time, size_text, text_json

HIT_COLUMNS = f"{'SIZE':>10}  {'MODIFIED':19}  {'IN POINTS OF':43}  {'POINTS':>6}  {'VERSIONS':>8}  PATH"
VERSION_COLUMNS = ("SINCE", "UNTIL", "POINTS>", "SIZE>", "MODIFIED", "KIND", "FIRST POINT", "LAST POINT")


# --- find ---------------------------------------------------------------------------------------------------


def hit_line(line: Timeline, hit: Hit, *, all_points: bool) -> str:
    """A line for HIT_COLUMNS; for a single point only size, time and path."""
    path = hit.path.decode(errors="surrogateescape") + ("/" if hit.entry.kind == NodeKind.FOLDER else "")
    text = f"{size_text(entry_size(hit.leaf, hit.entry)):>10}  {local_time(hit.entry.mtime):19}"
    if not all_points:
        return f"{text}  {path}"
    since, until = (local_time(line.points[n].time) for n in (first(hit.points), last(hit.points)))
    return f"{text}  {since} … {until}  {hit.points.bit_count():>6}  {hit.versions:>8}  {path}"


def hit_json(line: Timeline, hit: Hit) -> dict[str, Any]:
    """A hit for --json, with the entry from the newest point that has it."""
    return {
        **text_json("path", hit.path),
        **_entry_json(hit.leaf, hit.entry),
        **_item_json(line.points[-1], line.machine),
        "points": hit.points.bit_count(),
        "first": _point_json(line, first(hit.points)),
        "last": _point_json(line, last(hit.points)),
        "versions": hit.versions,
    }


# --- versions -----------------------------------------------------------------------------------------------


def version_rows(line: Timeline, history: Versions) -> list[list[str]]:
    """Cells for VERSION_COLUMNS."""
    rows = []
    for points, variant in history.found:
        size = size_text(entry_size(variant.leaf, variant.entry))
        kind = kind_name(variant.entry).replace("_", " ")
        rows.append(_row(line, points, size, local_time(variant.entry.mtime), kind))
    if history.missing:
        rows.append(_row(line, history.missing, "", "", "not there"))
    return rows


def _row(line: Timeline, points: int, size: str, time: str, kind: str) -> list[str]:
    ends = line.points[first(points)], line.points[last(points)]
    count = f"{points.bit_count():,}"
    return [*(local_time(p.time) for p in ends), count, size, time, kind, *(p.id.hex()[:8] for p in ends)]


def versions_json(line: Timeline, history: Versions) -> dict[str, Any]:
    """All versions of a path in one item, for --json."""
    return {
        **_item_json(line.points[-1], line.machine),
        "versions": [
            {
                **_entry_json(v.variant.leaf, v.variant.entry),
                "points": [_point_json(line, n) for n in numbers(v.points)],
            }
            for v in history.found
        ],
        "missing": [_point_json(line, n) for n in numbers(history.missing)],
    }


# --- differences --------------------------------------------------------------------------------------------


def change_line(change: Change) -> str:
    """`M  /path  (content, time)`"""
    variant = change.after or change.before
    assert variant is not None
    path = change.path.decode(errors="surrogateescape") + ("/" if variant.entry.kind == NodeKind.FOLDER else "")
    detail = "" if change.mark in "+-" else f"  ({', '.join(change.what)})"
    return f"{change.mark}  {path}{detail}"


def change_json(change: Change) -> dict[str, Any]:
    return {
        **text_json("path", change.path),
        "mark": change.mark,
        "what": list(change.what),
        "before": _side_json(change.before),
        "after": _side_json(change.after),
    }


def _side_json(variant: Variant | None) -> dict[str, Any] | None:
    return None if variant is None else _entry_json(variant.leaf, variant.entry)


class Counts:
    """Counts changes while they are printed. Sizes are of added, removed and changed files (as they are after)."""

    def __init__(self) -> None:
        self._paths = dict.fromkeys("+-MUT", 0)
        self._bytes = dict.fromkeys("+-M", 0)

    def of(self, changes: Iterable[Change]) -> Iterator[Change]:
        for change in changes:
            self._paths[change.mark] += 1
            variant = change.after or change.before
            if variant is not None and change.mark in self._bytes and variant.entry.kind == NodeKind.FILE:
                self._bytes[change.mark] += variant.entry.size
            yield change

    def json(self) -> dict[str, Any]:
        paths, size = self._paths, self._bytes
        return {
            "added": paths["+"], "removed": paths["-"], "changed": paths["M"], "metadata": paths["U"],
            "type": paths["T"], "added_bytes": size["+"], "removed_bytes": size["-"], "changed_bytes": size["M"],
        }  # fmt: skip

    def __str__(self) -> str:
        paths, size = self._paths, self._bytes
        if not any(paths.values()):
            return "no differences"
        return (
            f"{paths['+']:,} added ({size_text(size['+'])}), {paths['-']:,} removed ({size_text(size['-'])}), "
            f"{paths['M']:,} changed ({size_text(size['M'])}), {paths['U']:,} in metadata only, "
            f"{paths['T']:,} of another type"
        )


# --- parts --------------------------------------------------------------------------------------------------


def _entry_json(leaf: Leaf, entry: Entry) -> dict[str, Any]:
    row = entry_json(leaf, entry)
    row.pop("name_bytes", None)
    del row["name"]  # part of the path
    return row


def _item_json(p: Point, machine: str) -> dict[str, str]:
    return {"machine": machine, "machine_id": p.machine.hex(), "item": p.item_name, "item_id": p.item.hex()}


def _point_json(line: Timeline, n: int) -> dict[str, Any]:
    return {"id": line.points[n].id.hex(), "time": iso_time(line.points[n].time)}
