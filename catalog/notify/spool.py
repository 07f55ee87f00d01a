"""Messages that wait for their targets: a folder for each target, and a file for each message.

    spool/<target>/<time, ns, 20 digits>-<severity>-<random>.json     an Event or a Ping
    spool/<target>/state.json                                         how the last attempts went
    spool/<target>/lock                                               held by the process that delivers

A file is written whole under another name first, and removed once the target has taken it: a process killed between
the two sends it again, with the same Message-ID. Everything is bounded; what is dropped is counted and said.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from catalog.notify.event import Event, Failing, Ping, Severity
from catalog.systems.this import SYSTEM

HOUR = 3600 * 10**9  # ns
DAY = 24 * HOUR
OLDEST = 14 * DAY  # of an event, in ns
OLDEST_PING = HOUR  # a late one would say that something runs now
GIVE_UP = DAY  # for a message that a working target refuses
MOST_FILES, MOST_BYTES, LONGEST = 1_000, 16 << 20, 1 << 20  # of one target, of all, of one file
_FIRST_WAIT, _LONGEST_WAIT = 240 * 10**9, HOUR  # ns; a tick comes every 5 minutes
_RANKS = {Severity.INFO: "0", Severity.WARNING: "1", Severity.CRITICAL: "2"}
_TEMPORARY, _BAD = ".tmp", ".bad"
UNROUTED = "-unrouted"  # events that came while the configuration could not be read; no target has such a name
Content: TypeAlias = Event | Ping


class _Kept(msgspec.Struct, kw_only=True, omit_defaults=True):
    event: Event | None = None
    ping: Ping | None = None


class State(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How deliveries to a target go. `failures` in a row since the time `since`; none before the time `next`.

    `delivered` is when the target took a message last, `error` what went wrong since then, or a remark about that
    one. `dropped` counts messages that were given up and not yet told of.
    """

    failures: int = 0
    since: int = 0
    next: int = 0
    error: str = ""
    dropped: int = 0
    delivered: int = 0


class Entry(NamedTuple):
    """A file of the spool. `time` is when it was spooled (ns, UTC), `rank` 0 to 2 its severity."""

    path: Path
    time: int
    rank: int
    size: int


