"""Entries of a source that are odd in one way: the others are saved, and so are these as far as can be."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backup import walk
from backup.run import Result
from backup.systems import posix
from backup.systems.posix import PosixSystem
from catalog.format.blocks import PackKind, encode_frame
from catalog.format.message import MAX_ENTRIES
from catalog.format.packs import PackBuilder
from catalog.format.records import Root
from catalog.format.values import TOTAL_MAX, Totals
from catalog.store.memory import MemoryStore
from tests.kit.protected import Protected
from tests.kit.recorded import Seen

YEAR_1, YEAR_1600, YEAR_3000, YEAR_12000, YEAR_3170843 = (
    -62135596800,
    -11676096000,
    32503680000,
    316516204800,
    10**14,
)
TIME = "its time is beyond the years 1677 to 2554: saved with the nearest one"


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


@pytest.fixture
def roomy() -> Iterator[Path]:
    """A folder on tmpfs, which takes times and sizes of 64 bits, with one file."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / "good").write_bytes(b"precious")
        yield Path(folder)


def reasons(outcome: Result, folder: Path) -> dict[str, str]:
    own = os.fsencode(folder).strip(b"/")
    return {os.fsdecode(p.path.removeprefix(own).lstrip(b"/")): p.reason for p in outcome.problems}


def saved(machine: Protected, outcome: Result, folder: Path) -> dict[bytes, Seen]:
    assert outcome.point is not None
    return machine.snapshot(outcome.point, folder).entries


# --- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", [YEAR_1, YEAR_1600, YEAR_3000, YEAR_12000, YEAR_3170843])
def test_times_beyond_64_bits(machine: Protected, roomy: Path, year: int) -> None:
    odd, folder = roomy / "odd", roomy / "folder"
    odd.write_bytes(b"x")
    folder.mkdir()
    for path in (odd, folder):
        subprocess.run(["touch", "-d", f"@{year}", path], check=True)
    time.sleep(0.03)
    first = machine.backup(roomy)
    nearest = 2**64 - 1 if year > 0 else -(2**63)
    entries = saved(machine, first, roomy)
    assert entries.keys() == {b"good", b"odd", b"folder"}
    assert (entries[b"odd"].mtime, entries[b"folder"].mtime) == (nearest, nearest)
    assert reasons(first, roomy) == {"odd": TIME, "folder": TIME}
    second = machine.backup(roomy)  # it is said of each point, and the file isn't read again
    assert reasons(second, roomy) == {"odd": TIME, "folder": TIME}
    assert (second.progress.changed, second.progress.read_files) == (0, 0)


def test_sums_of_sizes_beyond_64_bits(machine: Protected, roomy: Path) -> None:
    for name in ("a", "b", "c"):
        with (roomy / name).open("wb") as file:
            file.truncate(2**63 - 1)
    outcome = machine.backup(roomy)
    assert outcome.problems == []
    assert outcome.point is not None
    assert (outcome.point.totals.files, outcome.point.totals.bytes) == (4, TOTAL_MAX)
    assert machine.backup(roomy, dry=True).totals.bytes == TOTAL_MAX
    assert machine.backup(roomy).progress.changed == 0


def test_totals_do_not_pass_64_bits() -> None:
    most = Totals(1, 1, TOTAL_MAX, 0)
    assert most.plus(Totals(1, 1, 0, 0)) == Totals(2, 2, TOTAL_MAX, 0)
    assert most.plus(Totals(1, 1, 1, 1)) == Totals(2, 2, TOTAL_MAX, 1)


@pytest.mark.parametrize("field", ["entries", "files", "xattrs"])
def test_counts_that_another_machine_wrote_do_not_pass_theirs(field: str) -> None:
    forged = Totals(0, 0, 0, 0)._replace(**{field: MAX_ENTRIES})
    assert forged.plus(Totals(3, 2, 5, 1)) == Totals(3, 2, 5, 1)._replace(**{field: MAX_ENTRIES})


