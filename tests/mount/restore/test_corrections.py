"""Files whose contents are there: `overwrite` compares their metadata, too, and puts it back."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.format.values import NodeKind, Owner
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.restore.conflict import Policy
from mount.restore.disk.posix import PosixDisk
from mount.restore.report import Report
from tests.kit.drives import Home, Maker, acl
from tests.kit.restoring import a_point, assert_same_attributes, assert_same_trees, restore, temporaries
from tests.kit.sources import every_kind_and_deep
from tests.kit.vaultmaker import open_empty
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_root

ROOT, BOB = Owner(0, 0, "root", "root"), Owner(3000, 3000, "bob", "bob")
MTIME = 1_600_000_000_123_456_789
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
EVIL = acl((1, 7, 2**32 - 1), (2, 7, 4321), (4, 5, 2**32 - 1), (0x10, 7, 2**32 - 1), (0x20, 5, 2**32 - 1))


def a_file(vault: Vault, **fields: Any) -> Any:
    maker = Maker(vault)
    made: dict[str, Any] = {"owner": ROOT, "mode": 0o600} | fields
    return a_point(maker.root([maker.file(b"key", b"secret", **made)]))


def again(vault: Vault, point: Any, to: Path, **options: Any) -> Report:
    report = restore(vault, point, to, policy=Policy.OVERWRITE, **options)
    assert temporaries(to) == []
    return report


def counts(report: Report) -> tuple[int, int, int]:
    """Files that were the same, that got only attributes, that were written."""
    return report.same, report.corrected, report.written


def state(path: Path) -> tuple[int, int, int, int]:
    st = path.lstat()
    return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode), st.st_mtime_ns


def chmod(path: Path) -> None:
    path.chmod(0o777)


def narrow(path: Path) -> None:
    path.chmod(0)


def chown(path: Path) -> None:
    os.chown(path, 65534, 65534)


def chgrp(path: Path) -> None:
    os.chown(path, -1, 65534)


def set_acl(path: Path) -> None:
    os.setxattr(path, "system.posix_acl_access", EVIL)
    path.chmod(0o600)
    os.utime(path, ns=(MTIME, MTIME))


def add_attribute(path: Path) -> None:
    os.setxattr(path, "user.added", b"x")


def add_capability(path: Path) -> None:
    os.setxattr(path, "security.capability", CAPABILITY)


def set_uid(path: Path) -> None:
    path.chmod(0o4755)


def touch(path: Path) -> None:
    os.utime(path, ns=(MTIME // 1000 * 1000, MTIME // 1000 * 1000))  # the same in microseconds


@pytest.mark.parametrize(
    "spoil", [chmod, narrow, chown, chgrp, set_acl, add_attribute, add_capability, set_uid, touch]
)
def test_each_is_put_back(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    """Its size and time were the same, so it was left as it was, exit 0."""
    vault = open_empty(MemoryStore())
    point = a_file(vault, xattrs={b"user.kept": b"value"})
    restore(vault, point, tmp_path)
    path, inode = tmp_path / "key", (tmp_path / "key").stat().st_ino
    spoil(path)
    for policy in (Policy.COPY, Policy.SKIP, Policy.NEWER):
        before = state(path), os.listxattr(path)
        assert counts(restore(vault, point, tmp_path, policy=policy)) == (1, 0, 0)
        assert (state(path), os.listxattr(path)) == before
    dry = again(vault, point, tmp_path, dry_run=True)
    assert [row[1] for row in dry.planned] == ["attributes"] and (state(path), os.listxattr(path)) == before
    assert counts(again(vault, point, tmp_path)) == (0, 1, 0)
    assert state(path) == (0, 0, 0o600, MTIME) and os.listxattr(path) == ["user.kept"]
    assert path.stat().st_ino == inode and path.read_bytes() == b"secret"
    assert counts(again(vault, point, tmp_path)) == (1, 0, 0)


@pytest.mark.parametrize("value", [None, b"other"])
def test_attributes_that_were_lost_or_changed(value: bytes | None, tmp_path: Path) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    large = maker.out_of_line(b"v" * 3000)
    xattrs = {b"user.large": large, b"user.x": b"value"}
    point = a_point(maker.root([maker.file(b"key", b"secret", owner=ROOT, mode=0o600, xattrs=xattrs)]))
    restore(vault, point, tmp_path)
    assert counts(again(vault, point, tmp_path)) == (1, 0, 0)
    for name in ("user.large", "user.x"):
        os.removexattr(tmp_path / "key", name) if value is None else os.setxattr(tmp_path / "key", name, value)
        assert counts(again(vault, point, tmp_path)) == (0, 1, 0)
        assert len(os.getxattr(tmp_path / "key", name)) in (3000, 5)


def test_contents_are_compared_before_anybody_gets_more(tmp_path: Path) -> None:
    """Another owner may have made a file of that size and time: root's rights are not for its contents."""
    vault = open_empty(MemoryStore())
    point = a_file(vault, mode=0o644)
    path = tmp_path / "key"
    path.write_bytes(b"forged")
    os.chown(path, 3000, 3000)
    os.utime(path, ns=(MTIME, MTIME))
    held = os.open(path, os.O_RDWR)
    assert counts(again(vault, point, tmp_path)) == (0, 0, 1)
    assert path.read_bytes() == b"secret" and state(path) == (0, 0, 0o644, MTIME)
    assert os.fstat(held).st_uid == 3000
    os.close(held)
    # Nobody gets more if the mode only becomes narrower.
    path.write_bytes(b"forged")
    path.chmod(0o777)
    os.utime(path, ns=(MTIME, MTIME))
    assert counts(again(vault, point, tmp_path)) == (0, 1, 0) and path.read_bytes() == b"forged"
    path.chmod(0o777)
    os.utime(path, ns=(MTIME, MTIME))
    assert counts(again(vault, point, tmp_path, verify=True)) == (0, 0, 1) and path.read_bytes() == b"secret"


