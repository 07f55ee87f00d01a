"""`rpdrive fleet check`: machines, and for levels 2 and 3 slices of their packs, are pieces.

A group of machines that share packs is checked in up to three steps: its trees are read (levels 0 and 1), then its
slices, by as many workers as there are, and at last one names the files of what is bad. Each step notes in the
vault X"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from catalog.check import records
from catalog.check.deep import Done
from catalog.check.finding import Finding
from catalog.check.group import BLOCKS, Group, Part, Request, unnoted_text
from catalog.check.job import Joined
from catalog.check.known import Earlier
from catalog.check.level2 import Budget, joined, plan_for, plans_of, read_plan, tell_read
from catalog.check.packs import Target
from catalog.errors import AccessDenied, RpdriveError, StoreFull
from catalog.format.records import Machine
from catalog.points.seen import Highest
from catalog.screen.phases import Follower, Phase
from catalog.vault import Vault
from mount.fleet.engine import Fleet
from mount.fleet.here import Here
from mount.fleet.pieces import Failure, Piece, decode_result, encode_result

_PIECE = 64 << 20  # bytes of packs that a piece reads at least, if there are as many
_PIECES = 64  # of a series, at most
_Series: TypeAlias = bytes  # a class with a property `bytes` has no other name for the type
_Id = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


class Ids(msgspec.Struct, frozen=True, array_like=True):
    """Machines that are checked together."""

    machines: list[_Id]
    item: bytes | None
    level: int


class _Trees(msgspec.Struct, frozen=True, array_like=True):
    """Read the trees of a group. `highest`: the points that the command's machine has seen."""

    group: Ids
    highest: list[tuple[bytes, bytes, int]]
    percent: float
    by: bytes


class Planned(msgspec.Struct, frozen=True, array_like=True):
    """What is to be read of a series: slices, with the bytes of each. `unread` were never read before."""

    series: _Series
    slices: list[int]
    sizes: list[int]
    packs: int
    ahead: int
    unread: int

    @property
    def bytes(self) -> int:
        return sum(self.sizes)


class _Read(msgspec.Struct, frozen=True, array_like=True):
    """What reading slices has come to: see Done."""

    slices: list[int]
    packs: int
    bytes: int
    findings: list[Finding]
    unlisted: list[Target]
    is_all: bool
    unnoted: Failure | None

    @classmethod
    def of(cls, done: Done) -> _Read:
        failure = None if done.unnoted is None else Failure(done.unnoted.kind, str(done.unnoted))
        return cls(done.slices, done.packs, done.bytes, done.findings, done.unlisted, done.is_all, failure)

    def done(self) -> Done:
        error = None if self.unnoted is None else self.unnoted.error()
        return Done(self.slices, self.packs, self.bytes, self.findings, self.unlisted, self.is_all, error)


class _TreesRead(msgspec.Struct, frozen=True, array_like=True):
    """What the trees came to. `had_faults`: records of earlier checks name some."""

    part: Part
    plans: list[Planned]
    earlier: Earlier
    had_faults: bool


class _Slices(msgspec.Struct, frozen=True, array_like=True):
    """Read slices of a series within a time (seconds)."""

    group: Ids
    series: bytes
    slices: list[int]
    ahead: int
    seconds: float | None
    by: bytes
    most: int
    earlier: Earlier


class _Names(msgspec.Struct, frozen=True, array_like=True):
    """Name the files of what is bad, and note it. `read` is what reading came to, for each of the plans."""

    group: Ids
    part: Part
    plans: list[Planned]
    read: list[_Read]
    earlier: Earlier
    by: bytes


# --- on a worker --------------------------------------------------------------------------------------------


class _Open:
    """The group whose trees this worker has read last. It is closed when another one takes its place."""

    def __init__(self, key: Ids, group: Group) -> None:
        self.key, self.group = key, group

    def close(self) -> None:
        self.group.__exit__()


def _opened(here: Here, key: Ids, highest: Highest, budget: Budget) -> Group:
    """A group whose trees are not read yet."""
    old = here.kept.pop("check", None)
    if isinstance(old, _Open):
        old.close()
    request = Request(key.level, None, key.item, budget)
    machines = here.vault.machines()
    state = here.session.settings.state_to_read
    group = Group(here.vault, request, state, machines, highest, here.follow, key.machines)
    here.kept["check"] = _Open(key, group)
    return group


def _again(here: Here, key: Ids, earlier: Earlier, budget: Budget) -> Group:
    """A group whose trees were read: they are here, or are read once more."""
    known = here.kept.get("check")
    if isinstance(known, _Open) and known.key == key and known.group.members:
        known.group.follow(here.follow)
        return known.group
    group = _opened(here, key, {}, budget)
    group.look_again(earlier)
    return group


