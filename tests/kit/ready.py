"""A Python that has started already: commands of tests begin as copies of it, each a process of its own.

Starting Python and importing what every command imports takes as long as all else that a short command does, and
tests run thousands. A copy has loaded what `import rpdrive` loads, but no module of ours: each command imports
those afresh. Where a new process could differ in anything else, `run` starts a new one: other commands than rpdrive
itself, other options for Python in the environment, another user, other namespaces.

    python -m tests.kit.ready [measured]    # the process that is copied; it ends when its stdin does
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
MEASURING = "COVERAGE_PROCESS_CONFIG"
# What Python, the C library and modules of others read when they start.
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TYPER", "_TYPER", "OPENSSL", "SSL", "MALLOC", "GLIBC")
OURS = ("catalog", "cache", "mount", "backup", "rpdrive", "tests")
MOST = 8  # processes to copy, each for another start of Python
ORDER_MAX = 100_000  # bytes

Like = tuple[frozenset[tuple[str, str]], bool, str]
_ready: dict[Like, Ready] = {}


# --- the process that is copied -------------------------------------------------------------------------------


def prepare(measured: bool) -> None:
    """Load what every command loads, and forget our own modules."""
    if measured:
        import coverage  # noqa: F401 - a command that is measured loads it before anything else

    import rpdrive  # noqa: F401

    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()  # a collection writes to each object, and a copy would first copy their pages


def serve() -> dict[str, Any]:
    """Copy this process for each order. Returns in the copies only: what they are to run, and `outputs`."""
    with socket.socket(fileno=os.dup(0)) as control, selectors.DefaultSelector() as waiting:
        waiting.register(control, selectors.EVENT_READ)
        while True:
            for key, _events in waiting.select():
                if key.data is None:
                    text, handles, _flags, _sender = socket.recv_fds(control, ORDER_MAX, 3)
                    if not text:
                        raise SystemExit
                    if (pid := os.fork()) == 0:
                        order: dict[str, Any] = json.loads(text)
                        return order | {"outputs": handles[:2]}
                    for handle in handles[:2]:
                        os.close(handle)
                    answer = socket.socket(fileno=handles[2])
                    answer.send(b"%d" % pid)
                    waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answer))
                else:
                    pid, answer = key.data
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    waiting.unregister(key.fd)
                    os.close(key.fd)
                    with answer, suppress(OSError):
                        answer.send(b"%d" % code)


def become(order: dict[str, Any]) -> None:
    """Make this copy what a new process would be, up to its first line."""
    if order["session"]:
        os.setsid()
    for number, handle in enumerate((os.open(os.devnull, os.O_RDONLY), *order["outputs"])):
        os.dup2(handle, number)
    os.closerange(3, 1024)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = reopened(number, getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.umask(order["umask"])
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environ"])
    time.tzset()
    sys.argv[1:] = order["args"]
    sys.path[0] = order["path"]
    if MEASURING in os.environ:
        import coverage

        coverage.process_startup(slug="pth")


def reopened(number: int, before: Any) -> Any:
    """A stream as Python makes it when it starts: it knows of its file whether it can seek."""
    mode = "rb" if number == 0 else "wb"
    binary: Any = open(number, mode, 0 if number and before.write_through else -1, closefd=False)  # noqa: SIM115
    getattr(binary, "raw", binary).name = before.name
    return io.TextIOWrapper(
        binary, before.encoding, before.errors, "\n", before.line_buffering, before.write_through
    )  # fmt: skip


# --- the one that asks for copies -----------------------------------------------------------------------------


def run(
    command: Sequence[str | Path | bytes], *, env: Mapping[str, str], stdin: int | None = None,
    stdout: int | IO[bytes] | None = None, stderr: int | IO[bytes] | None = None, capture_output: bool = False,
    text: bool = False, start_new_session: bool = False, timeout: float = 120, check: bool = False, **others: Any,
) -> subprocess.CompletedProcess[Any]:  # fmt: skip
    """As subprocess.run."""
    if capture_output:
        stdout = stderr = subprocess.PIPE
    order = None
    if stdout is not None and stderr is not None and stderr != subprocess.STDOUT and not others.keys() - {"cwd"}:
        order = order_of(command, env, others.get("cwd"), start_new_session)
    ready = None if order is None else ready_for(env)
    if order is None or ready is None:
        return subprocess.run(
            command, env=env, stdin=stdin, stdout=stdout, stderr=stderr, text=text, timeout=timeout, check=check,
            start_new_session=start_new_session, **others,
        )  # fmt: skip
    pipes: dict[int, int] = {}  # of stdout and stderr, by what they are to be
    ends = []
    for number, output in ((1, stdout), (2, stderr)):
        if output == subprocess.PIPE:
            pipes[number], end = os.pipe()
        else:
            assert output is not None
            end = os.dup(output if isinstance(output, int) else output.fileno())
        ends.append(end)
    try:
        code, found = ready.follow(order, ends, pipes, timeout)
    finally:
        for end in pipes.values():
            os.close(end)
    shown: list[Any] = [bytes(found[number]) if number in pipes else None for number in (1, 2)]
    if text:
        shown = [one if one is None else one.decode().replace("\r\n", "\n") for one in shown]
    return subprocess.CompletedProcess(command, code, *shown)


def order_of(
    command: Sequence[str | Path | bytes], env: Mapping[str, str], cwd: Path | str | bytes | None, session: bool
) -> bytes | None:
    """What to run in a copy; None if only a new process will do."""
    words = [os.fsdecode(word) for word in command]
    as_module = words[:3] == [sys.executable, "-m", "rpdrive"]
    if not as_module and words[:2] != [sys.executable, str(ROOT / "rpdrive.py")]:
        return None
    try:
        here = os.path.realpath(os.fsdecode(cwd) if cwd is not None else os.getcwd())
    except OSError:  # it was removed
        return None
    if "\0" in "".join((*words, *env, *env.values())):
        return None
    order = json.dumps({
        "args": words[3 if as_module else 2 :], "path": here if as_module else str(ROOT), "cwd": here,
        "environ": dict(env), "session": session, "umask": umask(),
    }).encode()  # fmt: skip
    return order if len(order) < ORDER_MAX else None


def ready_for(env: Mapping[str, str]) -> Ready | None:
    """A process that started as one in this environment would; None if there is none."""
    if not hasattr(os, "pidfd_open") or env.get("PYTHONPATH", str(ROOT)) != str(ROOT):
        return None
    at_start = {k: v for k, v in env.items() if k.startswith(AT_START) and k != "PYTHONPATH"}
    like = frozenset(at_start.items()), MEASURING in env, surroundings()
    if like not in _ready and len(_ready) < MOST:
        _ready[like] = Ready(at_start, MEASURING in env)
    return _ready.get(like)


def surroundings() -> str:
    """What a process inherits and can't be told: its user, its namespaces; and whose child it is to be."""
    spaces = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "net", "user", "uts")]
    return f"{os.getpid()} {os.geteuid()} {os.getegid()} {' '.join(spaces)}"


