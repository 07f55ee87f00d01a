"""The whole rebuild script, or all the reasons why there can be none: pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from catalog.inventory.values import Array, Disk, Luks, SystemState, VolumeGroup
from mount.rebuild.filesystems import write_file_systems, write_mounts
from mount.rebuild.finishing import Restore, write_boot, write_checks, write_patches, write_restores
from mount.rebuild.head import FUNCTIONS, MAIN, USAGE
from mount.rebuild.layers import write_layers, write_opening, write_release
from mount.rebuild.layout import Layout, layout_of, resized
from mount.rebuild.names import NONE, Names, Target
from mount.rebuild.partitions import end_of, last_partition, write_partitions
from mount.rebuild.shell import Script

TITLES = (
    "partitions",
    "arrays, LUKS, volume groups",
    "file systems",
    "mounts",
    "restore the files",
    "adapt files that name devices",
    "initramfs and boot loader",
    "checks",
)
_ALWAYS = "sfdisk wipefs lsblk blkid blockdev mount umount mountpoint findmnt awk sed grep chroot readlink tr"
_PROGRAMS = {
    "ext2": "mkfs.ext2 tune2fs", "ext3": "mkfs.ext3 tune2fs", "ext4": "mkfs.ext4 tune2fs", "xfs": "mkfs.xfs",
    "btrfs": "mkfs.btrfs btrfs", "vfat": "mkfs.vfat", "swap": "mkswap",
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What a person asked for: where each old disk goes (a `Target`, or None to leave it out), and how."""

    disks: dict[str, Target | None]
    wipe: bool = False
    grow: bool = False
    without: frozenset[str] = frozenset()


@dataclass
class Rebuild:
    """A layout on the disks of this machine. With refusals, there is no script."""

    layout: Layout
    refusals: list[str]
    grown: set[str] = field(default_factory=set)

    @property
    def places(self) -> list[str]:
        """Where file systems are mounted, from the root downwards: each needs its files."""
        return [mount.place for mount in self.layout.mounts]


def plan_rebuild(state: SystemState, wanted: Wanted) -> Rebuild:
    """What will be made, and all refusals that do not need the vault."""
    targets = {old: target for old, target in wanted.disks.items() if target is not None}
    layout = layout_of(state, set(targets), set(wanted.without))
    refusals: list[str] = []
    described = {disk.device for disk in state.disks}
    refusals += [f"{old} is no disk of that machine: it had {', '.join(sorted(described))}"
                 for old in wanted.disks if old not in described]  # fmt: skip
    refusals += [
        f"say where {disk.device} goes: --disk {disk.device}=/dev/NEW, or --disk {disk.device}={NONE}"
        for disk in state.disks
        if disk.device not in wanted.disks and _is_needed(disk, state)
    ]
    paths = [target.path for target in targets.values()]
    refusals += [f"{path} is named for several disks" for path in sorted({p for p in paths if paths.count(p) > 1})]
    found = Rebuild(layout, refusals)
    for disk in layout.disks:
        refusals += _target_refusals(disk, targets[disk.device], wanted)
        if wanted.grow and (last := last_partition(disk)) is not None:
            found.grown.add(last.device)
    refusals += layout.refusals
    return found


def _is_needed(disk: Disk, state: SystemState) -> bool:
    """Whether a disk has anything to rebuild. Removable ones, e.g. the drive of the backup, need not be named."""
    used = {s.device for s in state.file_systems} | {v.device for g in state.volume_groups for v in g.physical}
    used |= {m for a in state.arrays for m in (*a.members, *a.spares)} | {e.device for e in state.luks}
    return not disk.removable and (bool(disk.partitions) or disk.device in used)


def _target_refusals(disk: Disk, target: Target, wanted: Wanted) -> list[str]:
    found: list[str] = []
    if disk.table and target.sector != disk.sector:
        found.append(f"{target.path} has sectors of {target.sector} bytes, and {disk.device} had {disk.sector}")
    needed = end_of(disk) * disk.sector if disk.table else disk.size
    if target.size < needed:
        found.append(
            f"{target.path} is too small for {disk.device}: {target.size:,} bytes, and {needed:,} are needed"
        )
    if target.in_use:
        found.append(f"{target.path} is in use: {target.in_use}")
    elif target.holds and not wanted.wipe:
        found.append(f"{target.path} is not empty ({target.holds}): --wipe allows the script to erase it")
    return found


