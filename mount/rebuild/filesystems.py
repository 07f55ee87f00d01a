"""Phases 3 and 4: file systems and swap areas with their old UUIDs, labels and features; where they are mounted."""

from __future__ import annotations

import re

from catalog.inventory.values import FileSystem
from mount.rebuild.layout import Mount, is_guid
from mount.rebuild.names import Names
from mount.rebuild.shell import Raw, Script, Word, in_target, joined

_NUMBER = re.compile(r"\d{1,18}\Z")
_SERIAL = re.compile(r"[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}\Z")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")
# What mke2fs makes; other features come and go with use, or it has none of them.
_EXT = """
has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super sparse_super2 large_file
huge_file uninit_bg dir_nlink extra_isize metadata_csum metadata_csum_seed quota project bigalloc inline_data
large_dir ea_inode casefold encrypt verity mmp fast_commit orphan_file stable_inodes meta_bg
"""
# What dumpe2fs calls what is done on errors, and tune2fs does.
_ON_ERRORS = {"Continue": "continue", "Remount read-only": "remount-ro", "Panic": "panic"}
# What the kernel calls features, and mkfs.btrfs does; the others are always on, or follow from the profiles.
_BTRFS = {
    "mixed_groups": "mixed-bg",
    "zoned": "zoned",
    "block_group_tree": "block-group-tree",
    "simple_quota": "squota",
}
# system.json's names of what `mkfs.xfs` takes by its options.
_XFS = {
    "-m": {"crc": "crc", "finobt": "finobt", "rmapbt": "rmapbt", "reflink": "reflink", "bigtime": "bigtime",
           "inobtcount": "inobtcount"},
    "-i": {"inode_size": "size", "sparse": "sparse", "imaxpct": "maxpct", "nrext64": "nrext64"},
    "-b": {"block_size": "size"},
    "-s": {"sector_size": "size"},
    "-n": {"ftype": "ftype"},
}  # fmt: skip


def write_file_systems(script: Script, systems: list[FileSystem], names: Names, resized: set[str]) -> None:
    for system in systems:
        script.blank()
        device = names.new(system.device)
        places = ", ".join(system.places)
        script.note(f"{system.type} on {system.device}{f', for {places}' if places else ''}")
        is_resized = system.device in resized
        match system.type:
            case "ext2" | "ext3" | "ext4":
                _write_ext(script, system, device, is_resized)
            case "xfs":
                _write_xfs(script, system, device, is_resized)
            case "btrfs":
                _write_btrfs(script, system, [names.new(one) for one in system.devices or [system.device]])
            case "vfat":
                _write_vfat(script, system, device, is_resized)
            case "swap":
                page = [f"--pagesize={n}"] if (n := _number(system, "page_size")) else []
                script.run("mkswap", *page, *_named(system, "--uuid=", "--label="), device)
    script.run("settle")


def _number(system: FileSystem, name: str) -> str:
    value = system.parameters.get(name, "")
    return value if _NUMBER.match(value) else ""


def _named(system: FileSystem, uuid: str, label: str) -> list[Word]:
    """Options for the UUID and the label, each as one word."""
    found: list[Word] = []
    if is_guid(system.uuid):
        found.append(joined(uuid, system.uuid))
    if system.label:
        found.append(joined(label, system.label))
    return found


def _write_ext(script: Script, system: FileSystem, device: str, is_resized: bool) -> None:
    options: list[Word] = ["-q", "-F"]
    if is_guid(system.uuid):
        options += ["-U", system.uuid]
    if system.label:
        options += ["-L", system.label]
    features = sorted(set(_EXT.split()) & set(system.features))
    if features:
        options += ["-O", "none," + ",".join(features)]
        if left := sorted(set(system.features) - {*features, "needs_recovery", "orphan_present", "shared_blocks"}):
            script.note(f"Features that are not set again: {' '.join(left)}")
    for option, name in (("-b", "block_size"), ("-I", "inode_size")):
        if number := _number(system, name):
            options += [option, number]
    if (inodes := _number(system, "inodes")) and not is_resized:
        options += ["-N", inodes]
    elif ratio := _number(system, "inode_ratio"):
        options += ["-i", ratio]
    extended = [f"{key}={n}" for key, name in (("stride", "raid_stride"), ("stripe_width", "raid_stripe"))
                if (n := _number(system, name)) and n != "0"]  # fmt: skip
    if is_guid(seed := system.parameters.get("hash_seed", "")):
        extended.append(f"hash_seed={seed}")
    if extended:
        options += ["-E", ",".join(extended)]
    script.run(f"mkfs.{system.type}", *options, device)
    tuned: list[Word] = []
    if (reserved := _number(system, "reserved_blocks")) and not is_resized:
        tuned += ["-r", reserved]
    for option, name in (("-c", "max_mounts"), ("-i", "check_interval")):
        if number := _number(system, name):
            tuned += [option, f"{number}s" if name == "check_interval" and number != "0" else number]
    if errors := _ON_ERRORS.get(system.parameters.get("errors", "")):
        tuned += ["-e", errors]
    if (told := system.parameters.get("default_options")) is not None:
        defaults = [option for option in re.split(r"[ ,]+", told) if _WORD.match(option) and option != "none"]
        # mke2fs sets these two by itself.
        wanted = [*defaults, *(f"^{option}" for option in ("user_xattr", "acl") if option not in defaults)]
        tuned += ["-o", ",".join(wanted)]
    if tuned:
        script.run("quiet", "tune2fs", *tuned, device)


