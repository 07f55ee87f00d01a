"""The collector on this machine, and on machines made of files and programs of our own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from catalog.inventory.blocks import blocks, disks
from catalog.inventory.collect import Wanted, collect, survey
from catalog.inventory.filesystems import file_systems, mounted
from catalog.inventory.here import Here
from catalog.inventory.reading import read_state
from catalog.inventory.tools import Tools
from catalog.inventory.values import SystemState
from tests.inventory import recorded
from tests.inventory.test_tools import Doubles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """The files that must be the same at each run; without `drift`, as somebody may install a package."""
    files = {p.relative_to(folder): p for p in folder.rglob("*") if p.is_file()}
    return {str(name): p.read_bytes() for name, p in files.items() if name.parts[0] not in ("volatile", "drift")}


def unmounted(state: SystemState) -> SystemState:
    return msgspec.structs.replace(state, mounts=[], file_systems=[], notes=[])


def test_this_machine(folder: Path, tmp_path: Path) -> None:
    state = collect(folder)
    assert read_state((folder / "system.json").read_bytes()) == (state, [])
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", "bash"], capture_output=True, check=True, text=True
    )
    assert [p.version for p in state.packages.installed if p.name == "bash"] == [shown.stdout]
    assert state.packages.manager == "dpkg"
    assert any(p.manual for p in state.packages.installed) and any(not p.manual for p in state.packages.installed)
    assert {user.name: user.uid for user in state.users}["root"] == 0
    assert state.computer.os == "debian" and state.computer.kernel == os.uname().release
    assert "vm.swappiness" in state.sysctl
    assert not any("?" in name for name in contents(folder))
    assert all(p.stat().st_mode & 0o077 == 0 for p in folder.rglob("*"))

    again = tmp_path / "again"
    again.mkdir()
    same = collect(again)
    assert contents(again).keys() == contents(folder).keys()
    assert (again / "disks/lsblk.json").read_bytes() == (folder / "disks/lsblk.json").read_bytes()
    # What other tests mount meanwhile is in the table of mounts, too.
    assert unmounted(same) == unmounted(state)


@pytest.mark.needs_root
def test_file_systems_on_a_device(tmp_path: Path, folder: Path, loop: Callable[[Path], str]) -> None:
    """Each file system of real mkfs, as lsblk and blkid find it, on one loop device after the other."""
    made = {
        "ext4": ["mkfs.ext4", "-q", "-L", "root", "-U", "6518bf08-df6c-47b0-9f9b-ba5f0b8af584"],
        "btrfs": ["mkfs.btrfs", "-q", "-L", "root"],
        "swap": ["mkswap", "-q", "-L", "root"],
    }
    identities = {"ext4": "6518bf08-df6c-47b0-9f9b-ba5f0b8af584"}
    for kind, mkfs in made.items():
        image = tmp_path / kind
        with image.open("wb") as file:
            file.truncate(128 << 20)
        image.chmod(0o600)
        subprocess.run([*mkfs, image], check=True, capture_output=True)
        device = loop(image)
        here = Here(folder, Tools())
        found = blocks(here, loops=True)
        (there,) = [f for f in file_systems(here, {device: found[device]}, []) if f.device == device]
        assert (there.type, there.label.lower()) == (kind, "root")
        assert there.uuid == identities.get(kind, there.uuid) != ""
        assert device not in blocks(here), "loop devices are no part of a machine"


@pytest.mark.needs_root
def test_a_mounted_btrfs_with_subvolumes(tmp_path: Path, folder: Path, loop: Callable[[Path], str]) -> None:
    image, place = tmp_path / "image", tmp_path / "a b"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["mkfs.btrfs", "-q", "-m", "single", image], check=True)
    device = loop(image)
    subprocess.run(["mount", device, place], check=True)
    try:
        for name in ("@home", "@ro"):
            subprocess.run(["btrfs", "-q", "subvolume", "create", place / name], check=True)
        (place / "@home" / "in ner").mkdir()
        subprocess.run(["btrfs", "-q", "subvolume", "create", place / "@home" / "in ner" / "x"], check=True)
        subprocess.run(["btrfs", "property", "set", place / "@ro", "ro", "true"], check=True)
        subprocess.run(["umount", place], check=True)
        subprocess.run(["mount", "-o", "subvol=@home", device, place], check=True)
        here = Here(folder, Tools())
        found = {device: blocks(here, loops=True)[device]}
        mounts = mounted(here, found)
        (there,) = file_systems(here, found, mounts)
    finally:
        subprocess.run(["umount", place], check=True)
    assert [(m.place, m.device) for m in mounts] == [(str(place), device)]
    assert there.places == [str(place)]
    assert {(v.path, v.read_only) for v in there.subvolumes} == {
        ("@home", False), ("@home/in ner/x", False), ("@ro", True),
    }  # fmt: skip
    assert (there.default_subvolume, there.parameters["metadata"]) == (5, "single")
    assert there.devices == [device]


@pytest.mark.needs_root
def test_a_disk_with_partitions(tmp_path: Path, folder: Path, loop: Callable[[Path], str]) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["sfdisk", "-q", image], input=b"label: dos\nsize=8M, bootable\nsize=9M, type=82\n", check=True)
    with image.open("r+b") as file:
        file.seek(100)
        file.write(b"GRUB \0")
    device = loop(image)
    here = Here(folder, Tools())
    found = blocks(here, loops=True)
    (disk,) = disks(here, {device: found[device]})
    assert (disk.table, [p.type for p in disk.partitions]) == ("dos", ["83", "82"])
    assert [p.bootable for p in disk.partitions] == [True, False]
    assert (folder / disk.boot_code).read_bytes()[100:105] == b"GRUB "
    dump = (folder / disk.dump).read_bytes()
    subprocess.run(["wipefs", "-q", "-a", image], check=True)
    subprocess.run(["sfdisk", "-q", "--no-reread", image], input=dump, check=True)
    assert subprocess.run(["sfdisk", "-d", device], capture_output=True, check=True).stdout == dump


def test_without_root_it_says_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    state = survey(Here(folder, Tools("/no/such/folder")))
    assert not state.by_root and not state.disks and not state.luks
    assert "partition tables, identities of file systems" in state.notes[0]
    assert "lsblk is not installed" in state.notes
    assert all(user.password in ("", "locked", "none") for user in state.users)


@pytest.fixture
def machine(tmp_path: Path, folder: Path) -> Iterator[tuple[Here, Doubles]]:
    """A machine with RAID, LUKS and LVM, made of programs that print what was recorded."""
    doubles = Doubles(tmp_path / "bin")
    root = tmp_path / "root"
    for path, text in {
        "etc/os-release": 'ID=debian\nVERSION_ID="13"\n',
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
        "sys/firmware/efi/efivars/x": "",
        "proc/self/mountinfo": "29 1 253:1 / / rw - ext4 /dev/mapper/vg0-root rw\n"
        "30 29 8:1 / /boot/efi rw - vfat /dev/sda1 rw\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for tool, text in {
        "lsblk": json.dumps({"blockdevices": [recorded.LSBLK]}),
        "mdadm": recorded.MDADM,
        "cryptsetup": recorded.LUKS2,
        "vgs": json.dumps({"report": [{"vg": recorded.VGS}]}),
        "pvs": json.dumps({"report": [{"pv": recorded.PVS}]}),
        "lvs": json.dumps({"report": [{"lv": recorded.LVS}]}),
        "vgcfgbackup": recorded.VGCFG,
        "efibootmgr": recorded.EFIBOOTMGR,
        "rpm": recorded.RPM,
    }.items():
        (tmp_path / tool).write_text(text)
        doubles.add(tool, f"cat {tmp_path}/{tool}")
    doubles.add("vgcfgbackup", f'cp {tmp_path}/vgcfgbackup "$3"')
    doubles.add(
        "cryptsetup",
        f'if [ $1 = luksHeaderBackup ]; then echo key-slots > "$5"; else cat {tmp_path}/cryptsetup; fi',
    )
    for tool in ("blkid", "dpkg-query", "sfdisk", "dumpe2fs"):
        doubles.add(tool, "exit 2")
    for tool in ("cat", "cp"):
        (doubles.folder / tool).symlink_to(f"/bin/{tool}")
    yield Here(folder, Tools(str(doubles.folder)), root), doubles


def test_layers_on_each_other(machine: tuple[Here, Doubles], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    here, _doubles = machine
    here.by_root = True
    state = survey(here)
    assert [(a.device, a.level) for a in state.arrays] == [("/dev/md0", "raid5")]
    assert [(e.device, e.mapped, e.name, e.header) for e in state.luks] == [
        ("/dev/md0", "/dev/mapper/crypt", "crypt", "")
    ]
    assert [(g.name, g.backup) for g in state.volume_groups] == [("vg0", "lvm/vg0.vg")]
    assert (folder / "lvm/vg0.vg").read_text().startswith("# Generated by LVM2 version 2.03.16(2) (2022-05-18)\n")
    assert [(f.device, f.type, f.places) for f in state.file_systems] == [
        ("/dev/mapper/vg0-root", "ext4", ["/"]), ("/dev/sda1", "vfat", ["/boot/efi"]),
    ]  # fmt: skip
    assert (state.boot.firmware, state.boot.esp, state.boot.root) == ("efi", "/dev/sda1", "/dev/mapper/vg0-root")
    assert (state.boot.order, state.boot.current, len(state.boot.entries)) == (["0004", "0000", "0001"], "0004", 4)
    assert (state.packages.manager, len(state.packages.installed)) == ("rpm", 4)
    assert not any(b"key-slots" in data for data in contents(folder).values()), "no headers unless asked for"


def test_headers_only_when_asked_for(machine: tuple[Here, Doubles], folder: Path) -> None:
    here, _doubles = machine
    here.by_root = True
    state = survey(here, Wanted(luks_headers=True))
    assert state.luks[0].header == "luks/md0.header"
    assert (folder / "luks/md0.header").read_text() == "key-slots\n"


@pytest.mark.parametrize(
    "output", ["", "{}", "[]", "null", '{"blockdevices": [7]}', '{"blockdevices": [{"size": "x"}]}', "[" * 9000]
)
def test_tools_that_print_something_else_cost_themselves(
    machine: tuple[Here, Doubles], tmp_path: Path, output: str
) -> None:
    here, _doubles = machine
    here.by_root = True
    for tool in ("lsblk", "vgs", "mdadm", "cryptsetup", "efibootmgr", "rpm"):
        (tmp_path / tool).write_text(output)
    state = survey(here)
    assert [user.name for user in state.users] == ["root"]
    assert state.boot.entries == [] and state.disks == []


def test_one_odd_output_costs_one_entry(machine: tuple[Here, Doubles], tmp_path: Path) -> None:
    here, doubles = machine
    here.by_root = True
    doubles.add("dumpe2fs", "echo 'Block count: many'; echo 'Inode count: 7'")
    (tmp_path / "vgs").write_text(
        json.dumps({"report": [{"vg": [{"vg_name": "odd", "vg_size": []}, *recorded.VGS]}]})
    )
    state = survey(here)
    assert [(f.type, f.parameters) for f in state.file_systems] == [("ext4", {}), ("vfat", {})]
    assert {group.name for group in state.volume_groups} == {"odd", "vg0"}
    assert any("vg0-root could not be collected: ValueError" in note for note in state.notes)


def test_a_hostile_machine_costs_its_entries(machine: tuple[Here, Doubles], tmp_path: Path) -> None:
    """A label or a name with control characters never reaches system.json."""
    here, _doubles = machine
    here.by_root = True
    rows = (tmp_path / "lsblk").read_text()
    (tmp_path / "lsblk").write_text(
        rows.replace('"AA-BB"', '"-rf\\u001b[2J"').replace('"/dev/md0"', '"/dev/md0; id"')
    )
    (tmp_path / "rpm").write_text("-rf\t1\tx86_64\nbash\t1\u001b[2J\tx86_64\n")
    state = survey(here)
    assert [(p.name, p.version) for p in state.packages.installed] == [("bash", "")]
    assert state.luks == [] and [f.uuid for f in state.file_systems if f.type == "vfat"] == [""]
    assert not any("\x1b" in note for note in state.notes)


def test_what_differs_from_packages(tmp_path: Path, folder: Path) -> None:
    root, doubles = tmp_path / "root", Doubles(tmp_path / "bin")
    files = {
        "etc/same.conf": "a", "etc/changed.conf": "b", "etc/own.conf": "c", "usr/bin/tool": "d",
        "usr/local/bin/mine": "e",
        "usr/lib/__pycache__/x.pyc": "f", "etc/a b.conf": "g", "opt/vendor/app": "h",
    }  # fmt: skip
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "bin").symlink_to("usr/bin")
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    listed = "/. /etc /etc/same.conf /etc/changed.conf /bin /bin/tool /usr /usr/bin /usr/lib /usr/local"
    (info / "tool.list").write_text(listed.replace(" ", "\n") + "\n/etc/a b.conf\n")
    md5 = {name: hashlib.md5(text.encode()).hexdigest() for name, text in files.items()}
    conffiles = (
        f" /etc/same.conf {md5['etc/same.conf']}\n /etc/changed.conf {'0' * 32}\n"
        f" /etc/gone.conf {'1' * 32} obsolete\n"
        f" /etc/a b.conf {md5['etc/a b.conf']}\n"
    )
    (tmp_path / "conffiles").write_text(conffiles)
    (tmp_path / "installed").write_text("ii \ttool\t1\tall\n")
    doubles.add(
        "dpkg-query", f'case "$2" in *Conffiles*) cat {tmp_path}/conffiles;; *) cat {tmp_path}/installed;; esac'
    )
    for tool in ("dpkg", "dpkg-divert"):
        doubles.add(tool, "exit 0")
    here = Here(folder, doubles.tools(), root)
    survey(here)
    assert (folder / "drift/changed-configuration.txt").read_text() == "/etc/changed.conf\n/etc/gone.conf\n"
    assert (folder / "drift/unowned.txt").read_text().splitlines() == [
        "/etc/own.conf", "/usr/local/bin/", "/opt/vendor/",
    ]  # fmt: skip
