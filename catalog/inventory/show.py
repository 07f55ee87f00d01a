"""Runs `rpdrive system show` on an open vault."""

from __future__ import annotations

import msgspec

from catalog.inventory.stored import Stored, stored_state
from catalog.inventory.values import Disk, SystemState
from catalog.points.listing import point_json
from catalog.screen.output import print_json, say
from catalog.screen.stderr import warn
from catalog.screen.text import counted, local_time, size_text
from catalog.vault import Vault


def show_state(vault: Vault, spec: str, machine: str | None, item: str | None, *, as_json: bool) -> None:
    """Print the system state of a point. Raises as `stored_state`."""
    stored = stored_state(vault, spec, machine, item)
    if as_json:
        print_json(state_json(stored) | {"point": point_json(stored.point, vault.machines())})
        return
    for line in lines(stored):
        say(line)
    for refused in stored.refused:
        warn(refused, prefix="warning")


def state_json(stored: Stored) -> dict[str, object]:
    """The state for --json: the checked values, and what was refused."""
    return {"state": msgspec.to_builtins(stored.state), "refused": stored.refused}


def lines(stored: Stored) -> list[str]:
    """The state as text for people."""
    state, point = stored.state, stored.point
    found = [f"{state.computer.hostname or point.hostname}, as it was on {local_time(point.time)}"]
    for heading, rows in (
        ("Machine", _computer(state)),
        ("Boot", _boot(state)),
        ("Disks", [line for disk in state.disks for line in _disk(disk)]),
        ("RAID", [f"{a.device}  {a.level}, {a.slots} slots: {' '.join(a.members)}" for a in state.arrays]),
        ("LUKS", [f"{e.device}  LUKS{e.version}  {e.cipher}  {e.mapped}".rstrip() for e in state.luks]),
        ("LVM", _volumes(state)),
        ("File systems", _file_systems(state)),
        ("Software", _software(state)),
    ):  # fmt: skip
        if rows:
            found += [f"{heading}:", *(f"  {row}" for row in rows)]
    if state.notes:
        found += ["Not learnt:", *(f"  {note}" for note in state.notes)]
    return found


def _computer(state: SystemState) -> list[str]:
    c = state.computer
    rows = [f"{c.os_name or c.os or 'unknown system'}, Linux {c.kernel}, {c.architecture}"]
    made = " ".join(c.dmi[key] for key in ("sys_vendor", "product_name", "product_version") if key in c.dmi)
    if made or c.virtualisation:
        rows.append(f"{made or 'a machine'}{f' ({c.virtualisation})' if c.virtualisation else ''}")
    rows.append(f"{counted(c.processors, 'processor')}, {size_text(c.memory)} of memory")
    return rows


def _boot(state: SystemState) -> list[str]:
    b = state.boot
    rows = [f"{b.firmware.upper() or 'unknown firmware'}, {b.loader or 'no known boot loader'}"]
    if b.firmware == "efi":
        rows[0] += f", Secure Boot {'on' if b.secure_boot else 'off'}"
    rows += [f"entry {e.id}: {e.label} {e.loader}".rstrip() for e in b.entries]
    if b.disks:
        rows.append(f"boot code on {' '.join(b.disks)}")
    if b.kernels:
        rows.append(f"kernels {' '.join(b.kernels)}")
    return rows


def _disk(disk: Disk) -> list[str]:
    what = " ".join(part for part in (disk.model, disk.serial) if part)
    rows = [f"{disk.device}  {size_text(disk.size)}  {disk.table or 'no partition table'}  {what}".rstrip()]
    for p in disk.partitions:
        size = size_text(p.size * disk.sector)
        rows.append(f"  {p.number}: {p.device}  {size}  {p.type}  {p.name}".rstrip())
    return rows


def _volumes(state: SystemState) -> list[str]:
    rows: list[str] = []
    for group in state.volume_groups:
        rows.append(f"{group.name}  {size_text(group.size)}  on {' '.join(p.device for p in group.physical)}")
        rows += [f"  {v.name}  {size_text(v.size)}  {v.layout}" for v in group.logical]
    return rows


def _file_systems(state: SystemState) -> list[str]:
    rows = []
    for f in state.file_systems:
        named = " ".join(part for part in (f.label, f.uuid) if part)
        rows.append(f"{f.device}  {f.type}  {named}  {' '.join(f.places)}".rstrip())
    return rows


def _software(state: SystemState) -> list[str]:
    p = state.packages
    asked = sum(1 for one in p.installed if one.manual)
    held = sum(1 for one in p.installed if one.hold)
    rows = []
    if p.manager:
        rows.append(f"{counted(len(p.installed), 'package')} ({p.manager}), {asked:,} asked for, {held:,} held")
    if state.users:
        rows.append(f"{counted(len(state.users), 'user')}, {counted(len(state.groups), 'group')}")
    if state.units:
        enabled = sum(1 for unit in state.units if unit.state == "enabled")
        rows.append(f"{counted(enabled, 'unit')} enabled")
    return rows
