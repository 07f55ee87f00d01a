"""The check of machines whose points may refer to the same packs: what it finds is a part of a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from catalog.check.finding import Finding, What
from catalog.check.folders import EVERYTHING, MOST, OPENED
from catalog.check.ground import Ground, look, series_of
from catalog.check.known import Earlier, bad_blocks, finding_of, look_again, newest_records, rows_of, told
from catalog.check.level0 import check_objects, check_points, check_stored_points
from catalog.check.level1 import read_trees, tree_findings
from catalog.check.level2 import Budget, Member, Result, read_packs
from catalog.check.notes import note
from catalog.check.report import Report
from catalog.check.vanished import check_records
from catalog.errors import Damaged, RpdriveError, StoreFull
from catalog.format.blocks import PackKind
from catalog.format.checks import ChecksRecord
from catalog.format.records import Machine, PointName
from catalog.mark.last import LastMark
from catalog.mark.run import Marked
from catalog.points.seen import Highest
from catalog.screen.phases import Follower
from catalog.vault import Vault

BLOCKS = 2  # the level from which blocks are read


class Request(NamedTuple):
    """What to check: up to which level, of whom (ids; None: all), and how much of the packs.

    `listed` gets what reading the trees of a machine takes, before it begins: requests and bytes.
    """

    level: int
    machine: bytes | None = None
    item: bytes | None = None
    budget: Budget = Budget()
    listed: Callable[[int, int], None] = lambda requests, size: None

    @property
    def is_noted(self) -> bool:
        """Whether machines get records of it."""
        return self.item is None and self.level >= 1


class Looked(NamedTuple):
    """A machine whose trees were read, and the number of their entries."""

    machine: bytes
    entries: int


@dataclass
class Part:
    """What the check of a group has come to. `items`: a point of each item.

    `began`: by the clock of the machine that checked it (ns).
    """

    report: Report
    looked: list[Looked] = field(default_factory=list)
    items: list[PointName] = field(default_factory=list)
    began: int = 0


def unnoted_text(error: RpdriveError) -> str:
    """Why a result is not noted in the vault, for people."""
    why = "it is full" if isinstance(error, StoreFull) else "this access may not create objects"
    return f"the result is not noted in the vault: {why}"


class Group:
    """Machines (ids) that are checked together. To be used in a `with` statement. Raises StoreError."""

    def __init__(
        self,
        vault: Vault,
        request: Request,
        state: Path,
        machines: Mapping[bytes, Machine],
        highest: Highest,
        follow: Follower,
        ids: Sequence[bytes],
    ) -> None:
        self.part = Part(Report(request.level), began=time.time_ns())
        self.members: list[Member] = []
        self.is_whole = True  # whether each machine's records of places can be used
        self.earlier = Earlier([], [])
        self._vault, self._request, self._state = vault, request, state
        self._machines, self._highest, self._follow, self._ids = machines, highest, follow, ids
        self._known: dict[bytes, ChecksRecord] = {}
        self._marks = ExitStack()

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_error: object) -> None:
        self._marks.close()

    def look(self, began: Callable[[bytes], object] = lambda machine: None) -> None:
        """Levels 0 and 1. `began` is told of each machine (its id) whose trees are going to be read."""
        self._known, self.earlier = self._before()
        for machine in self._ids:
            ground = self._ground(machine)
            if ground is None:
                self.is_whole = False
                continue
            began(machine)
            marked = self._trees(ground)
            if marked is not None:
                self._marks.enter_context(marked)
                self.members.append(Member(ground, marked))
        self.part.looked = [Looked(member.ground.machine, member.marked.entries) for member in self.members]

    def look_again(self, earlier: Earlier) -> None:
        """Read the trees as `look`, to go on with a check that another process began: nothing is told of them."""
        self._known, self.earlier = newest_records(self._vault, self._all()), earlier
        for machine in self._ids:
            try:
                ground = look(self._vault, machine, self._request.item, self._machines, self._follow)
            except Damaged:
                self.is_whole = False
                continue
            marked = self._marks.enter_context(read_trees(ground, self._follow, bad_blocks(earlier.bad)))
            self.members.append(Member(ground, marked))

    def blocks(self) -> Result | None:
        """Levels 2 and 3, or what they have found before."""
        if not self.members:
            return None
        report, members = self.part.report, self.members
        if self._request.level < BLOCKS:
            faults = [fault for member in members for fault in member.marked.faults]
            places = [place for member in members for place in member.ground.places]
            report.add(told(self.earlier.bad, faults, places))
            return None
        if not self.is_whole:
            report.notes.append("no packs were read: what upkeep has moved is not known")
            return None
        result = read_packs(members, self.earlier.bad, self._request.budget, report, self._follow)
        report.add(result.findings)
        return result

    def note(self, result: Result | None) -> None:
        """Note in the vault what was found."""
        request, report = self._request, self.part.report
        if not (self.members and request.is_noted):
            return
        unnoted = note(
            self.members, self._known, self.earlier.whole, report.findings, report.harmed, result, request.budget.by
        )
        if unnoted is None and result is not None:
            unnoted = result.unnoted
        if unnoted is not None:
            report.notes.append(unnoted_text(unnoted))

    def follow(self, follow: Follower) -> None:
        """From now on another one follows."""
        self._follow = follow

    def go_on(self, part: Part) -> None:
        """Go on with a part that another process has begun."""
        self.part = part

    @property
    def had_faults(self) -> bool:
        """Whether records of earlier checks name anything."""
        return any(record.bad or record.damaged for record in self._known.values())

    def _all(self) -> set[bytes]:
        """The machines (ids) to whose packs the trees may refer."""
        return {one for machine in self._ids for one in series_of(machine, self._machines)}

    def _before(self) -> tuple[dict[bytes, ChecksRecord], Earlier]:
        """The records of earlier checks, and the bad blocks that they name: level 2 reads these again."""
        if self._request.level < 1:
            return {}, Earlier([], [])
        known = newest_records(self._vault, self._all())
        rows = rows_of(known)
        if self._request.level < BLOCKS:
            return known, Earlier([finding_of(row) for row in rows], [])
        return known, look_again(self._vault, rows)

    def _ground(self, machine: bytes) -> Ground | None:
        report, request = self.part.report, self._request
        try:
            ground = look(self._vault, machine, request.item, self._machines, self._follow)
        except Damaged as e:
            report.add([Finding(0, What.OTHER, f"places/{machine.hex()[:8]}/", str(e))])
            return None
        report.machines += 1
        report.points += sum(not root.name.partial for root in ground.roots.roots)
        items = {(root.name.machine, root.name.item): root.name for root in ground.roots.roots}
        self.part.items += items.values()
        report.objects += len(ground.objects)
        report.add(check_points(ground, self._highest))
        if request.level >= OPENED:
            report.add(check_stored_points(ground, None if request.level >= EVERYTHING else MOST))
        if request.item is None:
            report.add(finding for some in ground.strange for finding in some.findings())
            report.add(check_records(ground, self._state))
        return ground

    def _trees(self, ground: Ground) -> Marked | None:
        """Levels 0 and 1; the mark, if the trees were read."""
        request, report = self._request, self.part.report
        kept = LastMark(self._state, self._vault, [ground.machine])
        if request.level < 1:
            last = kept.load() if request.item is None else None
            if last is None:
                report.notes.append(
                    "no trees were read here before, so that packs were not looked for: run level 1"
                )
                return None
            with last.marked as marked:
                something = any(True for _ in check_objects(ground, marked.live))
            unknown = sum(root.name.id not in last.points for root in ground.roots.roots)
            if unknown:
                are = "recovery point is" if unknown == 1 else "recovery points are"
                report.notes.append(f"{unknown:,} {are} newer than the last check of level 1 on this machine")
            if not something:
                return None  # otherwise the trees are read, for the names of the files
        requests, size = len(ground.roots.roots), 0
        for obj in ground.objects:
            if obj.kind is PackKind.TREE:
                requests, size = requests + 1, size + obj.size
        request.listed(requests, size)
        marked = read_trees(ground, self._follow, bad_blocks(self.earlier.bad))
        try:
            self._told(ground, marked)
            if request.item is None:
                kept.save(marked, ground.roots, ground.began)
        except BaseException:
            marked.close()
            raise
        return marked

    def _told(self, ground: Ground, marked: Marked) -> None:
        report = self.part.report
        report.pages += marked.pages
        report.entries += marked.entries
        report.add(check_objects(ground, marked.live, marked.lost, marked.unknown))
        report.add(tree_findings(ground, marked))
        report.harm(marked.harmed)
