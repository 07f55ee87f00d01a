"""One part of a restore by many: what a worker does. It may be done again, or by two at once, without harm."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from cache.reader import Reader
from catalog.vault import Vault
from mount.fleet.restoring.linked import LinkedFiles, PartPlanning
from mount.fleet.restoring.orders import Lost, Order, Result, Task, result_of
from mount.fleet.restoring.site import Attempt, Site, fenced, meeting
from mount.fleet.restoring.walking import PartPlanner, PartSpecials, PassingFolders
from mount.restore.corrections import Corrections
from mount.restore.disk.base import Disk, Metadata
from mount.restore.disk.this import THIS_DISK
from mount.restore.file_plan import FilePlan
from mount.restore.file_writer import FileWriter
from mount.restore.files import FilePlanner
from mount.restore.folder_table import FolderTable
from mount.restore.leftovers import Leftovers
from mount.restore.links import Linker
from mount.restore.plan import Plan
from mount.restore.read_back import read_back
from mount.restore.report import Report
from mount.restore.run import Restore
from mount.restore.source import Source
from mount.restore.target import Target
from mount.restore.temporary_names import TemporaryNames
from mount.restore.twins import Twins
from mount.restore.writer import Writer


class PartReport(Report):
    """The report of a part. A linked file in the site is called by the name for which it was written there."""

    def __init__(self, site: bytes) -> None:
        super().__init__()
        self._site = site + b"/"
        self._names: dict[bytes, bytes] = {}  # by path in the site
        self._given_up: set[bytes] = set()  # names

    def called(self, path: bytes, name: bytes) -> None:
        self._names[path] = name

    def problem(self, path: bytes, reason: str) -> None:
        super().problem(self._names.get(path, path) if path.startswith(self._site) else path, reason)

    def failed(self, path: bytes, reason: str, *, damaged: bool = False) -> None:
        if path in self._given_up:
            return  # its data was; so the link to that could not be made
        if path.startswith(self._site):
            self._given_up.add(self._names.get(path, path))
        super().failed(path, reason, damaged=damaged)


class QuietReport(Report):
    """Keeps the problems of folders, for the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.folders: dict[tuple[bytes, str], Lost] = {}

    def problem(self, path: bytes, reason: str) -> None:
        pass  # of its attributes: told by the one who sets them

    def failed(self, path: bytes, reason: str, *, damaged: bool = False) -> None:
        self.folders.setdefault((path, reason), Lost(path, reason, damaged))


class _Planning(PartPlanning):
    def named(self, first: FilePlan, file: FilePlan) -> None:
        assert isinstance(self.report, PartReport)
        self.report.called(first.path(), file.path())


class PartRestore(Restore):
    """Restores one part of a source. Raises StoreError, or LocalError if the target can't be used."""

    report: PartReport

    def __init__(
        self,
        vault: Vault,
        reader: Reader,
        order: Order,
        task: Task,
        follow: Callable[[], None],
        disk: Disk = THIS_DISK,
    ) -> None:
        super().__init__(vault, reader, order.options(task.target), fenced(disk, self.check))
        self.report = PartReport(task.site)
        self._quiet = QuietReport()
        self._order, self._task, self._follow = order, task, follow
        self._site: Site | None = None

    def check(self) -> None:
        """Raise an error once nobody waits for this part any more."""
        self._follow()
        if self._site is not None:
            self._site.check()

    def run_part(self, site: Site, target: Target, source: Source) -> Result:
        self._site = site
        target.disk = self._disk
        task = self._task
        self._folders = FolderTable(target.root)
        attempt = Attempt(task.source, task.span, task.token, os.urandom(16))
        earlier = [a for a in meeting(site.attempts(), task.source, task.span) if a.token != task.token]
        site.enter(attempt)
        try:
            passing = self._part(site, target, source, attempt, earlier)
        except BaseException:
            site.stop(attempt)
            raise
        finally:
            self._folders.close()
        lost = list(self._quiet.folders.values())
        result = result_of(self.report, lost, passing.complete, found=self._options.selection.found)
        site.add_result(b"%d" % task.number, msgspec.msgpack.encode(result))
        site.leave(attempt)
        return result

    def _part(
        self, site: Site, target: Target, source: Source, attempt: Attempt, earlier: list[Attempt]
    ) -> PassingFolders:
        o, report, keys = self._options, self.report, self._vault.keys
        metadata = self._metadata()
        names = TemporaryNames.of(keys, attempt.id)
        before = [TemporaryNames.of(keys, a.id) for a in earlier]
        twins = Twins(target, self._reader, o.system)
        files = FileWriter(target, metadata, report, o.policy, names, twins)
        files.unnamed = site.has_unnamed()
        files.aside = site_folder = self._folders.add(target.root, self._task.site)
        site_folder.exists = True
        linker = Linker(target, files, metadata, report, o.policy, twins)
        with Writer(self._vault, files, near=o.near) as writer:
            planning = self._part_planning(target, twins, files)
            if self._order.links:
                group = self._order.sources[self._task.source].group
                planning.linked = LinkedFiles(target, self._folders, site_folder, group)
            passing = PassingFolders(planning, metadata, self._quiet)
            planner = self._part_planner(planning, passing, metadata, writer, before)
            plan = planning.plan = Plan(self._folders, self._vault.places)
            try:
                planner.walk(source, in_place=False)
                planner.finish()
                report.planning = False
                writer.write(plan)
                linker.link(planning.links.pairs())
                if o.verify:
                    read_back(keys, target, plan, files.final_names, report)
            finally:
                plan.close()
                planning.links.close()
        return passing

    def _part_planning(self, target: Target, twins: Twins, files: FileWriter) -> _Planning:
        o = self._options
        planning: _Planning

        def problem(path: bytes, reason: str) -> None:
            planning.report.problem(path, reason)  # whose turn it is: an entry's, or that of a folder on the way

        convert = self._disk.windows_converter(self._reader, problem, permissions=o.permissions, fetch=True)
        owner_ids = self._disk.metadata(
            self._reader, problem, permissions=o.permissions, owners_by_name=o.by_name
        ).owner_ids
        planning = _Planning(target, self._folders, self.report, o, convert, owner_ids, self._vault.places, twins)
        planning.files = files
        return planning

    def _part_planner(
        self, planning: _Planning, passing: PassingFolders, metadata: Metadata, writer: Writer,
        earlier: list[TemporaryNames],
    ) -> PartPlanner:  # fmt: skip
        o, chunk_id = self._options, self._vault.keys.chunk_id
        leftovers = Leftovers(planning.target, metadata, writer.files, earlier, chunk_id, self.report)
        corrections = Corrections(planning, metadata)
        files = FilePlanner(
            planning, passing, corrections, leftovers, self._reader, chunk_id, writer, verify=o.verify
        )
        specials = PartSpecials(planning, passing, corrections, metadata, writer.files)
        planner = PartPlanner(planning, passing, files, specials, leftovers, self._reader, o.selection)
        planner.span, planner.passing = self._task.span, passing
        return planner
