"""The kinds of alerts: how severe each is, what opens it and what resolves it, as in docs/alerts.md."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from catalog.notify.event import Severity

DAY = 86_400 * 10**9  # ns
REMIND_AFTER = (DAY, 3 * DAY, 7 * DAY)  # since an alert opened; after the last of them every REMIND_EVERY
REMIND_EVERY = 7 * DAY


def rank(severity: Severity) -> int:
    """0 for what is news, 2 for what is critical."""
    return (Severity.INFO, Severity.WARNING, Severity.CRITICAL).index(severity)


class Ends(StrEnum):
    """What resolves an alert."""

    WITH_CAUSE = "with its cause"
    BY_HAND = "when it is acknowledged"  # it is about an act: that can't end
    AT_ONCE = "at once"  # it is news: never open


class Rule(NamedTuple):
    """One kind of alert. `security`: it can't be switched off, and goes to all targets."""

    severity: Severity
    opens: str
    resolves: str
    ends: Ends = Ends.WITH_CAUSE
    security: bool = False


_I, _W, _C = Severity.INFO, Severity.WARNING, Severity.CRITICAL
_ACK = "`rpdrive alerts ack`"

RULES: dict[str, Rule] = {
    "backup.failed": Rule(
        _W,
        "a backup failed; critical from the second time in a row for the same reason",
        "the next backup succeeds",
    ),
    "backup.overdue": Rule(
        _C,
        "no complete point by the expected time and the plan's grace; a warning while a backup is at work",
        "a new point",
    ),
    "backup.killed": Rule(
        _W,
        "a backup began and left no end: its machine has started again since, or begun another backup, or 24 hours"
        " passed without a sign"
        " of life",
        "the next end",
    ),
    "backup.incomplete": Rule(_W, "files are missing from the newest point", "the next backup misses none"),
    "backup.missed": Rule(
        _I, "one backup made up for several missed times", "at once: it is news for the digest", Ends.AT_ONCE
    ),
    "backup.unusual": Rule(
        _W,
        "more than 5 times the median of new bytes of the last 30 backups, or more than 50 % of the files changed",
        _ACK,
        Ends.BY_HAND,
    ),
    "restore.failed": Rule(_C, "a restore failed", "the next restore of the item succeeds"),
    "restore_test.failed": Rule(
        _C, "a restore test failed or found damage", "the next restore test of the item succeeds"
    ),
    "check.damage": Rule(_C, "a check found damage", "a check of the same level finds none"),
    "check.failed": Rule(_W, "a check could not be done", "the next check of the same level succeeds"),
    "prune.failed": Rule(_W, "a prune failed", "the next prune succeeds"),
    "prune.overdue": Rule(_W, "no prune for twice its period", "a prune"),
    "check.overdue": Rule(_W, "no check of a level for twice its period", "a check of that level, or a deeper one"),
    "restore_test.overdue": Rule(_W, "no restore test for twice its period", "a restore test"),
    "point.deleted": Rule(
        _C,
        "recovery points were forgotten by hand, or vanished and no ledger explains it",
        _ACK,
        Ends.BY_HAND,
        True,
    ),
    "item.deleted": Rule(_C, "all points of an item were forgotten, or vanished", _ACK, Ends.BY_HAND, True),
    "policy.shortened": Rule(_C, "a policy keeps points for a shorter time than before", _ACK, Ends.BY_HAND, True),
    "protection.lowered": Rule(
        _C,
        "the vault's own rules protect less, a plan was stopped, or saves less than before",
        _ACK,
        Ends.BY_HAND,
        True,
    ),
    "credentials.issued": Rule(
        _C, "credentials for the vault were issued on this machine", _ACK, Ends.BY_HAND, True
    ),
    "purge.upcoming": Rule(_W, "forgotten points go for good within 2 days", "they are brought back, or are gone"),
    "lock.expiring": Rule(
        _W, "locks of the store end within 10 days, or a quarter of the vault's rule", "the locks are extended"
    ),
    "clock.skew": Rule(_W, "the clocks of the store and of this machine differ by over 5 minutes", "they agree"),
    "time.untrusted": Rule(
        _W, "a point says a time that is over 36 hours off the store's", "no point has such a time"
    ),
    "store.nearly_full": Rule(_W, "the vault's disk is over 90 % full", "room is made"),
    "token.expiring": Rule(
        _W,
        "the access to the vault ends within 14 days, or in the last quarter of a shorter life; critical once it"
        " ended",
        "new credentials are saved",
    ),
    "target.failing": Rule(
        _W, "messages to a target could not be delivered for an hour", "the target takes them again"
    ),
    "vault.unreachable": Rule(
        _W, "the vault could not be read by `rpdrive watch`; critical after a day", "it can be read"
    ),
}
