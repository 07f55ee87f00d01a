"""What runs say about protection: facts about backups, checks, prunes and restores. Pure.

Never an alert: a run that a person interrupted, and one that was skipped, be it for a condition or because another
one ran. If such runs leave too large a gap, the job is overdue.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from catalog.alerts.rules import DAY
from catalog.alerts.state import Fact
from catalog.notify.event import Severity
from catalog.schedule.history import KILLED, RUNNING, Ran

# The words of catalog.format.records.Outcome, without importing what that module needs.
COMPLETED, WITH_WARNINGS, FAILED, INTERRUPTED = "completed", "completed with warnings", "failed", "interrupted"
GOOD = (COMPLETED, WITH_WARNINGS)
ENDS = (*GOOD, FAILED, INTERRUPTED)
DAMAGE = ("Damaged", "MissingData", "ObjectTooLarge")  # causes of a check that failed
SLIPS = ("NotFound", "AmbiguousName", "UsageError")
LOST = DAY  # ns after which a run without an end counts as killed
NEWS = 31 * DAY  # ns for which a run that made up for missed times is news
MEDIAN_OF, LEAST_OF = 30, 5  # runs before one that is compared with them: at most, and at least
JUDGED = 5  # the newest runs that are looked at for being unusual
TIMES = 5  # as many new bytes as the median
FLOOR = 16 << 20  # new bytes below which no backup is unusual
HALF, FEW_FILES = 0.5, 20  # share of the files changed; of fewer files, any share is usual
NAMED = 5  # paths in a text


class Names(NamedTuple):
    """What people call a machine and its items (ids in hex)."""

    machines: Mapping[str, str] = {}
    items: Mapping[tuple[str, str], str] = {}

    def machine(self, machine: str) -> str:
        return self.machines.get(machine, machine[:8])

    def item(self, machine: str, item: str) -> str:
        return self.items.get((machine, item), item[:8])


class _Series(NamedTuple):
    """Runs of one kind, machine and item, oldest first, and what to put into facts about them."""

    runs: list[Ran]
    scope: str
    names: Names
    now: int

    @property
    def last(self) -> Ran:
        return self.runs[-1]

    def fact(
        self, kind: str, title: str, text: str = "", *, of: Sequence[Ran], cause: str = "", **more: str | int
    ) -> Fact:
        one = self.last
        name = one.item_name or self.names.item(one.machine, one.item) if one.item else ""
        return Fact(
            kind, self.scope, one.vault, one.machine, one.item, cause, self.names.machine(one.machine), name,
            title=title, text=text, details=dict(more), marks=tuple(ran.id for ran in of),
        )  # fmt: skip


def job_facts(
    runs: Iterable[Ran],
    scope: str,
    names: Names,
    now: int,
    boots: Mapping[str, str] | None = None,
    dense: Collection[str] = (),
    alive: Collection[tuple[str, str]] = (),
) -> list[Fact]:
    """What runs say, in any order. `scope` has the id of each machine below it.

    `boots` say how machines were started last: a run of an earlier start has ended. `dense` are ids of backups
    whose new contents could not be compressed. `alive` are machines and items whose backup shows signs of life.
    """
    series: dict[tuple[str, str, str, str, int], list[Ran]] = {}
    runs = list(runs)
    newest = _newest_backups(runs, now)
    for ran in runs:
        kind = ran.kind.replace(" ", "-")
        level = ran.level if kind == "check" else 0
        series.setdefault((ran.vault, ran.machine, ran.item, kind, level), []).append(ran)
    found: list[Fact] = []
    for (vault, machine, item, kind, level), some in sorted(series.items()):
        some.sort(key=lambda ran: (ran.started, ran.id))
        one = _Series(some, f"{scope}/{machine}" if machine else scope, names, now)
        match kind:
            case "backup":
                newest_one = newest.get((vault, machine), 0)
                found += _backup(one, boots or {}, dense, (machine, item) in alive, newest_one)
            case "check":
                found += _check(one, level)
            case "prune":
                found += _failed(one, "prune.failed", "prune failed", None)
            case "restore":
                found += _failed(one, "restore.failed", "restore failed", None)
            case "restore-test":
                found += _failed(one, "restore_test.failed", "restore test failed", None)
    return found


def _since_good(runs: Sequence[Ran]) -> list[Ran]:
    """The failures after the last success. A restore of what does not exist is a slip of the person who asked."""
    found: list[Ran] = []
    for ran in reversed(runs):
        if ran.outcome in GOOD:
            break
        if ran.outcome == FAILED and not (ran.kind.startswith("restore") and ran.cause in SLIPS):
            found.append(ran)
    return found[::-1]


def _failed(one: _Series, kind: str, title: str, twice: Severity | None) -> list[Fact]:
    """A fact for each reason of failures since the last success. `twice`: how bad two in a row are."""
    failures = _since_good(one.runs)
    found = []
    for cause in sorted({ran.cause for ran in failures}):
        some = [ran for ran in failures if ran.cause == cause]
        newest = some[-1]
        row = longest = 0
        for ran in failures:
            row = row + 1 if ran.cause == cause else 0
            longest = max(longest, row)
        fact = one.fact(kind, title, newest.error or cause, of=some, cause=cause, reason=cause)
        found.append(fact._replace(severity=twice) if twice is not None and longest > 1 else fact)
    return found


def _backup(one: _Series, boots: Mapping[str, str], dense: Collection[str], alive: bool, newest: int) -> list[Fact]:
    good = [ran for ran in one.runs if ran.outcome in GOOD]
    found = _failed(one, "backup.failed", "backup failed", Severity.CRITICAL)
    found += _killed(one, boots, alive, newest)
    if good and good[-1].problem_count:
        found.append(_incomplete(one, good))
    for ran in good:
        if ran.missed > 0 and abs(one.now - ran.started) < NEWS:
            times = "1 missed time" if ran.missed == 1 else f"{ran.missed:,} missed times"
            found.append(
                one.fact("backup.missed", "backups were missed", f"one backup made up for {times}", of=[ran])
            )
    for n in range(max(len(good) - JUDGED, 0), len(good)):
        reasons = unusual(good[n], good[max(n - MEDIAN_OF, 0) : n])
        if good[n].id in dense:
            reasons.append("most of it is new and can't be compressed, as if the files had been encrypted")
        if reasons:
            text = "; ".join(reasons) + ". If that was no change of yours, look before more points are made"
            found.append(one.fact("backup.unusual", "backup is unusual", text, of=[good[n]]))
    return found


def unusual(ran: Ran, before: Sequence[Ran]) -> list[str]:
    """Why a backup is unusual beside those before it. Whether its contents look encrypted, this does not see."""
    reasons = []
    if len(before) >= LEAST_OF:
        usual = median(one.new_bytes for one in before)
        if ran.new_bytes > max(TIMES * usual, FLOOR):
            what = (
                f"{ran.new_bytes / usual:.0f} times the usual new bytes"
                if usual
                else "new bytes, where none are usual"
            )
            reasons.append(f"{ran.new_bytes >> 20:,} MiB new: {what}")
        if ran.files >= FEW_FILES and ran.changed > HALF * ran.files:
            reasons.append(f"{ran.changed:,} of {ran.files:,} files changed")
    return reasons


def is_lost(ran: Ran, now: int, boots: Mapping[str, str], alive: bool, newest: int = 0) -> bool:
    """Whether a run began, and will have no end. One that shows signs of life may take days.

    `newest` is when the newest backup of the machine began (ns): one runs at a time, so those before it have ended.
    """
    if ran.outcome != RUNNING:
        return ran.outcome == KILLED
    if ran.started < newest:
        return True
    boot = boots.get(ran.machine)
    return bool(ran.boot and boot and boot != ran.boot) or (not alive and now - ran.started > LOST)


def running_since(runs: Iterable[Ran], now: int, boots: Mapping[str, str], alive: bool) -> int:
    """Since when a backup runs that is not lost (ns); 0: none does."""
    some = [ran.started for ran in runs if ran.outcome == RUNNING and not is_lost(ran, now, boots, alive)]
    return max(some, default=0)


def _newest_backups(runs: Iterable[Ran], now: int) -> dict[tuple[str, str], int]:
    """When the newest backup of each vault and machine began (ns); those that wrong clocks noted don't count."""
    found: dict[tuple[str, str], int] = {}
    for ran in runs:
        if ran.kind == "backup" and ran.outcome in (*ENDS, RUNNING) and ran.started <= now and not ran.ahead:
            key = ran.vault, ran.machine
            found[key] = max(found.get(key, 0), ran.started)
    return found


