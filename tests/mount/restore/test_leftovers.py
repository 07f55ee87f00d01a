"""Temporary files: continued or removed by the same restore run again; nobody else's file is taken for one."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.errors import StoreUnreachable
from catalog.format.records import Point
from catalog.format.values import NodeKind
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.restore.disk.posix_metadata import PosixMetadata
from mount.restore.disk.this import THIS_DISK
from mount.restore.target import mark_in, temporary_name
from mount.restore.temporary_names import TemporaryNames
from mount.restore.unfinished import UnfinishedJob
from tests.kit.drives import Maker, noise
from tests.kit.restoring import a_point, restore, temporaries
from tests.kit.vaultmaker import open_empty
from tests.mount.restore.test_counts import GoneAfterStore

KEY = bytes(range(32))
LOOKS_LIKE_OURS = os.fsdecode(temporary_name(bytes(8), bytes(8)))
LARGE = (noise(500_000, 1), noise(500_000, 2))


@pytest.fixture(scope="module")
def made() -> tuple[Vault, Point]:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    inner = [maker.file(b"small", b"small")]
    nodes = [maker.folder(b"docs", inner), maker.file(b"large", *LARGE)]
    return vault, a_point(maker.root(nodes))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def stopped(made: tuple[Vault, Point], to: Path, **options: Any) -> None:
    """A restore that ends after two blocks: the small file, and the first piece of the large one."""
    vault, point = made
    working = vault.store
    vault.store = GoneAfterStore(working, 2)
    try:
        with pytest.raises(StoreUnreachable):
            restore(vault, point, to, permissions=False, **options)
    finally:
        vault.store = working


@pytest.fixture
def one_range(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is read beyond a block: a file of two pieces takes two requests, one after the other."""
    monkeypatch.setattr("mount.restore.plan.MOST", 1)
    monkeypatch.setattr("mount.restore.writer.FETCHERS", 1)
    yield


pytestmark = pytest.mark.usefixtures("one_range")


def test_the_same_restore_continues_and_removes(made: tuple[Vault, Point], tmp_path: Path, state: Path) -> None:
    to = tmp_path / "to"
    stopped(made, to, state=state)
    assert len(temporaries(to)) == 1 and len(list((state / "restores").iterdir())) == 1
    (job,) = (bytes.fromhex(p.name) for p in (state / "restores").iterdir())
    left = TemporaryNames.of(made[0].keys, job).numbered(7)
    (to / "docs" / os.fsdecode(left)).write_bytes(b"half a file")
    (to / "docs" / os.fsdecode(TemporaryNames.of(made[0].keys, job).numbered(8))).symlink_to("half a link")
    report = restore(*made, to, permissions=False, state=state)
    assert (report.problem_count, report.same_bytes >= 500_000) == (0, True)
    assert (to / "large").read_bytes() == b"".join(LARGE)
    assert temporaries(to) == [] and list((state / "restores").iterdir()) == []


