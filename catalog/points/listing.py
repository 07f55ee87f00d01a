"""Recovery points and entries of folders, as text and JSON."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from catalog.errors import Damaged, UsageError
from catalog.format.pages import Entry, Leaf
from catalog.format.records import Machine, Point, Volume
from catalog.format.values import TYPE_BITS, NodeKind
from catalog.format.windows import Windows, name_bytes
from catalog.machines.registry import machine_names
from catalog.screen.text import iso_time, local_time, short_ids, size_text, text_json
from catalog.windows.descriptor import to_sddl

POINT_COLUMNS = ("POINT", "TIME", "MACHINE", "ITEM", "FILES>", "SIZE>", "NEW>", "WARNINGS>")
KIND = "KIND"  # one more column, if there are points of other kinds than files
DAMAGED = "DAMAGED>"  # one more column, if there is damage


# --- points -------------------------------------------------------------------------------------------------


def point_rows(points: Sequence[Point], machines: Mapping[bytes, Machine]) -> list[list[str]]:
    """Cells for POINT_COLUMNS."""
    names = machine_names(machines)
    return [
        [
            short,
            local_time(p.time),
            names.get(p.machine, p.machine_name),
            p.item_name,
            f"{p.totals.files:,}",
            size_text(p.totals.bytes),
            size_text(p.new_bytes),
            f"{p.problem_count:,}" if p.problem_count else "",
        ]
        for short, p in zip(short_ids([p.id.hex() for p in points]), points, strict=True)
    ]


def point_json(p: Point, machines: Mapping[bytes, Machine]) -> dict[str, Any]:
    """A point for --json. Sizes in bytes, times in UTC. `machine` is the machine's name today."""
    return {
        "id": p.id.hex(),
        "time": iso_time(p.time),
        "finished": iso_time(p.finished),
        "machine": machines[p.machine].name if p.machine in machines else p.machine_name,
        "machine_id": p.machine.hex(),
        "item": p.item_name,
        "item_id": p.item.hex(),
        "sequence": p.sequence,
        "paths": [path.decode(errors="replace") for path in p.paths],
        "kind": p.kind or "files",
        "volumes": [_volume_json(volume) for volume in p.volumes],
        "entries": p.totals.entries,
        "files": p.totals.files,
        "bytes": p.totals.bytes,
        "new_bytes": p.new_bytes,
        "stored_bytes": p.stored_bytes,
        "warnings": p.problem_count,
    }


def kind_cell(p: Point) -> str:
    """What a point is, and the kinds of snapshots that it was read from: `volume (btrfs)`; empty for live files."""
    snapshots = ", ".join(sorted({volume.snapshot for volume in p.volumes if volume.snapshot}))
    kind = p.kind or ("files" if snapshots else "")
    return f"{kind} ({snapshots})" if snapshots else kind


def _volume_json(v: Volume) -> dict[str, Any]:
    return {
        **text_json("place", v.place),
        "file_system": v.file_system,
        "uuid": v.uuid,
        "label": v.label,
        "source": v.source,
        "options": v.options,
        "size": v.size,
        "used": v.used,
        "subvolumes": [path.decode(errors="replace") for path in v.subvolumes],
        "snapshot": v.snapshot or None,
        "snapshot_time": iso_time(v.time) if v.time else None,
    }


# --- entries ------------------------------------------------------------------------------------------------


def kind_name(entry: Entry) -> str:
    """The kind of an entry in words, e.g. `char_device`."""
    return NodeKind(entry.kind).name.lower() if entry.kind in TYPE_BITS else "malformed"


def long_line(leaf: Leaf, entry: Entry, name: str) -> str:
    """An entry as in `ls -l`; a folder's size is that of all files below it. Of a malformed one only the name."""
    try:
        leaf.check(entry)
        owner = leaf.owner(entry)
        size = f"{entry_size(leaf, entry)}"
    except Damaged:
        return f"{'?' * 10} {'?':>3} {'?':<8} {'?':<8} {'?':>13} {'malformed':<19} {name}"
    kind = NodeKind(entry.kind)
    if kind in (NodeKind.CHAR_DEVICE, NodeKind.BLOCK_DEVICE):
        size = "{}, {}".format(*entry.content)
    mode = stat.filemode(entry.mode | kind.bits)
    user, group = owner.user or owner.uid, owner.group or owner.gid
    return f"{mode} {entry.nlink:>3} {user:<8} {group:<8} {size:>13} {local_time(entry.mtime)} {name}"


def entry_size(leaf: Leaf, entry: Entry) -> int:
    """The size in bytes of a file, of all files below a folder, or of a symlink's target."""
    if entry.kind == NodeKind.FOLDER:
        below = leaf.subtree(entry)
        return below.totals.bytes if below else 0
    return entry.size


def entry_json(leaf: Leaf, entry: Entry) -> dict[str, Any]:
    """An entry for --json. A name that is not UTF-8 is also given as `name_bytes` (base64).

    A malformed entry has only a name, and the kind `malformed`.
    """
    row: dict[str, Any] = text_json("name", entry.name)
    try:
        return row | _values_json(leaf, entry)
    except Damaged:
        return row | {"kind": "malformed"}


def _values_json(leaf: Leaf, entry: Entry) -> dict[str, Any]:
    leaf.check(entry)
    owner = leaf.owner(entry)
    kind = NodeKind(entry.kind)
    row: dict[str, Any] = {
        "kind": kind_name(entry),
        "mode": f"{entry.mode:04o}",
        "size": entry_size(leaf, entry),
        "mtime": iso_time(entry.mtime),
        "mtime_ns": entry.mtime,
        "uid": owner.uid,
        "gid": owner.gid,
        "user": owner.user,
        "group": owner.group,
        "nlink": entry.nlink,
    }
    if kind is NodeKind.FOLDER:
        below = leaf.subtree(entry)
        row["files"] = below.totals.files if below else 0
    elif kind is NodeKind.SYMLINK:
        row |= text_json("target", entry.content)
    elif kind in (NodeKind.CHAR_DEVICE, NodeKind.BLOCK_DEVICE):
        row["device"] = list(entry.content)
    windows = leaf.windows(entry)
    return row if windows is None else row | {"windows": _windows_json(windows)}


def _windows_json(w: Windows) -> dict[str, Any]:
    """Windows metadata. `security` is SDDL, or None if the descriptor is stored outside the page or has no text."""
    sddl = None
    if isinstance(w.security, bytes):
        with suppress(Damaged, UsageError):
            sddl = to_sddl(w.security)
    return {
        "attributes": w.attributes,
        "created": None if w.created is None else iso_time(w.created),
        "created_ns": w.created,
        "security": sddl,
        "streams": [text_json("name", name_bytes(s.name)) | {"size": s.size} for s in w.streams],
        "short_name": name_bytes(w.short_name).decode(errors="replace"),
        "encrypted_size": w.efs,
    }
