"""Signals that ask a drive to end, whichever thread the kernel gives them to."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from catalog.mountinfo import mounted_at
from mount.drivers.signals import on_signals
from tests.kit.drives import Home
from tests.kit.vaults import make_vault

TGKILL = {"x86_64": 234, "aarch64": 131}.get(platform.machine(), 0)


class Stop(BaseException):
    pass


def stop(_number: int, _frame: object) -> None:
    raise Stop


def test_a_signal_given_to_another_thread_reaches_the_main_thread_while_it_waits() -> None:
    read_end, write_end = os.pipe()
    over, too_late = threading.Event(), threading.Event()

    def send() -> None:
        time.sleep(0.3)  # the main thread waits by then
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        if not over.wait(10):
            too_late.set()
            os.write(write_end, b"x")

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(Stop), on_signals(stop):
        os.read(read_end, 1)
    over.set()
    thread.join()
    os.close(read_end)
    os.close(write_end)
    assert not too_late.is_set()


def test_afterwards_signals_are_handled_as_before() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGURG)
    before = [signal.getsignal(number) for number in numbers]
    with on_signals(stop):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1


AFTER_LIBFUSE = """
import os, signal, subprocess, sys, threading
os.environ.setdefault("FUSE_LIBRARY_PATH", "libfuse.so.2")
import fuse
from contextlib import nullcontext
from mount.drivers.signals import broken_pipes_ignored

def unmount(self, _path):
    threading.Thread(target=subprocess.run, args=(["umount", "-l", sys.argv[1]],)).start()

with nullcontext() if sys.argv[2] == "bare" else broken_pipes_ignored():
    fuse.FUSE(type("Nothing", (fuse.Operations,), {"init": unmount})(), sys.argv[1], foreground=True)
assert sys.argv[2] == "bare" or signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
read_end, write_end = os.pipe()
os.close(read_end)
try:
    os.write(write_end, b"x")
except BrokenPipeError:
    print("an error as any other")
"""


@pytest.mark.needs_fuse
@pytest.mark.needs_root
@pytest.mark.parametrize(("how", "code"), [("bare", -signal.SIGPIPE), ("ignored", 0)])
def test_a_broken_pipe_is_an_error_after_libfuse_has_run(tmp_path: Path, how: str, code: int) -> None:
    """`bare` shows what libfuse does: it ends a process that writes to a closed connection."""
    command = [sys.executable, "-c", AFTER_LIBFUSE, str(tmp_path), how]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("an error as any other" in done.stdout) == (how == "ignored")


def threads_that_take(pid: int, number: int) -> list[int]:
    """The threads of a process, except its first, that do not block a signal."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        (blocked,) = [line for line in (task / "status").read_text().splitlines() if line.startswith("SigBlk")]
        if int(task.name) != pid and not int(blocked.split()[1], 16) & 1 << number - 1:
            found.append(int(task.name))
    return found


@pytest.mark.needs_fuse
def test_a_signal_given_to_another_thread_ends_a_drive_that_nobody_uses(tmp_path: Path, driver: str) -> None:
    """libfuse noted it, and slept until the next request."""
    make_vault(tmp_path / "vault")
    (tmp_path / "source").mkdir()
    home = Home(tmp_path, tmp_path / "vault")
    home.run("backup", tmp_path / "source")
    try:
        place = home.mount("--driver", driver)
        pid = home.pid()
        thread = min(threads_that_take(pid, signal.SIGTERM))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.syscall(TGKILL, pid, thread, signal.SIGTERM) == 0
        limit = time.monotonic() + 60
        while mounted_at(os.fsencode(place)) is not None:
            assert time.monotonic() < limit, "it still waits"
            time.sleep(0.05)
    finally:
        home.close()
