"""What tools print, as values: recorded outputs of those that are not here, real ones of those that are."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.inventory.accounts import parse_groups, parse_users
from catalog.inventory.blocks import table
from catalog.inventory.boot import entries
from catalog.inventory.computer import os_release
from catalog.inventory.filesystems import btrfs, crypttab, ext, fstab, subvolumes, vfat, xfs
from catalog.inventory.layers import _without_time, array, group, luks
from catalog.inventory.reading import checked
from catalog.inventory.services import parse_sysctl, parse_units
from catalog.inventory.software import apk, dpkg, pacman, rpm
from catalog.inventory.values import Disk, FileSystem, FstabEntry, SystemState
from tests.inventory import recorded


def fits(**fields: Any) -> None:
    """Assert that values pass the checks of readers."""
    state = SystemState(format=1, **fields)
    assert checked(msgspec.to_builtins(state)) == (state, [])


def test_an_array_of_mdadm() -> None:
    found = array("/dev/md0", 4290772992, recorded.MDADM)
    assert (found.level, found.slots, found.missing, found.layout) == ("raid5", 3, 1, "left-symmetric")
    assert (found.members, found.spares) == (["/dev/sdd1", "/dev/sdb1"], ["/dev/sdc1"])
    assert (found.chunk, found.metadata, found.bitmap) == (512 << 10, "1.2", "internal")
    assert (found.uuid, found.name) == ("3aaa0122:29827cfa:5331ad66:ca767371", "srv01:0")
    fits(arrays=[found])


def test_containers_of_cryptsetup() -> None:
    new = luks("/dev/sda3", recorded.LUKS2, "/dev/mapper/crypt", "crypt")
    assert (new.version, new.cipher, new.key_bits, new.sector) == (2, "aes-xts-plain64", 512, 4096)
    assert (new.pbkdf, new.hash, new.offset, new.slots) == ("argon2id", "sha256", 16 << 20, ["luks2", "luks2"])
    assert (new.uuid, new.label) == ("6a5bd1ee-2ecb-44a0-9a4b-5c1ad9dd7d87", "")
    old = luks("/dev/sdb2", recorded.LUKS1)
    assert (old.version, old.cipher, old.key_bits, old.offset) == (1, "aes-xts-plain64", 512, 4096 * 512)
    assert (old.pbkdf, old.hash, old.slots) == ("pbkdf2", "sha256", ["luks1"])
    fits(luks=[new, old])


def test_groups_of_lvm() -> None:
    found = group(recorded.VGS[0], recorded.PVS, recorded.LVS)
    assert [(p.device, p.uuid) for p in found.physical] == [("/dev/sda3", "aQ1-2")]
    root, thin = found.logical
    assert (root.devices, root.tags, root.active) == (["/dev/sda3(0)", "/dev/sda3(900)"], ["a", "b"], True)
    assert (thin.segment, thin.pool, thin.layout) == ("thin", "pool", "thin,sparse")
    fits(volume_groups=[found])


def test_what_vgcfgbackup_writes_does_not_change_by_itself() -> None:
    later = recorded.VGCFG.replace("16:00:01 2026", "17:30:00 2026").replace("1795363201", "1795368600")
    assert later != recorded.VGCFG
    assert _without_time(later.replace("/somewhere", "/elsewhere")) == _without_time(recorded.VGCFG)
    assert "creation_time = 1790000000\t# 2026-09-21" in _without_time(recorded.VGCFG), "a volume's own"


def test_boot_entries_of_efibootmgr() -> None:
    found = entries(recorded.EFIBOOTMGR)
    assert [(e.id, e.label, e.active) for e in found] == [
        ("0000", "UiApp", True), ("0001", "UEFI QEMU DVD-ROM", False), ("0004", "debian", True),
        ("0005", "Fedora", True),
    ]  # fmt: skip
    assert (found[2].loader, found[3].loader) == ("\\EFI\\debian\\shimx64.efi", "\\EFI\\fedora\\shimx64.efi")
    assert (found[2].partition, found[2].number) == ("9c6b2a6f-0b4d-4a52-a2c8-4b6b9a5e6c11", 1)


def test_packages_of_other_systems() -> None:
    red = rpm(recorded.RPM, {"bash", "vim-enhanced"}, "vim-enhanced-2:9.1.158-1.*")
    assert [(p.name, p.version, p.manual, p.hold) for p in red] == [
        ("bash", "5.2.26-3.fc40", True, False),
        ("kernel-core", "6.8.5-301.fc40", False, False),
        ("kernel-core", "6.8.7-300.fc40", False, False),
        ("vim-enhanced", "2:9.1.158-1.fc40", True, True),
    ]
    arch = pacman(recorded.PACMAN, {"vim"}, {"linux"})
    assert [(p.name, p.manual, p.hold) for p in arch] == [
        ("bash", False, False), ("linux", False, True), ("vim", True, False),
    ]  # fmt: skip
    alpine = apk(recorded.APK, "busybox\nnginx=1.26.0-r1\n")
    assert [(p.name, p.version, p.manual, p.hold) for p in alpine] == [
        ("busybox", "1.36.1-r28", True, False),
        ("libc-utils", "0.7.2-r5", False, False),
        ("nginx", "1.26.0-r1", True, True),
    ]


def test_packages_of_debian() -> None:
    text = "ii \tvim\t2:9.0\tamd64\nhi \tlibc6:i386\t2.36\ti386\nrc \tgone\t1\tall\nii \tlibc6:amd64\t2.36\tamd64\n"
    states = "Package: libc6\nArchitecture: i386\nAuto-Installed: 1\n\nPackage: vim\nAuto-Installed: 0\n"
    states += "\nPackage: data\nArchitecture: amd64\nAuto-Installed: 1\n"
    found = dpkg(text + "ii \tdata\t1\tall\n", states, "amd64")
    assert [(p.name, p.architecture, p.manual, p.hold) for p in found] == [
        ("data", "all", False, False), ("libc6", "amd64", True, False), ("libc6", "i386", False, True),
        ("vim", "amd64", True, False),
    ]  # fmt: skip


def test_accounts() -> None:
    passwd = "root:x:0:0:root:/root:/bin/bash\nanna:x:1000:1000:Anna,,,:/home/anna:/bin/sh\nbad line\nno::7:7::/:\n"
    found = parse_users(
        passwd + "sys:x:3:3::/:/bin/false\n", "root:$y$j9T$x:1::::::\nanna:!$6$x:1::::::\nsys:*:1::::::\n"
    )
    assert [(u.name, u.password) for u in found] == [
        ("root", "set"),
        ("sys", "locked"),
        ("no", "none"),
        ("anna", "locked"),
    ]
    assert not any("$" in str(value) for user in found for value in msgspec.structs.astuple(user))
    assert parse_users(passwd)[0].password == "", "unknown without /etc/shadow"
    groups = parse_groups("adm:x:4:b,a\nroot:x:0:\nbad\n")
    assert [(g.name, g.gid, g.members) for g in groups] == [("root", 0, []), ("adm", 4, ["a", "b"])]
    fits(users=found, groups=groups)


def test_units_and_settings() -> None:
    found = parse_units(recorded.UNITS)
    assert [(u.name, u.state, u.preset) for u in found] == [
        ("broken.service", "bad", ""),
        ("dbus.socket", "static", ""),
        ("dev-disk-by\\x2duuid-1.swap", "generated", ""),
        ("ssh.service", "enabled", "enabled"),
        ("systemd-networkd.service", "masked", ""),
    ]
    fits(units=found)
    text = (
        "vm.swappiness = 60\nkernel.random.uuid = 1\nfs.file-nr = 1\t0\t9\nnet.ipv4.ip_local_port_range = 1\t2\nx\n"
    )
    assert parse_sysctl(text) == {"net.ipv4.ip_local_port_range": "1 2", "vm.swappiness": "60"}


def test_tables_in_etc() -> None:
    text = "# a comment\nUUID=1-2 /mnt/a\\040b ext4 noatime,errors=remount-ro 0 2\n/dev/sdb1 none swap\nshort\n"
    assert fstab(text) == [
        FstabEntry(source="UUID=1-2", place="/mnt/a b", type="ext4", options="noatime,errors=remount-ro", passno=2),
        FstabEntry(source="/dev/sdb1", place="none", type="swap"),
    ]
    (row,) = crypttab("crypt UUID=6a5b none luks,discard\n\n#x y\n")
    assert (row.name, row.source, row.key, row.options) == ("crypt", "UUID=6a5b", "none", "luks,discard")
    release = os_release('ID=debian\nPRETTY_NAME="Debian \\"12\\""\nID_LIKE=\'a b\'\n# x=1\n')
    assert release == {"ID": "debian", "PRETTY_NAME": 'Debian "12"', "ID_LIKE": "a b"}


# --- real tools ------------------------------------------------------------------------------------------------


def output(*argv: str | Path) -> str:
    return subprocess.run(
        [*argv],
        capture_output=True,
        check=True,
        text=True,
        env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    ).stdout


def image(tmp_path: Path, size: int, *mkfs: str) -> Path:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(size)
    output(*mkfs, path)
    return path


def test_ext4_for_real(tmp_path: Path) -> None:
    path = image(
        tmp_path,
        32 << 20,
        "mkfs.ext4",
        "-q",
        "-b",
        "4096",
        "-i",
        "8192",
        "-I",
        "512",
        "-m",
        "1",
        "-O",
        "^metadata_csum",
    )
    found = ext(FileSystem(device="/dev/a", type="ext4"), output("dumpe2fs", "-h", path))
    taken = ("block_size", "inode_size", "inode_ratio", "reserved_blocks", "max_mounts", "check_interval")
    assert [found.parameters[key] for key in taken] == ["4096", "512", "8192", "81", "-1", "0"]
    assert "metadata_csum" not in found.features and "has_journal" in found.features
    assert found.size == 32 << 20
    fits(file_systems=[found])


def test_xfs_for_real(tmp_path: Path) -> None:
    path = image(tmp_path, 300 << 20, "mkfs.xfs", "-q", "-i", "size=1024", "-m", "reflink=0,bigtime=0")
    found = xfs(FileSystem(device="/dev/a", type="xfs"), output("xfs_info", path))
    taken = ("inode_size", "block_size", "sector_size", "reflink", "bigtime", "crc", "ftype", "agcount")
    assert [found.parameters[key] for key in taken] == ["1024", "4096", "512", "0", "0", "1", "1", "4"]
    assert found.size == 300 << 20
    fits(file_systems=[found])


def test_btrfs_for_real(tmp_path: Path) -> None:
    path = image(tmp_path, 128 << 20, "mkfs.btrfs", "-q", "-n", "32768", "--csum", "xxhash", "-L", "pool")
    found = btrfs(
        FileSystem(device="/dev/a", type="btrfs"), output("btrfs", "inspect-internal", "dump-super", path)
    )
    assert (found.parameters, found.label) == (
        {"node_size": "32768", "sector_size": "4096", "csum": "xxhash64"},
        "pool",
    )
    assert {"free_space_tree", "extended_iref", "no_holes"} <= set(found.features)
    fits(file_systems=[found])
    mark = f"rpdrive-{'0a' * 16}"
    listed = subvolumes(
        f"ID 300 gen 9 top level 5 path .{mark}-1\nID 256 gen 7 top level 5 path @\n"
        "ID 257 gen 8 top level 5 path @home/a b\n"
    )
    assert [(v.id, v.path) for v in listed] == [(256, "@"), (257, "@home/a b")]


def test_the_first_sector_of_fat() -> None:
    sector = bytes(11) + (512).to_bytes(2, "little") + b"\x08" + bytes(498)
    found = vfat(FileSystem(device="/dev/a", type="vfat"), "FAT16", sector)
    assert found.parameters == {"fat": "16", "sector_size": "512", "cluster": "8"}
    assert vfat(found, "", b"").parameters == {}


@pytest.mark.soak
@pytest.mark.needs_program("mkfs.vfat")
def test_vfat_for_real(tmp_path: Path) -> None:
    path = image(tmp_path, 64 << 20, "mkfs.vfat", "-F", "32", "-s", "1")
    found = vfat(FileSystem(device="/dev/a", type="vfat"), "FAT32", path.read_bytes()[:512])
    assert found.parameters == {"fat": "32", "sector_size": "512", "cluster": "1"}


def test_a_partition_table_for_real(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    text = 'label: gpt\nsize=8M, type=U, name="EFI & co"\nsize=1M, type=21686148-6449-6E6F-744E-656564454649\n'
    text += 'size=8M, type=L, attrs="LegacyBIOSBootable,GUID:48"\n'
    subprocess.run(["sfdisk", "-q", path], input=text.encode(), check=True)
    subprocess.run(["sfdisk", "-q", "--delete", path, "2"], check=True)
    read = msgspec.json.decode(output("sfdisk", "--json", path))["partitiontable"]
    found = table(Disk(device=str(path), size=64 << 20), read)
    assert [(p.number, p.start, p.size, p.name, p.flags) for p in found.partitions] == [
        (1, 2048, 16384, "EFI & co", ""),
        (3, 20480, 16384, "", "LegacyBIOSBootable GUID:48"),
    ]
    assert (found.table, found.partitions[0].type) == ("gpt", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
    assert (found.first, found.last) == (2048, (64 << 11) - 34)
    assert len(found.table_id) == len(found.partitions[0].uuid) == 36
