"""Restores in parts under faults: lost and late workers, damage, targets that are not there, full or in use."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from catalog.errors import FleetFailed, LocalError, RpdriveError
from catalog.format.records import Point
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.fleet.restoring import site
from mount.fleet.restoring.orders import Task
from mount.fleet.restoring.site import Site
from mount.fleet.restoring.spans import Limits
from mount.fleet.restoring.together import DoParts, Ended, TogetherReport
from mount.fleet.restoring.work import look, restore_part
from mount.restore.conflict import Policy
from mount.restore.disk.posix import PosixDisk
from mount.restore.disk.posix_metadata import PosixMetadata
from mount.restore.file_writer import FileWriter
from mount.restore.writer import WRITERS
from tests.kit.drives import Maker, add_point, noise
from tests.kit.restoring import assert_same_trees, restore, temporaries
from tests.kit.seeding import tmpfs
from tests.kit.together import parts_here, together
from tests.kit.vaultmaker import open_empty

FILES = 40  # in each folder
LARGE = (noise(500_000, 1), noise(500_000, 2), noise(500_000, 3))


class Made(NamedTuple):
    vault: Vault
    point: Point
    damaged: str  # the pack of one file


@pytest.fixture(scope="module")
def made() -> Made:
    """Five folders of small files, a large file in each, and a file with a name in each."""
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    folders, damaged = [], ""
    for f in range(5):
        nodes = [maker.file(b"%d" % n, b"%d %d" % (f, n)) for n in range(FILES)]
        if f == 2:
            damaged = maker.data.names[-1]
        nodes.append(maker.file(b"large", *LARGE))
        nodes.append(maker.file(b"linked", *LARGE[:2], link=1, nlink=5))
        folders.append(maker.folder(b"folder %d" % f, nodes))
    root = maker.root(folders)
    maker.trees.finish()
    name = add_point(vault, root, 1)
    return Made(vault, name, damaged)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "LATE", 0.0)
    monkeypatch.setattr(site, "_LOOK_EVERY", 0.0)


@pytest.fixture
def single(made: Made, tmp_path: Path) -> Path:
    restore(made.vault, made.point, tmp_path / "single", permissions=False)
    return tmp_path / "single"


def many(made: Made, to: Path, do: DoParts | None = None, **options: Any) -> TogetherReport:
    limits = Limits(20, 2_000_000)
    return together(made.vault, made.point, to, do=do, limits=limits, **({"permissions": False} | options))


def assert_all(report: TogetherReport, to: Path, single: Path) -> None:
    assert report.problem_count == 0, report.problems
    assert report.written + report.same == 5 * (FILES + 2)
    assert_same_trees(to, single, "--omit-dir-times")
    for f in range(5):
        name = f"folder {f}"
        assert (to / name).stat().st_mtime_ns == (single / name).stat().st_mtime_ns
    assert set(os.listdir(to)) == set(os.listdir(single)) and temporaries(to) == []


def killed_after(vault: Vault, body: bytes, files: int, pieces: int) -> None:
    """Do a part in another process, which is killed when it has written so many files, or pieces of large ones."""
    child = os.fork()
    if child == 0:
        left = [files, pieces]
        one_at_a_time = threading.Lock()

        def counted(call: Callable[..., None], which: int) -> Callable[..., None]:
            def counting(*args: Any) -> None:
                with one_at_a_time:
                    if left[which] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left[which] -= 1
                    call(*args)  # is whole before the next one may kill

            return counting

        FileWriter.write_whole = counted(FileWriter.write_whole, 0)  # type: ignore[method-assign]
        FileWriter.write_piece = counted(FileWriter.write_piece, 1)  # type: ignore[method-assign]
        try:
            restore_part(vault, body, lambda: None)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (0, -signal.SIGKILL)


@pytest.mark.parametrize(("files", "pieces"), [(0, 0), (5, 99), (99, 1), (99, 2), (18, 4)])
def test_killed_workers(made: Made, single: Path, tmp_path: Path, files: int, pieces: int) -> None:
    """Each part's first worker dies in the middle; another does it again. Nothing is left behind."""

    def first(_number: int, body: bytes) -> None:
        killed_after(made.vault, body, files, pieces)

    to = tmp_path / "to"
    assert_all(many(made, to, parts_here(made.vault, first)), to, single)


