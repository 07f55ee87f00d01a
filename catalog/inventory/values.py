"""system.json: what a machine is made of, as values (docs/system-state.md).

A file of a recovery point, so nothing in it is believed: `reading.py` checks each entry against the bounds here
before anybody sees it. No text holds a control character; a device, a package, a user or a unit has a name that
neither a shell nor an option parser can mistake. Sizes are bytes, unless they are said to be sectors of the disk's
`sector`. A device is named by one path everywhere, as `lsblk` prints it (`/dev/sda2`, `/dev/md0`,
`/dev/mapper/vg0-root`); a `file` is a path below /.system in the same point. "" and 0 mean unknown or none.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

FORMAT = 1  # of system.json; a reader takes this and older ones, and ignores fields that it does not know

_PRINTED = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]*\Z"
Text: TypeAlias = Annotated[str, Meta(max_length=4096, pattern=_PRINTED)]
# Words of tools and kernels: types, levels, identities. They may stand in a command without quotes.
Word: TypeAlias = Annotated[str, Meta(max_length=255, pattern=r"^(?:[A-Za-z0-9_][A-Za-z0-9_.:+/@=%,-]*)?\Z")]
Device: TypeAlias = Annotated[
    str, Meta(max_length=255, pattern=r"^(?:/dev(?:/[A-Za-z0-9_][A-Za-z0-9_.:+@=%-]*)+)?\Z")
]
Place: TypeAlias = Annotated[str, Meta(max_length=4096, pattern=r"^(?:/" + _PRINTED[1:-2] + r")?\Z")]
Kept: TypeAlias = Annotated[
    str, Meta(max_length=255, pattern=r"^(?:(?!\.)[A-Za-z0-9_.:+@-]+(?:/(?!\.)[A-Za-z0-9_.:+@-]+)*)?\Z")
]
Package_: TypeAlias = Annotated[str, Meta(max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]*\Z")]
Account: TypeAlias = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*\$?\Z")]
UnitName: TypeAlias = Annotated[str, Meta(max_length=255, pattern=r"^[A-Za-z0-9_][A-Za-z0-9:_.\\@-]*\.[a-z]+\Z")]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Id32: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 2)]


class _Value(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


class Computer(_Value, frozen=True, kw_only=True):
    """The machine. `like` are families of its distribution (ID_LIKE); `dmi` by the kernel's names."""

    hostname: Text = ""
    machine_id: Word = ""
    os: Word = ""  # ID of os-release, e.g. debian
    os_version: Word = ""
    os_name: Text = ""  # PRETTY_NAME
    like: list[Word] = []
    codename: Word = ""
    kernel: Word = ""
    architecture: Word = ""  # as the kernel names it, e.g. x86_64
    virtualisation: Word = ""
    processors: Count = 0
    memory: Count = 0
    timezone: Text = ""
    dmi: dict[Text, Text] = {}


class Partition(_Value, frozen=True, kw_only=True):
    """A partition; `start` and `size` in sectors. `type` is a GUID (gpt) or hexadecimal digits (dos), in upper
    case.

    `flags` are the attributes of a GPT entry as sfdisk writes them (`RequiredPartition LegacyBIOSBootable
    GUID:48`).
    """

    device: Device
    number: Count
    start: Count
    size: Count
    type: Word = ""
    uuid: Word = ""
    name: Text = ""
    flags: Text = ""
    bootable: bool = False


class Disk(_Value, frozen=True, kw_only=True):
    """A disk. `table` is "gpt", "dos" or "" for a whole disk in use; `boot_code` and `dump` are files.

    `dump` is what `sfdisk` reads back; `boot_code` the first MiB of the disk. `links` are names below /dev/disk.
    """

    device: Device
    size: Count
    sector: Count = 512
    physical_sector: Count = 512
    model: Text = ""
    serial: Text = ""
    wwn: Text = ""
    transport: Word = ""
    rotates: bool = False
    removable: bool = False
    table: Word = ""
    table_id: Word = ""
    first: Count = 0  # sectors that partitions may use, from … to, by the GPT
    last: Count = 0
    table_length: Count = 0  # entries of the GPT; 0: 128
    partitions: list[Partition] = []
    links: list[Text] = []
    boot_code: Kept = ""
    dump: Kept = ""