def _killed(one: _Series, boots: Mapping[str, str], alive: bool, newest: int) -> list[Fact]:
    ended = max((n for n, ran in enumerate(one.runs) if ran.outcome in ENDS), default=-1)
    some = [ran for ran in one.runs[ended + 1 :] if is_lost(ran, one.now, boots, alive, newest)]
    if not some:
        return []
    return [one.fact("backup.killed", "backup was killed", "it began, and its end was never recorded", of=some)]


def _incomplete(one: _Series, good: Sequence[Ran]) -> Fact:
    newest, count = good[-1], good[-1].problem_count
    row = []
    for ran in reversed(good):
        if not ran.problem_count:
            break
        row.append(ran)
    earlier = {path for ran in row[1:] for path in ran.problems}
    fresh = [path for path in newest.problems if path not in earlier]
    shown = (fresh or newest.problems)[:NAMED]
    text = f"{count:,} {'file was' if count == 1 else 'files were'} not saved, or not whole"
    if shown:
        paths = ", ".join("/" + path.decode(errors="replace").lstrip("/") for path in shown)
        text += f"{'; new' if fresh and earlier else ''}: {paths}" + (" …" if count > len(shown) else "")
    return one.fact("backup.incomplete", "files are missing", text, of=row[::-1], files=count)


def _check(one: _Series, level: int) -> list[Fact]:
    """Damage, until a check of the same level finds none; and a check that could not be done."""
    cause, what = f"level {level}", f"check of level {level}"
    for n, ran in reversed([*enumerate(one.runs)]):
        damaged = ran.outcome == WITH_WARNINGS or (ran.outcome == FAILED and ran.cause in DAMAGE)
        if damaged:
            failures = [r for r in one.runs[n + 1 :] if r.outcome == FAILED]
            found = [
                one.fact("check.damage", f"{what} found damage", ran.error, of=[ran], cause=cause, level=level)
            ]
            if failures:
                found.append(_undone(one, failures, what, cause))
            return found
        if ran.outcome == COMPLETED:
            failures = [r for r in one.runs[n + 1 :] if r.outcome == FAILED]
            return [_undone(one, failures, what, cause)] if failures else []
    failures = [ran for ran in one.runs if ran.outcome == FAILED]
    return [_undone(one, failures, what, cause)] if failures else []


def _undone(one: _Series, failures: Sequence[Ran], what: str, cause: str) -> Fact:
    return one.fact("check.failed", f"{what} failed", failures[-1].error, of=failures, cause=cause)
