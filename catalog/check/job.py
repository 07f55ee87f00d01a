"""Runs the levels of a check, machine by machine, and joins what they find to a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from catalog.check.absent import Records
from catalog.check.finding import Finding, What
from catalog.check.folders import Strangers, look_at_folders
from catalog.check.group import BLOCKS, Group, Part, Request
from catalog.check.level2 import groups
from catalog.check.notes import CheckJob
from catalog.check.report import Report
from catalog.format.packs import Extent, pack_name
from catalog.format.records import Machine, PointName
from catalog.points.seen import Highest
from catalog.screen.phases import Follower, NoFollower, Phase
from catalog.vault import Vault


def check(
    vault: Vault, request: Request, state: Path, *, highest: Highest | None = None, follow: Follower | None = None
) -> Report:
    """Check a vault. `state` is this machine's folder for the last mark, `highest` the points that it has seen.

    Raises StoreError if the store can't be used, and LocalError if temporary files can't be.
    """
    machines = vault.machines()
    follow = follow or NoFollower()
    with Joined(vault, request, state, machines, follow) as joined:
        for ids in joined.groups:
            with Group(vault, request, state, machines, highest or {}, follow, ids) as group:
                group.look(lambda machine: joined.begin(machine, group.part.began))
                group.note(group.blocks())
                joined.take(group.part)
    return joined.report


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
    if request.machine is not None and request.level < BLOCKS:
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
    return found if request.level >= BLOCKS else [[one] for one in sorted(ids)]


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


class Joined:
    """The report of a check, and the records of the jobs of its machines. To be used in a `with` statement.

    `groups` are the machines to check. What is found in the folders of records is added at the end.
    """

    def __init__(
        self,
        vault: Vault,
        request: Request,
        state: Path,
        machines: Mapping[bytes, Machine],
        follow: Follower,
    ) -> None:
        self.report = Report(request.level)
        self._vault, self._request, self._state = vault, request, state
        self._machines, self._follow = machines, follow
        for error in vault.passed_over.lost("machines/"):
            self.report.add([Finding(0, What.OTHER, "machines/", str(error))])
        self._strange = Strangers("points/")
        self.groups = _groups(vault, request, machines, self._strange)
        self._jobs: dict[bytes, CheckJob] = {}  # of machines that are checked now
        self._checked: list[Checked] = []
        self._records: list[Finding] = []  # what is damaged in the folders of records
        self._items: dict[tuple[bytes, bytes], PointName] = {}  # a point of each item

    def __enter__(self) -> Joined:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            if error is None:
                self.report.add(self._strange.findings())
                if self._request.item is None:
                    self._folders()
            else:
                for job in self._jobs.values():
                    job.failed(error)
        finally:
            self._end_jobs()
        if error is None:
            self.report.findings = [_placed(self._vault, finding) for finding in self.report.findings]

    def begin(self, machine: bytes, began: int) -> None:
        """Begin the record of a machine's job, unless there is one. `began`: by this machine's clock (ns)."""
        if self._request.is_noted and machine not in self._jobs:
            job = CheckJob(self._vault, machine, self._machines, self._state, self._request.level, began)
            self._jobs[machine] = job

    def failed(self, machines: Iterable[bytes], error: BaseException) -> None:
        """End the records of machines whose check failed."""
        for machine in machines:
            job = self._jobs.pop(machine, None)
            if job is not None:
                job.failed(error)

    def take(self, part: Part) -> None:
        """Add what the check of a group has come to."""
        report, new = self.report, part.report
        before = len(report.findings)
        report.machines += new.machines
        report.points += new.points
        report.pages += new.pages
        report.entries += new.entries
        report.objects += new.objects
        report.packs_read += new.packs_read
        report.bytes_read += new.bytes_read
        report.add(new.findings)
        report.harm(new.harmed)
        report.notes += new.notes
        for name in part.items:
            self._items[name.machine, name.item] = name
        bad = sum(finding.is_damage for finding in report.findings[before:])
        for machine, entries in part.looked:
            self.begin(machine, part.began)
            job = self._jobs.pop(machine, None)
            if job is not None:
                self._checked.append(Checked(job, entries, new.bytes_read, bad))

    def _end_jobs(self) -> None:
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

    def _folders(self) -> None:
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