class Array(_Value, frozen=True, kw_only=True):
    """An md array. `members` are the devices by slot; `chunk` in bytes; `layout` in mdadm's words."""

    device: Device
    level: Word
    uuid: Word = ""
    metadata: Word = ""
    name: Text = ""
    size: Count = 0
    slots: Count = 0  # --raid-devices
    layout: Word = ""
    chunk: Count = 0
    bitmap: Word = ""
    members: list[Device] = []
    spares: list[Device] = []
    missing: Count = 0
    container: Device = ""


class Luks(_Value, frozen=True, kw_only=True):
    """A LUKS container on `device`, open as `mapped`. It carries no key; `header` is a file, kept only if asked
    for.

    `key_bits` of the volume key; `sector` is the encryption sector. `slots` in use, with the kind of each: they are
    made anew with a passphrase that somebody types.
    """

    device: Device
    mapped: Device = ""
    name: Text = ""  # of the mapping
    version: Count = 2
    uuid: Word = ""
    label: Text = ""
    cipher: Word = ""
    key_bits: Count = 0
    hash: Word = ""
    pbkdf: Word = ""
    sector: Count = 512
    offset: Count = 0  # bytes from the start of the device to the data
    slots: list[Word] = []
    header: Kept = ""


class PhysicalVolume(_Value, frozen=True, kw_only=True):
    """A physical volume of LVM."""

    device: Device
    uuid: Word = ""
    size: Count = 0


class LogicalVolume(_Value, frozen=True, kw_only=True):
    """A logical volume, without its hidden parts. `layout` and `role` in lvs's words."""

    name: Word
    device: Device = ""
    uuid: Word = ""
    size: Count = 0
    layout: Text = ""
    role: Text = ""
    attributes: Text = ""
    pool: Word = ""
    origin: Word = ""
    segment: Word = ""  # type of its first segment: linear, striped, raid1, thin, thin-pool, cache …
    stripes: Count = 0
    stripe_size: Count = 0
    active: bool = True
    devices: list[Text] = []
    tags: list[Word] = []


class VolumeGroup(_Value, frozen=True, kw_only=True):
    """A volume group. `backup` is the file that vgcfgbackup wrote, for `vgcfgrestore --file`."""

    name: Word
    uuid: Word = ""
    extent: Count = 0
    size: Count = 0
    physical: list[PhysicalVolume] = []
    logical: list[LogicalVolume] = []
    backup: Kept = ""


class Subvolume(_Value, frozen=True, kw_only=True):
    """A btrfs subvolume, by its path from the top of the file system."""

    id: Count
    path: Text
    read_only: bool = False


class FileSystem(_Value, frozen=True, kw_only=True):
    """A file system or swap area. `devices` are all of a btrfs of several; `places` where it is mounted, shortest
    first.

    `parameters` are what mkfs needs, by name: ext: block_size, inode_size, inodes, inode_ratio, reserved_blocks,
    blocks, flex_bg, raid_stride, raid_stripe, max_mounts, check_interval, default_options, hash_seed, errors; xfs:
    block_size, sector_size, inode_size, agcount, log_blocks, crc, finobt, sparse, rmapbt, reflink, bigtime,
    inobtcount, nrext64, ftype, sunit, swidth, imaxpct; btrfs: node_size, sector_size, csum, data, metadata; vfat:
    fat, sector_size, cluster; swap: page_size. `features` by the file system's own names.
    """

    device: Device
    type: Word
    uuid: Word = ""
    label: Text = ""
    size: Count = 0
    features: list[Word] = []
    parameters: dict[Word, Text] = {}
    devices: list[Device] = []
    subvolumes: list[Subvolume] = []
    default_subvolume: Count = 0
    places: list[Place] = []