@pytest.mark.parametrize("kind", [NodeKind.SYMLINK, NodeKind.FIFO])
def test_a_link_or_fifo_of_a_killed_restore(
    kind: NodeKind, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had its final name before its time: the same restore, run again, took it for complete."""

    class Killed(BaseException):
        pass

    def killed(self: PosixMetadata, *args: object, **options: object) -> None:
        raise Killed

    vault, to = open_empty(MemoryStore()), tmp_path / "to"
    maker = Maker(vault)
    point = a_point(
        maker.root([maker.node(b"x", kind, content=b"somewhere" if kind is NodeKind.SYMLINK else None)])
    )
    restore(vault, point, tmp_path / "right", state=state)
    with monkeypatch.context() as patched:
        patched.setattr(PosixMetadata, "set_on_name", killed)
        with pytest.raises(Killed):
            restore(vault, point, to, state=state)
    assert restore(vault, point, to, state=state).problem_count == 0
    (x,), right = to.iterdir(), (tmp_path / "right" / "x").lstat()
    found = x.lstat()
    assert (found.st_mtime_ns, found.st_mode) == (right.st_mtime_ns, right.st_mode)


def test_a_file_that_looks_like_ours_is_left_alone(made: tuple[Vault, Point], tmp_path: Path, state: Path) -> None:
    """A file of the user's was deleted, by any restore into its folder."""
    to = tmp_path / "to"
    restore(*made, to, permissions=False, state=state)
    other = TemporaryNames.of(made[0].keys, bytes(16)).numbered(1)  # of a job that this machine has no record of
    for name in (LOOKS_LIKE_OURS, os.fsdecode(other), f".rpdrive-{'0' * 16}-{'1' * 8}.part"):
        (to / name).write_bytes(b"mine")
        (to / "docs" / name).write_bytes(b"mine")
    for policy in ("copy", "overwrite"):
        restore(*made, to, permissions=False, state=state, policy=policy)
    assert len(temporaries(to)) == 6


def test_another_restore_takes_nothing_of_it(made: tuple[Vault, Point], tmp_path: Path, state: Path) -> None:
    """Of other paths, into another folder, or while the first one runs."""
    to = tmp_path / "to"
    stopped(made, to, state=state)
    left = temporaries(to)
    restore(*made, to, b"docs", permissions=False, state=state)
    (to / "docs" / left[0]).write_bytes(b"copied here")
    restore(*made, tmp_path / "else", permissions=False, state=state)
    (record,) = (state / "restores").iterdir()
    fd = os.open(record, os.O_RDONLY)
    THIS_DISK.lock(fd)
    restore(*made, to, permissions=False, state=state)
    assert left[0] in temporaries(to) and (to / "docs" / left[0]).exists()
    os.close(fd)
    (to / "large").unlink()
    restore(*made, to, permissions=False, state=state)
    assert temporaries(to) == []


def test_an_entry_of_the_point_is_no_leftover(tmp_path: Path, state: Path) -> None:
    """A backup may have saved what a restore left: restored, it is a file like any other."""
    vault = open_empty(MemoryStore())
    plain = Maker(vault)
    first = a_point(plain.root([plain.file(b"a", b"small"), plain.file(b"large", *LARGE)]))
    to = tmp_path / "to"
    stopped((vault, first), to, state=state)
    (name,) = temporaries(to)
    maker = Maker(vault)
    both = [maker.file(b"large", *LARGE), maker.file(os.fsencode(name), b"saved by a backup")]
    (to / name).unlink()
    (to / name).write_bytes(b"saved by a backup")
    os.utime(to / name, ns=(0, 1_600_000_000_123_456_789))
    report = restore(vault, a_point(maker.root(both)), to, permissions=False, state=state)
    assert (report.same, report.written, report.problem_count) == (1, 1, 0)
    assert (to / name).read_bytes() == b"saved by a backup" and (to / "large").read_bytes() == b"".join(LARGE)


@pytest.mark.parametrize("spoilt", ["linked", "readable", "another's", "a fifo", "of another size"])
def test_a_leftover_that_others_could_use_is_not_continued(
    made: tuple[Vault, Point], tmp_path: Path, state: Path, spoilt: str
) -> None:
    to = tmp_path / "to"
    stopped(made, to, state=state)
    (name,) = temporaries(to)
    part = to / name
    if spoilt == "linked":
        os.link(part, tmp_path / "kept")
    elif spoilt == "readable":
        part.chmod(0o666)
    elif spoilt == "another's":
        if os.geteuid():
            pytest.fail("this test needs root")
        os.chown(part, 3000, 3000)
    elif spoilt == "a fifo":
        part.unlink()
        os.mkfifo(part)
    else:
        os.truncate(part, 5)
    report = restore(*made, to, state=state, permissions=False)
    assert report.same_bytes == len(b"small")
    assert (to / "large").read_bytes() == b"".join(LARGE) and (to / "large").stat().st_nlink == 1
    assert temporaries(to) == []


def test_a_state_folder_that_cannot_be_written(made: tuple[Vault, Point], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    report = restore(*made, tmp_path / "to", permissions=False, state=tmp_path / "file" / "state")
    assert (report.written, report.problem_count) == (2, 0)


def test_records_are_bounded_and_garbled_ones_go(tmp_path: Path, state: Path) -> None:
    folder = state / "restores"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_bytes(b"not a record")
    (folder / ("ab" * 16)).write_bytes(b"{")
    for n in range(120):
        job = UnfinishedJob(THIS_DISK, state, bytes(16), os.fsencode(tmp_path), [f"/{n}"])
        job.close(complete=False)
    last = UnfinishedJob(THIS_DISK, state, bytes(16), os.fsencode(tmp_path), ["/119"])
    assert len(last.earlier) == 1
    assert not (folder / ("ab" * 16)).exists() and (folder / "notes.txt").exists()
    assert len(list(folder.iterdir())) <= 103
    last.close(complete=True)


@pytest.mark.parametrize("path", [b"/caf\xe9", "/Ünïcode".encode()])
def test_any_target_can_be_recorded(tmp_path: Path, state: Path, path: bytes) -> None:
    job = UnfinishedJob(THIS_DISK, state, bytes(16), os.fsencode(tmp_path) + path, ["/x"])
    job.close(complete=False)
    again = UnfinishedJob(THIS_DISK, state, bytes(16), os.fsencode(tmp_path) + path, ["/x"])
    assert again.earlier == [job.id]
    again.close(complete=True)
    assert list((state / "restores").iterdir()) == []


def test_names_show_who_made_them() -> None:
    ours, theirs = TemporaryNames(KEY), TemporaryNames(bytes(32))
    names = [ours.name(bytes(8)), ours.numbered(1), ours.numbered(1, helper=True), ours.numbered(2)]
    assert len(set(names)) == 4
    for name in names:
        assert ours.made(name) and not theirs.made(name)
        for at in range(len(name)):
            assert not ours.made(name[:at] + bytes([name[at] ^ 1]) + name[at + 1 :])
        assert not ours.made(name + b"x") and not ours.made(name[:-1])
    assert mark_in(b".rpdrive-" + b"z" * 16 + b"-" + b"0" * 16 + b".part") is None
    assert mark_in(b"") is None


def test_tests_can_count_on_two_requests(made: tuple[Vault, Point], tmp_path: Path) -> None:
    """`stopped` leaves exactly one piece: the large file takes a request for each."""
    vault, point = made
    counted = itertools.count()

    class Counting(GoneAfterStore):
        def _pass_on(self, request: Any, call: Any) -> Any:
            if request.name.startswith("packs/"):
                next(counted)
            return call()

    working = vault.store
    vault.store = Counting(working, 0)
    try:
        restore(vault, point, tmp_path, b"large", permissions=False)
    finally:
        vault.store = working
    assert next(counted) == 2


def test_a_record_is_private(made: tuple[Vault, Point], tmp_path: Path, state: Path) -> None:
    stopped(made, tmp_path / "to", state=state)
    (record,) = (state / "restores").iterdir()
    assert stat.S_IMODE(record.stat().st_mode) == 0o600 and stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    told = msgspec.json.decode(record.read_bytes())
    assert told["target"] == str(tmp_path / "to") and told["vault"] == made[0].id.hex()
