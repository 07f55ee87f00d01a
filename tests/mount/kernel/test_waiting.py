"""Whoever waits for the kernel driver and gets a signal dies of it at once, or is answered as if there was none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catalog.format.values import NodeKind
from mount.drivers.kernel.interrupts import is_dying
from tests.kit.drives import Home, Maker, add_machine, add_point, alive, eventually, mount_options, noise
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_fuse

CONTENT = noise(300_000)
NAMES = [f"name {n}" for n in range(40)]
WAITS = [
    "--point",
    "latest",
    "--driver",
    "kernel",
    "--read-timeout",
    "600",
]  # unless the caller dies
HANDLES = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
print("begin", flush=True)
print(*sorted(os.listdir(sys.argv[1])), sep="|")
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A folder whose tree lies in a pack of its own, and a file."""
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    far = Maker(vault)
    inside = far.root([far.node(name.encode(), content=[]) for name in NAMES])
    m = Maker(vault)
    folder = m.node(b"folder", NodeKind.FOLDER, mode=0o755, size=4096, content=inside)
    add_point(vault, m.root([folder, m.file(b"file", CONTENT)]), 1)
    home = Home(tmp_path, tmp_path / "vault")
    yield home
    home.close()


def messages(home: Home) -> dict[str, int]:
    (row,) = home.mounts()
    found: dict[str, int] = row["driver"]["messages"]
    return found


def open_without_vault(home: Home) -> Path:
    """A drive with its top known, whose vault has gone out of reach."""
    drive = home.mount(*WAITS)
    assert sorted(os.listdir(drive)) == ["file", "folder"]
    home.vault.rename(home.folder / "away")
    return drive


def bring_back(home: Home) -> None:
    (home.folder / "away").rename(home.vault)


def waits(home: Home, wanted: dict[str, int], since: dict[str, int] | None = None) -> None:
    """Wait until so many requests have arrived, by kind; `since` are those before."""
    since = since or {}

    def arrived() -> bool:
        found = messages(home)
        return all(found.get(kind, 0) - since.get(kind, 0) >= n for kind, n in wanted.items())

    eventually(arrived, f"{wanted} are under way")


@contextmanager
def handling(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that handles a signal, about to list a folder."""
    command: list[str | Path] = [sys.executable, "-c", HANDLES, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # else a test that failed would wait for it


def test_whoever_is_killed_dies_though_the_vault_is_away(home: Home) -> None:
    drive = open_without_vault(home)
    before = messages(home)
    lists, looks, reads = ["ls", "folder"], ["stat", "folder/name"], ["cat", "file"]
    kinds = [(number, how) for number in (signal.SIGTERM, signal.SIGKILL) for how in (lists, looks, reads)]
    # Not while it reads: there, as on any disk, the kernel holds a process that will dump core.
    kinds += [(signal.SIGQUIT, lists), (signal.SIGQUIT, looks)]
    processes = []
    for n, (number, (command, path)) in enumerate(kinds):
        # Of two who look for one name, one waits for the other.
        words: list[str | Path] = [command, drive / f"{path} {n}" if command == "stat" else drive / path]
        processes.append((number, words, subprocess.Popen(words, stdout=subprocess.DEVNULL)))
    waits(home, {"readdirplus": 3, "lookup": 3, "read": 1}, before)
    for number, words, process in processes:
        process.send_signal(number)
        assert process.wait(60) == -number, words  # a tenth of what a read waits
    assert home.mounts()[0]["answers"]
    bring_back(home)
    assert sorted(os.listdir(drive / "folder")) == sorted(NAMES)
    assert (drive / "file").read_bytes() == CONTENT
    assert home.mounts()[0]["errors"] == 0


def test_whoever_handles_a_signal_gets_its_answer(home: Home) -> None:
    """Unless it is killed later on: the kernel tells of the first signal only."""
    drive = open_without_vault(home)
    before = messages(home)
    with handling(drive / "folder") as patient, handling(drive / "folder") as killed:
        for process in (patient, killed):
            assert process.stdout is not None and process.stdout.readline() == "begin\n"
        waits(home, {"readdirplus": 2}, before)

        def interrupted() -> bool:  # one who asks twice is no two that wait
            for process in (patient, killed):
                os.kill(process.pid, signal.SIGUSR1)
            return messages(home).get("interrupt", 0) >= 2

        eventually(interrupted, "both are interrupted")
        killed.kill()
        assert killed.wait(60) == -signal.SIGKILL
        assert alive(patient.pid)
        bring_back(home)
        assert patient.communicate(timeout=60)[0].splitlines() == ["handled", "|".join(sorted(NAMES))]
        assert patient.returncode == 0
    assert messages(home)["interrupt"] == 2


@pytest.mark.unmeasured
def test_signals_that_arrive_together_unmount_once(home: Home) -> None:
    """As when a terminal is closed during a shutdown: none interrupts what the other began.

    libfuse handles signals itself and may sleep until the next request.
    """
    drive = home.mount_point()
    command = home.command("mount", drive, "--foreground")
    with subprocess.Popen(command, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        os.statvfs(drive)
        process.send_signal(signal.SIGSTOP)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        assert (process.wait(30), process.stderr.read()) == (0, b"")
    assert mount_options(drive) is None
    assert home.mounts() == []


STATUS = "Name:\tx\nTracerPid:\t{tracer}\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n"
STATUS += "SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
KILL, USR1, QUIT, CHLD, STOP = (1 << number - 1 for number in (9, 10, 3, 17, 19))


@pytest.mark.parametrize(
    ("fields", "dying"),
    [
        ({}, False),
        ({"own": KILL}, True),
        ({"own": KILL, "tracer": 5}, True),
        ({"shared": QUIT}, True),
        ({"shared": QUIT, "caught": QUIT}, False),
        ({"shared": QUIT, "ignored": QUIT}, False),
        ({"shared": QUIT, "blocked": QUIT}, False),
        ({"shared": QUIT, "tracer": 5}, False),
        ({"own": USR1, "caught": USR1 | QUIT}, False),
        ({"own": USR1, "shared": QUIT, "caught": USR1}, True),
        ({"shared": CHLD | STOP}, False),
    ],
)
def test_which_signals_end_a_thread(tmp_path: Path, fields: dict[str, int], dying: bool) -> None:
    row = dict.fromkeys(("tracer", "own", "shared", "blocked", "ignored", "caught"), 0) | fields
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text(STATUS.format(**row))
    assert is_dying(7, tmp_path) is dying
    assert not is_dying(0, tmp_path) and not is_dying(8, tmp_path)
    (tmp_path / "7" / "status").write_text("SigPnd:\tnothing\n")
    assert not is_dying(7, tmp_path)
    assert not is_dying(os.getpid())
