"""Files and folders that somebody swaps while a restore runs: the entry fails, and nothing is given away.

Root restores into folders that others own. Between two openings of a name its owner may put another file or folder
there; what is swapped here stands for that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalog.format.values import NodeKind, Owner
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.restore import file_writer, target
from mount.restore import run as run_module
from mount.restore.disk.posix import PosixDisk
from mount.restore.report import Report
from mount.restore.target import Target
from mount.restore.writer import Writer
from tests.kit.drives import Maker, noise
from tests.kit.restoring import a_point, restore, temporaries
from tests.kit.vaultmaker import open_empty
from tests.mount.restore.test_leftovers import made, one_range, stopped

__all__ = ["made", "one_range"]  # fixtures

pytestmark = pytest.mark.needs_root

BOB = 3000
SWAPPED = "another {} has taken its place since; run the command again"


def reasons(report: Report) -> dict[bytes, str]:
    return {p.path: p.reason for p in report.problems}


def swap(path: Path, there: Path) -> None:
    """What the owner of the folder above may do: `path` leads to `there` from now on."""
    path.rename(path.with_name("moved away"))
    there.rename(path)


@pytest.mark.usefixtures("one_range")
def test_a_continued_file(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was opened again by name when its pieces came: its secret contents went into a file of the attacker's."""
    to, state = tmp_path / "to", tmp_path / "state"
    stopped(made, to, state=state)
    (name,) = temporaries(to)
    write = Writer.write
    seen: list[int] = []

    def late(self: Writer, plan: Any) -> None:
        mine = to / "mine"
        mine.touch(0o666)
        os.chown(mine, BOB, BOB)
        seen.append(os.open(mine, os.O_RDONLY))
        swap(to / name, mine)
        write(self, plan)

    monkeypatch.setattr(Writer, "write", late)
    monkeypatch.setattr(file_writer, "_OPEN_FILES", 0)
    vault, point = made
    report = restore(vault, point, to, permissions=False, state=state)
    assert os.fstat(seen[0]).st_size == 0
    os.close(seen[0])
    assert reasons(report) == {b"large": SWAPPED.format("file")} and report.lost == 1
    assert not (to / "large").exists() and (to / name).stat().st_uid == BOB, "it is not ours to remove"


@pytest.mark.parametrize("swapped", ["another's", "of root's, moved here", "a hard link"])
def test_a_file_that_fell_out_of_the_table(
    swapped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_range: None
) -> None:
    """There is room for 256 open files: the others are opened again by name for each piece."""
    vault, to = open_empty(MemoryStore()), tmp_path / "to"
    maker = Maker(vault)
    root = maker.root([maker.file(b"large", noise(300_000), noise(300_000, 2))])
    (tmp_path / "root's").write_bytes(bytes(600_000))
    (tmp_path / "root's").chmod(0o600)
    open_again = file_writer.FileWriter._again

    def late(self: Any, partial: Any, folder: int) -> Any:
        mine = to / "mine"
        if not (to / "moved away").exists():
            if swapped == "another's":
                mine.touch(0o600)
                os.chown(mine, BOB, BOB)
            elif swapped == "of root's, moved here":
                (tmp_path / "root's").rename(mine)
            else:
                os.link(to / os.fsdecode(partial.temporary), tmp_path / "kept")
                return open_again(self, partial, folder)
            swap(to / os.fsdecode(partial.temporary), mine)
        return open_again(self, partial, folder)

    monkeypatch.setattr(file_writer, "_OPEN_FILES", 0)
    monkeypatch.setattr(file_writer.FileWriter, "_again", late)
    report = restore(vault, a_point(root), to)
    assert reasons(report) == {b"large": SWAPPED.format("file")}
    assert not (to / "large").exists()


def test_many_open_files_are_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without an attacker: nothing is refused."""
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    contents = {b"%d" % n: (noise(70_000, n), noise(80_000, n + 50)) for n in range(8)}
    root = maker.root([maker.folder(b"f%s" % n, [maker.file(b"x", *c)]) for n, c in contents.items()])
    monkeypatch.setattr(file_writer, "_OPEN_FILES", 1)
    monkeypatch.setattr(target, "_OPEN_FOLDERS", 1)
    for permissions in (True, False):
        to = tmp_path / str(permissions)
        report = restore(vault, a_point(root), to, permissions=permissions)
        assert (report.written, report.problems) == (8, [])
        for n, content in contents.items():
            assert (to / f"f{n.decode()}" / "x").read_bytes() == b"".join(content)


def a_folder(vault: Vault) -> Any:
    maker = Maker(vault)
    owner = Owner(BOB, BOB, "bob", "bob")
    inner = [maker.file(b"file", b"contents", owner=owner)]
    return a_point(maker.root([maker.folder(b"pub", inner, owner=owner, mode=0o755, mtime=10**18)]))


def roots_folder(at: Path) -> Path:
    """A folder that only root may enter, and a file in it that only the folder protects."""
    at.mkdir(0o700)
    (at / "key").write_bytes(b"root's secret")
    (at / "key").chmod(0o644)
    return at


def test_a_folder_that_is_finished_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders get their owner at the end, opened again by name: root's own folder was given to the attacker."""
    vault, to = open_empty(MemoryStore()), tmp_path / "to"
    finish = run_module.Restore._finish_folders

    def late(self: Any, at: Target, metadata: Any) -> None:
        swap(to / "pub", roots_folder(to / "root's"))
        at.close_folders()
        finish(self, at, metadata)

    monkeypatch.setattr(run_module.Restore, "_finish_folders", late)
    report = restore(vault, a_folder(vault), to)
    st = (to / "pub").stat()
    assert (st.st_uid, stat.S_IMODE(st.st_mode)) == (0, 0o700) and (to / "pub" / "key").exists()
    assert list(reasons(report)) == [b"pub"] and "another folder has taken its place" in reasons(report)[b"pub"]


