"""What of a system state is to be made, and in which order: pure.

Everything that can't be made is a refusal, and all of them are found at once. Devices keep their old names here;
names.py has the new ones.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TypeAlias

from catalog.inventory.values import Array, Disk, FileSystem, LogicalVolume, Luks, Mounted, SystemState, VolumeGroup

LEVELS = ("linear", "raid0", "raid1", "raid4", "raid5", "raid6", "raid10")
SEGMENTS = (
    "",
    "linear",
    "striped",
    "raid1",
    "mirror",
    "raid4",
    "raid5",
    "raid6",
    "raid10",
    "thin-pool",
    "thin",
    "cache",
)
FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "swap")
TABLES = ("", "gpt", "dos")
# Signatures of layers, which lsblk and blkid report as if they were file systems.
LAYERS = ("LVM2_member", "linux_raid_member", "crypto_LUKS")
_NOT_ROOTS = ("/proc", "/sys", "/dev", "/run")
_PASSING = re.compile(
    r"/dev/(?:loop|zram|ram|sr|fd)\d+(?:p\d+)?\Z"
)  # devices that hold nothing of the machine's own
_ARRAY = re.compile(r"/dev/md(?:\d+|_[A-Za-z0-9_-]+|/[A-Za-z0-9_.:-]+)\Z")
_MAPPED = re.compile(r"/dev/mapper/[A-Za-z0-9_][A-Za-z0-9_.+=-]*\Z")
_MASK = re.compile(r"(?:(?:[fd]|u)mask=[0-7]{1,4}|[ug]id=\d{1,10})\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z")  # of a volume group or a logical volume
_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_LVM_ID = re.compile(r"[A-Za-z0-9]{6}(?:-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}\Z")

Layer: TypeAlias = Array | Luks | VolumeGroup


@dataclass(frozen=True)
class Mount:
    """A file system to mount: where, which subvolume of a btrfs ("" for all of it), and options that say how a FAT
    shows owners and modes: with others, those in the recovery point could not be restored."""

    place: str
    system: FileSystem
    subvolume: str = ""
    options: tuple[str, ...] = ()


@dataclass
class Layout:
    """What is to be made, in order. `refusals` and `left_out` are lines for a person."""

    disks: list[Disk] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    file_systems: list[FileSystem] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def is_guid(text: str) -> bool:
    return _GUID.match(text) is not None


def is_lvm_id(text: str) -> bool:
    return _LVM_ID.match(text) is not None


def is_plain_place(place: str) -> bool:
    """Whether it is an absolute path without detours, so that it stays below the target."""
    return place.startswith("/") and not place.startswith("//") and posixpath.normpath(place) == place


def layout_of(state: SystemState, chosen: set[str], without: set[str]) -> Layout:
    """The layout of the disks in `chosen` (old device names), without what stands on devices in `without`."""
    found = Layout(disks=[disk for disk in state.disks if disk.device in chosen])
    _check_disks(found)
    devices = _on_disks(found.disks) - without
    _add_layers(found, state, devices, without)
    _add_file_systems(found, state, devices, without)
    _add_mounts(found, state)
    return found


def _check_disks(found: Layout) -> None:
    for disk in found.disks:
        if disk.table not in TABLES:
            found.refusals.append(
                f"{disk.device} has a partition table of the kind {disk.table}, which is not made"
            )
        numbers = [p.number for p in disk.partitions]
        names = [p.device for p in disk.partitions]
        if not disk.table and disk.partitions:
            found.refusals.append(f"{disk.device} has partitions and no partition table in system.json")
        if len(set(numbers)) < len(numbers) or len(set(names)) < len(names) or 0 in numbers:
            found.refusals.append(f"{disk.device} has several partitions with one number in system.json")
        if any(not p.size for p in disk.partitions):
            found.refusals.append(f"{disk.device} has a partition without a size in system.json")


def _on_disks(disks: list[Disk]) -> set[str]:
    devices = {disk.device for disk in disks if not disk.partitions}
    return devices | {p.device for disk in disks for p in disk.partitions}


def _add_layers(found: Layout, state: SystemState, devices: set[str], without: set[str]) -> None:
    """Add arrays, LUKS and volume groups once all that they are on is there; `devices` gains what they make."""
    waiting: list[Layer] = [*state.arrays, *state.luks, *state.volume_groups]
    ready = [layer for layer in waiting if _below(layer) and _below(layer) <= devices]
    while ready:
        for layer in ready:
            waiting.remove(layer)
            if refused := _unknown(layer):
                found.refusals.append(refused)
            found.layers.append(layer)
            devices |= set(_makes(layer)) - without
        ready = [layer for layer in waiting if _below(layer) and _below(layer) <= devices]
    for layer in waiting:
        below = _below(layer)
        if below & devices and not below & without:
            absent = ", ".join(sorted(below - devices))
            found.refusals.append(f"{title(layer)} is also on {absent}: name its disk by --disk, too")
        else:
            found.left_out.append(f"{title(layer)}: on {', '.join(sorted(below)) or 'nothing that is known'}")


def title(layer: Layer) -> str:
    match layer:
        case Array():
            return f"the array {layer.device}"
        case Luks():
            return f"the LUKS container on {layer.device}"
        case VolumeGroup():
            return f"the volume group {layer.name}"


def _below(layer: Layer) -> set[str]:
    match layer:
        case Array():
            return {device for device in (*layer.members, *layer.spares) if device}
        case Luks():
            return {layer.device} - {""}
        case VolumeGroup():
            return {volume.device for volume in layer.physical if volume.device}


def _makes(layer: Layer) -> list[str]:
    match layer:
        case Array():
            return [layer.device]
        case Luks():
            return [mapped(layer)] if mapped(layer) else []
        case VolumeGroup():
            kept = [volume for volume in layer.logical if not is_snapshot(volume)]
            return [name for volume in kept for name in volume_names(layer, volume)]


def mapped(layer: Luks) -> str:
    """The device of an open container: what system.json says, else by the name of the mapping."""
    return layer.mapped or (f"/dev/mapper/{layer.name}" if layer.name else "")


def volume_names(group: VolumeGroup, volume: LogicalVolume) -> list[str]:
    """The names that a logical volume goes by: as LVM escapes it in /dev/mapper, and /dev/GROUP/NAME."""
    escaped = f"{group.name.replace('-', '--')}-{volume.name.replace('-', '--')}"
    return [f"/dev/mapper/{escaped}", f"/dev/{group.name}/{volume.name}"]


def is_snapshot(volume: LogicalVolume) -> bool:
    """Whether it shows an earlier state of another volume: it is not made, since its files are in no point."""
    return bool(volume.origin) and volume.segment != "cache"


def _unknown(layer: Layer) -> str:
    """Why a layer can't be made; "" if it can."""
    match layer:
        case Array():
            if layer.container or layer.level not in LEVELS:
                return f"{title(layer)} is of a kind that is not made: {layer.level or layer.container}"
            if not _ARRAY.match(layer.device):
                return f"{title(layer)} has a name that is none of an array"
        case Luks():
            if layer.version not in (1, 2):
                return f"{title(layer)} is of a kind that is not made: version {layer.version}"
            if mapped(layer) and not _MAPPED.match(mapped(layer)):
                return f"{title(layer)} is open under a name that is none of a mapping"
        case VolumeGroup():
            if not _NAME.match(layer.name):
                return f"{title(layer)} has a name that LVM does not take"
            for volume in layer.logical:
                if not _NAME.match(volume.name):
                    return f"{title(layer)} has a volume with a name that LVM does not take"
                if volume.segment not in SEGMENTS:
                    return f"the volume {layer.name}/{volume.name} is of a kind that is not made: {volume.segment}"
                if volume.pool and volume.segment == "thin" and volume.pool not in {v.name for v in layer.logical}:
                    return f"the volume {layer.name}/{volume.name} is in a pool that is not described"
    return ""


