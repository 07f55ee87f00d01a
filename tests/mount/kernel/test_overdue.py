"""A request that nothing answers in time fails, is logged with the stacks of all threads, and is counted."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cache.reader import Reader
from catalog.errors import AccessDenied, StoreUnreachable
from catalog.store.memory import MemoryStore
from mount.drivers import errors as drive_errors
from mount.drivers.ages import Ages, time_limit
from mount.drivers.errors import Errors, FailedReads
from mount.drivers.kernel.protocol import READ_IN, Op
from mount.drivers.kernel.waiting import THREADS, Current, Request, Waiting
from mount.view.point import PointView
from tests.kit.drives import Home, Maker, add_machine, add_point, eventually, noise
from tests.kit.kernel import Kernel
from tests.kit.vaults import make_vault, new_vault

CONTENT = noise(300_000)
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, ALL = 0x4206, 0x4207, 17, 0x40000000


# --- a real drive ---------------------------------------------------------------------------------------------


@contextmanager
def stopped(thread: int) -> Iterator[None]:
    """Stop one thread of another process, as a debugger does."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        assert libc.ptrace(request, thread, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(thread, ALL)
    try:
        yield
    finally:
        libc.ptrace(PTRACE_DETACH, thread, None, None)


def serving(home: Home) -> int | None:
    """The thread of the drive that serves the only request that waits."""
    oldest = home.mounts()[0]["driver"]["oldest"]
    return oldest[0]["thread"] if oldest else None


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Folders whose trees lie in packs of their own, and a file."""
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    folders = []
    for n in range(2):
        far = Maker(vault)
        inside = far.root([far.node(b"name", content=[])])
        folders.append(m.folder(b"folder %d" % n, [], content=inside))
    add_point(vault, m.root([*folders, m.file(b"file", CONTENT)]), 1)
    home = Home(tmp_path, tmp_path / "vault")
    yield home
    home.close()


@pytest.mark.needs_fuse
@pytest.mark.needs_root
def test_a_thread_that_is_stopped_costs_an_error_and_no_more(home: Home) -> None:
    drive = home.mount("--point", "latest", "--driver", "kernel", "--read-timeout", "10")
    assert sorted(os.listdir(drive)) == ["file", "folder 0", "folder 1"]
    (row,) = home.mounts()
    assert (row["overdue"], row["driver"]["waiting"], row["driver"]["oldest"]) == (0, 0, [])
    home.vault.rename(home.folder / "away")
    with subprocess.Popen(["ls", drive / "folder 0"], stderr=subprocess.PIPE, text=True) as lists:
        eventually(lambda: serving(home) is not None, "a thread serves it")
        thread = serving(home)
        assert thread is not None
        with stopped(thread):
            assert "Input/output error" in lists.communicate(timeout=120)[1]
            (home.folder / "away").rename(home.vault)
            assert os.listdir(drive / "folder 1") == ["name"]
            assert (drive / "file").read_bytes() == CONTENT
    (row,) = home.mounts()
    assert (row["errors"], row["overdue"], row["driver"]["waiting"]) == (1, 1, 0)
    assert [(e["kind"], e["path"]) for e in row["recent_errors"]] == [("Overdue", "/folder 0")]
    log = next((home.folder / "home" / "state" / "logs").iterdir())
    text = log.read_text()
    assert text.count("had no answer within") == 1 and "Thread answer" in text and "Thread MainThread" in text
    assert "in _serve" in text and "Thread overdue" in text
    shown = home.run("mounts").stdout
    assert shown.endswith(f"1 request of {drive} had no answer in time; the drive's log says why: {log}\n")
    assert os.listdir(drive / "folder 0") == ["name"]
    home.run("unmount", drive)


@pytest.mark.needs_fuse
def test_a_read_that_fails_waits_once(tmp_path: Path, driver: str) -> None:
    """The kernel asks for the page again when its read ahead failed."""
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", CONTENT), m.file(b"other", CONTENT)]), 1)
    home = Home(tmp_path, tmp_path / "vault")
    try:
        drive = home.mount("--point", "latest", "--read-timeout", "1")
        assert len(os.listdir(drive)) == 2
        home.vault.rename(home.folder / "away")
        for n in range(1, 3):
            with pytest.raises(OSError, match="Input/output error"):
                (drive / "file").read_bytes()
            (row,) = home.mounts()
            assert (row["errors"], row["overdue"]) == (n, 0), row["recent_errors"]
        (home.folder / "away").rename(home.vault)
        assert (drive / "file").read_bytes() == CONTENT
    finally:
        home.close()


# --- without the kernel ---------------------------------------------------------------------------------------


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    vault = new_vault(MemoryStore())
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", CONTENT)]), 1)
    reader = Reader(vault)
    view = PointView(reader, vault.point(vault.point_names()[0]))
    kernel = Kernel(view, reader, read_timeout=0.4)
    yield kernel
    kernel.session.close()
    reader.close()


@contextmanager
def stuck(kernel: Kernel, op: Op, *, always: bool = False) -> Iterator[threading.Event]:
    """Requests of one kind do not come back, `always` or only in threads that may wait."""
    ends = threading.Event()
    handler = kernel.session._handlers[op]

    def handle(*request: Any) -> None:
        if always or not kernel.session._reader.must_not_wait():
            ends.wait()
        handler(*request)

    kernel.session._handlers[op] = handle
    try:
        yield ends
    finally:
        ends.set()
        kernel.session._handlers[op] = handler


def test_each_request_that_is_stuck_fails_and_others_are_served(kernel: Kernel) -> None:
    """More of them than there are threads: for each that is stuck, another is started."""
    with stuck(kernel, Op.LOOKUP) as ends:
        for n in range(2 * THREADS):
            unique = kernel.tell(Op.LOOKUP, 1, b"file\0")
            assert kernel.receive(unique).error == errno.EIO
            assert kernel.session.errors.overdue == n + 1
        assert kernel.ask(Op.GETATTR, 1).error == 0
        ends.set()
    node_id, answer = kernel.lookup(1, b"file")
    assert answer.error == 0 and kernel.read(node_id, 0, 1000).body == CONTENT[:1000]
    eventually(lambda: len(kernel.session.waiting._threads) <= THREADS, "the surplus threads end")
    assert kernel.session.errors.overdue == 2 * THREADS and len(kernel.session.waiting) == 0


def test_a_stuck_reading_thread_fails_its_request_and_then_the_drive(kernel: Kernel) -> None:
    aborted = threading.Event()
    kernel.session._abort = aborted.set
    kernel.session.waiting.watch()
    with stuck(kernel, Op.STATFS, always=True):
        asking = threading.Thread(target=kernel.tell, args=(Op.STATFS, 1))
        asking.start()
        assert kernel.receive(2).error == errno.EIO
        assert aborted.wait(60)
    asking.join()
    assert kernel.session.errors.overdue == 2
    assert kernel.nothing_more()


def test_a_read_that_failed_fails_again_at_once_and_then_waits(kernel: Kernel) -> None:
    node_id, _answer = kernel.lookup(1, b"file")
    with stuck(kernel, Op.READ):
        body = READ_IN.pack(0, 0, 65536, 0, 0, 0, 0)
        assert kernel.receive(kernel.tell(Op.READ, node_id, body)).error == errno.EIO
        kernel.session._handlers[Op.READ] = kernel.session._read
        assert kernel.read(node_id, 4096, 4096).error == errno.EIO  # the kernel's own repetition, of a page
    assert kernel.read(node_id, 4096, 4096).body == CONTENT[4096:8192]
    assert (kernel.session.errors.count, kernel.session.errors.overdue) == (1, 1)


def test_all_requests_fail_in_time_though_there_are_fewer_threads(kernel: Kernel) -> None:
    with stuck(kernel, Op.LOOKUP):
        numbers = [kernel.tell(Op.LOOKUP, 1, b"file\0") for _n in range(THREADS + 3)]
        answers = kernel.receive_all(len(numbers))
        assert sorted(answers) == numbers and {a.error for a in answers.values()} == {errno.EIO}
    assert kernel.session.errors.count == THREADS + 3


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_age_counts_only_while_the_watch_runs() -> None:
    """After the machine's sleep, each request gets the time that is left to it."""
    given_up: list[tuple[int, bool]] = []
    waiting = Waiting(lambda _r: None, lambda r, stuck: given_up.append((r.unique, stuck)), seconds=10.0)
    waiting._requests[7] = Request(lambda *_a: None, 7, 1, b"", Op.READ, 1, -1000.0)
    for clock in (0.0, 5.0, 10.0):
        waiting._look(clock)
    assert given_up == []
    waiting._look(10.1)
    assert given_up == [(7, False)] and len(waiting) == 0
    waiting._look(50.0)
    assert given_up == [(7, False)]
    waiting.close()


