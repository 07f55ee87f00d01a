"""A vault, recovery points and entries of folders, as text and JSON."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from catalog.errors import Damaged, NewerFormat, UsageError
from catalog.format.keys import VERSION
from catalog.format.pages import Entry, Leaf
from catalog.format.records import Machine, Point
from catalog.format.values import NodeKind
from catalog.format.windows import Windows, name_bytes
from catalog.machines.registry import machine_names
from catalog.screen.text import iso_time, local_time, safe_text, size_text, text_json
from catalog.vault import Vault
from catalog.windows.descriptor import to_sddl

_TYPES = {
    NodeKind.FILE: stat.S_IFREG,
    NodeKind.FOLDER: stat.S_IFDIR,
    NodeKind.SYMLINK: stat.S_IFLNK,
    NodeKind.FIFO: stat.S_IFIFO,
    NodeKind.CHAR_DEVICE: stat.S_IFCHR,
    NodeKind.BLOCK_DEVICE: stat.S_IFBLK,
    NodeKind.SOCKET: stat.S_IFSOCK,
}
POINT_COLUMNS = ("POINT", "TIME", "MACHINE", "ITEM", "FILES>", "SIZE>", "NEW>", "WARNINGS>")


# --- vaults -------------------------------------------------------------------------------------------------


def vault_json(vault: Vault, *, sizes: bool = False) -> dict[str, Any]:
    """What a vault is and holds, for --json. `sizes` adds stored bytes by folder, from a listing of everything.

    Costs 3 listings, and 1 request for each machine and item not seen before.
    """
    names = vault.point_names()
    items = vault.items()
    row: dict[str, Any] = {
        "vault": vault.store.url,
        "id": vault.id.hex(),
        "version": VERSION,
        "created": vault.file.created,
        "number": vault.file.number,
        "slots": [
            {
                "id": slot.id,
                "kdf": "argon2id",
                "memory_kib": slot.kdf.memory_kib,
                "passes": slot.kdf.passes,
                "lanes": slot.kdf.lanes,
                "created": slot.created,
            }
            for slot in vault.file.slots
        ],
        "machines": [
            {
                "id": machine.id.hex(),
                "name": machine.name,
                "system": machine.system,
                "forgotten": machine.forgotten,
                "items": [
                    {
                        "id": item.id.hex(),
                        "name": item.name,
                        "points": sum(n.machine == machine.id and n.item == item.id for n in names),
                    }
                    for item in sorted(items.values(), key=lambda i: i.name)
                    if item.machine == machine.id
                ],
            }
            for machine in sorted(vault.machines().values(), key=lambda m: m.name)
        ],
        "points": len(names),
    }
    if sizes:
        row["stored"] = _stored(vault)
    return row


def _stored(vault: Vault) -> dict[str, dict[str, int]]:
    stored: dict[str, dict[str, int]] = {}
    for info in vault.store.list(""):
        folder = stored.setdefault(info.name.split("/")[0], {"objects": 0, "bytes": 0})
        folder["objects"] += 1
        folder["bytes"] += info.size
    return stored


def vault_text(row: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"vault     {row['vault']}",
        f"id        {row['id']}",
        f"format    version {row['version']}",
        f"created   {row['created']}",
    ]
    lines += [
        f"key slot  {s['id']}, of {s['created']}: Argon2id, {s['memory_kib'] // 1024} MiB, {s['passes']} passes, "
        f"{s['lanes']} lanes"
        for s in row["slots"]
    ]
    lines.append(f"points    {row['points']:,}")
    for machine in row["machines"]:
        text = f"machine   {safe_text(machine['name'])} ({machine['id'][:8]}), {safe_text(machine['system'])}"
        lines.append(text + (", forgotten" if machine["forgotten"] else ""))
        lines += [
            f"  item    {safe_text(i['name'])} ({i['id'][:8]}): {_counted(i['points'], 'point')}"
            for i in machine["items"]
        ]
    for folder, held in row.get("stored", {}).items():
        lines.append(f"stored    {folder}: {_counted(held['objects'], 'object')}, {size_text(held['bytes'])}")
    if "stored" in row:
        lines.append(f"stored    in all {size_text(sum(held['bytes'] for held in row['stored'].values()))}")
    return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# --- machines -----------------------------------------------------------------------------------------------


# --- points -------------------------------------------------------------------------------------------------


def point_rows(points: Sequence[Point], machines: Mapping[bytes, Machine]) -> list[list[str]]:
    """Rows for POINT_COLUMNS. Ids have 8 digits, or as many as tell these points apart."""
    names = machine_names(machines)
    digits = 8
    while len({p.id.hex()[:digits] for p in points}) < len(points):
        digits += 1
    return [
        [
            p.id.hex()[:digits],
            local_time(p.time),
            names.get(p.machine, p.machine_name),
            p.item_name,
            f"{p.totals.files:,}",
            size_text(p.totals.bytes),
            size_text(p.new_bytes),
            f"{p.problem_count:,}" if p.problem_count else "",
        ]
        for p in points
    ]


def point_json(p: Point, machines: Mapping[bytes, Machine]) -> dict[str, Any]:
    """A point for --json. Sizes in bytes; times are UTC. A machine has the name that it has now."""
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
        "entries": p.totals.entries,
        "files": p.totals.files,
        "bytes": p.totals.bytes,
        "new_bytes": p.new_bytes,
        "stored_bytes": p.stored_bytes,
        "warnings": p.problem_count,
    }


# --- entries ------------------------------------------------------------------------------------------------


def _kind(entry: Entry) -> NodeKind:
    try:
        return NodeKind(entry.kind)
    except ValueError as e:
        name = entry.name.decode(errors="replace")
        raise NewerFormat(f"{name} is of kind {entry.kind}, which this rpdrive doesn't know") from e


def long_line(leaf: Leaf, entry: Entry, name: str) -> str:
    """An entry as `ls -l` shows it; a folder's size is that of the files below it."""
    owner = leaf.owner(entry)
    kind = _kind(entry)
    size = f"{entry_size(leaf, entry)}"
    if kind in (NodeKind.CHAR_DEVICE, NodeKind.BLOCK_DEVICE):
        size = "{}, {}".format(*entry.content)
    mode = stat.filemode(entry.mode | _TYPES[kind])
    user, group = owner.user or owner.uid, owner.group or owner.gid
    return f"{mode} {entry.nlink:>3} {user:<8} {group:<8} {size:>13} {local_time(entry.mtime)} {name}"


def entry_size(leaf: Leaf, entry: Entry) -> int:
    """Bytes of a file, of all files below a folder, or of a symlink's target."""
    if entry.kind == NodeKind.FOLDER:
        below = leaf.subtree(entry)
        return below.totals.bytes if below else 0
    return entry.size


def entry_json(leaf: Leaf, entry: Entry) -> dict[str, Any]:
    """An entry for --json. `name_bytes` (base64) stands beside a name that is not UTF-8."""
    owner = leaf.owner(entry)
    kind = _kind(entry)
    row: dict[str, Any] = text_json("name", entry.name) | {
        "kind": kind.name.lower(),
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
    """What Windows knew. The descriptor as SDDL, unless it is too large to stand in the page, or has no text."""
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