def resized(found: Layout, grown: set[str]) -> set[str]:
    """The old devices that get another size than they had, if those in `grown` do. Logical volumes keep theirs."""
    devices = set(grown)
    for layer in found.layers:
        if not isinstance(layer, VolumeGroup) and _below(layer) & devices:
            devices |= set(_makes(layer))
    return devices


def _add_file_systems(found: Layout, state: SystemState, devices: set[str], without: set[str]) -> None:
    for system in state.file_systems:
        if system.type in LAYERS or _PASSING.match(system.device):
            continue
        needed = set(system.devices) or {system.device}
        places = sorted({*system.places, *_fstab_places(state, system)})
        where = f"{system.device} ({system.type}{', ' + ', '.join(places) if places else ''})"
        if not needed <= devices or needed & without:
            found.left_out.append(f"{where}: on no disk that is named")
        elif system.type not in FILE_SYSTEMS:
            if places:
                found.refusals.append(f"{where} is of a kind that is not made; leave it out by --without")
            else:
                found.left_out.append(f"{where}: of a kind that is not made")
        else:
            found.file_systems.append(system)


def _fstab_places(state: SystemState, system: FileSystem) -> list[str]:
    """Where /etc/fstab mounts it. It need not have been mounted: an ESP often is not."""
    names = {
        system.device,
        *(f"{key}={value}" for key, value in (("UUID", system.uuid), ("LABEL", system.label)) if value),
    }
    entries = [entry for entry in state.fstab if entry.source.replace('"', "") in names]
    return [e.place for e in entries if is_plain_place(e.place) and "noauto" not in e.options.split(",")]


