"""The runs of one job after the other, and what they come to: the ground of metrics, digests and reports.

A series is a kind of job of an item or, for upkeep, of a machine. Summaries are pure functions of it.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from catalog.plans.effective import Plan
from catalog.plans.local import LocalPlans, LocalVault
from catalog.schedule.due import BACKUP, UPKEEP, Duty, expected_by, grace, next_slot
from catalog.schedule.history import RUNNING, History, Ran

_KINDS = ("backup", "prune", "check", "restore-test", "restore", "repair")
_OF_ITEMS = ("backup", "restore")


class Series(NamedTuple):
    """A job and its runs, oldest first. `vault` is an address, or the start of an id; `item` "" for upkeep.

    `expected` is the time (ns) after which a success is overdue, None if nothing says one; `next` the next slot.
    """

    vault: str
    machine: str
    item: str
    kind: str
    level: int
    runs: Sequence[Ran]
    expected: int | None = None
    next: int | None = None
    paused: bool = False


class Summary(NamedTuple):
    """What the runs of a series came to in a time. `last` is the newest run at all, `success` that succeeded.

    `bytes` and `files` are those of the newest success, `before` its bytes at the beginning of the time (None if
    nothing is known), `new_bytes` all that was new. `took` is the median time of a run in seconds.
    """

    series: Series
    runs: int
    completed: int
    warnings: int
    failed: int
    killed: int
    skipped: int
    missed: int
    last: Ran | None
    success: Ran | None
    bytes: int
    before: int | None
    files: int
    new_bytes: int
    took: float
    overdue: bool

    @property
    def is_well(self) -> bool:
        """Whether a person has nothing to do about it."""
        last_failed = self.last is not None and self.last.outcome in ("failed", "killed", "interrupted")
        return not (self.overdue or last_failed)


def series_here(state: Path, now: int) -> list[Series]:
    """The series of this machine, from its own records alone. Raises nothing: what can't be read is left out."""
    return series_of(LocalPlans(state).all().vaults, History(state).all(), now, platform.node())


def series_of(vaults: Iterable[LocalVault], runs: Iterable[Ran], now: int, here: str = "") -> list[Series]:
    """The series of runs and plans; a planned job is there before its first run.

    `here` is the name of this machine where no plan says one.
    """
    rows: dict[tuple[str, str, str, int], list[Ran]] = {}
    names: dict[tuple[str, str], str] = {}
    for ran in runs:
        if ran.kind in _KINDS:
            rows.setdefault((ran.vault, ran.item if ran.kind != "prune" else "", ran.kind, ran.level), []).append(
                ran
            )
            if ran.item and ran.item_name:
                names[ran.vault, ran.item] = ran.item_name  # the newest one
    known = {vault.vault: vault for vault in vaults}
    plans: dict[tuple[str, str, str, int], tuple[Plan, Duty, int]] = {}
    for one in known.values():
        for item in one.items:
            names[one.vault, item.id] = item.name
            plans[one.vault, item.id, "backup", 0] = (item.plan, BACKUP, item.since)
        for duty in UPKEEP:
            plans[one.vault, "", duty.kind, duty.level] = (one.plan, duty, one.since)
    found = []
    for place in {*rows, *plans}:
        vault, item_id, kind, level = place
        local, own = known.get(vault), rows.get(place, [])
        plan, duty, since = plans.get(place, (None, BACKUP, 0))
        own = sorted(own, key=lambda ran: (ran.started, ran.id))
        expected = None
        if plan is not None and local is not None:
            machine = bytes.fromhex(local.machine)
            slot = expected_by(plan, own, now, duty=duty, machine=machine, since=since)
            expected = None if slot is None else slot + grace(plan, duty)
        if not own and expected is None and not (plan is not None and duty == BACKUP):
            continue
        found.append(
            Series(
                local.address if local is not None else vault[:8],
                local.machine_name if local is not None else here,
                names.get((vault, item_id), item_id[:8]), kind, level, own, expected,
                next_slot(plan, now) if plan is not None and duty == BACKUP else None,
                plan is not None and not plan.runs_at(now),
            )
        )  # fmt: skip
    return in_order(found)


def in_order(rows: Iterable[Series]) -> list[Series]:
    """Series as people look for them: by vault and machine, backups before upkeep."""

    def place(row: Series) -> tuple[object, ...]:
        kind = _KINDS.index(row.kind) if row.kind in _KINDS else len(_KINDS)
        return row.vault, row.machine, kind, row.level, row.item

    return sorted(rows, key=place)


def summarise(series: Series, since: int, now: int) -> Summary:
    """What the runs of a series came to from one time to another (ns)."""
    runs = [ran for ran in series.runs if ran.started <= now and ran.outcome != RUNNING]
    inside = [ran for ran in runs if ran.started >= since]
    good = [ran for ran in runs if is_success(ran)]
    sized = [ran for ran in good if ran.bytes]
    earlier = [ran for ran in sized if ran.started < since] or sized[:1]
    success = good[-1] if good else None
    real = [ran for ran in runs if ran.outcome not in ("skipped", "missed")]
    return Summary(
        series=series,
        runs=sum(ran.outcome not in ("skipped", "missed") for ran in inside),
        completed=sum(ran.outcome == "completed" for ran in inside),
        warnings=sum(ran.outcome == "completed with warnings" for ran in inside),
        failed=sum(ran.outcome in ("failed", "interrupted") for ran in inside),
        killed=sum(ran.outcome == "killed" for ran in inside),
        skipped=sum(ran.outcome == "skipped" for ran in inside),
        missed=sum(ran.missed for ran in inside if is_success(ran))
        + sum(ran.outcome == "missed" for ran in inside),
        last=real[-1] if real else None,
        success=success,
        bytes=sized[-1].bytes if sized else 0,
        before=earlier[-1].bytes if earlier else None,
        files=success.files if success is not None else 0,
        new_bytes=sum(ran.new_bytes for ran in inside if is_success(ran)),
        took=_median([max(ran.finished - ran.started, 0) / 1e9 for ran in inside if is_success(ran)]),
        overdue=series.expected is not None and now > series.expected,
    )


def is_success(ran: Ran) -> bool:
    """Whether a run did its work, perhaps with warnings."""
    return ran.outcome.startswith("completed")


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