@pytest.mark.parametrize("number", ["st_size", "st_ino", "st_nlink"])
def test_numbers_that_no_page_holds(
    machine: Protected, roomy: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    class Odd:
        def __init__(self, st: os.stat_result) -> None:
            self._st = st

        def __getattr__(self, name: str) -> Any:
            return 2**64 if name == number else getattr(self._st, name)

    status, file_status = PosixSystem.status, PosixSystem.file_status

    def odd(name: bytes, folder: int) -> Any:
        st = status(name, folder)
        return Odd(st) if name == b"odd" else st

    (roomy / "odd").symlink_to("nowhere")
    monkeypatch.setattr(PosixSystem, "status", staticmethod(odd))
    outcome = machine.backup(roomy)
    assert file_status is PosixSystem.file_status
    assert saved(machine, outcome, roomy).keys() == {b"good"}
    assert "out of range" in reasons(outcome, roomy)["odd"]


# --- exceptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        OverflowError("too large"),
        ValueError("embedded null byte"),
        struct.error("short"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        KeyError(0o150000),
        OSError(5, "Input/output error"),
        OSError("no number"),
        RuntimeError("\udcff"),
    ],
    ids=lambda e: f"{type(e).__name__}-{len(e.args)}",
)
@pytest.mark.parametrize("where", ["status", "node", "xattrs", "readlink", "open_file", "folder"])
def test_an_exception_of_one_entry_costs_that_entry(
    machine: Protected, roomy: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    for name in ("a", "z"):
        (roomy / name).mkdir()
        (roomy / name / "file").touch()
    if where == "folder":
        (roomy / "odd").mkdir()
        (roomy / "odd" / "below").touch()
    elif where == "open_file":
        (roomy / "odd").touch()
    else:
        (roomy / "odd").symlink_to("a")
    method = "node" if where == "folder" else where
    original = getattr(PosixSystem, method)

    def fails(*args: Any) -> Any:
        if b"odd" in args:
            raise error
        return original(*(args if method in ("node", "open_file") else args[1:]))

    first = machine.backup(roomy)
    assert first.problems == []
    os.utime(roomy / "odd", ns=(1, 1), follow_symlinks=False)
    monkeypatch.setattr(PosixSystem, method, fails)
    outcome = machine.backup(roomy)
    found = saved(machine, outcome, roomy)
    assert reasons(outcome, roomy).keys() == {"odd"}
    assert found.keys() - {b"odd"} == {b"a", b"a/file", b"good", b"z", b"z/file"}
    p = outcome.progress
    assert p.new + p.changed + p.unchanged == outcome.totals.entries
    monkeypatch.undo()
    machine.checked(roomy)


def test_a_failed_upload_is_no_fault_of_an_entry(
    machine: Protected, roomy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever error the store's code raises, and whoever catches it first, nothing is committed."""
    create = MemoryStore.create

    def broken(store: MemoryStore, name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("packs/"):
            raise ValueError("a fault of the store's code")
        return create(store, name, *args, **options)

    for n in range(40):
        (roomy / f"large-{n}").write_bytes(os.urandom(1 << 20))
    monkeypatch.setattr(MemoryStore, "create", broken)
    with pytest.raises(ValueError, match="a fault of the store's code"):
        machine.backup(roomy)
    assert list(machine.vault.point_names(partial=True)) == []


def test_a_name_that_is_listed_twice(machine: Protected, roomy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when it is renamed while the folder is listed."""
    names = PosixSystem.names
    monkeypatch.setattr(PosixSystem, "names", staticmethod(lambda folder: sorted(list(names(folder)) * 2)))
    (roomy / "folder").mkdir()
    for _ in range(2):
        machine.checked(roomy)


def test_a_page_of_nested_arrays_in_the_previous_point(machine: Protected, roomy: Path) -> None:
    """It is damaged, and everything is read again. Python's limit of recursion stays what it is."""
    point = machine.backup(roomy).point
    assert point is not None
    vault, enc = machine.vault, msgspec.msgpack.encode
    page = b"\x94\x90\x91" + enc([0, 0, "", ""]) + b"\x90\x91\x9d" + enc(b"a") + b"\0" * 9
    page += b"\x91" * 50_000 + b"\0" + b"\xff\xc0"
    pack = PackBuilder(vault.keys, PackKind.TREE, point.machine)
    chunk = vault.keys.chunk_id(page)
    row = pack.add(encode_frame(page), [len(page)], chunk)
    vault.store.create(pack.name, pack.finish())
    root = Root(0, pack.id, row.offset, row.stored, 0, len(page), chunk, Totals(1, 1, 0, 0))
    forged = msgspec.structs.replace(
        point, id=os.urandom(16), sequence=2, previous=point.id, time=point.time + 10**9, root=root
    )
    vault.add_point(forged)
    limit = sys.getrecursionlimit()
    outcome = machine.backup(roomy)
    assert sys.getrecursionlimit() == limit
    assert [p.reason.split(" (")[0] for p in outcome.problems] == ["the tree of the previous point can't be used"]
    assert saved(machine, outcome, roomy).keys() == {b"good"}


# --- files that are hard to read ----------------------------------------------------------------------------------


def test_a_file_of_proc_is_read_to_its_end(machine: Protected) -> None:
    """Its size is said to be 0."""
    path = Path("/proc/version")
    outcome = machine.backup(path)
    assert outcome.problems == []
    assert saved(machine, outcome, path.parent)[b"version"].content[1] == len(path.read_bytes()) > 0


@pytest.mark.parametrize("size", [27, 300_000, 9_000_000])
def test_a_file_that_says_it_is_empty(
    machine: Protected, roomy: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """As documents of FUSE file systems that don't know sizes."""
    (roomy / "untold").write_bytes(os.urandom(size))
    inode = (roomy / "untold").stat().st_ino

    def told(st: os.stat_result) -> os.stat_result:
        if st.st_ino != inode:
            return st
        return os.stat_result((*st[:6], 0, *st[7:]), {"st_blocks": 0, "st_nlink": st.st_nlink} | _times(st))

    status, file_status = PosixSystem.status, PosixSystem.file_status
    monkeypatch.setattr(PosixSystem, "status", staticmethod(lambda name, at: told(status(name, at))))
    monkeypatch.setattr(PosixSystem, "file_status", staticmethod(lambda file: told(file_status(file))))
    outcome = machine.backup(roomy)
    assert outcome.problems == []
    monkeypatch.undo()
    assert saved(machine, outcome, roomy)[b"untold"].content[1] == size
    machine.checked(roomy)


def _times(st: os.stat_result) -> dict[str, int]:
    return {"st_mtime_ns": st.st_mtime_ns, "st_ctime_ns": st.st_ctime_ns, "st_atime_ns": st.st_atime_ns}


LEASE = """
    import fcntl, os, signal, sys, time
    def give_back(*_args): fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    signal.signal(signal.SIGIO, give_back)
    file = os.open(sys.argv[1], os.O_RDWR)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    print("leased", flush=True)
    while True: time.sleep(60)
"""


@pytest.fixture
def leased(roomy: Path) -> Iterator[Path]:
    """A file on which a program has a lease, as Samba has; it gives it back when it is asked to."""
    path = roomy / "leased"
    path.write_bytes(b"open at a client")
    holder = subprocess.Popen([sys.executable, "-c", textwrap.dedent(LEASE), path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"leased\n"
    yield path
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()


def test_a_leased_file_is_waited_for(machine: Protected, roomy: Path, leased: Path) -> None:
    outcome = machine.backup(roomy)
    assert reasons(outcome, roomy) == {}
    assert saved(machine, outcome, roomy)[b"leased"].content[1] == leased.stat().st_size


def test_leases_are_not_waited_for_without_end(
    machine: Protected, roomy: Path, leased: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posix, "_LEASES", 0.0)
    outcome = machine.backup(roomy)
    assert reasons(outcome, roomy) == {leased.name: "it can't be read: Resource temporarily unavailable"}


def test_a_fifo_in_the_place_of_a_leased_file(roomy: Path) -> None:
    os.mkfifo(roomy / "fifo")
    at = os.open(roomy, os.O_RDONLY)
    refusal = BlockingIOError(11, "Resource temporarily unavailable")
    with pytest.raises(BlockingIOError):
        PosixSystem()._open_leased(b"fifo", at, refusal)
    os.close(at)


# --- folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 10_000])
def test_an_attribute_of_a_folder_above_the_given_path(machine: Protected, roomy: Path, size: int) -> None:
    below = roomy / "above" / "given"
    below.mkdir(parents=True)
    (below / "file").touch()
    time.sleep(0.03)
    machine.backup(below)
    for value in (os.urandom(size), os.urandom(size), None):
        if value is None:
            os.removexattr(below.parent, "user.note")
        else:
            os.setxattr(below.parent, "user.note", value)
        outcome = machine.backup(below)
        assert outcome.progress.changed == 1
        entry = saved(machine, outcome, roomy)[b"above"]
        assert entry.xattrs == ({} if value is None else {b"user.note": value})
        assert machine.backup(below).progress.changed == 0


def nested(top: Path, levels: int) -> None:
    at = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 255, dir_fd=at)
        below = os.open("d" * 255, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


def test_a_walk_is_not_endlessly_deep(machine: Protected, roomy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_DEPTH", 20)
    nested(roomy, 30)
    outcome = machine.backup(roomy)
    (reason,) = reasons(outcome, roomy).values()
    assert reason == "its contents are not saved: it lies below 20 folders"
    found = saved(machine, outcome, roomy)
    assert b"good" in found
    assert max(path.count(b"/") for path in found) + len(roomy.parts) == 21
    subprocess.run(["rm", "-rf", roomy / ("d" * 255)], check=True)


def test_memory_does_not_grow_with_the_square_of_the_depth(machine: Protected, roomy: Path) -> None:
    """With a path for each of 1,200 folders it would be 180 MB."""
    nested(roomy, 1200)
    machine.backup(roomy / "good")
    machine.item = "deep"
    tracemalloc.start()
    try:
        outcome = machine.backup(roomy, dry=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    subprocess.run(["rm", "-rf", roomy / ("d" * 255)], check=True)
    assert outcome.problems == []
    assert outcome.totals.entries > 1200
    assert peak < 20 << 20
