"""Levels 2 and 3: reads the blocks of machines that share packs, within a budget, and names what is bad."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from catalog.check.blocks import Span
from catalog.check.deep import Deep, Done, Lost, Plan, Progress, Unlisted, plan_of
from catalog.check.finding import Finding, What
from catalog.check.ground import Ground
from catalog.check.known import bad_blocks, told
from catalog.check.level1 import read_trees
from catalog.check.packs import READ, Target
from catalog.check.report import Report
from catalog.check.slices import Share
from catalog.errors import RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.checks import SLICES
from catalog.format.packs import SERIES_BYTES
from catalog.mark.faults import Bad
from catalog.mark.run import Marked, mark
from catalog.screen.phases import Follower, Phase

EVERYTHING = 100.0  # per cent


class Budget(NamedTuple):
    """How much to read: so many per cent, and until a time by the clock (monotonic, seconds; None: without end).

    `by` is the id of the machine that reads; `most`, bytes of a request. `announce` is called with the plan first.
    """

    percent: float = 1.0
    until: float | None = None
    by: bytes = bytes(16)
    most: int = READ
    announce: Callable[[Sequence[Plan]], None] = lambda plans: None
    clock: Callable[[], float] = time.monotonic
    processors: int | None = None


class Member(NamedTuple):
    """A machine, and what its points refer to."""

    ground: Ground
    marked: Marked


class Result(NamedTuple):
    """What reading packs has found. `more` are those of its findings that no slice's row counts."""

    findings: list[Finding]
    more: list[Finding]
    unnoted: RpdriveError | None


class _Together:
    """What the points of several machines refer to."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    def spans(self, kind: PackKind) -> Iterator[tuple[bytes, list[Span]]]:
        every = heapq.merge(*(member.marked.live.spans(kind) for member in self._members), key=lambda row: row[0])
        for pack, some in groupby(every, key=lambda row: row[0]):
            yield pack, _joined(span for _pack, spans in some for span in spans)


def _joined(spans: Iterator[Span]) -> list[Span]:
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def read_packs(
    members: Sequence[Member],
    earlier: Sequence[Finding],
    budget: Budget,
    report: Report,
    follow: Follower,
) -> Result:
    """Read slices of the packs of these machines, and note it in the vault.

    `earlier` are blocks that were bad before, and still are: the marks of the members know them. The files of what
    is bad are named in the findings, and in the report. Raises StoreError.
    """
    plans = plans_of(members, budget.percent)
    budget.announce(plans)
    read = [read_plan(members, plan, budget, follow) for plan in plans]
    for plan, done in zip(plans, read, strict=True):
        tell_read(report, plan.series, plan.unread, done)
    return joined(members, read, earlier, report, follow)


def plans_of(members: Sequence[Member], percent: float) -> list[Plan]:
    """What is to be read of each series. Raises StoreError."""
    vault, live = members[0].ground.vault, _Together(members)
    series = sorted({member.ground.machine[:SERIES_BYTES] for member in members})
    return [plan_of(vault, live, one, percent, _began(members)) for one in series]


def plan_for(members: Sequence[Member], series: bytes, slices: Sequence[int], ahead: int) -> Plan:
    """The plan of reading these slices of a series, of a run that is then so far ahead. Raises StoreError."""
    plan = plan_of(members[0].ground.vault, _Together(members), series, EVERYTHING, _began(members))
    return plan._replace(slices=list(slices), share=Share(len(slices), ahead))


def read_plan(members: Sequence[Member], plan: Plan, budget: Budget, follow: Follower) -> Done:
    """Read the slices of a plan, and note it in the vault. Raises StoreError."""
    lost: set[Lost] = {
        (int(row.kind), row.pack, row.offset) for m in members for p in m.ground.places for row in p.broken
    }
    deep = Deep(
        members[0].ground.vault, _Together(members), plan, by=budget.by, began=_began(members),
        is_absent=_Absent(members), lost=lost, most=budget.most, processors=budget.processors, clock=budget.clock,
    )  # fmt: skip
    return deep.run(budget.until, lambda p: follow.phase(_phase(p)))


def tell_read(report: Report, series: bytes, unread: int, done: Done) -> None:
    """Say in the report what was read of a series, of which so many slices had never been read."""
    report.packs_read += done.packs
    report.bytes_read += done.bytes
    report.notes.append(_note(series, unread, len(done.slices), done.is_all))


def joined(
    members: Sequence[Member], read: Sequence[Done], earlier: Sequence[Finding], report: Report, follow: Follower
) -> Result:
    """What reading packs has found, with the files of what is bad. Raises StoreError."""
    more = _unlisted(members, [target for done in read for target in done.unlisted], follow)
    found = [finding for done in read for finding in done.findings]
    everything = _told_apart([*found, *more, *earlier], report)
    unnoted = next((done.unnoted for done in read if done.unnoted is not None), None)
    return Result(_named(members, everything, earlier, report, follow), more, unnoted)


def _began(members: Sequence[Member]) -> int:
    return min(member.ground.began for member in members)


class _Absent:
    """Which packs levels 0 and 1 have told of: missing ones are not read, and of others only what is there."""

    def __init__(self, members: Sequence[Member]) -> None:
        # Of each series, the listing of a machine that refers to it.
        self._presence = {
            one[:SERIES_BYTES]: member.ground.presence for member in members for one in member.ground.series
        }

    def __call__(self, target: Target) -> bool | None:
        kind, pack, spans = target
        presence = self._presence.get(pack[:SERIES_BYTES])
        if presence is None:
            return None
        absent = [presence.absence(kind, pack, start, end) for start, end in spans]
        if not any(absent):
            return None
        return all(one is not None and not one.short for one in absent)


def _unlisted(members: Sequence[Member], targets: Sequence[Target], follow: Follower) -> list[Finding]:
    """Check blocks that no table of contents lists, by what the trees say. Reads the trees again."""
    unlisted = Unlisted(targets)
    if not unlisted:
        return []

    def note(kind: PackKind, pack: bytes, start: int, end: int) -> Bad | None:
        unlisted.note(kind, pack, start, end)
        return None

    for ground in (member.ground for member in members):
        with mark(
            ground.vault, ground.roots, machines=ground.machines, places=ground.places, is_bad=note, follow=follow
        ):
            pass
    absent = _Absent(members)

    def is_told(f: Finding) -> bool:
        """Whether level 0 has told of it, as part of what is missing or short."""
        assert f.kind is not None
        return absent(Target(f.kind, f.pack, [(f.offset, f.offset + f.stored)])) is not None

    return [f for f in unlisted.check(members[0].ground.vault) if f.what is What.BLOCK or not is_told(f)]


def _told_apart(findings: Sequence[Finding], report: Report) -> list[Finding]:
    """The findings without those that level 1 has told of, as pages that can't be read."""
    pages = {(f.pack, f.offset) for f in report.findings if f.what is What.PAGE}
    places = {(f.kind, f.pack, f.offset, f.stored, f.what): f for f in findings}
    return [f for f in places.values() if f.kind is PackKind.DATA or (f.pack, f.offset) not in pages]


