"""Ctrl-C is heard wherever it comes: in code that drops what it raises, and while something is cleaned up."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from backup import mirrorfile
from backup.mirror import Mirror
from catalog import interruption
from catalog.access.session import Session
from catalog.errors import LocalError
from catalog.screen.output import print_last
from catalog.vault import Vault
from mount.restore.files import FilePlanner
from tests.kit.cli import ROOT, Cli
from tests.kit.inside import Inside

LOST = """
import contextlib, ctypes, signal, sqlite3, sys, weakref
import rpdrive
from backup.walk import Walk

def press(*_):
    signal.raise_signal(signal.SIGINT)

class Thing:
    pass

class Destroyed:
    __del__ = press

def in_a_destructor():
    Destroyed()

def in_a_callback_of_a_weak_reference():
    thing = Thing()
    reference = weakref.ref(thing, press)
    del thing

def in_a_callback_of_c():
    ctypes.CFUNCTYPE(None)(press)()

def in_a_callback_of_sqlite():
    db = sqlite3.connect(":memory:")
    db.create_function("press", 0, press)
    with contextlib.suppress(sqlite3.Error):
        db.execute("SELECT press()")

def before_an_error():
    with contextlib.suppress(OSError):
        try:
            press()
        finally:
            raise OSError

names = Walk._names

def lossy(self, frame):
    globals()[where]()
    return names(self, frame)

Walk._names, where = lossy, sys.argv.pop(1)
sys.argv[0] = "rpdrive"
rpdrive.main()
"""


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def lose() -> None:
    """Press Ctrl-C where the error of a cleaning up takes its place."""
    with suppress(OSError):
        try:
            press()
        finally:
            raise OSError


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """Python's own handler of SIGINT, also where pytest was started without one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


@pytest.fixture
def inside(rpdrive: Cli) -> Inside:
    return Inside(rpdrive.home.parent)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / "source" / name).mkdir(parents=True)
        (tmp_path / "source" / name / "file").write_bytes(os.urandom(100_000))
    return tmp_path / "source"


def stops(cli: Cli, *args: str | Path) -> None:
    done = cli.run(*args)
    assert (done.returncode, done.stderr) == (130, b"rpdrive: interrupted\n"), done


@pytest.mark.parametrize(
    "where",
    [
        "in_a_destructor",
        "in_a_callback_of_a_weak_reference",
        "in_a_callback_of_c",
        "in_a_callback_of_sqlite",
        "before_an_error",
    ],
)
def test_no_place_swallows_it(rpdrive: Cli, vault: Vault, source: Path, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOST, where, "backup", source], env=rpdrive.environ, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (130, b"rpdrive: interrupted\n", b"")
    assert vault.point_names() == []
    (job,) = Inside(rpdrive.home.parent).json("jobs")["jobs"]
    assert job["outcome"] == "interrupted"


@pytest.mark.usefixtures("vault")
def test_the_exit_code_is_no_signal(rpdrive: Cli, tmp_path: Path) -> None:
    """Below `python -m`, where KeyboardInterrupt has passed through code made from text, and was caught."""
    (tmp_path / "pressed.py").write_text(
        "import signal, rpdrive\n"
        "from catalog.access.session import Session\n"
        "Session.open_vault = lambda *_, **__: exec('signal.raise_signal(signal.SIGINT)')\n"
        "rpdrive.main()\n"
    )
    environ = rpdrive.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "pressed", "points"]
    done = subprocess.run(command, env=environ, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"rpdrive: interrupted\n")