def write_script(
    state: SystemState, rebuild: Rebuild, wanted: Wanted, restores: list[Restore], *, title: str, vault: str = ""
) -> str:
    """The script, for `sh`. `title` says in a line which point it was made from."""
    layout = rebuild.layout
    targets = {old: target for old, target in wanted.disks.items() if target is not None}
    names = Names(layout.disks, targets)
    script = Script()
    _write_head(script, state, rebuild, names, title)
    script.code("set -eu")
    script.code("target=${TARGET:-/mnt/rebuild} top=/tmp/rebuild-top.$$ rpdrive=${RPDRIVE_COMMAND:-rpdrive}")
    script.code(f"wipe={'yes' if wanted.wipe else 'no'}")
    script.blank()
    script.code(USAGE)
    script.code(FUNCTIONS)
    with script.function("title"), script.block("case $1 in", "esac"):
        for number, one in enumerate(TITLES, 1):
            script.code(f"{number}) echo '{one}' ;;")
    script.blank()
    with script.function("tools"):
        script.run("need", *_tools(layout))
    script.blank()
    with script.function("release"):
        script.code("cd /")
        script.code('if mountpoint -q "$target"; then umount -R "$target"; fi')
        script.code('if mountpoint -q "$top"; then umount "$top"; fi')
        write_release(script, layout.layers, names)
    script.blank()
    with script.function("open_layers"):
        write_opening(script, layout.layers, names)
    script.blank()
    with script.function("mount_all"):
        write_mounts(script, layout.mounts, names)

    script.blank()
    with script.function("check_disks"):
        script.code("release")
        for disk in layout.disks:
            target = targets[disk.device]
            script.run("may_erase", names.new(disk.device), str(target.size), _identity(disk, layout))

    def partitions() -> None:
        script.code("release")
        write_partitions(script, layout.disks, names, rebuild.grown)

    def layers() -> None:
        script.code("release")
        write_layers(script, layout.layers, names)

    def file_systems() -> None:
        script.code('if mountpoint -q "$target"; then umount -R "$target"; fi')
        write_file_systems(script, layout.file_systems, names, resized(layout, rebuild.grown))

    def mounts() -> None:
        script.code("mount_all")

    phases: list[Callable[[], None]] = [
        partitions,
        layers,
        file_systems,
        mounts,
        lambda: write_restores(script, restores, vault),
        lambda: write_patches(script, state, layout, names),
        lambda: write_boot(script, state, layout, names),
        lambda: write_checks(script, state, layout, names),
    ]
    for number, (one, write) in enumerate(zip(TITLES, phases, strict=True), 1):
        script.blank()
        script.code(f"# ---- {number}: {one} " + "-" * (90 - len(one)))
        with script.function(f"phase_{number}"):
            write()
    script.blank()
    script.code(MAIN)
    return script.text()


def _identity(disk: Disk, layout: Layout) -> str:
    """What tells a disk that the script made from others: the table's identifier, or the UUID of what is on it."""
    if disk.table:
        return disk.table_id.lower()
    ids = {system.device: system.uuid for system in layout.file_systems}
    for layer in layout.layers:
        if isinstance(layer, Luks):
            ids[layer.device] = layer.uuid
        elif isinstance(layer, VolumeGroup):
            ids |= {physical.device: physical.uuid for physical in layer.physical}
    return ids.get(disk.device, "")


def _write_head(script: Script, state: SystemState, rebuild: Rebuild, names: Names, title: str) -> None:
    script.code("#!/bin/sh")
    script.note(title)
    script.code("#")
    script.note("READ IT BEFORE YOU RUN IT, in a rescue system, as root. It erases these disks of this machine:")
    for disk in rebuild.layout.disks:
        script.note(f"    {names.new(disk.device)}, in place of {disk.device} ({disk.size:,} bytes {disk.model})")
    boot = state.boot
    script.code("#")
    firmware = boot.firmware.upper() or "an unknown firmware"
    script.note(f"That machine started by {firmware}, loader {boot.loader or 'unknown'}.")
    if boot.secure_boot:
        script.note("Secure Boot was on there: keys of its own have to be enrolled again by hand.")
    if rebuild.layout.left_out:
        script.note("Not made by this script:")
        for line in rebuild.layout.left_out:
            script.note(f"    {line}")
    for line in state.notes[:20]:
        script.note(f"Not known: {line}")


def _tools(layout: Layout) -> list[str]:
    tools = _ALWAYS.split()
    for kind, needed in ((Array, "mdadm"), (Luks, "cryptsetup stty"), (VolumeGroup, "pvcreate pvs vgs lvcreate")):
        if any(isinstance(layer, kind) for layer in layout.layers):
            tools += needed.split()
    for name in sorted({system.type for system in layout.file_systems}):
        tools += _PROGRAMS[name].split()
    return tools