def _subvolume(state: SystemState, system: FileSystem, place: str) -> str:
    """The subvolume that is mounted at a place, as a path from the top of the file system."""
    for mount in state.mounts:
        if mount.place == place and mount.type == system.type and mount.device in (system.device, *system.devices):
            return mount.root.strip("/")
    for entry in state.fstab:
        if entry.place == place:
            for option in entry.options.split(","):
                if option.startswith("subvol="):
                    return option.removeprefix("subvol=").strip("/")
    return ""


def _masks(state: SystemState, place: str) -> tuple[str, ...]:
    """The options of a FAT that was mounted at a place, or would have been, that say whose its files are."""
    told = [mount.super_options for mount in state.mounts if mount.place == place and mount.type == "vfat"]
    told += [entry.options for entry in state.fstab if entry.place == place]
    return tuple(option for option in told[0].split(",") if _MASK.match(option)) if told else ()


def _is_part(mount: Mounted, place: str) -> bool:
    return mount.place == place and mount.root not in ("", "/") and mount.type != "btrfs"


def _add_mounts(found: Layout, state: SystemState) -> None:
    taken: dict[str, Mount] = {}
    for system in found.file_systems:
        if system.type == "swap":
            continue
        for place in dict.fromkeys([*system.places, *_fstab_places(state, system)]):
            if not is_plain_place(place) or place.startswith(tuple(f"{root}/" for root in _NOT_ROOTS)):
                continue
            if any(_is_part(mount, place) for mount in state.mounts):
                continue  # a bind mount: its files come with the file system's own place
            subvolume = _subvolume(state, system, place) if system.type == "btrfs" else ""
            if not all(part not in ("", ".", "..") for part in subvolume.split("/")) and subvolume:
                found.refusals.append(f"{place} is a subvolume with a path that can't be used")
            options = _masks(state, place) if system.type == "vfat" else ()
            taken.setdefault(place, Mount(place, system, subvolume, options))
    found.mounts = [taken[place] for place in sorted(taken, key=lambda p: (p.count("/") if p != "/" else 0, p))]
    if "/" not in taken:
        found.refusals.append(
            "no file system for / is on the disks that are named: name its disk by --disk OLD=/dev/NEW"
        )
