"""A script that runs for real, on disks without partitions: no device mapper is needed; real tools and vault."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from catalog.format.records import ItemKind
from catalog.inventory.values import Disk, FileSystem, FstabEntry, SystemState
from catalog.store.local import LocalStore
from catalog.vault import Vault, open_vault
from mount.rebuild import here
from mount.rebuild.finishing import Restore
from mount.rebuild.script import Wanted, plan_rebuild, write_script
from tests.kit.cli import Cli
from tests.kit.machines import uuid
from tests.kit.protected import Protected
from tests.kit.vaults import PASSPHRASE
from tests.mount.rebuild.test_plan_command import Standing

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_program("losetup", "sfdisk", "wipefs", "mke2fs", "mkfs.xfs", "blkid", "awk"),
]
ROOT_SIZE, DATA_SIZE = 48 << 20, 320 << 20  # bytes; mkfs.xfs makes nothing smaller


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Openable(Protected):
    """A machine whose vault the command can open, too."""

    @property
    def vault(self) -> Vault:
        return open_vault(self.store, passphrase=PASSPHRASE)


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[str]]:
    with ExitStack() as stack:
        found = []
        for name, size in (("root", ROOT_SIZE), ("data", DATA_SIZE)):
            with (tmp_path / name).open("wb") as file:
                file.truncate(size)
            found.append(run("losetup", "--find", "--show", "--nooverlap", tmp_path / name))
            stack.callback(run, "losetup", "--detach", found[-1])
        yield found


def state() -> SystemState:
    return SystemState(
        format=1,
        disks=[Disk(device="/dev/sdx", size=ROOT_SIZE), Disk(device="/dev/sdy", size=DATA_SIZE)],
        file_systems=[
            FileSystem(device="/dev/sdx", type="ext4", uuid=uuid(1), label="the root", places=["/"],
                       features=["has_journal", "ext_attr", "dir_index", "filetype", "extent", "sparse_super"],
                       parameters={"block_size": "1024", "inode_size": "128", "inodes": "4000",
                                   "reserved_blocks": "77", "max_mounts": "33", "errors": "Remount read-only",
                                   "default_options": "acl journal_data_ordered"}),
            FileSystem(device="/dev/sdy", type="xfs", uuid=uuid(2), label="data", places=["/srv"],
                       parameters={"inode_size": "1024", "reflink": "0", "rmapbt": "0", "crc": "1"}),
        ],
        fstab=[FstabEntry(source="/dev/sdx", place="/", type="ext4")],
    )  # fmt: skip


@pytest.mark.usefixtures("vault")
def test_phases_on_real_disks(rpdrive: Cli, disks: list[str], tmp_path: Path) -> None:
    root, data, target = (tmp_path / name for name in ("old-root", "old-data", "target"))
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "fstab").write_text(
        "# /dev/sdx is here\n/dev/sdx / ext4 defaults 0 1\n/dev/sdxx /x ext4 a 0 0\n"
    )
    (root / "srv").mkdir()
    (root / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "tool").chmod(0o4755)
    data.mkdir()
    (data / "file").write_text("data")
    os.setxattr(data / "file", "user.of", b"it")
    points = []
    for item, path, folder in (("root", "/", root), ("data", "/srv", data)):
        source = Standing(ItemKind.FILES, {path: folder}, [])
        machine = Openable(LocalStore(rpdrive.vault), tmp_path / "state", item=item)
        made = machine.backup(Path(path), source=source)
        source.close()
        assert made.point is not None
        points.append(made.point.id.hex())

    wanted = Wanted({old: here.target(new) for old, new in zip(("/dev/sdx", "/dev/sdy"), disks, strict=True)})
    rebuild = plan_rebuild(state(), wanted)
    assert rebuild.refusals == []
    script = tmp_path / "rebuild.sh"
    restores = [Restore("/", points[0]), Restore("/srv", points[1], "/srv")]
    script.write_text(write_script(state(), rebuild, wanted, restores, title="A test."))
    command = tmp_path / "command"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rpdrive "$@"\n')
    command.chmod(0o755)
    environ = rpdrive.environ | {"TARGET": str(target), "RPDRIVE_COMMAND": str(command)}

    def phases(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", script, *args], env=environ, capture_output=True, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    try:
        done = phases("--yes", "--to", "6")
        assert done.returncode == 0, done
        # A phase can run again.
        done = phases("--yes", "--from", "6", "--to", "6")
        assert done.returncode == 0, done
        assert (target / "srv" / "file").read_text() == "data"
        assert os.getxattr(target / "srv" / "file", "user.of") == b"it"
        assert (target / "tool").stat().st_mode & 0o7777 == 0o4755
        lines = (target / "etc" / "fstab").read_text().split("\n")
        assert lines == ["# /dev/sdx is here", f"UUID={uuid(1)} / ext4 defaults 0 1", "/dev/sdxx /x ext4 a 0 0", ""]
        assert "/dev/sdx / " in (target / "etc" / "fstab.before-rebuild").read_text()
        shown = run("dumpe2fs", "-h", disks[0])
        for line in (
            "Filesystem volume name:   the root",
            f"Filesystem UUID:          {uuid(1)}",
            "Block size:               1024",
            "Inode size:\t          128",
            "Reserved block count:     77",
            "Maximum mount count:      33",
            "Errors behavior:          Remount read-only",
            "Default mount options:    journal_data_ordered acl",
        ):
            assert line in shown
        features = next(line for line in shown.split("\n") if line.startswith("Filesystem features:"))
        assert set(features.split()[2:]) - {"needs_recovery"} == set(state().file_systems[0].features)
        told = run("xfs_info", target / "srv")
        assert "isize=1024" in told and "reflink=0" in told
        assert run("blkid", "-s", "UUID", "-o", "value", disks[1]) == uuid(2)
    finally:
        done = phases("--release")
    assert done.returncode == 0, done
    # What the script made may be made again. What somebody else made may not: the plan's --wipe has to allow it.
    done = phases("--yes", "--from", "3", "--to", "3")
    assert done.returncode == 0, done
    run("mke2fs", "-q", "-F", "-t", "ext4", disks[0])
    done = phases("--yes")
    assert done.returncode == 1
    assert f"{disks[0]} is not empty: make the plan again with --wipe to erase it" in done.stderr