class Spool:
    """The spool in a folder, which is made when it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # --- what waits ---------------------------------------------------------------------------------------

    def add(self, target: str, content: Content, now: int) -> bool:
        """Keep a message for a target. False if there is no room for it. Raises OSError if it can't be written."""
        rank = _RANKS[content.severity] if isinstance(content, Event) else "0"
        kept = _Kept(event=content) if isinstance(content, Event) else _Kept(ping=content)
        data = msgspec.json.encode(kept)
        if len(data) > LONGEST or not self._make_room(target, int(rank), len(data)):
            self._count_dropped(target)
            return False
        folder = self._folder(target)
        name = f"{max(now, 0):020d}-{rank}-{secrets.token_hex(4)}.json"
        _write(folder / name, data)
        return True

    def entries(self, target: str) -> list[Entry]:
        """What waits for a target, oldest first. Files with other names are passed over."""
        found: list[Entry] = []
        try:
            with os.scandir(self.folder / target) as files:
                for file in files:
                    time, _, rest = file.name.partition("-")
                    rank, _, end = rest.partition("-")
                    if len(time) != 20 or not time.isdecimal() or rank not in "012" or not end.endswith(".json"):
                        continue
                    with suppress(OSError):
                        found.append(Entry(Path(file.path), int(time), int(rank or 0), file.stat().st_size))
        except OSError:
            return []
        return sorted(found)

    def read(self, entry: Entry) -> Content | None:
        """A message; None if its file is gone or malformed. A malformed one is set aside under another name."""
        try:
            if entry.size > LONGEST:
                raise ValueError
            kept = msgspec.json.decode(entry.path.read_bytes(), type=_Kept)
            content: Content | None = kept.event or kept.ping
            if content is None:
                raise ValueError
            return content
        except FileNotFoundError:
            return None
        except (ValueError, OSError, RecursionError):  # msgspec's errors are ValueErrors
            with suppress(OSError):
                entry.path.replace(entry.path.with_suffix(_BAD))
            return None

    def targets(self) -> list[str]:
        """The names of targets that something waits for, or that failed last; of removed targets, too."""
        try:
            return sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        except OSError:
            return []

    def is_writable(self, target: str) -> bool:
        """Whether files of a target can be removed, as far as that can be told."""
        return os.access(self.folder / target, os.W_OK)

    def remove_target(self, target: str) -> int:
        """Remove all that waits for a target. Returns how many messages that were."""
        entries = self.entries(target)
        folder = self.folder / target
        with suppress(OSError):
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
            folder.rmdir()
        return len(entries)

    # --- how deliveries go --------------------------------------------------------------------------------

    def state(self, target: str) -> State:
        """How deliveries to a target go; a fresh state if that is not known."""
        try:
            return msgspec.json.decode((self.folder / target / "state.json").read_bytes(), type=State)
        except (OSError, ValueError, RecursionError):
            return State()

    def set_state(self, target: str, state: State) -> None:
        """Remember how deliveries go. Without room on the disk, nothing is remembered."""
        with suppress(OSError):
            _write(self._folder(target) / "state.json", msgspec.json.encode(state), sync=False)

    @contextmanager
    def locked(self, target: str) -> Iterator[bool]:
        """Whether this process alone delivers to the target meanwhile. False at once if another one does.

        Where no file for the lock can be made, as on a full disk, an existing one is locked, or nothing.
        """
        descriptor = -1
        with suppress(OSError):
            descriptor = os.open(self._folder(target) / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield descriptor < 0 or SYSTEM.try_lock(descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def failing(self, now: int) -> list[Failing]:
        """The targets whose messages have waited, or whose attempts have failed, for an hour or more."""
        found = []
        for target in self.targets():
            entries, state = self.entries(target), self.state(target)
            if not entries and not state.failures:
                continue
            times = [entries[0].time] if entries else []
            times += [state.since] if state.failures and state.since else []
            since = min([min(time, now) for time in times], default=now)  # the clock may have been set back
            if now - since >= HOUR:
                found.append(Failing(target, since, len(entries), state.error))
        return found

    # --- bounds -------------------------------------------------------------------------------------------

    def _make_room(self, target: str, rank: int, size: int) -> bool:
        """Make room for one more message: the least severe ones go, the oldest first. False if none may."""
        rows = self.entries(target)
        others = [e for name in self.targets() if name != target for e in self.entries(name)]
        used = sum(e.size for e in [*rows, *others])
        for victim in sorted(rows, key=lambda e: (e.rank, e.time)):
            if len(rows) < MOST_FILES and used + size <= MOST_BYTES:
                break
            if victim.rank > rank:
                return False
            if not self.drop(target, victim):
                return False
            rows.remove(victim)
            used -= victim.size
        return len(rows) < MOST_FILES and used + size <= MOST_BYTES

    def drop(self, target: str, entry: Entry) -> bool:
        """Give up a message, and count that. False if it can't be removed."""
        try:
            entry.path.unlink(missing_ok=True)
        except OSError:
            return False
        self._count_dropped(target)
        return True

    def _count_dropped(self, target: str) -> None:
        state = self.state(target)
        state.dropped += 1
        self.set_state(target, state)

    def tidy(self, target: str, now: int) -> None:
        """Remove what killed processes left behind, and malformed files, after their time."""
        with suppress(OSError):
            for path in (self.folder / target).iterdir():
                if path.suffix in (_TEMPORARY, _BAD) and now - path.stat().st_mtime_ns > OLDEST:
                    path.unlink(missing_ok=True)

    def _folder(self, target: str) -> Path:
        folder = self.folder / target
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


def after_failure(state: State, now: int, error: str) -> State:
    """The state after one more failure: each wait is twice as long as the one before, up to an hour."""
    failures = state.failures + 1
    wait = min(_FIRST_WAIT << min(failures - 1, 10), _LONGEST_WAIT)
    since = min(state.since or now, now)
    return msgspec.structs.replace(state, failures=failures, since=since, next=now + wait, error=error[:500])


def is_due(state: State, now: int) -> bool:
    """Whether an attempt may be made; also if the clock was set back since the last one."""
    return now >= state.next or state.next - now > _LONGEST_WAIT


def _write(path: Path, data: bytes, *, sync: bool = True) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(3)}{_TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