def trees_piece(here: Here, data: bytes) -> bytes:
    """Levels 0 and 1 of a group, and the plan of reading its packs."""
    body = msgspec.msgpack.decode(data, type=_Trees)
    highest = {(machine, item): number for machine, item, number in body.highest}
    group = _opened(here, body.group, highest, Budget(body.percent, by=body.by))
    group.look()
    plans: list[Planned] = []
    if body.group.level >= BLOCKS and group.members and group.is_whole:
        for plan in plans_of(group.members, body.percent):
            sizes = [plan.sizes.of([n])[1] for n in plan.slices]
            plans.append(Planned(plan.series, plan.slices, sizes, plan.packs, plan.share.ahead, plan.unread))
    if not any(plan.slices for plan in plans):
        group.note(group.blocks())
    return encode_result(_TreesRead(group.part, plans, group.earlier, group.had_faults))


def slices_piece(here: Here, data: bytes) -> bytes:
    """Read slices of a series."""
    body = msgspec.msgpack.decode(data, type=_Slices)
    until = None if body.seconds is None else time.monotonic() + body.seconds
    budget = Budget(until=until, by=body.by, most=body.most)
    group = _again(here, body.group, body.earlier, budget)
    if not group.members:
        return encode_result(_Read([], 0, 0, [], [], False, None))
    plan = plan_for(group.members, body.series, body.slices, body.ahead)
    return encode_result(_Read.of(read_plan(group.members, plan, budget, here.follow)))


def names_piece(here: Here, data: bytes) -> bytes:
    """Name the files of what is bad, and note it."""
    body = msgspec.msgpack.decode(data, type=_Names)
    group = _again(here, body.group, body.earlier, Budget(by=body.by))
    part = body.part
    group.go_on(part)
    if not group.members:
        return encode_result(part)
    read = [one.done() for one in body.read]
    for plan, done in zip(body.plans, read, strict=True):
        tell_read(part.report, plan.series, plan.unread, done)
        left = len(plan.slices) - len(done.slices)
        if left:  # what each piece has noted counts on the others
            news = records.News(ahead=max(plan.ahead - 1000 * left, 0))
            with suppress(AccessDenied, StoreFull):
                records.add(here.vault, plan.series, body.by, here.vault.store.now(), news)
    result = joined(group.members, read, body.earlier.bad, part.report, here.follow)
    part.report.add(result.findings)
    group.note(result)
    return encode_result(part)


# --- in the command -----------------------------------------------------------------------------------------


class _Work:
    """A group that is checked: what its trees came to, and what was read of its packs."""

    def __init__(self, index: int, key: Ids, name: str) -> None:
        self.index, self.key, self.name = index, key, name
        self.trees: _TreesRead | None = None
        self.out = 0  # pieces that read slices
        self.read: dict[int, list[_Read]] = {}  # by plan

    def joined(self) -> list[_Read]:
        """What reading came to, for each plan."""
        assert self.trees is not None
        return [_joined(plan, self.read.get(n, [])) for n, plan in enumerate(self.trees.plans)]


def _joined(plan: Planned, read: Sequence[_Read]) -> _Read:
    """What several workers have read, as if it was one, in the order of the plan."""
    order = {n: at for at, n in enumerate(plan.slices)}
    ranked = sorted(read, key=lambda one: min((order.get(n, 0) for n in one.slices), default=len(order)))
    slices = [n for one in ranked for n in one.slices]
    return _Read(
        slices,
        sum(one.packs for one in ranked),
        sum(one.bytes for one in ranked),
        [finding for one in ranked for finding in one.findings],
        [target for one in ranked for target in one.unlisted],
        len(slices) == len(plan.slices) and all(one.is_all for one in ranked),
        next((one.unnoted for one in ranked if one.unnoted is not None), None),
    )


