"""File systems and swap areas, what mkfs made them with, and where they are mounted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import msgspec

from catalog.inventory.blocks import Block
from catalog.inventory.here import Here
from catalog.inventory.values import CrypttabEntry, FileSystem, FstabEntry, Mounted, Subvolume
from catalog.mountinfo import parse, unescape

_MEMBERS = (
    "linux_raid_member",
    "crypto_LUKS",
    "LVM2_member",
    "drbd",
    "bcache",
    "isw_raid_member",
    "ddf_raid_member",
)
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p", "virtiofs", "zfs")
_PASSING = ("/run/", "/proc/", "/sys/", "/dev/", "/tmp/")  # mounts there come and go
_EXT_FIELDS = {
    "Block size": "block_size",
    "Inode size": "inode_size",
    "Inode count": "inodes",
    "Block count": "blocks",
    "Reserved block count": "reserved_blocks",
    "Flex block group size": "flex_bg",
    "RAID stride": "raid_stride",
    "RAID stripe width": "raid_stripe",
    "Maximum mount count": "max_mounts",
    "Check interval": "check_interval",
    "Default mount options": "default_options",
    "Directory Hash Seed": "hash_seed",
    "Errors behavior": "errors",
}
_EXT_OF_NOW = ("needs_recovery", "orphan_present")  # features that say how it is used at the moment
_EXT_CHANGING = re.compile(
    r"^(?:Filesystem state|Last mount|Last mounted on|Free blocks|Free inodes|Last write time|Mount count"
    r"|Last checked|Lifetime writes|Checksum|Journal checksum|Journal sequence|Journal start|First orphan|FS Error"
    r"|First error|Last error|Filesystem features)\b.*\n",
    re.MULTILINE,
)
_XFS_NAMES = {
    "isize": "inode_size",
    "bsize": "block_size",
    "sectsz": "sector_size",
}
_XFS_TAKEN = (
    "agcount", "crc", "finobt", "sparse", "rmapbt", "reflink", "bigtime", "inobtcount", "nrext64", "ftype",
    "imaxpct", "sunit", "swidth",
)  # fmt: skip
_OWN = re.compile(r"rpdrive-[0-9a-f]{32}")  # the mark of rpdrive's snapshots, of a backup that runs now
_BTRFS_CHANGING = re.compile(
    r"^(?:csum|generation|root|chunk_root\w*|log_root\w*|cache_generation|uuid_tree_generation|bytes_used|root_level"
    r"|dev_item\.bytes_used|sys_array_size|flags|backup_\w+)\s.*\n(?:\t\t\t.*\n)*",
    re.MULTILINE,
)


def file_systems(here: Here, found: Mapping[str, Block], mounts: list[Mounted]) -> list[FileSystem]:
    """What blkid calls file systems and swap areas, by device."""
    places: dict[str, list[str]] = {}
    for mount in mounts:
        if mount.device in found and (mount.root == "/" or mount.type == "btrfs"):
            places.setdefault(mount.device, []).append(mount.place)
            if not found[mount.device].fs:  # it can't be read, but it is mounted
                found[mount.device].fs = mount.type
    result: list[FileSystem] = []
    uuids: set[str] = set()  # of btrfs, which has the same on each of its devices
    for block in sorted(found.values(), key=lambda b: (not places.get(b.device), b.device)):
        if not block.fs or block.fs in _MEMBERS or (block.fs == "btrfs" and block.uuid in uuids):
            continue
        plain = FileSystem(
            device=block.device,
            type=block.fs,
            uuid=block.uuid,
            label=block.label,
            size=block.size,
            places=sorted(places.get(block.device, []), key=lambda place: (len(place), place)),
        )
        if block.fs == "btrfs":
            uuids.add(block.uuid)
            plain = msgspec.structs.replace(plain, devices=_devices(block, found))
        result.append(here.attempt(block.device, partial(_with_details, here, plain, block), plain))
    return sorted(result, key=lambda f: f.device)


def _devices(block: Block, found: Mapping[str, Block]) -> list[str]:
    return sorted(b.device for b in found.values() if b.fs == "btrfs" and b.uuid == block.uuid)


def _with_details(here: Here, plain: FileSystem, block: Block) -> FileSystem:
    """A file system with what its own tool says of it."""
    name = f"filesystems/{plain.device.removeprefix('/dev/').replace('/', '-')}.txt"
    place = plain.places[0] if plain.places else ""
    match plain.type:
        case "ext2" | "ext3" | "ext4":
            text = here.run("dumpe2fs", "-h", plain.device, keep=name, stable=_steady_ext)
            return ext(plain, text) if text else plain
        case "xfs":
            text = here.run("xfs_info", place or plain.device, keep=name)
            return xfs(plain, text) if text else plain
        case "btrfs":
            text = here.run(
                "btrfs", "inspect-internal", "dump-super", plain.device, keep=name, stable=_steady_btrfs
            )
            plain = btrfs(plain, text) if text else plain
            return _with_subvolumes(here, plain, place) if place else plain
        case "vfat":
            return vfat(plain, block.probed.get("VERSION", ""), here.device(plain.device, 512))
        case "zfs_member":
            here.note(
                f"{plain.device} belongs to a ZFS pool: zfs/ has what zpool and zfs say, no script makes it anew"
            )
    return plain


def _steady_ext(text: str) -> str:
    return _EXT_CHANGING.sub("", text)


def ext(plain: FileSystem, text: str) -> FileSystem:
    """An ext file system with what `dumpe2fs -h` says."""
    fields = {
        key.strip(): value.strip() for key, sep, value in (s.partition(":") for s in text.splitlines()) if sep
    }
    parameters = {ours: fields[theirs] for theirs, ours in _EXT_FIELDS.items() if theirs in fields}
    parameters["check_interval"] = parameters.get("check_interval", "0").partition(" ")[0]
    blocks, size, inodes = (int(parameters.get(key, "0") or 0) for key in ("blocks", "block_size", "inodes"))
    if inodes:
        parameters["inode_ratio"] = str(blocks * size // inodes)
    features = [f for f in fields.get("Filesystem features", "").split() if f not in _EXT_OF_NOW]
    return msgspec.structs.replace(
        plain, parameters=parameters, features=features, size=blocks * size or plain.size
    )


def xfs(plain: FileSystem, text: str) -> FileSystem:
    """An XFS with what `xfs_info` says. Lengths are in bytes or, sunit and swidth, in its blocks."""
    parameters: dict[str, str] = {}
    size = plain.size
    for line in text.splitlines():
        section = line.partition("=")[0].strip()
        values = dict(re.findall(r"(\w[\w-]*)=([\w-]+)", line.partition("=")[2] if section else line))
        if section == "log":
            parameters["log_blocks"] = values.get("blocks", "")
            continue
        if section == "realtime":
            continue
        if section == "data" and values.get("blocks", "").isdigit() and values.get("bsize", "").isdigit():
            size = int(values["blocks"]) * int(values["bsize"])
        for key, value in values.items():
            ours = key if key in _XFS_TAKEN else _XFS_NAMES.get(key)
            if ours is not None:
                parameters.setdefault(ours, value)
    return msgspec.structs.replace(plain, parameters=parameters, size=size)


def _steady_btrfs(text: str) -> str:
    return _BTRFS_CHANGING.sub("", text)


def btrfs(plain: FileSystem, text: str) -> FileSystem:
    """A btrfs with what `btrfs inspect-internal dump-super` says."""
    fields = dict(re.findall(r"^(\w[\w. ()]*?)\t+(.*)$", text, re.MULTILINE))
    parameters = {"node_size": fields.get("nodesize", ""), "sector_size": fields.get("sectorsize", "")}
    algorithm = re.search(r"\((\w+)\)", fields.get("csum_type", ""))
    if algorithm:
        parameters["csum"] = algorithm[1]
    features = [word.lower() for word in re.findall(r"[A-Z][A-Z0-9_]{3,}", text.partition("compat_ro_flags")[2])]
    return msgspec.structs.replace(
        plain, parameters=parameters, features=[f for f in features if f != "free_space_tree_valid"],
        label=fields.get("label", plain.label),
    )  # fmt: skip


def _with_subvolumes(here: Here, plain: FileSystem, place: str) -> FileSystem:
    # Without -a, the paths of what is in a mounted subvolume begin there, and not at the top of the file system.
    listed = here.run("btrfs", "subvolume", "list", "-a", place)
    read_only = {v.id for v in subvolumes(here.run("btrfs", "subvolume", "list", "-r", place))}
    default = re.match(r"ID (\d+)", here.run("btrfs", "subvolume", "get-default", place))
    used = here.run("btrfs", "filesystem", "df", "-b", place)
    kinds = {kind.lower(): profile.lower() for kind, profile in re.findall(r"^(Data|Metadata), (\w+):", used, re.M)}
    return msgspec.structs.replace(
        plain,
        subvolumes=[msgspec.structs.replace(v, read_only=v.id in read_only) for v in subvolumes(listed)],
        default_subvolume=int(default[1]) if default else 0,
        parameters=plain.parameters | kinds,
    )


def subvolumes(text: str) -> list[Subvolume]:
    """The subvolumes in what `btrfs subvolume list -a` prints."""
    rows = re.findall(r"^ID (\d+) gen \d+ top level \d+ path (.*)$", text, re.MULTILINE)
    found = (Subvolume(id=int(number), path=path.removeprefix("<FS_TREE>/")) for number, path in rows)
    return [subvolume for subvolume in found if not _OWN.search(subvolume.path)]


def vfat(plain: FileSystem, version: str, sector: bytes) -> FileSystem:
    """A FAT file system with what its first sector says."""
    parameters = {"fat": version.removeprefix("FAT")} if version.startswith("FAT") else {}
    if len(sector) >= 14:
        parameters["sector_size"] = str(int.from_bytes(sector[11:13], "little"))
        parameters["cluster"] = str(sector[13])  # sectors
    return msgspec.structs.replace(plain, parameters=parameters)


# --- mounts ----------------------------------------------------------------------------------------------------


def mounted(here: Here, found: Mapping[str, Block]) -> list[Mounted]:
    """The mounts of block devices that lsblk knows, and of network file systems, by place; no loops."""
    by_number = {block.number: block.device for block in found.values() if block.number}
    kept: dict[str, Mounted] = {}
    for mount in parse(here.data("/proc/self/mountinfo")):
        device = by_number.get(mount.device, mount.source.decode(errors="replace"))
        place = mount.place.decode(errors="replace")
        if (device not in found and mount.file_system not in _NETWORK) or place.startswith(_PASSING):
            continue
        kept[place] = Mounted(
            place=place,
            device=device,
            type=mount.file_system,
            root=mount.root.decode(errors="replace"),
            options=mount.options,
            super_options=mount.super_options,
        )
    return [kept[place] for place in sorted(kept)]


def fstab(text: str) -> list[FstabEntry]:
    """The lines of /etc/fstab (fstab(5)), escapes undone."""
    rows = [
        [_plain(word) for word in line.split()] for line in text.splitlines() if not line.lstrip().startswith("#")
    ]
    return [
        FstabEntry(
            source=row[0],
            place=row[1],
            type=row[2] if len(row) > 2 else "auto",
            options=row[3] if len(row) > 3 else "defaults",
            dump=int(row[4]) if len(row) > 4 and row[4].isdecimal() else 0,
            passno=int(row[5]) if len(row) > 5 and row[5].isdecimal() else 0,
        )
        for row in rows
        if len(row) > 1
    ]


def crypttab(text: str) -> list[CrypttabEntry]:
    """The lines of /etc/crypttab (crypttab(5))."""
    rows = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [
        CrypttabEntry(
            name=row[0],
            source=row[1],
            key=row[2] if len(row) > 2 else "none",
            options=row[3] if len(row) > 3 else "",
        )
        for row in rows
        if len(row) > 1
    ]


def _plain(word: str) -> str:
    return unescape(word.encode(errors="surrogateescape")).decode(errors="replace")