class Mounted(_Value, frozen=True, kw_only=True):
    """A mount of a real file system. `root` is what of the file system stands there (a subvolume, a bind)."""

    place: Place
    device: Text
    type: Word
    root: Place = "/"
    options: Text = ""
    super_options: Text = ""


class FstabEntry(_Value, frozen=True, kw_only=True):
    """A line of /etc/fstab, escapes undone."""

    source: Text
    place: Text
    type: Word = "auto"
    options: Text = "defaults"
    dump: Count = 0
    passno: Count = 0


class CrypttabEntry(_Value, frozen=True, kw_only=True):
    """A line of /etc/crypttab."""

    name: Text
    source: Text
    key: Text = "none"
    options: Text = ""


class EfiEntry(_Value, frozen=True, kw_only=True):
    """A boot entry of the firmware: a PARTUUID, the partition's number, and the loader's path on the ESP."""

    id: Word  # four digits
    label: Text = ""
    active: bool = True
    partition: Word = ""
    number: Count = 0
    loader: Text = ""
    path: Text = ""  # the device path as efibootmgr prints it


class Boot(_Value, frozen=True, kw_only=True):
    """How it boots. `firmware` is "efi" or "bios"; `loader` is grub, systemd-boot, extlinux … or "".

    `disks` are those in whose first sector a boot loader's code was found. `root` is the device of /, `esp` of the
    ESP.
    """

    firmware: Word = ""
    secure_boot: bool = False
    command_line: Text = ""
    loader: Word = ""
    disks: list[Device] = []
    root: Device = ""
    boot: Device = ""
    esp: Device = ""
    esp_place: Place = ""
    entries: list[EfiEntry] = []
    order: list[Word] = []
    current: Word = ""
    initramfs: Word = ""  # initramfs-tools, dracut, mkinitcpio, ""
    kernels: list[Word] = []  # versions installed
    selinux: Word = ""  # enforcing, permissive, disabled, ""


class Package(_Value, frozen=True, kw_only=True):
    """An installed package. `manual`: asked for, not only needed by others; `hold`: not to be upgraded."""

    name: Package_
    version: Text = ""
    architecture: Word = ""
    manual: bool = False
    hold: bool = False


class Packages(_Value, frozen=True, kw_only=True):
    """What is installed. `manager` is dpkg, rpm, pacman, apk or ""."""

    manager: Word = ""
    architecture: Word = ""
    foreign: list[Word] = []
    installed: list[Package] = []
    snaps: list[Package] = []
    flatpaks: list[Package] = []


class User(_Value, frozen=True, kw_only=True):
    """An account of /etc/passwd. `password` is "set", "locked", "none" (anybody may enter), or "" if unknown."""

    name: Account
    uid: Id32
    gid: Id32
    comment: Text = ""
    home: Text = ""
    shell: Text = ""
    password: Word = ""


class Group(_Value, frozen=True, kw_only=True):
    """A group of /etc/group."""

    name: Account
    gid: Id32
    members: list[Account] = []


class Unit(_Value, frozen=True, kw_only=True):
    """A systemd unit file and its state: enabled, disabled, masked … as systemctl prints it."""

    name: UnitName
    state: Word
    preset: Word = ""


class SystemState(_Value, frozen=True, kw_only=True):
    """system.json, whole. `notes` say what could not be learnt, and why; `by_root` whether root collected it."""

    format: Annotated[int, Meta(ge=1)]
    by_root: bool = False
    computer: Computer = Computer()
    boot: Boot = Boot()
    disks: list[Disk] = []
    arrays: list[Array] = []
    luks: list[Luks] = []
    volume_groups: list[VolumeGroup] = []
    file_systems: list[FileSystem] = []
    mounts: list[Mounted] = []
    fstab: list[FstabEntry] = []
    crypttab: list[CrypttabEntry] = []
    packages: Packages = Packages()
    users: list[User] = []
    groups: list[Group] = []
    units: list[Unit] = []
    alternatives: dict[Word, Place] = {}
    sysctl: dict[Word, Text] = {}
    notes: list[Text] = []