@pytest.mark.parametrize(
    ("policy", "stage", "part"),
    [
        (Policy.COPY, "_move_into_place", 1),
        (Policy.OVERWRITE, "_move_into_place", 1),
        (Policy.COPY, "set_on_file", 1),  # of a file without a name
        (Policy.COPY, "_begin", 2),  # there is a large file in it
        (Policy.COPY, "_write_whole", 1),
    ],
)
def test_a_late_worker_writes_nothing(
    made: Made, single: Path, tmp_path: Path, policy: Policy, stage: str, part: int
) -> None:
    """It was cut off in the middle of a part, which another did; once the restore has ended, it can't do harm.

    Nor does it make a temporary file, and remove it: a folder's time would tell.
    """
    go, begun, ended = threading.Event(), threading.Event(), []
    late: list[threading.Thread] = []
    unnamed = stage == "set_on_file"
    owner = PosixMetadata if unnamed else FileWriter
    original = getattr(owner, stage)

    def waiting(self: FileWriter | PosixMetadata, *given: Any, **named: Any) -> Any:
        mine = any(self in (writer, writer._metadata) for writer in held)
        if late and threading.current_thread().name.startswith("write") and mine:
            begun.set()
            go.wait(60)
        return original(self, *given, **named)

    held: list[FileWriter] = []
    made_writer = FileWriter.__init__

    def noted(self: FileWriter, *args: Any) -> None:
        made_writer(self, *args)
        if threading.current_thread() in late:
            held.append(self)

    def cut_off(body: bytes) -> None:
        try:
            restore_part(made.vault, body, lambda: None)
        except RpdriveError as e:
            ended.append(e)

    def before(number: int, body: bytes) -> None:
        if number == part:
            thread = threading.Thread(target=cut_off, args=(body,))
            late.append(thread)
            thread.start()
            assert begun.wait(60)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, stage, waiting)
        patched.setattr(FileWriter, "__init__", noted)
        patched.setattr(Site, "has_unnamed", lambda self: unnamed)
        to = tmp_path / "to"
        report = many(made, to, parts_here(made.vault, before), policy=policy)
        assert_all(report, to, single)
        for f in range(5):
            for name in ("1", "2", "39", "large", "linked"):
                (to / f"folder {f}" / name).unlink()  # the user goes on working
        (to / "folder 0" / "21").write_bytes(b"changed")
        wanted = seen(to)
        go.set()
        late[0].join()
    assert seen(to) == wanted
    assert isinstance(ended[0], LocalError) and "has ended" in str(ended[0])