def umask() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    return int(status.split("Umask:")[1].split()[0], 8)


class Ready:
    """A process that can be copied."""

    def __init__(self, at_start: Mapping[str, str], measured: bool) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        others = {k: v for k, v in os.environ.items() if not k.startswith((*AT_START, "COVERAGE_"))}
        command = [sys.executable, "-m", "tests.kit.ready", *(["measured"] if measured else [])]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, cwd=ROOT,
                env={**others, **at_start, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        atexit.register(self._close)

    def _close(self) -> None:
        self._control.close()
        if self._process.poll() is None:
            self._process.wait(60)

    def follow(
        self, order: bytes, outputs: Sequence[int], pipes: Mapping[int, int], timeout: float
    ) -> tuple[int, dict[int, bytearray]]:
        """Run a copy to its end. Returns its exit code, and what it wrote to pipes, by number. Closes `outputs`."""
        answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                socket.send_fds(self._control, [order], [*outputs, theirs.fileno()])
        finally:
            for output in outputs:
                os.close(output)
        found = {number: bytearray() for number in pipes}
        with answer, selectors.DefaultSelector() as waiting:
            pid = int(answer.recv(100))
            code: int | None = None
            waiting.register(answer, selectors.EVENT_READ)
            for number, end in pipes.items():
                waiting.register(end, selectors.EVENT_READ, number)
            until = time.monotonic() + timeout
            try:
                while waiting.get_map():
                    events = waiting.select(until - time.monotonic())
                    if not events and time.monotonic() > until:
                        raise subprocess.TimeoutExpired(
                            json.loads(order)["args"], timeout, bytes(found.get(1, b""))
                        )
                    for key, _events in events:
                        data = answer.recv(100) if key.data is None else os.read(key.fd, 1 << 16)
                        if key.data is None:
                            code = int(data)
                        if key.data is None or not data:
                            waiting.unregister(key.fileobj)
                        else:
                            found[key.data] += data
            except BaseException:
                if code is None:
                    os.kill(pid, signal.SIGKILL)
                raise
        assert code is not None
        return code, found


if __name__ == "__main__":
    prepare("measured" in sys.argv[1:])
    _order = serve()
    become(_order)
    runpy.run_module("rpdrive", run_name="__main__", alter_sys=True)