def test_a_folder_on_the_way_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, to = open_empty(MemoryStore()), tmp_path / "to"
    write = Writer.write

    def late(self: Writer, plan: Any) -> None:
        swap(to / "pub", roots_folder(to / "root's"))
        self.files._target.close_folders()
        write(self, plan)

    monkeypatch.setattr(Writer, "write", late)
    report = restore(vault, a_folder(vault), to)
    assert {p.path for p in report.problems} == {b"pub", b"pub/file"} and report.written == 0
    assert sorted(os.listdir(to / "pub")) == ["key"] and (to / "pub").stat().st_uid == 0


class Tricked(PosixDisk):
    """Does something after a folder was made, before it is opened."""

    def __init__(self, trick: Callable[[], None]) -> None:
        self.trick = trick

    def mkdir(self, name: bytes, mode: int, *, dir_fd: int | None = None) -> None:  # type: ignore[override]
        os.mkdir(name, mode, dir_fd=dir_fd)
        self.trick()


@pytest.mark.parametrize("whose", ["root's", "bob's", "a symlink"])
def test_a_folder_right_after_it_was_made(tmp_path: Path, whose: str) -> None:
    vault, to = open_empty(MemoryStore()), tmp_path / "to"

    def trick() -> None:
        there = roots_folder(to / "there")
        if whose == "bob's":
            os.chown(there, BOB, BOB)
            there.chmod(0o1700)
        elif whose == "a symlink":
            there.rename(tmp_path / "outside")
            there.symlink_to(tmp_path / "outside")
        swap(to / "pub", there)

    report = restore(vault, a_folder(vault), to, disk=Tricked(trick))
    assert report.written == 0 and report.lost >= 1
    assert sorted(p.name for p in (to / "pub").iterdir()) == ["key"]
    assert (to / "pub").stat().st_uid == (BOB if whose == "bob's" else 0)


def test_a_folder_that_appeared_meanwhile_is_as_one_that_existed(tmp_path: Path) -> None:
    """Somebody else made it after it was looked for: it keeps its owner, mode and time."""
    vault, to = open_empty(MemoryStore()), tmp_path / "to"

    class Late(PosixDisk):
        def mkdir(self, name: bytes, mode: int, *, dir_fd: int | None = None) -> None:  # type: ignore[override]
            roots_folder(to / "pub")
            os.mkdir(name, mode, dir_fd=dir_fd)

    report = restore(vault, a_folder(vault), to, disk=Late())
    assert report.problems == [] and report.written == 1
    assert stat.S_IMODE((to / "pub").stat().st_mode) == 0o700 and (to / "pub").stat().st_uid == 0


