"""Runs the levels of a check, machine by machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from catalog.check.absent import Records
from catalog.check.finding import Finding, What
from catalog.check.folders import EVERYTHING, MOST, OPENED, Strangers, look_at_folders
from catalog.check.ground import Ground, look, series_of
from catalog.check.known import Earlier, bad_blocks, finding_of, look_again, newest_records, rows_of, told
from catalog.check.level0 import check_objects, check_points, check_stored_points
from catalog.check.level1 import read_trees, tree_findings
from catalog.check.level2 import Budget, Member, Result, groups, read_packs
from catalog.check.notes import CheckJob, note
from catalog.check.report import Report
from catalog.check.vanished import check_records
from catalog.errors import Damaged, StoreFull
from catalog.format.checks import ChecksRecord
from catalog.format.packs import Extent, pack_name
from catalog.format.records import Machine, PointName
from catalog.mark.last import LastMark
from catalog.mark.run import Marked
from catalog.points.seen import Highest
from catalog.screen.phases import Follower, NoFollower, Phase
from catalog.vault import Vault

_BLOCKS = 2  # the level from which blocks are read


class Request(NamedTuple):
    """What to check: up to which level, of whom (ids; None: all), and how much of the packs."""

    level: int
    machine: bytes | None = None
    item: bytes | None = None
    budget: Budget = Budget()


def check(
    vault: Vault, request: Request, state: Path, *, highest: Highest | None = None, follow: Follower | None = None
) -> Report:
    """Check a vault. `state` is this machine's folder for the last mark, `highest` the points that it has seen.

    Raises StoreError if the store can't be used, and LocalError if temporary files can't be.
    """
    machines = vault.machines()
    run = _Run(vault, request, state, machines, highest or {}, follow or NoFollower())
    for error in vault.passed_over.lost("machines/"):
        run.report.add([Finding(0, What.OTHER, "machines/", str(error))])
    strange = Strangers("points/")
    try:
        for group in _groups(vault, request, machines, strange):
            run.group(group)
        run.report.add(strange.findings())
        if request.item is None:
            run.folders()
    finally:
        run.end_jobs()
    run.report.findings = [_placed(vault, finding) for finding in run.report.findings]
    return run.report


def _placed(vault: Vault, finding: Finding) -> Finding:
    """A finding with the object in which the bad block lies: its pack, or a carrier that upkeep has moved it to."""
    if finding.kind is None or not finding.stored or finding.object != pack_name(finding.kind, finding.pack):
        return finding
    at = Extent(finding.pack, finding.offset, finding.stored, 0, 0, b"")
    return finding._replace(object=pack_name(finding.kind, vault.places.locate(finding.kind, at).pack))


def _groups(
    vault: Vault, request: Request, machines: Mapping[bytes, Machine], strange: Strangers
) -> list[list[bytes]]:
    """The machines to check: those with a record, and those of which there is nothing but points.

    To read packs, those that refer to the same ones are checked together. Folders of no machine are `strange`.
    """
    if request.machine is not None and request.level < _BLOCKS:
        return [[request.machine]]
    ids = set(machines)
    for name in vault.store.folders("points/"):
        if _is_id(name):
            ids.add(bytes.fromhex(name))
        else:
            strange.add(f"points/{name}/")
    found = groups({one: machines[one].shares if one in machines else () for one in ids | {*_only(request)}})
    if request.machine is not None:
        return [group for group in found if request.machine in group]
    return found if request.level >= _BLOCKS else [[one] for one in sorted(ids)]


def _only(request: Request) -> Sequence[bytes]:
    return [] if request.machine is None else [request.machine]


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


class Checked(NamedTuple):
    """A machine that was checked: its job, the entries and bytes that were read, and the faults that were found."""

    job: CheckJob
    entries: int
    size: int
    bad: int


class _Run:
    def __init__(
        self,
        vault: Vault,
        request: Request,
        state: Path,
        machines: Mapping[bytes, Machine],
        highest: Highest,
        follow: Follower,
    ) -> None:
        self.report = Report(request.level)
        self._vault, self._request, self._state = vault, request, state
        self._machines, self._highest, self._follow = machines, highest, follow
        self._checked: list[Checked] = []
        self._records: list[Finding] = []  # what is damaged in the folders of records
        self._items: dict[tuple[bytes, bytes], PointName] = {}  # a point of each item

    def group(self, machines: Sequence[bytes]) -> None:
        """Check machines whose points may refer to the same packs."""
        jobs = list[CheckJob]()
        try:
            self._group(machines, jobs)
        except BaseException as e:
            for job in jobs:
                job.failed(e)
            raise

    def _group(self, machines: Sequence[bytes], jobs: list[CheckJob]) -> None:
        """As `group`. `jobs` are the records of those under way."""
        report, request = self.report, self._request
        is_noted = request.item is None and request.level >= 1
        with ExitStack() as open_marks:
            members, is_whole = list[Member](), True
            known, earlier = self._known(machines)
            before, began, size = len(report.findings), time.time_ns(), report.bytes_read
            for machine in machines:
                ground = self._ground(machine)
                if ground is not None and is_noted:
                    jobs.append(CheckJob(ground, self._state, request.level, began))
                marked = None if ground is None else self._trees(ground, earlier)
                if ground is not None and marked is not None:
                    open_marks.enter_context(marked)
                    members.append(Member(ground, marked))
                is_whole &= ground is not None
            if not members:
                return
            result = self._blocks(members, earlier, is_whole)
            if is_noted:
                found = report.findings[before:]
                unnoted = note(members, known, earlier.whole, found, report.harmed, result, request.budget.by)
                bad = sum(finding.is_damage for finding in found)
                for member in members:
                    job = jobs.pop(0)  # from level 1 on, each ground has a mark
                    self._checked.append(Checked(job, member.marked.entries, report.bytes_read - size, bad))
                if unnoted is None and result is not None:
                    unnoted = result.unnoted
                if unnoted is not None:
                    why = "it is full" if isinstance(unnoted, StoreFull) else "this access may not create objects"
                    report.notes.append(f"the result is not noted in the vault: {why}")

    def end_jobs(self) -> None:
        """Keep the records of the checks of machines, with what was found in the folders of records.

        What belongs to no machine goes with the first one: somebody who watches the jobs has to learn of it.
        """
        left = self._records
        for n, (job, entries, size, bad) in enumerate(self._checked):
            mine = [finding for finding in left if job.concerns(finding)]
            if n == 0:
                others = [one.job for one in self._checked[1:]]
                mine += [f for f in left if f not in mine and not any(other.concerns(f) for other in others)]
            job.completed(entries, size, bad + len(mine), self.report.harmed)

    def folders(self) -> None:
        """Look at the folders of records."""
        report, request, before = self.report, self._request, len(self.report.findings)
        self._follow.phase(Phase("reading records"))
        known = [finding.object for finding in report.findings]
        records = Records()
        looked = look_at_folders(
            self._vault, request.level, machine=request.machine, known=known, there=records.add
        )
        report.add(looked.findings)
        copy = f"vault/{self._vault.file.number}.json" if request.machine is None else None
        points = (name for name in self._items.values() if request.machine in (None, name.machine))
        report.add(records.missing(points, copy))
        report.notes += looked.notes
        self._records = [finding for finding in report.findings[before:] if finding.is_damage]

    def _known(self, machines: Sequence[bytes]) -> tuple[dict[bytes, ChecksRecord], Earlier]:
        """The records of earlier checks, and the bad blocks that they name: level 2 reads these again."""
        if self._request.level < 1:
            return {}, Earlier([], [])
        series = {one for machine in machines for one in series_of(machine, self._machines)}
        known = newest_records(self._vault, series)
        rows = rows_of(known)
        if self._request.level < _BLOCKS:
            return known, Earlier([finding_of(row) for row in rows], [])
        return known, look_again(self._vault, rows)

    def _ground(self, machine: bytes) -> Ground | None:
        report = self.report
        try:
            ground = look(self._vault, machine, self._request.item, self._machines, self._follow)
        except Damaged as e:
            report.add([Finding(0, What.OTHER, f"places/{machine.hex()[:8]}/", str(e))])
            return None
        report.machines += 1
        report.points += sum(not root.name.partial for root in ground.roots.roots)
        for root in ground.roots.roots:
            self._items[root.name.machine, root.name.item] = root.name
        report.objects += len(ground.objects)
        report.add(check_points(ground, self._highest))
        if self._request.level >= OPENED:
            report.add(check_stored_points(ground, None if self._request.level >= EVERYTHING else MOST))
        if self._request.item is None:
            report.add(finding for some in ground.strange for finding in some.findings())
            report.add(check_records(ground, self._state))
        return ground

    def _trees(self, ground: Ground, earlier: Earlier) -> Marked | None:
        """Levels 0 and 1; the mark, if the trees were read."""
        request, report = self._request, self.report
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
        marked = read_trees(ground, self._follow, bad_blocks(earlier.bad))
        try:
            self._told(ground, marked)
            if request.item is None:
                kept.save(marked, ground.roots, ground.began)
        except BaseException:
            marked.close()
            raise
        return marked

    def _told(self, ground: Ground, marked: Marked) -> None:
        report = self.report
        report.pages += marked.pages
        report.entries += marked.entries
        report.add(check_objects(ground, marked.live, marked.lost, marked.unknown))
        report.add(tree_findings(ground, marked))
        report.harm(marked.harmed)

    def _blocks(self, members: Sequence[Member], earlier: Earlier, is_whole: bool) -> Result | None:
        """Levels 2 and 3, or what they have found before."""
        report = self.report
        if self._request.level < _BLOCKS:
            faults = [fault for member in members for fault in member.marked.faults]
            report.add(told(earlier.bad, faults, [place for member in members for place in member.ground.places]))
            return None
        if not is_whole:
            report.notes.append("no packs were read: what upkeep has moved is not known")
            return None
        result = read_packs(members, earlier.bad, self._request.budget, report, self._follow)
        report.add(result.findings)
        return result
