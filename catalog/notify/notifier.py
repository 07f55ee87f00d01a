"""Sends events and pings through the spool. It never raises into a job, and never delays one for long.

Each target has a thread of its own for as long as there is something for it. The caller waits for them for a few
seconds; a thread that goes on holds the target's lock, so nobody else sends what it is sending. If the process ends
before, what was not taken is still in the spool, and the next tick sends it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from catalog.errors import RpdriveError
from catalog.notify.bounded import Undelivered
from catalog.notify.config import FILE, NOTHING, SECRETS, Config, read_config
from catalog.notify.delivery import deliver
from catalog.notify.event import Event, Failing, Ping, PingWhat
from catalog.notify.matching import pings_of, targets_of
from catalog.notify.spool import (
    GIVE_UP,
    HOUR,
    OLDEST,
    OLDEST_PING,
    UNROUTED,
    Content,
    Entry,
    Spool,
    State,
    after_failure,
    is_due,
)
from catalog.notify.targets import Target

PATIENCE = 8.0  # s that a caller waits for its targets, altogether
_RUN = 60.0  # s for which one thread goes on with the messages of a target


class Notifier:
    """Implements Notifications on `notify.toml` in the folder `config` and a spool in the folder `state`."""

    def __init__(self, config: Path, state: Path, patience: float = PATIENCE) -> None:
        self._config_folder = config
        self.spool = Spool(state / "notify")
        self._patience = patience
        self.fault = ""  # why the configuration could not be read
        self._config: Config | None = None
        self._read_at: tuple[object, ...] | None = None
        self._threads: list[threading.Thread] = []

    @property
    def config(self) -> Config | None:
        """The configuration; None if it can't be read, and `fault` says why."""
        if self._read_at is None:
            self._refresh()
        return self._config

    def _refresh(self) -> None:
        """Read the configuration again if a file of it has changed: a watch goes on for months."""
        at = tuple(_mark(self._config_folder / name) for name in (FILE, SECRETS))
        if at == self._read_at:
            return
        self._read_at, self.fault = at, ""
        try:
            self._config = read_config(self._config_folder)
        except RpdriveError as e:
            self._config, self.fault = None, str(e)

    @property
    def zone(self) -> tzinfo:
        """The zone of the configuration, else this machine's."""
        name = self.config.zone if self.config else None
        if name is None:
            from catalog.policies.zone import local_zone

            name = local_zone()
        try:
            return ZoneInfo(name) if name else UTC
        except (KeyError, ValueError, OSError):
            return UTC

    # --- Notifications ------------------------------------------------------------------------------------

    def send(self, events: Sequence[Event], now: int) -> list[Event]:
        """See Notifications."""
        self._refresh()
        lost: list[Event] = []
        for number, event in enumerate(events):
            names = [UNROUTED] if self.config is None else targets_of(event, self.config, self.zone)
            left = [name for name in names if not self._keep(name, event, now + number)]
            # What can't be kept goes out at once. If one target has it, it is not lost, and not sent again.
            if left and not self._send_without_spool(left, event) and len(left) == len(names):
                lost.append(event)
        self._start({name for name in self._names() if self.spool.entries(name)}, now)
        self.wait()
        return lost

    def ping(self, ping: Ping) -> None:
        """See Notifications."""
        self._refresh()
        names = pings_of(ping, self.config or NOTHING)
        targets = {name: self.config.targets[name] for name in names} if self.config else {}
        if ping.what is PingWhat.START:  # nobody waits for it, and late it would be wrong
            for target in targets.values():
                self._run(partial(_try, target, ping))
            return
        for name in names:
            self._keep(name, ping, ping.time)
        self._start(set(names), ping.time)
        self.wait()

    def retry(self, now: int) -> None:
        """See Notifications."""
        self._refresh()
        waiting = self.spool.targets()
        if not waiting or self.config is None:
            return
        self._route_late(now)
        for name in waiting:
            if name not in self._names() and not self.config.faults:  # a person removed it
                self.spool.remove_target(name)
        self._start(set(self.spool.targets()) & {*self._names()}, now)
        self.wait()

    def failing(self, now: int) -> list[Failing]:
        """See Notifications."""
        self._refresh()
        found = []
        for row in self.spool.failing(now):
            error = row.error
            if row.target == UNROUTED:
                error = self.fault if self.config is None else f"{FILE} could not be read for a while"
            elif self.config is None:
                error = self.fault
            elif row.target in self.config.faulty:
                where = f"{FILE}: targets.{row.target}"
                error = next((f for f in self.config.faults if f.startswith(where)), error)
            found.append(row._replace(error=error))
        return found + self._faults(now)

    def _faults(self, now: int) -> list[Failing]:
        """A fault of the configuration as a target of the file's name, an hour after it was written."""
        faults = self.config.faults if self.config is not None else [self.fault]
        try:
            written = (self._config_folder / FILE).stat().st_mtime_ns
        except OSError:
            return []
        since = min(written, now - HOUR) if written > now else written  # a time in the future says nothing
        return [Failing(FILE, since, 0, "; ".join(faults)[:500])] if faults and now - since >= HOUR else []

    # --- one target ---------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        return list(self.config.targets) if self.config else []

    def _keep(self, name: str, content: Content, now: int) -> bool:
        try:
            return self.spool.add(name, content, now)
        except OSError:
            return False

    def _route_late(self, now: int) -> None:
        """Give the events that came without a configuration to their targets."""
        if self.config is None:
            return
        with self.spool.locked(UNROUTED) as mine:
            for entry in self.spool.entries(UNROUTED) if mine else []:
                event = self.spool.read(entry)
                if isinstance(event, Event):
                    names = targets_of(event, self.config, self.zone)
                    kept = [self._keep(name, event, entry.time) for name in names]
                    if names and not any(kept):
                        continue  # it stays here until there is room
                try:
                    entry.path.unlink(missing_ok=True)
                except OSError:
                    return

    def _send_without_spool(self, names: Sequence[str], event: Event) -> bool:
        """Send an event once to each of the targets. Whether at least one has taken it."""
        config = self.config or NOTHING
        targets = [config.targets[name] for name in names if name in config.targets]
        done = [threading.Event() for _ in targets]
        for target, taken in zip(targets, done, strict=True):
            self._run(partial(_try, target, event, taken))
        self.wait()
        return any(taken.is_set() for taken in done)

    def _start(self, names: set[str], now: int) -> None:
        started = time.monotonic()

        def at() -> int:
            return now + int((time.monotonic() - started) * 1e9)

        for name in sorted(names):
            if self.config and name in self.config.targets and is_due(self.spool.state(name), now):
                self._run(partial(self._work, name, self.config.targets[name], at))

    def _run(self, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=_quietly, args=(work,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: the next tick may have some
            return
        self._threads.append(thread)

    def wait(self) -> None:
        """Wait for what is being sent, as long as the patience lasts."""
        end = time.monotonic() + self._patience
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def _work(self, name: str, target: Target, now: Callable[[], int]) -> None:
        """Send what waits for a target, oldest first, until one fails."""
        end = time.monotonic() + _RUN
        with self.spool.locked(name) as mine:
            # Where nothing can be removed, what was sent would be sent again and again.
            if not mine or not self.spool.is_writable(name) or not is_due(self.spool.state(name), now()):
                return
            self.spool.tidy(name, now())
            refused = False
            for entry in self.spool.entries(name):
                content = self.spool.read(entry)
                if content is None:
                    continue
                if self._is_old(content, entry, now()):
                    if isinstance(content, Ping):
                        entry.path.unlink(missing_ok=True)
                    else:
                        self.spool.drop(name, entry)
                    continue
                if time.monotonic() > end:
                    return
                state = self.spool.state(name)
                # Noted first: an attempt that kills or outlives this process is not made again at once.
                self.spool.set_state(name, after_failure(state, now(), "the attempt did not end in time"))
                try:
                    remark = deliver(target, _with_note(content, state.dropped))
                    entry.path.unlink(missing_ok=True)
                except Undelivered as e:
                    self.spool.set_state(name, after_failure(state, now(), str(e)))
                    if not e.refused:
                        return
                    refused = True
                    if now() - entry.time > GIVE_UP:
                        self.spool.drop(name, entry)
                else:
                    self.spool.set_state(name, State(error=remark, delivered=now()))
            state = self.spool.state(name)
            if not refused and state.failures and not self.spool.entries(name):
                self.spool.set_state(
                    name, State(dropped=state.dropped, delivered=state.delivered)
                )  # it was given up

    @staticmethod
    def _is_old(content: Content, entry: Entry, now: int) -> bool:
        return now - entry.time > (OLDEST_PING if isinstance(content, Ping) else OLDEST)


def _mark(path: Path) -> tuple[int, ...]:
    """What changes when a file does; () if there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _with_note(content: Content, dropped: int) -> Content:
    """The event, which also says how many before it were given up."""
    if not dropped or not isinstance(content, Event):
        return content
    import msgspec

    fields = content.fields | {"Not delivered": f"{dropped} earlier messages were given up"}
    return msgspec.structs.replace(content, fields=fields)


def _try(target: Target, content: Content, taken: threading.Event | None = None) -> None:
    with suppress(Undelivered):
        deliver(target, content)
        if taken is not None:
            taken.set()


def _quietly(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001 - a notification must not disturb what it is about
        return
