"""What mends each alert: the exact command, and where to run it. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import NamedTuple

from catalog.alerts.state import Alert


class Mend(NamedTuple):
    """The words of a command after `rpdrive`, and what to do about an alert, for people.

    `there`: it is to run on the machine that the alert is about.
    """

    words: tuple[str, ...]
    advice: str
    there: bool = False


_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,63}")


def _backup(a: Alert, paths: Sequence[str] | None) -> Mend:
    if paths is None:
        words: tuple[str, ...] = ("plan", "now", *_item(a))
    elif paths:
        words = ("backup", *_item(a), "--", *paths)
    else:
        return Mend(("jobs", *_machine(a)), "see how it was backed up before, and do that again")
    return Mend(words, "back it up now; if that fails, the error says what to mend", there=True)


def _jobs(a: Alert) -> Mend:
    return Mend(("jobs", *_machine(a)), "see which files are missing and why; close or exclude what is in use")


def _ack(advice: str) -> Callable[[Alert], Mend]:
    return lambda a: Mend(("alerts", "ack", a.ref), advice)


def _restore(a: Alert) -> Mend:
    return Mend(("jobs", "--last", "20"), "see why the restore failed, and restore again")


def _check(a: Alert) -> Mend:
    level = a.cause.removeprefix("level ")
    return Mend(("check", "--level", level if level in ("1", "2", "3") else "2"), "check again", bool(a.machine))


def _deleted(a: Alert) -> Mend:
    if a.cause == "vanished":
        words = ("forget", "--missing", "--dry-run", *_scope(a))
        return Mend(words, "see which are missing: bring them back from a copy of the vault, or accept the loss")
    return Mend(
        ("points", "--deleted", *_scope(a)), "see what was forgotten, and bring it back with `rpdrive undelete`"
    )


def _purge(a: Alert) -> Mend:
    return Mend(("points", "--deleted", *_scope(a)), "bring back with `rpdrive undelete` what is to stay")


def _machine(a: Alert) -> tuple[str, ...]:
    return ("--machine", _named(a.machine_name, a.machine)) if a.machine else ()


def _item(a: Alert) -> tuple[str, ...]:
    return ("--item", _named(a.item_name, a.item)) if a.item else ()


def _scope(a: Alert) -> tuple[str, ...]:
    return (*_machine(a), *_item(a))


def _named(name: str, one: str) -> str:
    """A name as it is typed; the id (hex) of what has a name that is not fit for that."""
    return name if _PLAIN.fullmatch(name) else one


def _always(*words: str, advice: str, there: bool = False) -> Callable[[Alert], Mend]:
    return lambda a: Mend(words, advice, there)


MENDS: dict[str, Callable[[Alert], Mend]] = {
    "backup.incomplete": _jobs,
    "backup.unusual": _ack(
        "compare the newest two points first: much that changed at once may be the work of a virus"
    ),
    "restore.failed": _restore,
    "restore_test.failed": _always("test-restore", advice="test again; if it finds damage, see docs/repair.md"),
    "check.damage": _always("repair", "--dry-run", advice="see what can be repaired, and how"),
    "check.failed": _check,
    "prune.failed": _always("prune", advice="prune again; the error says what to mend", there=True),
    "prune.overdue": _always("prune", advice="prune by hand, and see why the plan did not", there=True),
    "check.overdue": _check,
    "restore_test.overdue": _always("test-restore", advice="test a restore now", there=True),
    "point.deleted": _deleted,
    "item.deleted": _deleted,
    "policy.shortened": lambda a: Mend(
        ("policy", "show", *_scope(a)), "see what it says now; acknowledge the alert if that is meant"
    ),
    "protection.lowered": lambda a: Mend(
        ("plan", "show", *_scope(a)) if a.machine else ("vault", "protect"),
        "see what it says now; acknowledge the alert if that is meant",
    ),
    "credentials.issued": _ack("if nobody here issued them, replace the key of the store's account"),
    "purge.upcoming": _purge,
    "lock.expiring": _always("prune", advice="a prune extends the locks"),
    "clock.skew": _always("doctor", advice="set the clock, by NTP; doctor says by how much it is off"),
    "time.untrusted": lambda a: Mend(
        ("points", *_scope(a)), "see which points these are; the clock of the machine that made them was wrong"
    ),
    "store.nearly_full": _always("prune", "--dry-run", advice="see what a prune would free, or make room"),
    "token.expiring": _always(
        "vault", "connect", "CREDENTIALS-FILE", advice="ask the administrator for new credentials"
    ),
    "target.failing": _always("notify", "test", advice="send a test message, and mend the target"),
    "vault.unreachable": _always("doctor", advice="doctor says what is in the way"),
}


BACKUPS = ("backup.failed", "backup.overdue", "backup.killed", "backup.missed")


def mend(alert: Alert, address: str = "", paths: Sequence[str] | None = None) -> Mend:
    """What mends an alert. Of a kind that this version does not know: to see it in full.

    `address` is the vault's, if commands have to name it; `paths` are those of an item that has no plan: None if
    it has one, none if they are too many to be typed, or it is no item of files.
    """
    made = MENDS.get(alert.id)
    if alert.id in BACKUPS:
        found = _backup(alert, paths)
    elif made is None:
        found = Mend(("alerts", "--json"), "see the alert in full")
    else:
        found = made(alert)
    return found._replace(words=_with_address(found.words, address))


def acknowledging(alert: Alert, address: str = "") -> str:
    """The command that says that a person has seen an alert; empty if one has."""
    if alert.acknowledged:
        return ""
    return command_text(Mend(_with_address(("alerts", "ack", alert.ref), address), ""))


def _with_address(words: tuple[str, ...], address: str) -> tuple[str, ...]:
    return (*(("--vault", address) if address else ()), *words)


def command_text(found: Mend) -> str:
    """The command as it can be typed in a shell."""
    return " ".join(shlex.quote(word) for word in ("rpdrive", *found.words))
