"""Block devices: what stands on what, by lsblk; and the partition tables of disks, by sfdisk."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from catalog.inventory.here import Here
from catalog.inventory.values import Disk, Partition

_COLUMNS = (
    "NAME,KNAME,PATH,MAJ:MIN,TYPE,SIZE,FSTYPE,UUID,LABEL,LOG-SEC,PHY-SEC,MODEL,SERIAL,WWN,TRAN,ROTA,RM,RO,PTTYPE,"
    "PTUUID,PARTUUID,PARTTYPE"
)
_LEFT_OUT = ("loop", "rom", "ram")  # types that are no part of a machine's layout
_DEPTH = 32  # of devices on each other
_BOOT_CODE = 1 << 20  # bytes from the start of a disk: boot code, and what GRUB puts between it and the partitions


class Block(msgspec.Struct, kw_only=True):
    """A block device. `below` are the devices it stands on, `number` is major and minor, `probed` blkid's."""

    name: str  # the kernel's
    device: str
    type: str
    size: int
    fs: str = ""
    uuid: str = ""
    label: str = ""
    number: str = ""
    row: dict[str, Any] = {}
    below: list[str] = []
    probed: dict[str, str] = {}


def blocks(here: Here, *, loops: bool = False) -> dict[str, Block]:
    """The block devices, by path. None if lsblk is not there. With `loops`, loop devices, too."""
    text = here.run(
        "lsblk", "--bytes", "--json", "--output", _COLUMNS, keep="disks/lsblk.json", stable=_without_loops
    )
    left_out = _LEFT_OUT[1:] if loops else _LEFT_OUT
    found: dict[str, Block] = {}
    try:
        rows = json.loads(text)["blockdevices"] if text else []
        for row, parent in _flat(rows, left_out):
            block = _block(row)
            if block.device:
                known = found.setdefault(block.device, block)
                if parent and parent not in known.below:
                    known.below.append(parent)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        here.note("what lsblk printed can't be understood")
    for block in found.values() if here.by_root else ():
        _probe(here, block)
    return found


def _probe(here: Here, block: Block) -> None:
    """What blkid finds on a device: lsblk only says what udev knows, and it doesn't run everywhere."""
    if not block.size:
        return
    text = here.run("blkid", "--probe", "--output", "export", block.device, accept=(0, 2), note=False)
    block.probed = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    if "TYPE" in block.probed:
        block.fs = block.probed["TYPE"]
        block.uuid = block.probed.get("UUID", "")
        block.label = _unescaped(block.probed.get("LABEL", ""))


def _unescaped(text: str) -> str:
    """A value as blkid exports it, its backslashes undone."""
    return re.sub(r"\\(.)", r"\1", text)


def _flat(
    rows: list[Any], left_out: tuple[str, ...], parent: str = "", depth: int = 0
) -> Iterator[tuple[Any, str]]:
    for row in rows if depth < _DEPTH else ():
        if row.get("type") in left_out or str(row.get("name", "")).startswith(("zram", "ram")):
            continue
        yield row, parent
        yield from _flat(row.get("children") or [], left_out, str(row.get("path") or ""), depth + 1)


def _block(row: dict[str, Any]) -> Block:
    return Block(
        name=str(row.get("kname") or row.get("name") or ""),
        device=str(row.get("path") or ""),
        type=str(row.get("type") or ""),
        size=int(row.get("size") or 0),
        fs=str(row.get("fstype") or ""),
        uuid=str(row.get("uuid") or ""),
        label=str(row.get("label") or ""),
        number=str(row.get("maj:min") or ""),
        row=row,
    )


def _without_loops(text: str) -> str:
    """lsblk's output without loop devices, which come and go."""
    try:
        found = json.loads(text)
        found["blockdevices"] = [row for row in found["blockdevices"] if row.get("type") != "loop"]
        return json.dumps(found, indent=1) + "\n"
    except (ValueError, KeyError, TypeError, AttributeError):
        return text


# --- disks -----------------------------------------------------------------------------------------------------


def disks(here: Here, found: dict[str, Block]) -> list[Disk]:
    """The disks, each with its partition table. Reading these needs root."""
    links = _links(here)
    result = []
    for block in found.values():
        if block.type in ("disk", "loop") and block.size:
            plain = Disk(device=block.device, size=block.size)
            result.append(here.attempt(block.device, partial(_disk, here, block, links), plain))
    return result


def _disk(here: Here, block: Block, links: dict[str, list[str]]) -> Disk:
    row = block.row
    disk = Disk(
        device=block.device,
        size=block.size,
        sector=int(row.get("log-sec") or 512),
        physical_sector=int(row.get("phy-sec") or 512),
        model=str(row.get("model") or "").strip(),
        serial=str(row.get("serial") or "").strip(),
        wwn=str(row.get("wwn") or ""),
        transport=str(row.get("tran") or ""),
        rotates=bool(row.get("rota")),
        removable=bool(row.get("rm")),
        links=links.get(block.device, []),
    )
    if not here.by_root:
        return disk
    kind = row.get("pttype") or block.probed.get("PTTYPE")
    if not kind:
        return disk  # the whole disk is in use, or none of it
    name = f"disks/{block.name}"
    text = here.run("sfdisk", "--json", block.device)
    if not text:
        return disk
    dump = f"{name}.sfdisk"
    here.run("sfdisk", "--dump", block.device, keep=dump)
    code = here.keep(f"{name}.first-mib", here.device(block.device, _BOOT_CODE))
    try:
        return table(disk, json.loads(text)["partitiontable"], dump=dump, boot_code=code)
    except (ValueError, KeyError, TypeError, AttributeError):
        here.note(f"what sfdisk printed of {block.device} can't be understood")
        return disk


def table(disk: Disk, read: dict[str, Any], *, dump: str = "", boot_code: str = "") -> Disk:
    """A disk with the partition table in sfdisk's JSON. Raises ValueError, KeyError and TypeError."""
    found = [_partition(disk.device, row) for row in read.get("partitions", [])]
    return msgspec.structs.replace(
        disk,
        table=str(read["label"]),
        table_id=str(read.get("id", "")),
        sector=int(read.get("sectorsize") or disk.sector),
        first=int(read.get("firstlba", 0)),
        last=int(read.get("lastlba", 0)),
        table_length=int(read.get("table-length", 0)),
        partitions=sorted(found, key=lambda p: p.number),
        dump=dump,
        boot_code=boot_code,
    )


def _partition(disk: str, row: dict[str, Any]) -> Partition:
    node = str(row["node"])
    return Partition(
        device=node,
        number=int(node.removeprefix(disk).removeprefix("p").removeprefix("-part")),
        start=int(row["start"]),
        size=int(row["size"]),
        type=str(row.get("type", "")).upper(),
        uuid=str(row.get("uuid", "")),
        name=str(row.get("name", "")),
        flags=str(row.get("attrs", "")),
        bootable=bool(row.get("bootable")),
    )


def _links(here: Here) -> dict[str, list[str]]:
    """The lasting names of each device below /dev/disk/by-id and by-path."""
    found: dict[str, list[str]] = {}
    for folder in ("/dev/disk/by-id", "/dev/disk/by-path"):
        for name in here.names(folder):
            path = Path(folder) / name
            with suppress(OSError):
                found.setdefault(os.path.realpath(path), []).append(str(path))
    return found