@pytest.mark.parametrize("fields", [{"mode": 0o4755}, {"xattrs": {b"security.capability": CAPABILITY}}])
def test_special_rights_are_for_new_files_only(fields: Any, tmp_path: Path) -> None:
    """Who owned the file may still have it open for writing."""
    vault = open_empty(MemoryStore())
    point = a_file(vault, **fields)
    restore(vault, point, tmp_path)
    inode = (tmp_path / "key").stat().st_ino
    os.chown(tmp_path / "key", 3000, 3000)
    with (tmp_path / "key").open("r+b"):
        assert counts(again(vault, point, tmp_path)) == (0, 0, 1)
        assert (tmp_path / "key").stat().st_ino != inode
    assert counts(again(vault, point, tmp_path)) == (1, 0, 0)


def test_a_file_with_another_name_is_written_anew(tmp_path: Path) -> None:
    """The other name may be in a folder of root's: nothing there is given away."""
    vault = open_empty(MemoryStore())
    point = a_file(vault, owner=BOB, mode=0o644)
    (tmp_path / "to").mkdir()
    precious = tmp_path / "precious"
    precious.write_bytes(b"secret")
    precious.chmod(0o600)
    os.utime(precious, ns=(MTIME, MTIME))
    os.link(precious, tmp_path / "to" / "key")
    assert counts(again(vault, point, tmp_path / "to")) == (0, 0, 1)
    assert state(precious) == (0, 0, 0o600, MTIME) and state(tmp_path / "to" / "key")[0] == 3000


def test_hard_links_stay_linked(tmp_path: Path) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    first = maker.file(b"a", b"secret", owner=ROOT, mode=0o600, link=1, nlink=2)
    names = [first, maker.node(b"b", size=6, content=first.content, owner=ROOT, mode=0o600, link=1, nlink=2)]
    point = a_point(maker.root(names))
    restore(vault, point, tmp_path)
    assert (tmp_path / "a").samefile(tmp_path / "b")
    (tmp_path / "a").chmod(0o777)
    again(vault, point, tmp_path)
    assert (tmp_path / "a").samefile(tmp_path / "b") and state(tmp_path / "b")[2] == 0o600
    assert counts(again(vault, point, tmp_path)) == (2, 0, 0)


@pytest.mark.parametrize("kind", [NodeKind.FIFO, NodeKind.SYMLINK, NodeKind.CHAR_DEVICE])
def test_entries_that_must_not_be_opened(kind: NodeKind, tmp_path: Path) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    content: Any = {NodeKind.SYMLINK: b"somewhere", NodeKind.CHAR_DEVICE: (1, 3)}.get(kind)
    point = a_point(maker.root([maker.node(b"x", kind, content=content, owner=BOB, mode=0o640)]))
    restore(vault, point, tmp_path)
    right = state(tmp_path / "x")
    assert counts(again(vault, point, tmp_path)) == (1, 0, 0)
    os.chown(tmp_path / "x", 0, 0, follow_symlinks=False)
    os.utime(tmp_path / "x", ns=(5, 5), follow_symlinks=False)
    if kind != NodeKind.SYMLINK:
        (tmp_path / "x").chmod(0o666)
    spoilt = state(tmp_path / "x")
    assert [p.action for p in again(vault, point, tmp_path, dry_run=True).planned] == ["attributes"]
    assert state(tmp_path / "x") == spoilt
    assert counts(again(vault, point, tmp_path)) == (0, 1, 0)
    assert state(tmp_path / "x") == right