@pytest.mark.parametrize("when", ["after BEGIN IMMEDIATE", "before COMMIT"])
def test_between_the_lines_of_a_transaction(
    inside: Inside, vault: Vault, source: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The transaction is rolled back, what the store has acknowledged is recorded, and nothing starts over."""
    moment, _, statement = when.partition(" ")
    execute, acknowledge = mirrorfile._Connection.execute, Mirror.acknowledge
    left = 0

    def pressed(db: mirrorfile._Connection, *args: Any) -> sqlite3.Cursor:
        nonlocal left
        if not (left and args[0] == statement):
            return execute(db, *args)
        left -= 1
        if moment == "before":
            press()
        cursor = execute(db, *args)
        press()
        return cursor

    def first(mirror: Mirror, *args: Any) -> None:
        nonlocal left
        left = 1
        monkeypatch.setattr(Mirror, "acknowledge", acknowledge)
        acknowledge(mirror, *args)

    with monkeypatch.context() as patch:
        patch.setattr(mirrorfile._Connection, "execute", pressed)
        patch.setattr(Mirror, "acknowledge", first)
        stops(inside, "backup", source)
    assert not left
    assert vault.point_names() == []
    assert inside.json("backup", source)["data_bytes"] == 0


def test_a_pack_under_way_is_not_sent_again(
    inside: Inside, vault: Vault, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes when the store has it, and before the backup knows of the thread that it started for that."""
    started = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        started(thread)
        if thread.name.startswith("upload"):
            while not [*vault.store.list("packs/")]:
                time.sleep(0.005)
            press()

    monkeypatch.setattr(threading.Thread, "start", start)
    stops(inside, "backup", source)
    monkeypatch.undo()
    assert inside.json("backup", source)["data_bytes"] == 0


@pytest.mark.usefixtures("vault")
def test_every_command_hears_it(
    inside: Inside, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first request to the store after it was lost."""
    inside.ok("backup", source)
    opened = Session.open_vault

    def lossy(session: Session, *args: Any, **options: Any) -> Vault:
        vault = opened(session, *args, **options)
        lose()
        return vault

    monkeypatch.setattr(Session, "open_vault", lossy)
    target = tmp_path / "target"
    for command in (
        ["backup", source], ["restore", "latest", "--to", target], ["check"], ["prune"], ["repair", "--dry-run"],
        ["points"], ["ls", "latest"], ["vault", "copy", tmp_path / "copy"], ["find", "file"], ["test-restore"],
    ):  # fmt: skip
        stops(inside, *command)
    assert not target.exists() and not (tmp_path / "copy").exists()
    monkeypatch.undo()
    assert len(inside.json("points")["points"]) == 1


@pytest.mark.usefixtures("vault")
def test_a_restore_hears_it_at_its_next_file(
    inside: Inside, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.ok("backup", source)
    restore, seen = FilePlanner.restore, list[bytes]()

    def lossy(planner: FilePlanner, leaf: Any, entry: Any, folder: Any, name: bytes) -> None:
        seen.append(name)
        restore(planner, leaf, entry, folder, name)
        lose()

    monkeypatch.setattr(FilePlanner, "restore", lossy)
    stops(inside, "restore", "latest", "--to", tmp_path / "target")
    assert seen == [b"file"]


@pytest.mark.usefixtures("vault")
def test_it_is_heard_at_the_end(inside: Inside, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(text: str) -> str | None:
        lose()
        return print_last(text)

    monkeypatch.setattr("backup.foreground.print_last", lossy)
    stops(inside, "backup", source)
    monkeypatch.undo()
    assert len(inside.json("points")["points"]) == 1


def test_what_was_started_is_noted_before_it_is_heard() -> None:
    noted = []
    with interruption.listening():
        with pytest.raises(KeyboardInterrupt), interruption.deferred():
            press()
            with interruption.deferred():
                noted.append("a hook")
            noted.append("another")
        with pytest.raises(KeyboardInterrupt), interruption.deferred():
            press()
            raise LocalError("the hook can't be started")
        with interruption.deferred():
            pass
        with pytest.raises(KeyboardInterrupt):
            press()
    assert noted == ["a hook", "another"]


def test_what_is_handled_is_not_raised_again() -> None:
    passed: list[bool] = []

    def elsewhere() -> None:
        interruption.check()
        passed.append(True)

    with interruption.listening():
        interruption.check()
        try:
            press()
        except KeyboardInterrupt:
            interruption.check()
            with suppress(LocalError):
                try:
                    raise LocalError("while it is handled")
                except LocalError as e:
                    interruption.check()
                    assert interruption.was_stopped(e)
                    raise
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    interruption.check()
    assert passed
    assert not interruption.was_stopped(LocalError("another"))


def test_an_ignored_signal_stays_ignored() -> None:
    """As below nohup, or in the background of a shell without job control."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption.listening():
            press()
            interruption.check()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
