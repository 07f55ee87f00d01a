"""What this machine has to do now, for all its vaults: the due jobs that no condition holds up, in their order.

From this machine's copy of the plans and its history alone: no request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from catalog.plans.effective import Plan
from catalog.plans.local import LocalItem, LocalVault
from catalog.schedule.conditions import Facts, reason_to_wait
from catalog.schedule.due import BACKUP, STILL_RUNNING, UPKEEP, Duty, due, expected_by, lapsed, overlapped, pause
from catalog.schedule.history import MISSED, SKIPPED, Ran
from catalog.schedule.slots import DAY, MINUTE

REFRESH = Duty("refresh")
_ORDER = (BACKUP, *UPKEEP, REFRESH)
_SKEW = 5 * MINUTE


class Work(NamedTuple):
    """A job to run. `item` is None for upkeep."""

    vault: LocalVault
    item: LocalItem | None
    duty: Duty
    slot: int
    missed: int = 0
    attempt: int = 1

    @property
    def plan(self) -> Plan:
        return self.vault.plan if self.item is None else self.item.plan

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        return self.vault.vault, self.item.id if self.item else "", self.duty.kind, self.duty.level, self.slot

    def row(self, now: int, outcome: str, **fields: object) -> Ran:
        """A row about this work, which has no run of its own: one for each slot, outcome and reason."""
        word = f"{self.key} {outcome} {fields.get('reason', '')}"
        base = Ran(
            id=hashlib.blake2b(word.encode(), digest_size=16).hexdigest(), vault=self.vault.vault,
            machine=self.vault.machine, kind=self.duty.kind, level=self.duty.level,
            item=self.item.id if self.item else "", item_name=self.item.name if self.item else "", slot=self.slot,
            missed=self.missed, started=now, finished=now, outcome=outcome,
        )  # fmt: skip
        return msgspec.structs.replace(base, **fields)


class Agenda(NamedTuple):
    """The work that may begin now, and rows to note about what may not."""

    work: list[Work]
    rows: list[Ran]


def agenda(vaults: Iterable[LocalVault], runs: Sequence[Ran], now: int, resumed: int, facts: Facts) -> Agenda:
    """What to do now. `resumed` is when this machine was last started or woken (ns)."""
    found, known = Agenda([], []), {ran.id for ran in runs}
    works = list[Work]()
    for vault in vaults:
        here = [ran for ran in runs if ran.vault == vault.vault]
        for item in vault.items:
            rows = [ran for ran in here if ran.item == item.id]
            works += _works(vault, item, rows, now, resumed)
            found.rows.extend(row for row in _passed(vault, item, rows, now) if row.id not in known)
        works += _works(vault, None, here, now, resumed)
        works += _refresh(vault, here, now)
    for work in sorted(works, key=lambda work: _ORDER.index(work.duty)):
        reason = None if work.duty == REFRESH else _reason(work, runs, facts, now)
        if reason is None:
            found.work.append(work)
            continue
        row = work.row(now, SKIPPED, reason=reason)
        if row.id not in known:
            found.rows.append(row)
    return found


def _reason(work: Work, runs: Sequence[Ran], facts: Facts, now: int) -> str | None:
    """Why a condition holds the work up; None if none does."""
    item, vault = work.item, work.vault
    rows = [ran for ran in runs if ran.vault == vault.vault and (item is None or ran.item == item.id)]
    since = 0 if item is None else item.since
    machine = bytes.fromhex(vault.machine)
    wanted = expected_by(work.plan, rows, now, duty=work.duty, machine=machine, since=since)
    return reason_to_wait(work.plan, facts, work.slot if wanted is None else min(wanted, work.slot), now)


def _works(vault: LocalVault, item: LocalItem | None, rows: list[Ran], now: int, resumed: int) -> list[Work]:
    plan, duties = (vault.plan, UPKEEP) if item is None else (item.plan, (BACKUP,))
    if item is None and not any(ran.kind == BACKUP.kind and ran.outcome.startswith("completed") for ran in rows):
        return []  # there is nothing yet to take care of
    since, machine = 0 if item is None else item.since, bytes.fromhex(vault.machine)
    jobs = due(plan, rows, now, duties=duties, machine=machine, since=since, resumed=resumed).jobs
    return [Work(vault, item, job.duty, job.slot, job.missed, job.attempt) for job in jobs]


def _passed(vault: LocalVault, item: LocalItem, rows: list[Ran], now: int) -> Iterator[Ran]:
    """Rows about slots that pass: while the last backup is at work, or because none is caught up."""
    slot = overlapped(item.plan, rows, now)
    if slot is not None:
        yield Work(vault, item, BACKUP, slot).row(now, SKIPPED, reason=STILL_RUNNING)
    gone = lapsed(item.plan, rows, now, since=item.since)
    if gone is not None:
        yield Work(vault, item, BACKUP, *gone).row(now, MISSED)


def _refresh(vault: LocalVault, rows: list[Ran], now: int) -> list[Work]:
    """The daily look at the plans, if no job opened the vault for a day."""
    if vault.fetched <= now < vault.fetched + DAY:
        return []
    slot = vault.fetched + DAY if vault.fetched <= now else now // DAY * DAY
    work = Work(vault, None, REFRESH, slot + (now - slot) // DAY * DAY)
    tries = [
        ran for ran in rows if ran.kind == REFRESH.kind and slot <= ran.started <= now + _SKEW and not ran.ahead
    ]
    if tries:
        last = max(tries, key=lambda ran: ran.finished)
        if now < min(last.finished, now) + pause(last.tries):
            return []
    return [work]
