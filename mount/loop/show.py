"""Runs `rpdrive loop`, and prints what was done."""

from __future__ import annotations

import os
from pathlib import Path

from catalog.errors import UsageError
from catalog.screen.output import print_json
from catalog.screen.stderr import warn
from catalog.screen.text import safe_text, size_text
from mount.loop.attaching import Attached, Row, attach, detach, rows


def _check_system() -> None:
    if os.name == "nt" or os.uname().sysname != "Linux":
        raise UsageError("loop devices are Linux's", "copy the image from the drive, and open it with this system")


def show_attached(
    image: Path, to: Path | None, partition: int | None, *, without_journal: bool, as_json: bool
) -> None:
    """Attach an image. Raises what `attach` does."""
    _check_system()
    done = attach(image, to, partition, without_journal=without_journal)
    if as_json:
        print_json(_attached_json(done))
        return
    for note in done.notes:
        warn(note, prefix="warning")
    shown = safe_text(str(image))
    if done.place is not None:
        print(f"{shown} is open at {safe_text(str(done.place))} ({done.device}, {done.contents.kind}, read-only)")
        return
    print(f"{shown} is open as {done.device}, read-only" + f": {done.contents}" * bool(done.contents.kind))
    for slot in done.slots:
        print(f"  {done.device}p{slot.partition.number}: {size_text(slot.partition.size)}, {slot.contents}")


def _attached_json(done: Attached) -> dict[str, object]:
    return {
        "device": str(done.device),
        "mounted_at": str(done.place) if done.place is not None else None,
        "contents": done.contents.kind,
        "state": done.contents.state,
        "partitions": [
            {"number": s.partition.number, "bytes": s.partition.size, "contents": s.contents.kind}
            for s in done.slots
        ],
        "notes": done.notes,
    }


def show_detached(what: Path) -> None:
    """Detach an image. Raises what `detach` does."""
    _check_system()
    for row in detach(what):
        print(f"{safe_text(os.fsdecode(row.loop.file))} is closed ({row.loop.path})")


def show_list(*, as_json: bool) -> None:
    """List open images."""
    _check_system()
    found = rows()
    if as_json:
        print_json([_row_json(row) for row in found])
        return
    for row in found:
        where = f" at {', '.join(map(safe_text, row.places))}" if row.places else ""
        print(f"{row.loop.path}  {safe_text(os.fsdecode(row.loop.file))}{where}")


def _row_json(row: Row) -> dict[str, object]:
    return {"device": str(row.loop.path), "image": safe_text(os.fsdecode(row.loop.file)), "mounted_at": row.places}