class Checking:
    """A check by a fleet. `announce` gets the plan of each group before it is read."""

    def __init__(
        self,
        vault: Vault,
        request: Request,
        state: Path,
        fleet: Fleet,
        highest: Highest,
        follow: Follower,
        seconds: float | None = None,
        announce: Callable[[Sequence[Planned]], None] = lambda plans: None,
    ) -> None:
        self._vault, self._request, self._fleet, self._highest = vault, request, fleet, highest
        self._state, self._follow, self._announce = state, follow, announce
        self._machines = vault.machines()
        self._until = None if seconds is None else time.monotonic() + seconds
        self._parts: dict[int, Part | None] = {}  # of groups that are done, until their turn comes
        self._turn = 0
        self.errors: list[RpdriveError] = []  # of pieces that failed everywhere

    def run(self) -> Joined:
        """Check. Raises FleetFailed, and StoreError if the vault can't be used from here."""
        request = self._request
        with Joined(self._vault, request, self._state, self._machines, self._follow) as report:
            work = [
                _Work(n, Ids(list(ids), request.item, request.level), _name(ids, self._machines))
                for n, ids in enumerate(report.groups)
            ]
            for outcome in self._fleet.run(self._pieces(work)):
                kind, index, rest = f"{outcome.piece.id} ".split(" ")[:3]
                one = work[int(index)]
                error, result = outcome.error, outcome.result
                try:
                    if result is None:
                        raise error or RpdriveError("no result")
                    self._take(report, one, kind, rest, result)
                except RpdriveError as e:
                    self._failed(report, one, kind, e)
                self._follow.phase(Phase("checking", self._turn, len(work), "groups of machines"))
                self._join(report)
        return report

    def _pieces(self, work: Sequence[_Work]) -> Iterator[Piece]:
        budget = self._request.budget
        for one in work:
            own = set(one.key.machines)
            highest = [(m, item, number) for (m, item), number in self._highest.items() if m in own]
            body = encode_result(_Trees(one.key, highest, budget.percent, budget.by))
            yield Piece("check-trees", f"trees {one.index}", body, f"reading the trees of {one.name}")

    def _take(self, report: Joined, one: _Work, kind: str, rest: str, result: bytes) -> None:
        """Keep what a piece came to, and add those that follow."""
        if kind == "names":
            self._parts[one.index] = decode_result(result, Part)
            return
        if kind == "slices":
            one.read.setdefault(int(rest.partition(".")[0]), []).append(decode_result(result, _Read))
            self._slice_ended(one)
            return
        one.trees = trees = decode_result(result, _TreesRead)
        for machine, _entries in trees.part.looked:
            report.begin(machine, trees.part.began)
        if not any(plan.slices for plan in trees.plans):
            self._parts[one.index] = trees.part
            return
        self._announce(trees.plans)
        for n, plan in enumerate(trees.plans):
            for m, slices in enumerate(_cut(plan)):
                one.out += 1
                self._fleet.add(self._slices(one, n, m, slices))

    def _slices(self, one: _Work, n: int, m: int, slices: list[int]) -> Piece:
        assert one.trees is not None
        plan, budget = one.trees.plans[n], self._request.budget
        left = None if self._until is None else max(self._until - time.monotonic(), 0.0)
        body = _Slices(one.key, plan.series, slices, plan.ahead, left, budget.by, budget.most, one.trees.earlier)
        label = f"reading {len(slices)} slices of {plan.series.hex()}"
        return Piece("check-slices", f"slices {one.index} {n}.{m}", encode_result(body), label)

    def _slice_ended(self, one: _Work) -> None:
        """If all slices of a group were read: have the files of what is bad named, if there is any."""
        one.out -= 1
        if one.out:
            return
        trees = one.trees
        assert trees is not None
        read = one.joined()
        part = trees.part
        is_bad = part.report.findings or part.report.harmed or trees.had_faults or trees.earlier != Earlier([], [])
        if is_bad or any(r.findings or r.unlisted or len(r.slices) < len(p.slices) for r, p in _pairs(trees, read)):
            body = _Names(one.key, part, trees.plans, read, trees.earlier, self._request.budget.by)
            what = f"naming what is bad of {one.name}"
            self._fleet.add(Piece("check-names", f"names {one.index}", encode_result(body), what))
            return
        self._parts[one.index] = _told(trees, read)

    def _failed(self, report: Joined, one: _Work, kind: str, error: RpdriveError) -> None:
        """Go on without a piece that failed everywhere."""
        self.errors.append(error)
        if kind == "slices":
            self._slice_ended(one)
        elif kind == "names" and one.trees is not None:
            part = _told(one.trees, one.joined())
            part.report.add(finding for read in one.joined() for finding in read.findings)
            self._parts[one.index] = part
        else:
            began = time.time_ns()
            for machine in one.key.machines:
                report.begin(machine, began)
            report.failed(one.key.machines, error)
            self._parts[one.index] = None

    def _join(self, report: Joined) -> None:
        """Add the parts whose turn it is to the report."""
        while self._turn in self._parts:
            part = self._parts.pop(self._turn)
            self._turn += 1
            if part is not None:
                report.take(part)


def _pairs(trees: _TreesRead, read: Sequence[_Read]) -> Iterator[tuple[_Read, Planned]]:
    return zip(read, trees.plans, strict=True)


def _told(trees: _TreesRead, read: Sequence[_Read]) -> Part:
    """The part of a group of which packs were read."""
    part = trees.part
    for one, plan in _pairs(trees, read):
        tell_read(part.report, plan.series, plan.unread, one.done())
    unnoted = next((one.unnoted for one in read if one.unnoted is not None), None)
    if unnoted is not None:
        part.report.notes.append(unnoted_text(unnoted.error()))
    return part


def _cut(plan: Planned) -> list[list[int]]:
    """The slices of a plan, in pieces of about the same size."""
    target = max(plan.bytes // _PIECES, _PIECE)
    pieces, size = list[list[int]](), target
    for n, one in zip(plan.slices, plan.sizes, strict=True):
        if size >= target:
            pieces.append([])
            size = 0
        pieces[-1].append(n)
        size += one
    return pieces


def _name(ids: Sequence[bytes], machines: dict[bytes, Machine]) -> str:
    names = [machines[one].name if one in machines else one.hex()[:8] for one in ids[:3]]
    return ", ".join(names) + ("" if len(ids) <= 3 else ", …")