@pytest.mark.parametrize("kind", [NodeKind.FIFO, NodeKind.SYMLINK, NodeKind.CHAR_DEVICE])
def test_an_entry_that_must_not_be_opened(kind: NodeKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner was set by name: a file of root's that was moved there was given away."""
    vault, to = open_empty(MemoryStore()), tmp_path / "to"
    maker = Maker(vault)
    content: Any = {NodeKind.SYMLINK: b"somewhere", NodeKind.CHAR_DEVICE: (1, 3)}.get(kind)
    owner = Owner(BOB, BOB, "bob", "bob")
    point = a_point(maker.root([maker.node(b"x", kind, content=content, owner=owner, mode=0o666)]))
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    secret.chmod(0o600)

    class Swapping(PosixDisk):
        def symlink(self, link: bytes, name: bytes, *, dir_fd: int | None = None) -> None:  # type: ignore[override]
            secret.rename(to / os.fsdecode(name))

        def mknod(  # type: ignore[override]
            self, name: bytes, mode: int, device: int, *, dir_fd: int | None = None
        ) -> None:
            secret.rename(to / os.fsdecode(name))

    report = restore(vault, point, to, disk=Swapping())
    st = (to / "x").stat()
    assert (st.st_uid, stat.S_IMODE(st.st_mode)) == (0, 0o600)
    assert "something else has taken its place" in reasons(report)[b"x"]


class Fixed(PosixDisk):
    """A file system without modes (all are 0777), whose server gives everything to one user."""

    def _look(self, st: os.stat_result) -> Any:
        row = [*st[:10]]
        row[0] = stat.S_IFMT(st.st_mode) | 0o777
        row[4] = row[5] = 65534
        return os.stat_result(row, {n: getattr(st, n) for n in ("st_mtime_ns", "st_rdev", "st_atime_ns")})

    def fstat(self, fd: int) -> Any:
        return self._look(os.fstat(fd))

    def lstat(self, name: bytes, *, dir_fd: int | None = None) -> Any:  # type: ignore[override]
        return self._look(os.lstat(name, dir_fd=dir_fd))


def test_file_systems_without_modes_and_owners(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_range: None
) -> None:
    """There, too, folders are made and large files are continued."""
    to, state = tmp_path / "to", tmp_path / "state"
    stopped(made, to, state=state, disk=Fixed())
    assert len(temporaries(to)) == 1
    monkeypatch.setattr(target, "_OPEN_FOLDERS", 0)
    monkeypatch.setattr(file_writer, "_OPEN_FILES", 0)
    vault, point = made
    report = restore(vault, point, to, permissions=False, state=state, disk=Fixed())
    assert report.problems == [] and report.same_bytes >= 500_000
    assert temporaries(to) == []


@pytest.mark.parametrize("renumbers", [True, False])
def test_file_systems_that_give_new_numbers(
    tmp_path: Path, renumbers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vfat and FUSE may give a folder another inode number once it was closed: there, numbers prove nothing."""
    vault, to = open_empty(MemoryStore()), tmp_path / "to"
    numbers = iter(range(10**6))

    class Renumbering(PosixDisk):
        def fstat(self, fd: int) -> Any:
            st = os.fstat(fd)
            names = ("st_mtime_ns", "st_rdev", "st_atime_ns")
            return os.stat_result([st[0], next(numbers), *st[2:10]], {n: getattr(st, n) for n in names})

        @staticmethod
        def renumbers(device: int) -> bool:
            return renumbers

    monkeypatch.setattr(target, "_OPEN_FOLDERS", 0)
    report = restore(vault, a_folder(vault), to, disk=Renumbering())
    assert (report.problems == []) == renumbers


def test_which_file_systems_give_new_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not PosixDisk.renumbers(tmp_path.stat().st_dev)
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"30 1 8:17 / /stick rw - exfat /dev/sdb1 rw\n31 1 0:60 / /far rw - fuse.sshfs far rw\n"
        b"32 1 0:61 / /net rw - nfs4 far:/ rw\n"
    )
    monkeypatch.setattr("catalog.mountinfo.TABLE", table)
    found = {d: PosixDisk.renumbers(os.makedev(*d)) for d in ((8, 17), (0, 60), (0, 61), (9, 9))}
    assert found == {(8, 17): True, (0, 60): True, (0, 61): False, (9, 9): False}
    monkeypatch.setattr("catalog.mountinfo.TABLE", tmp_path / "no such file")
    assert not PosixDisk.renumbers(os.makedev(8, 17))


@pytest.mark.parametrize("finished", [False, True])
def test_a_restore_into_a_setgid_folder_that_was_killed(
    tmp_path: Path, finished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders it had made have the parent's setgid bit: the next run took them for the user's own."""
    vault, to = open_empty(MemoryStore()), tmp_path / "to"
    to.mkdir()
    os.chown(to, 0, 4711)
    to.chmod(0o2775)

    def killed(self: Any, *_args: Any) -> None:
        if finished:  # the owner was set already, and nothing else
            os.chown(to / "pub", BOB, BOB)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run_module.Restore, "_finish_folders", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(vault, a_folder(vault), to)
    assert stat.S_IMODE((to / "pub").stat().st_mode) == 0o3700
    assert restore(vault, a_folder(vault), to).problems == []
    st = (to / "pub").stat()
    assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns) == (0o755, BOB, BOB, 10**18)


def test_one_made_below_a_default_acl_that_takes_bits(tmp_path: Path) -> None:
    """A default ACL may leave a new folder fewer bits than were asked for."""
    from tests.kit.drives import acl

    vault, to = open_empty(MemoryStore()), tmp_path / "to"
    to.mkdir()
    entries = ((1, 5, 0xFFFFFFFF), (2, 7, 4321), (4, 0, 0xFFFFFFFF), (0x10, 7, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))
    os.setxattr(to, "system.posix_acl_default", acl(*entries))
    report = restore(vault, a_folder(vault), to)
    assert report.problems == [] and stat.S_IMODE((to / "pub").stat().st_mode) == 0o755