def _write_xfs(script: Script, system: FileSystem, device: str, is_resized: bool) -> None:
    options: list[Word] = ["-q", "-f"]
    if system.label:
        options += ["-L", system.label]
    for option, known in _XFS.items():
        parts = [f"{key}={n}" for name, key in known.items() if (n := _number(system, name))]
        if option == "-m" and is_guid(system.uuid):
            parts.insert(0, f"uuid={system.uuid}")
        if parts:
            options += [option, ",".join(parts)]
    data = [f"agcount={n}"] if (n := _number(system, "agcount")) and not is_resized else []
    unit, width = _number(system, "sunit"), _number(system, "swidth")
    if unit and width and unit != "0" and (block := _number(system, "block_size")):
        # `xfs_info` counts blocks, mkfs.xfs sectors of 512 bytes.
        data += [f"{key}={int(n) * int(block) // 512}" for key, n in (("sunit", unit), ("swidth", width))]
    if data:
        options += ["-d", ",".join(data)]
    script.run("mkfs.xfs", *options, device)


def _write_btrfs(script: Script, system: FileSystem, devices: list[str]) -> None:
    options: list[Word] = ["-q", "-f", *_named(system, "--uuid=", "--label=")]
    for option, name in (("--nodesize=", "node_size"), ("--sectorsize=", "sector_size")):
        if number := _number(system, name):
            options.append(option + number)
    for option, name in (("--checksum=", "csum"), ("--data=", "data"), ("--metadata=", "metadata")):
        value = system.parameters.get(name, "").lower()
        if value and _WORD.match(value):
            options.append(option + value)
    if features := [ours for name, ours in _BTRFS.items() if name in system.features]:
        options.append("--features=" + ",".join(features))
    script.note("mkfs.btrfs refuses a UUID that it finds, also on the device that it is about to erase.")
    script.run("wipefs", "--quiet", "--all", *devices)
    script.run("quiet", "mkfs.btrfs", *options, *devices)
    wanted = [s for s in system.subvolumes if _is_inside(s.path)]
    made = sorted((s for s in wanted if not s.read_only), key=lambda s: (s.path.count("/"), s.path))
    for snapshot in (s for s in wanted if s.read_only):
        script.note(f"The subvolume {snapshot.path} was read-only, so it was probably a snapshot: not made.")
    if not made:
        return
    script.run("mkdir", "-p", Raw('"$top"'))
    script.run("mount", "-t", "btrfs", "-o", "subvolid=5", devices[0], Raw('"$top"'))
    for subvolume in made:
        above = subvolume.path.rpartition("/")[0]
        if above:
            script.run("mkdir", "-p", joined(Raw('"$top"'), f"/{above}"))
        script.run("quiet", "btrfs", "subvolume", "create", joined(Raw('"$top"'), f"/{subvolume.path}"))
        if subvolume.id == system.default_subvolume:
            script.run("btrfs", "subvolume", "set-default", joined(Raw('"$top"'), f"/{subvolume.path}"))
    script.run("umount", Raw('"$top"'))


def _is_inside(path: str) -> bool:
    """Whether a path from the top of a file system stays in it."""
    return bool(path) and all(part not in ("", ".", "..") for part in path.split("/"))


def _write_vfat(script: Script, system: FileSystem, device: str, is_resized: bool) -> None:
    options: list[Word] = []
    if (fat := _number(system, "fat")) in ("12", "16", "32"):
        options += ["-F", fat]
    if _SERIAL.match(system.uuid):
        options += ["-i", system.uuid.replace("-", "")]
    if system.label:
        options += ["-n", system.label]
    if sector := _number(system, "sector_size"):
        options += ["-S", sector]
    if (cluster := _number(system, "cluster")) and not is_resized:
        options += ["-s", str(int(cluster) // int(sector or 512)) if int(cluster) >= 512 else cluster]
    script.run("quiet", "mkfs.vfat", *options, device)


def write_mounts(script: Script, mounts: list[Mount], names: Names) -> None:
    """The body of mount_all: mounts what is not mounted yet, from the root downwards."""
    for mount in mounts:
        device = names.new((mount.system.devices or [mount.system.device])[0])
        options = [f"subvol=/{mount.subvolume}"] if mount.subvolume else list(mount.options)
        script.run(
            "mount_one",
            device,
            in_target(mount.place),
            mount.system.type,
            *([",".join(options)] if options else []),
        )
