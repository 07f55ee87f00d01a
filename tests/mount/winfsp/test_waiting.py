"""Drives on the stand-in for WinFsp with a slow store: other requests must not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cache.reader import Reader, WouldWait
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import Request, StoreWrapper
from mount.drivers.winfsp import drive as winfsp
from mount.drivers.winfsp import ntstatus
from mount.drivers.winfsp import waiting as winfsp_waiting
from mount.drivers.winfsp.volume import DISPATCHERS
from mount.drivers.winfsp.waiting import TookTooLong, Waiting
from mount.view.point import PointView
from tests.kit.drives import Maker, eventually, noise
from tests.kit.winfsp.status import NtError
from tests.kit.winfsp_drives import a_vault, a_view, refused, serving


class Gate(StoreWrapper):
    """While it is shut, reads of data wait at it."""

    def __init__(self, inner: Store, prefix: str = "packs/") -> None:
        super().__init__(inner)
        self.open = threading.Event()
        self.open.set()
        self.waiting = 0
        self._prefix = prefix
        self._lock = threading.Lock()

    def _pass_on(self, request: Request, call: Any) -> Any:
        if request.name.startswith(self._prefix) and not self.open.is_set():
            with self._lock:
                self.waiting += 1
            self.open.wait(60)
        return call()


# --- waiting ----------------------------------------------------------------------------------------------------


@pytest.fixture
def gated() -> Iterator[tuple[Gate, PointView, Reader]]:
    gate = Gate(MemoryStore())
    vault = a_vault(gate)
    m = Maker(vault)
    nodes = [m.file(b"file %02d" % n, noise(20_000, n)) for n in range(48)]
    reader = Reader(vault)
    yield gate, a_view(vault, reader, nodes, m), reader
    gate.open.set()
    reader.close()


def test_reads_that_wait_hold_no_thread_of_the_dispatcher(gated: tuple[Gate, PointView, Reader]) -> None:
    gate, view, reader = gated
    with serving(view, reader) as served:
        names = served.caller.names("\\")
        gate.open.clear()
        found: dict[str, bytes] = {}

        def read(name: str) -> None:
            found[name] = served.caller.read(f"\\{name}")

        threads = [threading.Thread(target=read, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        waiting = served.drive.operations.waiting
        eventually(lambda: waiting.under_way == len(names), "all of them wait")
        assert len(names) > 2 * DISPATCHERS
        # Whoever asks for what is at hand is answered meanwhile.
        assert served.caller.names("\\") == names
        assert served.caller.stat("\\file 01").size == 20_000
        gate.open.set()
        for thread in threads:
            thread.join(60)
        assert found == {name: noise(20_000, n) for n, name in enumerate(names)}
        assert waiting.handed_over >= len(names)


def test_what_takes_too_long_times_out_and_can_be_read_later(gated: tuple[Gate, PointView, Reader]) -> None:
    gate, view, reader = gated
    with serving(view, reader) as served:
        served.drive.operations.waiting.seconds = 0.3
        gate.open.clear()
        with served.caller.open("\\file 03") as handle:
            refused(ntstatus.IO_TIMEOUT, handle.read, 0, 100)
            gate.open.set()
            eventually(lambda: not served.drive.operations.waiting.under_way, "nothing is under way")
            assert handle.read(0, 100) == noise(20_000, 3)[:100]
        assert served.drive.errors.recent[-1]["kind"] == "TookTooLong"


def test_names_that_take_too_long_time_out() -> None:
    gate = Gate(MemoryStore(), "meta/")
    vault = a_vault(gate)
    m = Maker(vault)
    reader = Reader(vault)
    with serving(a_view(vault, reader, [m.folder(b"folder", [m.file(b"x", b"y")])], m), reader) as served:
        served.drive.operations.waiting.seconds = 0.3
        gate.open.clear()
        refused(ntstatus.IO_TIMEOUT, served.caller.open, "\\folder\\x")
        refused(ntstatus.IO_TIMEOUT, served.caller.names, "\\")
        gate.open.set()
        served.drive.operations.waiting.seconds = 60
        assert served.caller.read("\\folder\\x") == b"y"


class Looking:
    """Look-ups that wait for the store, in threads as of the dispatcher."""

    def __init__(self, count: int, *, crowd: int) -> None:
        self.reader = Reader(a_vault(MemoryStore()))
        self.waiting = Waiting(self.reader, 60.0, crowd=crowd)
        self.answer = threading.Event()
        self.found: list[str] = []
        self.still_hasty: list[bool] = []  # of each thread after its look-up
        self.threads = [threading.Thread(target=self._look, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _look(self) -> None:
        try:
            self.found.append(self.waiting.patiently(self._work))
        except TookTooLong:
            self.found.append("too long")
        self.still_hasty.append(self.reader.must_not_wait())

    def _work(self) -> str:
        if self.reader.must_not_wait():
            raise WouldWait
        self.answer.wait(60)
        return "found"


def test_look_ups_that_wait_leave_threads_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winfsp_waiting, "CROWDED_SECONDS", 0.05)
    looking = Looking(10, crowd=3)
    eventually(lambda: len(looking.found) == 7, "those that are too many are told so")
    assert set(looking.found) == {"too long"}
    looking.answer.set()
    for thread in looking.threads:
        thread.join(60)
    assert looking.found.count("found") == 3 and looking.still_hasty == [False] * 10


def test_look_ups_are_given_up_when_the_drive_ends() -> None:
    looking = Looking(3, crowd=3)
    eventually(lambda: looking.waiting.waiting == 3, "all of them wait")
    assert looking.waiting.drain(0.05)  # nothing else is under way
    for thread in looking.threads:
        thread.join(60)
    assert looking.found == ["too long"] * 3
    looking.answer.set()


def test_reads_under_way_are_answered_before_the_drive_ends(gated: tuple[Gate, PointView, Reader]) -> None:
    gate, view, reader = gated
    found: list[bytes] = []
    with serving(view, reader) as served:
        served.caller.names("\\")
        gate.open.clear()
        thread = threading.Thread(target=lambda: found.append(served.caller.read("\\file 01")), daemon=True)
        thread.start()
        waiting = served.drive.operations.waiting
        eventually(lambda: gate.waiting >= 1, "a read waits")  # under way is the opening, too
        served.drive.stop()
        eventually(lambda: waiting.draining, "the drive drains")
        refused(ntstatus.DEVICE_NOT_READY, served.caller.open, "\\file 02")
        gate.open.set()
        eventually(lambda: bool(found), "the read is answered")
    assert found == [noise(20_000, 1)]


def test_a_store_that_hangs_does_not_keep_the_drive_from_ending(
    gated: tuple[Gate, PointView, Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, view, reader = gated
    monkeypatch.setattr(winfsp, "DRAIN_SECONDS", 0.2)
    failures: list[int] = []

    def read() -> None:
        try:
            served.caller.read("\\file 01")
        except NtError as e:
            failures.append(e.status)

    with serving(view, reader) as served:
        served.caller.names("\\")
        gate.open.clear()
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        eventually(lambda: gate.waiting >= 1, "a read waits")
        served.close()
    thread.join(60)
    assert len(failures) == 1
    gate.open.set()  # the late answer is dropped, and writes nowhere