def test_an_entry_that_was_swapped_since_it_was_looked_at(tmp_path: Path) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    point = a_point(maker.root([maker.node(b"x", NodeKind.FIFO, owner=BOB), maker.file(b"y", b"y", owner=BOB)]))
    restore(vault, point, tmp_path / "to")
    secret = tmp_path / "secret"

    class Swapping(PosixDisk):
        def lstat(self, name: bytes, *, dir_fd: int | None = None) -> Any:  # type: ignore[override]
            st = os.lstat(name, dir_fd=dir_fd)
            if name in (b"x", b"y"):
                secret.write_bytes(b"y")
                secret.chmod(0o600)
                secret.rename(tmp_path / "to" / os.fsdecode(name))
            return st

    report = again(vault, point, tmp_path / "to", disk=Swapping())
    assert sorted(p.path for p in report.problems) == [b"x", b"y"] and report.corrected == 0
    for name in ("x", "y"):
        assert state(tmp_path / "to" / name)[:3] == (0, 0, 0o600)


def test_without_permissions_nothing_is_compared(tmp_path: Path) -> None:
    vault = open_empty(MemoryStore())
    point = a_file(vault)
    restore(vault, point, tmp_path)
    (tmp_path / "key").chmod(0o777)
    assert counts(again(vault, point, tmp_path, permissions=False)) == (1, 0, 0)
    assert state(tmp_path / "key")[2] == 0o777


def test_a_folder_loses_what_was_added(tmp_path: Path) -> None:
    """An ACL that an intruder added to a folder stayed, since only its mode was set."""
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    point = a_point(maker.root([maker.folder(b"f", [maker.file(b"x", b"x", owner=ROOT)], owner=ROOT)]))
    restore(vault, point, tmp_path)
    for name in ("system.posix_acl_access", "system.posix_acl_default"):
        os.setxattr(tmp_path / "f", name, EVIL)
    os.setxattr(tmp_path / "f", "user.added", b"x")
    again(vault, point, tmp_path)
    assert os.listxattr(tmp_path / "f") == [] and state(tmp_path / "f") == (0, 0, 0o755, MTIME)


class Spoilt(Home):
    """Everything there is, restored in place after a `chmod -R` and `chown -R`."""

    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.source, self.before = folder / "source", folder / "before"
        every_kind_and_deep(self.source)
        self.run("backup", self.source)
        subprocess.run(["cp", "-a", self.source, self.before], check=True)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoilt]:
    folder = tmp_path_factory.mktemp("spoilt")
    yield Spoilt(folder)
    shutil.rmtree(folder)


def test_a_whole_tree(spoilt: Spoilt) -> None:
    for command in (["chmod", "-R", "777"], ["chown", "-hR", "nobody"], ["setfacl", "-R", "-b"]):
        subprocess.run([*command, spoilt.source], check=True, capture_output=True)
    path = f"latest:{spoilt.source}"
    listed = spoilt.run("restore", path, "--in-place", "--on-conflict", "overwrite", "--dry-run").stdout
    assert f"attributes {spoilt.source}/small" in listed
    told = json.loads(spoilt.run("restore", path, "--in-place", "--on-conflict", "overwrite", "--json").stdout)
    assert told["only_attributes"] > 10 and told["problem_count"] == 0
    assert_same_trees(spoilt.source, spoilt.before)
    assert_same_attributes(spoilt.source, spoilt.before)
    again = spoilt.run("restore", path, "--in-place", "--on-conflict", "overwrite").stdout
    assert "attributes" not in again and "there already" in again
    (spoilt.source / "small").chmod(0o777)
    assert "1 file: only attributes" in spoilt.run(
        "restore", path, "--in-place", "--on-conflict", "overwrite"
    ).stdout  # fmt: skip


def test_a_user_who_locked_himself_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    """After `chmod -R 644`, nobody but root may enter the folders any more."""
    top = tmp_path_factory.mktemp("locked")
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    inner = [
        maker.file(b"x", b"x", owner=BOB),
        maker.folder(b"deep", [maker.file(b"y", b"y", owner=BOB)], owner=BOB),
    ]
    point = a_point(maker.root([maker.folder(b"f", inner, owner=BOB)]))
    for folder in (top, *top.parents):
        if folder.owner() == "root" and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o711)
    restore(vault, point, top)
    os.chown(top, 3000, 3000)
    subprocess.run(["chmod", "-R", "644", top / "f"], check=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(3000)
            os.setuid(3000)
            code = 0 if restore(vault, point, top, policy=Policy.OVERWRITE).problems == [] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (top / "f").rglob("*")}
    assert found == {"x": 0o644, "deep": 0o755, "y": 0o644}
    assert stat.S_IMODE((top / "f").stat().st_mode) == 0o755
