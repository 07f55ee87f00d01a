"""Phase 1: partition tables, to the sector, by sfdisk."""

from __future__ import annotations

import re

from catalog.inventory.values import Disk, Partition
from mount.rebuild.layout import is_guid
from mount.rebuild.names import Names
from mount.rebuild.shell import Raw, Script, words

_DOS_TYPE = re.compile(r"[0-9A-Fa-f]{1,2}\Z")
_DOS_ID = re.compile(r"0x[0-9A-Fa-f]{1,8}\Z")
_FLAGS = re.compile(r"[A-Za-z0-9:, ]*\Z")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 ._-]+\Z")
_EXTENDED = ("5", "f", "05", "0f", "85")
_BACKUP_TABLE = 33  # sectors at the end of a disk with a GPT of 128 entries


def end_of(disk: Disk) -> int:
    """The sectors that a disk must have, at least, for these partitions."""
    last = max((p.start + p.size for p in disk.partitions), default=0)
    return last + (_BACKUP_TABLE if disk.table == "gpt" else 0)


def last_partition(disk: Disk) -> Partition | None:
    """The one that can grow when the disk is larger; None if there is none that can."""
    last = max(disk.partitions, key=lambda p: p.start, default=None)
    if last is None or (disk.table == "dos" and (last.number > 4 or last.type.lower() in _EXTENDED)):
        return None
    return last


def write_partitions(script: Script, disks: list[Disk], names: Names, grown: set[str]) -> None:
    for disk in disks:
        new = names.new(disk.device)
        script.blank()
        script.note(f"{disk.device}, {disk.size:,} bytes{', ' + disk.model if disk.model else ''}: now {new}")
        if not disk.table:
            script.note("It had no partition table.")
            script.run("wipe", new)
            continue
        script.run("wipe", new)
        lines = [*_head(disk), *(_line(disk, p, p.device in grown) for p in _in_order(disk))]
        with script.block(
            "{", Raw("} | " + words("sfdisk", "--quiet", "--wipe=always", "--wipe-partitions=always", new))
        ):
            for line in lines:
                script.run("printf", r"%s\n", line)
        script.run("settle")
        if disk.table == "gpt":
            for p in disk.partitions:
                if p.name and not _PLAIN_NAME.match(p.name):
                    script.run("sfdisk", "--quiet", "--part-label", new, str(p.number), p.name)
    script.run("settle")


def _in_order(disk: Disk) -> list[Partition]:
    return sorted(disk.partitions, key=lambda p: p.number)


def _head(disk: Disk) -> list[str]:
    lines = [f"label: {disk.table}", "unit: sectors"]
    is_id = is_guid if disk.table == "gpt" else _DOS_ID.match
    if is_id(disk.table_id):
        lines.append(f"label-id: {disk.table_id}")
    if disk.table == "gpt" and disk.first:
        lines.append(f"first-lba: {disk.first}")
    if disk.table == "gpt" and disk.table_length not in (0, 128):
        lines.append(f"table-length: {disk.table_length}")
    return lines


def _line(disk: Disk, p: Partition, grows: bool) -> str:
    """A line of sfdisk's input. No value is in it that could end a field."""
    fields = [f"start={p.start}"]
    if not grows:
        fields.append(f"size={p.size}")
    if disk.table == "gpt":
        if is_guid(p.type):
            fields.append(f"type={p.type}")
        if is_guid(p.uuid):
            fields.append(f"uuid={p.uuid}")
        if _PLAIN_NAME.match(p.name):
            fields.append(f'name="{p.name}"')
        if p.flags and _FLAGS.match(p.flags):
            fields.append(f'attrs="{p.flags}"')
    else:
        if _DOS_TYPE.match(p.type):
            fields.append(f"type={p.type.lower()}")
        if p.bootable:
            fields.append("bootable")
    return f"{p.number} : {', '.join(fields)}"