def _named(
    members: Sequence[Member],
    findings: Sequence[Finding],
    earlier: Sequence[Finding],
    report: Report,
    follow: Follower,
) -> list[Finding]:
    """The findings, with the files and points that need what is bad. Reads the trees again for what is new."""
    blocks = bad_blocks(findings)
    is_new = not blocks.keys() <= bad_blocks(earlier).keys()
    faults, places = [], []
    for member in members:
        places += member.ground.places
        if not is_new:
            faults += member.marked.faults
        else:
            with read_trees(member.ground, follow, blocks) as marked:
                faults += marked.faults
                report.harm(marked.harmed)
    return told(findings, faults, places)


def _phase(p: Progress) -> Phase:
    return Phase("reading packs", p.bytes, p.total, more=f"{p.packs:,} packs")


def _note(series: bytes, never: int, slices: int, is_all: bool) -> str:
    """What was read of a series, for people. `never` slices had not been read before."""
    name = series.hex()
    if is_all and slices == SLICES:
        return f"all packs of {name} were read"
    rest = "" if is_all else "; the time is over: the next run goes on from here"
    unread = f", {never:,} had never been read before" if never else ""
    return f"{slices} of {SLICES} slices of the packs of {name} were read{unread}{rest}"


def groups(machines: Mapping[bytes, Sequence[bytes]]) -> list[list[bytes]]:
    """Machines (ids) that may refer to packs of one series, together. By id: the machines that it shares."""
    group: dict[bytes, set[bytes]] = {}

    def join(one: set[bytes], other: set[bytes]) -> None:
        if one is not other:
            one |= other
            for series in other:
                group[series] = one

    for machine, shares in machines.items():
        own = group.setdefault(machine[:SERIES_BYTES], {machine[:SERIES_BYTES]})
        for other in shares:
            join(own, group.setdefault(other[:SERIES_BYTES], {other[:SERIES_BYTES]}))
            own = group[machine[:SERIES_BYTES]]
    found: dict[int, list[bytes]] = {}
    for machine in sorted(machines):
        found.setdefault(id(group[machine[:SERIES_BYTES]]), []).append(machine)
    return list(found.values())
