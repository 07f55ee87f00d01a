"""What an import or an export came to, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from catalog.screen.text import counted, safe_text, size_text
from catalog.seeds.arriving import DiskState, Some
from catalog.seeds.brought import TWIN
from catalog.seeds.databox import Export
from catalog.seeds.importing import Result

_NAMED = 3  # objects of a kind that a line names


def state_of(disk: DiskState) -> str:
    """The state of a disk in one word, for programs."""
    if not disk.known:
        return "unknown"
    if disk.damaged.objects or disk.conflicts.objects:
        return "damaged"
    if disk.has_arrived:
        return "arrived"
    return "incomplete" if disk.place else "missing"


def result_lines(r: Result) -> list[str]:
    """The result for people: a line for each disk, and what comes of it."""
    lines = [_disk_line(r, disk) for disk in r.disks]
    if not r.knows_all:
        lines.append("The last disk, which has the list of all and the recovery points: missing")
    if r.had_ended:
        lines.append("The seed was imported before; nothing was stored")
        return lines
    stored = f"Stored {counted(r.stored, 'object')}, {size_text(r.stored_bytes)}"
    if r.is_whole:
        lines.append(f"{stored}; the seed is complete, with {counted(r.points, 'new recovery point')}")
        if not r.ends:
            lines.append("It has a twin: the next backup of its machine sends what the twin has beyond the disks")
    elif r.partial:
        lines.append(f"{stored}; no recovery points (--partial): the next backup sends only what did not arrive")
    else:
        lines.append(f"{stored}; no recovery points yet")
    return lines


def _disk_line(r: Result, disk: DiskState) -> str:
    name = disk_name(r, disk)
    head = name[0].upper() + name[1:]
    if not disk.known:
        return f"{head}: not known what is on it" if disk.place else f"{head}: missing"
    if disk.has_arrived:
        return f"{head}: all {counted(disk.objects, 'object')}, {size_text(disk.bytes)}, are in the vault"
    parts = []
    if disk.missing.objects:
        what = "missing" if disk.place else "missing, connect it"
        parts.append(f"{what}: {_some(disk.missing)}")
    if disk.damaged.objects:
        parts.append(f"damaged on the disk: {_some(disk.damaged)} ({_names(disk.damaged)})")
    if disk.conflicts.objects:
        parts.append(
            f"the vault has others under the same names: {_some(disk.conflicts)} ({_names(disk.conflicts)})"
        )
    return f"{head}: {'; '.join(parts)}"


def disk_name(r: Result, disk: DiskState) -> str:
    """A disk for people: `disk 2 of 3 (usb-2)`."""
    if disk.number == TWIN:
        return "the twin"
    of = f" of {len(r.disks)}" if r.knows_all and r.disks[0].number != TWIN else ""
    return f"disk {disk.number}{of}" + (f" ({safe_text(disk.label)})" if disk.label else "")


def _some(some: Some) -> str:
    return f"{counted(some.objects, 'object')}, {size_text(some.bytes)}"


def _names(some: Some) -> str:
    more = some.objects - min(_NAMED, len(some.names))
    return ", ".join(some.names[:_NAMED]) + (f" and {more} more" if more else "")


def missing_lines(r: Result) -> Iterator[str]:
    """What stands in the way of the points, and what to do: a line each."""
    if r.is_whole:
        return
    for error in r.problems:
        yield f"{error}; {error.advice}" if error.advice else str(error)
    if r.late.objects:
        yield (
            f"the last disk is damaged: {_names(r.late)}; import a twin or another copy of it, or run "
            "`rpdrive seed abandon` on the machine that wrote it"
        )
    for disk in r.disks:
        name = disk_name(r, disk)
        if disk.damaged.objects:
            yield (
                f"{name}: {counted(disk.damaged.objects, 'object')} on it can't be used; import a twin or another"
                " copy of the disk, or use --partial and run `rpdrive seed abandon` on the machine that wrote it"
            )
        elif disk.conflicts.objects and r.had_ended:
            what = counted(disk.conflicts.objects, "object")
            yield f"{name}: {what} in the vault is not as on the disk; run `rpdrive repair` (docs/repair.md)"
        elif disk.conflicts.objects:
            yield (
                f"{name}: the vault has {counted(disk.conflicts.objects, 'other object')} under the same names,"
                " which were left alone; run `rpdrive seed abandon` on the machine that wrote it"
            )
        elif disk.missing.objects and not r.partial:
            yield f"{name} is missing: {_some(disk.missing)}; import it, too, now or later"
        elif not disk.known and not r.partial and not r.problems:
            yield f"{name} is missing; import it, too, now or later"
    if not r.knows_all and not r.partial:
        yield "the last disk is missing, which has the recovery points; import it, alone or with others"


def result_json(r: Result) -> dict[str, Any]:
    return {
        "seed": r.seed,
        "vault": r.vault,
        "complete": r.is_whole,
        "ends": r.ends,
        "had_ended": r.had_ended,
        "partial": r.partial,
        "knows_all_disks": r.knows_all,
        "stored": {"objects": r.stored, "bytes": r.stored_bytes},
        "points": r.points,
        "disks": [
            {
                "number": disk.number,
                "label": disk.label,
                "place": disk.place or None,
                "state": state_of(disk),
                "objects": disk.objects,
                "bytes": disk.bytes,
                "missing": _some_json(disk.missing),
                "damaged": _some_json(disk.damaged),
                "conflicts": _some_json(disk.conflicts),
            }
            for disk in r.disks
        ],
        "damaged_last": _some_json(r.late),
        "problems": [str(error) for error in r.problems],
        "notes": r.notes,
    }


def _some_json(some: Some) -> dict[str, Any]:
    return {"objects": some.objects, "bytes": some.bytes, "names": some.names}


def export_lines(e: Export) -> list[str]:
    """An export for people: a line for each disk, and what to do next."""
    lines = []
    for disk in e.disks:
        line = f"Disk {disk.number}: {counted(disk.objects, 'object')}, {size_text(disk.bytes)}, in {disk.folder}"
        if disk.bad_count:
            more = disk.bad_count - min(_NAMED, len(disk.bad))
            line += f"; {counted(disk.bad_count, 'object')} damaged on the disk ({', '.join(disk.bad[:_NAMED])}"
            line += f" and {more} more)" if more else ")"
        lines.append(line)
    lines.append(f"Copy {e.top} to the Data Box, and when it has arrived, run")
    lines.append(f"  rpdrive --vault ADDRESS seed import --verify azure://ACCOUNT/{e.prefix}")
    return lines


def export_json(e: Export) -> dict[str, Any]:
    return {
        "top": e.top,
        "prefix": e.prefix,
        "disks": [
            {
                "number": disk.number,
                "folder": disk.folder,
                "objects": disk.objects,
                "bytes": disk.bytes,
                "copied": disk.copied,
                "damaged": {"objects": disk.bad_count, "names": list(disk.bad)},
            }
            for disk in e.disks
        ],
        "problems": [str(error) for error in e.problems],
    }
