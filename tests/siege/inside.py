"""Inside a forked child: runs the command, and lets happen what its plan says.

The parent has imported everything once. What a new interpreter would do before and after `rpdrive.run` is not seen
here; some commands of a siege therefore start as new processes.
"""

from __future__ import annotations

import atexit
import faulthandler
import mmap
import os
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import backup.attempt
import backup.files
import backup.pipeline
import catalog.access.session
import catalog.store.folder
import rpdrive
from catalog.errors import StoreUnreachable
from catalog.store.base import Buffer, ObjectInfo, Store
from catalog.store.deadline import Deadline
from catalog.store.wrapper import Request, StoreWrapper, T
from tests.siege.plan import Events as Kind
from tests.siege.plan import Plan

COUNTS = struct.Struct("<QQQ")  # events of each kind so far, in memory that the parent shares; behind it:
SLEEP = struct.Struct("<QQ")  # when everything fell asleep while the command stood still, and for how long (ns)
_SMALL: list[tuple[Any, str, int]] = [
    (backup.pipeline, "PACK_TARGET", 60_000),
    (backup.pipeline, "BLOCK_RAW", 20_000),
    (backup.pipeline, "TREE_BLOCK_RAW", 4_000),
    (backup.attempt, "TREE_BLOCK_RAW", 4_000),
    (backup.attempt, "INDEX_BYTES", 100_000),
    (backup.files, "SMALL_FILE", 1 << 14),
    (backup.files, "CUT_MIN", 1 << 14),
    (backup.files, "CUT_AVERAGE", 1 << 15),
    (backup.files, "CUT_MAX", 1 << 16),
    (backup.files, "_BUFFER", 1 << 17),
]
_OPERATIONS = {
    "open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.scandir", "os.listdir",
    "os.truncate", "os.symlink", "os.chmod", "os.utime",
}  # fmt: skip
_true_time = time.time_ns
_TWO_NAMES = {"os.link", "os.rename"}  # their second argument is the new name


class Events:
    """Counts events and acts at the chosen one. `shared` gets the counts, `paused` a byte before each pause."""

    def __init__(self, plan: Plan, shared: mmap.mmap, paused: int, watched: tuple[str, ...]) -> None:
        self.plan, self._shared, self._paused, self._watched = plan, shared, paused, watched
        self._counts = [0, 0, 0]
        self._matching = 0
        self._lock = threading.RLock()
        self._busy = threading.local()

    def later(self, moment: int) -> int:
        """A moment (ns) by clocks that went on while everything slept."""
        now_at, now_for = SLEEP.unpack_from(self._shared, COUNTS.size)
        sleeps = [*self.plan.sleeps, (int(now_at), int(now_for))]
        return moment + sum(length for at, length in sleeps if at <= moment)

    def call(self, request: Request, call: Callable[[], T]) -> T:
        """A request to the store."""
        due = self._count(0, request.name)
        if due and not self.plan.after:
            self._act(request.name)
        result = call()
        if due and self.plan.after:
            self._act(request.name)
        return result

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Called for every event of the interpreter (sys.addaudithook)."""
        if event not in _OPERATIONS or getattr(self._busy, "now", False):
            return
        name = args[1] if event in _TWO_NAMES else args[0]
        if isinstance(name, bytes):
            name = os.fsdecode(name)
        elif not isinstance(name, str):
            if not hasattr(name, "__fspath__"):
                return
            name = os.fsdecode(name)
        kind = 1 if name.startswith(self._watched) else 2
        if (kind == 1 or not name.startswith("/")) and self._count(kind, name):
            self._act(name)

    def _count(self, which: int, name: str) -> bool:
        """Count an event; whether something is to happen now."""
        plan = self.plan
        with self._lock:
            self._counts[which] += 1
            COUNTS.pack_into(self._shared, 0, *self._counts)
            if plan.act == "nothing" or get_args(Kind).index(plan.events) != which or plan.match not in name:
                return False
            self._matching += 1
            last = plan.at + plan.times - 1 if plan.act == "fail" else plan.at
            return plan.at <= self._matching <= last

    def _act(self, name: str) -> None:
        self._busy.now = True
        try:
            match self.plan.act:
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "interrupt":
                    os.kill(os.getpid(), signal.SIGINT)
                case "pause":
                    os.write(self._paused, b"p")
                    os.kill(os.getpid(), signal.SIGSTOP)
                case "fail":
                    if self.plan.events == "calls":
                        raise StoreUnreachable(f"{name}: no answer")
                    raise OSError(self.plan.error, os.strerror(self.plan.error), name)
        finally:
            self._busy.now = False


class WatchedStore(StoreWrapper):
    """Tells `events` of each request, and leaves young objects out of listings, as a store that is behind."""

    def __init__(self, inner: Store, events: Events) -> None:
        super().__init__(inner)
        self._events = events

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        return self._events.later(super().create(name, parts, until=until))

    def now(self) -> int:
        return self._events.later(super().now())

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        return self._events.call(request, call)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        since = _true_time() - self._events.plan.hidden * 1e9
        for row in super().list(prefix):
            if row.modified <= since:
                yield row._replace(modified=self._events.later(row.modified))


def _apply(plan: Plan, events: Events) -> None:
    """Change this process as the plan says."""
    opened = catalog.store.folder.FolderScheme.open
    catalog.store.folder.FolderScheme.open = (  # type: ignore[method-assign]
        lambda self, *args, **options: WatchedStore(opened(self, *args, **options), events)
    )
    if plan.small:
        for module, name, value in _SMALL:
            assert hasattr(module, name), f"{module.__name__}.{name} has gone"
            setattr(module, name, value)
    if plan.partial is not None:
        seconds, init = plan.partial, backup.attempt.Attempt.__init__

        def often(self: Any, run: Any, *args: Any, **options: Any) -> None:
            run.partial_seconds = seconds
            init(self, run, *args, **options)

        backup.attempt.Attempt.__init__ = often  # type: ignore[method-assign]
    if plan.remote:
        catalog.access.session.Session.is_local = property(lambda self: False)  # type: ignore[assignment,method-assign]
    wrong = int(plan.clock * 1e9)
    time.time_ns = lambda: events.later(_true_time()) + wrong
    time.time = lambda: time.time_ns() / 1e9
    sys.addaudithook(events.audit)


def run(
    args: list[str], environ: dict[str, str], plan: Plan, shared: mmap.mmap, paused: int, watched: tuple[str, ...],
    out: int, error: int,
) -> None:  # fmt: skip
    """Run the command in this forked process, and end it."""
    code = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((null, out, error)):
            os.dup2(descriptor, number)
        _close_all_but(paused)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environ)
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(  # type: ignore[misc]  # noqa: SIM115
            2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        sys.argv = ["rpdrive", *args]
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
        _apply(plan, Events(plan, shared, paused, watched))
        try:
            code = rpdrive.run(args)
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
        sys.stdout.flush()
        threading._shutdown()  # type: ignore[attr-defined]  # wait for threads, as at the end of an interpreter
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - what an interpreter would print
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _close_all_but(kept: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if (number := int(name)) > 2 and number != kept:
            try:
                os.close(number)
            except OSError:
                pass  # the descriptor of the listing itself
