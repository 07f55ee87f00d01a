"""Watches a vault for all its machines: looks, keeps the alerts, tells of changes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from catalog.access.session import Session
from catalog.access.settings import private_folder, write_private
from catalog.alerts.keeping import FOLDER, Kept
from catalog.alerts.local import token_facts
from catalog.alerts.looking import Look, Looker
from catalog.alerts.rules import DAY
from catalog.alerts.state import Alert, Change, Fact, Facts, Step, step
from catalog.alerts.telling import tell
from catalog.alerts.vaults import Known, scope_of, vault_facts
from catalog.errors import LocalError, RpdriveError
from catalog.machines.registry import id_here
from catalog.notify.event import Notifications, Ping, PingWhat, Severity
from catalog.vault import Vault

FULL = 0.9  # of the disk
REACH = "reach"  # the scope of whether a vault can be read
OWN = "own"  # the scope of what a machine finds of itself in a vault
OFTEN = DAY * 5 // 6  # ns after which a machine looks at its own part of a vault again
_log = logging.getLogger("rpdrive.alerts")


class Room(NamedTuple):
    """The disk of a vault: bytes in all, and free ones that this user may take."""

    size: int
    free: int

    @property
    def used(self) -> float:
        return 1 - self.free / self.size if self.size else 0.0


class Watched(NamedTuple):
    """What a look came to: the alerts that are open, and what was told."""

    look: Look | None
    alerts: Sequence[Alert]
    changes: Sequence[Change]


class Watcher:
    """Watches one vault, or only one `machine` in it and the vault's rules. `state` is the state folder here."""

    def __init__(
        self, state: Path, vault: bytes, notifications: Notifications, machine: bytes | None = None
    ) -> None:
        self._state, self._id, self._notifications, self._own = state, vault.hex(), notifications, machine
        self._looker = Looker(state, vault, machine)
        self._kept = Kept(state)

    def look(self, vault: Vault, now: int, more: Sequence[Fact] = ()) -> Watched:
        """Look at the vault, with further facts about it. Raises StoreError and LocalError."""
        look = self._looker.look(vault, now)
        before = known_of(self._state, vault.state_id)
        facts = vault_facts(look, before)
        if self._own is not None:  # what a watch of all machines has found stays as it is
            scope = f"{OWN}/{self._id}"
            facts = Facts(tuple(fact._replace(scope=scope) for fact in facts.facts), frozenset([scope]))
            more = [fact._replace(scope=scope) for fact in more]
        reached = Facts(looked=frozenset([f"{REACH}/{self._id}"]))
        result = self._stepped(facts._replace(facts=(*facts.facts, *more)).and_also(reached), now)
        after = Known.of(look, before)
        if after != before:  # after the alerts: what was seen once must not be forgotten between the two
            _save_known(self._state, vault.state_id, after)
        return Watched(look, _open(result), result.changes)

    def away(self, error: RpdriveError, now: int) -> Watched:
        """Note that the vault can't be read. After a day that is critical."""
        open_ = [a for a in self._kept.of(self._id) if a.is_open and a.id == "vault.unreachable"]
        severity = Severity.CRITICAL if any(now - alert.opened > DAY for alert in open_) else None
        fact = Fact(
            "vault.unreachable", f"{REACH}/{self._id}", self._id, severity=severity,
            title="the vault can't be read", text=str(error),
        )  # fmt: skip
        result = self._stepped(Facts((fact,)), now)
        return Watched(None, _open(result), result.changes)

    def _stepped(self, facts: Facts, now: int) -> Step:
        return tell(self._kept, self._id, lambda before: step(before, facts, now), now, self._notifications)


def _open(result: Step) -> list[Alert]:
    return [alert for alert in result.alerts if alert.is_open]


def watch(session: Session, watcher: Watcher, vault: Vault, notifications: Notifications) -> Watched:
    """Look once. A sign of life tells others that this watch goes on. Raises StoreError and LocalError."""
    now = time.time_ns()
    found = watcher.look(vault, now, own_facts(session, vault.id.hex(), now))
    notifications.ping(Ping(what=PingWhat.SUCCESS, kind="watch", time=now))
    return found


def look_daily(session: Session, vault: Vault, notifications: Notifications) -> Watched | None:
    """Look at what the vault has of this machine, if nobody here has looked at the vault within 20 hours.

    So a machine that no other one watches hears of points that vanished, policies that were shortened, and room
    that runs out. Raises StoreError and LocalError.
    """
    now, state, own = time.time_ns(), session.settings.state, id_here(session.settings, vault)
    looked = known_of(state, vault.state_id).looked
    if own is None or looked <= now < looked + OFTEN:
        return None
    watcher = Watcher(state, vault.id, notifications, own)
    return watcher.look(vault, now, own_facts(session, vault.id.hex(), now))


def away(watcher: Watcher, error: RpdriveError, notifications: Notifications) -> Watched:
    """Note that the vault can't be read. Raises LocalError."""
    now = time.time_ns()
    found = watcher.away(error, now)
    notifications.ping(Ping(what=PingWhat.FAIL, kind="watch", time=now, text=str(error)))
    return found


def own_facts(session: Session, vault: str, now: int) -> list[Fact]:
    """What this machine knows of its way to the vault: its token, and the room on the vault's disk."""
    scope = scope_of(vault)
    found = token_facts(vault, *token_life(session), scope, now)
    room = room_of(session)
    if room is not None and room.used > FULL:
        text = f"{room.used:.0%} of the vault's disk are used, {room.free >> 20:,} MiB are free"
        found.append(Fact("store.nearly_full", scope, vault, title="the vault's disk is nearly full", text=text))
    return found


def token_life(session: Session) -> tuple[int | None, int | None]:
    """When this machine's access to the vault ends (ns; None: never), and since when it has it, if known."""
    from catalog.store.address import scheme_of

    tokens = scheme_of(session.address).tokens
    if tokens is not None and tokens.in_environment(session.address, os.environ):
        return tokens.rights(session.address, os.environ, None).ends, None
    credentials = session.credentials()
    if credentials is None:
        return None, None
    return int(credentials.expires.timestamp()) * 10**9, int(credentials.issued.timestamp()) * 10**9


def room_of(session: Session) -> Room | None:
    """The room on the disk of a vault in a folder; None for other stores, and where that can't be asked."""
    if session.folder is None or not hasattr(os, "statvfs"):
        return None
    try:
        found = os.statvfs(session.folder)
    except OSError:
        return None
    # As `df` counts: what only root may use is neither used nor free.
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    free = found.f_bavail * found.f_frsize
    return Room(used + free, free)


def known_of(state: Path, state_id: str) -> Known:
    """What was seen of a vault's own rules at the last look at a place; nothing if that can't be read."""
    try:
        return msgspec.json.decode(_known_path(state, state_id).read_bytes(), type=Known)
    except (OSError, ValueError, RecursionError):
        return Known()


def _save_known(state: Path, state_id: str, known: Known) -> None:
    try:
        private_folder(_known_path(state, state_id).parent)
        write_private(_known_path(state, state_id), msgspec.json.encode(known) + b"\n")
    except LocalError as e:
        _log.warning("the rules of the vault are compared with earlier ones next time: %s", e)


def _known_path(state: Path, state_id: str) -> Path:
    return state / FOLDER / state_id / "known.json"