def test_a_file_system_below_without_unnamed_files(
    made: Made, single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the restore has files without names, and one of those that are restored into has not."""
    tried: list[int] = []

    def refused(folder: int, mode: int) -> int:
        tried.append(folder)
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(PosixDisk, "open_unnamed", staticmethod(refused))
    assert_all(many(made, tmp_path / "none", parts_here(made.vault)), tmp_path / "none", single)
    parts = len(tried)  # each has asked once
    monkeypatch.setattr(Site, "has_unnamed", lambda self: True)
    assert_all(many(made, tmp_path / "to", parts_here(made.vault)), tmp_path / "to", single)
    assert len(tried) <= parts * (1 + WRITERS)  # each thread once, at most


def seen(top: Path) -> list[Any]:
    found = []
    for path in sorted(top.rglob("*")):
        st = path.lstat()
        found.append((path, st.st_mode, st.st_size, st.st_mtime_ns, st.st_nlink, st.st_ino))
    return found


def test_two_at_once(made: Made, single: Path, tmp_path: Path) -> None:
    """Every part is done by two workers at the same time."""

    def do(_asks: bytes, parts: Iterable[tuple[int, bytes]]) -> Iterator[Ended]:
        for number, body in parts:
            barrier = threading.Barrier(2)

            def one(body: bytes = body, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                restore_part(made.vault, body, lambda: None)

            with ThreadPoolExecutor(2) as pair:
                for ended in [pair.submit(one) for _ in range(2)]:
                    ended.result()
            yield Ended(number, None)

    to = tmp_path / "to"
    assert_all(many(made, to, do), to, single)


def test_the_one_who_leads_dies(made: Made, single: Path, tmp_path: Path) -> None:
    """In the middle, with workers that die too: the same command goes on with what is there, and cleans up."""
    to = tmp_path / "to"

    def dies(_asks: bytes, parts: Iterable[tuple[int, bytes]]) -> Iterator[Ended]:
        for number, body in parts:
            killed_after(made.vault, body, 99, 2)
            if number == 4:
                raise FleetFailed("the scheduler is gone")
            if number % 2:
                restore_part(made.vault, body, lambda: None)
            if number % 2:
                yield Ended(number, None)

    with pytest.raises((FleetFailed, LocalError)):
        many(made, to, dies)
    (left,) = (name for name in os.listdir(to) if name.startswith(".rpdrive-"))
    assert (to / left).stat().st_mode & 0o777 == 0o700 and temporaries(to)
    report = many(made, to)
    assert_all(report, to, single)
    assert report.same_bytes >= len(LARGE[0])  # of a large file that a killed worker had begun


def test_damage_costs_its_file(made: Made, tmp_path: Path) -> None:
    store = made.vault.store
    assert isinstance(store, MemoryStore)
    whole = store.objects[made.damaged]
    data = bytearray(whole)
    data[len(data) // 4] ^= 1
    store.objects[made.damaged] = bytes(data)
    try:
        wanted = restore(made.vault, made.point, tmp_path / "single", permissions=False)
        report = many(made, tmp_path / "to")
    finally:
        store.objects[made.damaged] = whole
    assert report.problems == wanted.problems and len(report.problems) == 1
    assert (report.lost, report.damaged, report.written) == (1, 1, wanted.written)
    assert temporaries(tmp_path / "to") == []


class Here(NamedTuple):
    vault: Vault
    follow: Any = None


def test_workers_that_do_not_see_the_target(made: Made, tmp_path: Path) -> None:
    """Each is asked before it gets a part, and looks again at each part."""
    to, reasons = tmp_path / "to", []

    def do(asks: bytes, parts: Iterable[tuple[int, bytes]]) -> Iterator[Ended]:
        here = Here(made.vault)
        assert look(here, asks) == b""
        other = msgspec.structs.replace(
            msgspec.msgpack.decode(asks, type=Task), target=os.fsencode(tmp_path / "none")
        )
        (tmp_path / "empty").mkdir()
        for task in (
            other,
            msgspec.structs.replace(other, target=os.fsencode(tmp_path / "empty")),
            msgspec.structs.replace(other, target=os.fsencode(to), token=b"another"),
        ):
            for function in (look, lambda here, body: restore_part(here.vault, body, lambda: None)):
                with pytest.raises(LocalError) as failed:
                    function(here, msgspec.msgpack.encode(task))
                reasons.append(str(failed.value))
        assert not (tmp_path / "none").exists()
        yield from parts_here(made.vault)(asks, parts)

    assert many(made, to, do).problem_count == 0
    assert ["not the one to restore into" in reason for reason in reasons] == [True] * 4 + [False] * 2
    assert "without this worker" in reasons[-1]


@pytest.mark.needs_root
def test_no_room(made: Made, single: Path, tmp_path: Path) -> None:
    """The restore ends with the reason, and goes on once there is room."""
    with tmpfs(tmp_path / "to", "2m") as to:
        with pytest.raises(LocalError, match="No space left"):
            many(made, to)
        subprocess.run(["mount", "-o", "remount,size=64m", to], check=True)
        to.chmod(single.stat().st_mode)
        assert_all(many(made, to), to, single)


def test_the_same_restore_twice_at_once(made: Made, single: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"

    def again(number: int, _body: bytes) -> None:
        if number == 1:
            with pytest.raises(LocalError, match="runs already"):
                many(made, to)

    assert_all(many(made, to, parts_here(made.vault, again)), to, single)


def test_a_symlink_takes_the_place_of_a_folder(made: Made, tmp_path: Path) -> None:
    """Between two parts: nothing is written through it."""
    to, outside = tmp_path / "to", tmp_path / "outside"
    outside.mkdir()

    def swapped(number: int, _body: bytes) -> None:
        if number == 1:
            shutil.rmtree(to / "folder 0")
            (to / "folder 0").symlink_to(outside)

    many(made, to, parts_here(made.vault, swapped))
    assert os.listdir(outside) == []


def test_a_linked_file_that_was_changed_by_one_of_its_names(made: Made, single: Path, tmp_path: Path) -> None:
    """Its other names do not get what somebody has written into it meanwhile."""
    to = tmp_path / "to"

    def changed(number: int, _body: bytes) -> None:
        linked = to / "folder 0" / "linked"
        if linked.exists() and linked.stat().st_nlink == 2:
            linked.write_bytes(b"changed")

    many(made, to, parts_here(made.vault, changed))
    assert (to / "folder 0" / "linked").read_bytes() == b"changed"
    for f in range(1, 5):
        assert (to / f"folder {f}" / "linked").read_bytes() == b"".join(LARGE[:2])