def test_the_current_request_is_given_up_once_for_each_limit() -> None:
    current: list[Current | None] = [None]
    said: list[tuple[int, int]] = []
    waiting = Waiting(
        lambda _r: None, lambda *_a: None, seconds=10.0, current=lambda: current[0],
        give_up_current=lambda c, times: said.append((c.unique, times)),
    )  # fmt: skip
    current[0] = Current(3, 1, Op.STATFS)
    for clock in (0.0, 9.0, 11.0, 12.0, 21.0, 22.0):
        waiting._look(clock)
    current[0] = Current(4, 1, Op.STATFS)  # another, though as long
    for clock in (23.0, 33.0):
        waiting._look(clock)
    assert said == [(3, 1), (3, 2)]
    waiting.close()


def test_ages_of_requests_in_foreign_threads() -> None:
    said: list[tuple[bytes, str, float]] = []
    ages = Ages(10.0, lambda *row: said.append(row))
    ages.begin("read", b"/file")
    for clock in (0.0, 10.0, 11.0, 30.0):
        ages._look(clock)
    assert said == [(b"/file", "read", 11.0)] and len(ages) == 1
    ages.end()
    ages.begin("read", b"/file")
    for clock in (31.0, 41.0, 42.0):
        ages._look(clock)
    assert said[1:] == [(b"/file", "read", 11.0)]
    ages.end()
    assert (len(ages), ages.oldest()) == (0, [])
    assert (time_limit(60.0), time_limit(1.0)) == (65.0, 1.25)


