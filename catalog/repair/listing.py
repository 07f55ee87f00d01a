"""What a repair found and did, as text and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from catalog.format.records import PointName
from catalog.repair.examine import Found
from catalog.repair.names import Lost
from catalog.repair.records import LostRecords
from catalog.repair.run import Written
from catalog.repair.taking import Taken
from catalog.screen.text import counted, local_time, text_json

SHOWN = 20  # files and folders that are named on a screen; --json has more

Neighbour = Callable[[PointName, bytes], PointName | None]


def records_lines(lost: LostRecords, *, dry: bool) -> Iterator[str]:
    will = "would be made" if dry else "is made"
    for machine in lost.machines:
        yield f"the record of the machine {machine.name} ({machine.id.hex()[:8]}) {will} anew from its points"
    for item in lost.items:
        yield f"the record of the item {item.name} ({item.id.hex()[:8]}) {will} anew from its points"


def found_lines(found: Found, machine: str, neighbour: Neighbour) -> Iterator[str]:
    """What was found for a machine, and what can be done."""
    if found.is_clean:
        yield f"{machine}: nothing to repair"
        return
    for remark in found.remarks:
        yield f"{machine}: {remark}"
    if found.rebuilt is not None:
        moved = counted(len(found.rebuilt.moved), "moved pack")
        yield f"{machine}: a record of places is lost, and to be made anew: {moved} found in carriers"
    if found.unindexed:
        yield f"{machine}: {counted(found.unindexed, 'pack')} to be listed in an index object again"
    rows = found.rows
    if rows.broken:
        yield f"{machine}: {counted(len(rows.broken), 'block or pack', 'blocks or packs')} to be called broken"
        yield "  the next backup of this machine stores again what its source still has"
    if rows.instead:
        yield f"{machine}: {counted(len(rows.instead), 'lost chunk')} found elsewhere: files open again"
    if rows.back:
        packs = counted(len(rows.back), "pack")
        yield f"{machine}: {packs} to be read where they were before upkeep moved them: files open again"
    for name, error in found.unread:
        yield f"{machine}: {name} can't be read: {error}"
    if found.lost:
        yield from _lost_lines(found, machine, neighbour)


def _lost_lines(found: Found, machine: str, neighbour: Neighbour) -> Iterator[str]:
    losses = found.losses
    yield f"{machine}: {counted(found.lost, 'chunk')} without another copy, in {counted(losses.points, 'point')}:"
    for row in losses.named[:SHOWN]:
        yield f"  {_path(row)}  in {_points(row)}"
        if row.is_folder and (other := neighbour(row.newest, row.path)) is not None:
            yield f"    the point {other.id.hex()[:8]} of {local_time(other.time)} has this folder"
    if len(losses.named) > SHOWN or losses.left_out:
        more = "more than " if losses.left_out else ""
        yield f"  … {more}{len(losses.named):,} files and folders in all; --json names more"
    if found.acknowledged:
        yield (
            f"  {counted(len(found.acknowledged), 'block')} of folders: run a backup, and repair again, as equal "
            "folders may be found then"
        )
        yield "  with --acknowledge they are given up: upkeep then removes what only they lead to"


def _path(row: Lost) -> str:
    text = "/" + row.path.decode(errors="replace")
    return text.rstrip("/") + "/" if row.is_folder else text


def _points(row: Lost) -> str:
    newest = f"{row.newest.id.hex()[:8]} of {local_time(row.newest.time)}"
    return newest if row.points == 1 else f"{row.points:,} points, the newest is {newest}"


def taken_text(taken: Taken) -> str:
    parts = [counted(taken.packs, "whole pack")] * bool(taken.packs) + [counted(taken.blocks, "block")] * bool(
        taken.blocks
    )
    return " and ".join(parts) or "nothing"


def written_lines(written: Written, machine: str) -> Iterator[str]:
    for name in written.places:
        yield f"{machine}: wrote {name}"
    if written.indexes:
        yield f"{machine}: wrote {counted(written.indexes, 'index object')}"


def records_json(lost: LostRecords) -> dict[str, Any]:
    return {
        "machines": [{"id": m.id.hex(), "name": m.name} for m in lost.machines],
        "items": [{"id": i.id.hex(), "machine": i.machine.hex(), "name": i.name} for i in lost.items],
    }


def found_json(found: Found, machine: str, neighbour: Neighbour) -> dict[str, Any]:
    rows = found.rows
    return {
        "machine": machine,
        "id": found.machine.hex(),
        "remarks": found.remarks,
        "moved": len(found.rebuilt.moved) if found.rebuilt is not None else 0,
        "unindexed": found.unindexed,
        "broken": [
            {"pack": r.pack.hex(), "kind": r.kind, "offset": r.offset, "reason": r.reason} for r in rows.broken
        ],
        "healed": len(rows.instead),
        "back": [{"pack": pack.hex(), "kind": kind} for kind, pack in rows.back],
        "lost": found.lost,
        "lost_points": found.losses.points,
        "lost_files": [_lost_json(row, neighbour) for row in found.losses.named],
        "lost_files_left_out": found.losses.left_out,
        "to_acknowledge": [{"pack": r.pack.hex(), "offset": r.offset} for r in found.acknowledged],
        "unreadable_points": [{"point": str(name), "message": str(error)} for name, error in found.unread],
    }


def _lost_json(row: Lost, neighbour: Neighbour) -> dict[str, Any]:
    other = neighbour(row.newest, row.path) if row.is_folder else None
    return {
        **text_json("path", b"/" + row.path),
        "folder": row.is_folder,
        "points": row.points,
        "newest": row.newest.id.hex(),
        "readable_in": None if other is None else other.id.hex(),
    }