# --- the log --------------------------------------------------------------------------------------------------


def test_the_log_of_errors_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    errors = Errors(clock)
    caplog.set_level(logging.ERROR, "rpdrive.drive")
    for _again in range(3):
        for n in range(3000):  # more than are remembered
            errors.note(b"/file %d" % n, OSError("broken"))
    assert errors.count == 9000 and len(errors.recent) == 20
    assert len(caplog.records) == drive_errors.LINES
    clock.now += 3600
    errors.note(b"/another", OSError("broken"))
    assert [r.getMessage() for r in caplog.records[-2:]] == [
        f"{9000 - drive_errors.LINES} further errors were not logged", "/another: unexpected OSError"
    ]  # fmt: skip


def test_a_repeated_error_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    errors = Errors(clock)
    for seconds in range(130):
        clock.now = float(seconds)
        errors.note(b"/a\nb", OSError("broken"))
    assert errors.count == 130
    assert [r.getMessage() for r in caplog.records] == ["/a?b: unexpected OSError"] * 3


def test_stacks_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    errors = Errors(clock)
    for n in range(5):
        errors.note_overdue(b"/%d" % n, "READ", 65.0)
    clock.now = 61.0
    errors.note_overdue(b"/6", "READ", 65.0)
    assert (errors.count, errors.overdue) == (6, 6)
    assert [("Thread MainThread" in r.getMessage()) for r in caplog.records] == [True, *[False] * 4, True]


def test_only_the_kernels_own_repetition_fails_at_once() -> None:
    clock = Clock()
    failed = FailedReads(clock)
    silent = StoreUnreachable("no answer")
    failed.note("file", 0, 1000, silent)
    failed.note("file", 1000, 1000, silent)
    failed.note("file", 9_000_000, 1000, silent)  # of another caller
    assert not failed.repeats("other", 0, 100) and not failed.repeats("file", 2000, 100)
    assert failed.repeats("file", 900, 100) and not failed.repeats("file", 900, 100)
    assert not failed.repeats("file", 1000, 100)  # read ahead for a caller that has its error, who tries again
    failed.note("file", 1000, 100, silent)  # as when that fails, too: the kernel repeats no more
    assert not failed.repeats("file", 1000, 100)
    assert failed.repeats("file", 9_000_500, 100)
    clock.now += 10
    failed.note("file", 0, 1000, silent)
    clock.now += 10
    assert not failed.repeats("file", 0, 100)
    assert len(failed._failed) == 0
    failed.note("file", 0, 1000, AccessDenied("the token has expired"))  # there may be a new one
    assert not failed.repeats("file", 0, 100)
