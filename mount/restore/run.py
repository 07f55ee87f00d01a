"""One restore: plan, write, link, read back, finish folders."""

from __future__ import annotations

import os
from collections.abc import Callable

from cache.reader import Reader
from catalog.vault import Vault
from mount.restore.corrections import Corrections
from mount.restore.disk.base import Disk, Metadata
from mount.restore.disk.flags import CLOEXEC, DIRECTORY
from mount.restore.disk.this import THIS_DISK
from mount.restore.file_writer import FileWriter
from mount.restore.files import FilePlanner
from mount.restore.folder_table import FolderTable
from mount.restore.folders import FolderPlanner
from mount.restore.leftovers import Leftovers
from mount.restore.links import Linker
from mount.restore.options import Options
from mount.restore.plan import Plan
from mount.restore.planner import Planner
from mount.restore.planning import Planning
from mount.restore.pool import MANY, WriterPool, useful_helpers
from mount.restore.read_back import read_back
from mount.restore.report import Report
from mount.restore.source import Source
from mount.restore.special_files import SpecialFiles
from mount.restore.target import FOLDER, KEPT_NAMES, Target
from mount.restore.temporary_names import TemporaryNames
from mount.restore.twins import Twins
from mount.restore.unfinished import UnfinishedJob
from mount.restore.watch import Watch
from mount.restore.writer import Writer


class Restore:
    """Restores sources of one vault to a disk. Another thread may read `report` while it runs."""

    def __init__(
        self,
        vault: Vault,
        reader: Reader,
        options: Options,
        disk: Disk = THIS_DISK,
        watch: Callable[[Target], Watch] | None = None,
        fetches: Callable[[int, int], None] | None = None,
    ) -> None:
        """`fetches` gets what a plan is about to fetch: requests and bytes."""
        self.report = Report()
        self._vault, self._reader, self._options, self._disk = vault, reader, options, disk
        self._watch, self._fetches = watch, fetches

    def run(self, sources: list[Source]) -> Report:
        """Restore. Raises StoreError, or LocalError if the target can't be used or is full; reports the rest."""
        o = self._options
        target = Target(self._disk, o.target, make=not o.dry_run)
        self._folders = FolderTable(target.root)
        try:
            metadata = self._metadata()
            if o.dry_run:
                self._plan_only(target, metadata, sources)
            else:
                self._write(target, metadata, sources)
            return self.report
        finally:
            self._folders.close()
            target.close()

    def _write(self, target: Target, metadata: Metadata, sources: list[Source]) -> None:
        """Restore, with a record from which a later run learns what this one left behind if it ends early."""
        o = self._options
        what = [*(os.fsdecode(s.place.path) for s in sources), f"in place: {o.in_place}"]
        job = UnfinishedJob(self._disk, o.state, self._vault.id, o.target, what + o.selection.texts)
        complete = False
        try:
            self._restore(target, metadata, sources, job)
            self._finish_folders(target, metadata)
            complete = True
        finally:
            job.close(complete=complete)

    def _plan_only(self, target: Target, metadata: Metadata, sources: list[Source]) -> None:
        twins = Twins(target, self._reader, self._options.system)
        planning = self._planning(target, twins)
        planning.into_new = self._options.into and is_new(target)
        planner = self._planner(planning, metadata, None, [])
        for source in sources:
            planner.walk(source, in_place=self._options.in_place)
        self.report.planning = False

    def _restore(self, target: Target, metadata: Metadata, sources: list[Source], job: UnfinishedJob) -> None:
        o, report, keys = self._options, self.report, self._vault.keys
        names = TemporaryNames.of(keys, job.id)
        earlier = [TemporaryNames.of(keys, ended) for ended in job.earlier]
        pool = self._pool(target, sources, names)
        twins = Twins(target, self._reader, o.system)
        files = FileWriter(target, metadata, report, o.policy, names, twins)
        linker = Linker(target, files, metadata, report, o.policy, twins)
        with Writer(self._vault, files, pool, near=o.near) as writer:
            planning = self._planning(target, twins)
            planning.into_new = o.into and (bool(earlier) or is_new(target))
            planner = self._planner(planning, metadata, writer, earlier)
            for group in groups(sources, o.in_place):
                plan = planning.plan = Plan(self._folders, self._vault.places)
                try:
                    report.planning = True
                    for source in group:
                        planner.walk(source, in_place=o.in_place)
                    planner.finish()
                    report.planning = False
                    if self._fetches is not None:
                        self._fetches(*_amount(plan))
                    writer.write(plan)
                    linker.link(planning.links.pairs())
                    if o.verify:
                        read_back(keys, target, plan, files.final_names, report)
                finally:
                    plan.close()
            planning.links.close()

    def _finish_folders(self, target: Target, metadata: Metadata) -> None:
        """Set the attributes of folders, the innermost first, since writing into a folder changes its time."""
        disk = self._disk
        for folder in self._folders.backwards():
            if folder.attributes is None or not folder.exists:
                continue
            try:
                with target.handle(folder) as itself:
                    fd = disk.open(b".", os.O_RDONLY | DIRECTORY | CLOEXEC, dir_fd=itself)
                try:
                    if not folder.fresh:
                        metadata.drop_surplus(fd, folder.attributes, folder.path)
                    metadata.set_on_folder(fd, folder.attributes, folder.path, plain=folder.plain)
                finally:
                    disk.close(fd)
            except OSError as e:
                self.report.problem(folder.path(), f"its attributes could not be set: {e.strerror or e}")

    # --- the parts --------------------------------------------------------------------------------------------

    def _metadata(self, *, owners_by_name: bool = False) -> Metadata:
        """The setter of metadata. Owners have their numbers of this system since they were planned."""
        return self._disk.metadata(
            self._reader, self.report.problem, permissions=self._options.permissions, owners_by_name=owners_by_name
        )

    def _planning(self, target: Target, twins: Twins) -> Planning:
        o = self._options
        convert = self._disk.windows_converter(
            self._reader, self.report.problem, permissions=o.permissions, fetch=not o.dry_run
        )
        owner_ids = self._metadata(owners_by_name=o.by_name).owner_ids
        watch = None if self._watch is None else self._watch(target)
        return Planning(target, self._folders, self.report, o, convert, owner_ids, self._vault.places, twins, watch)

    def _planner(
        self, planning: Planning, metadata: Metadata, writer: Writer | None, earlier: list[TemporaryNames]
    ) -> Planner:
        o, chunk_id = self._options, self._vault.keys.chunk_id
        folders = FolderPlanner(planning, metadata)
        made = writer.files if writer is not None else None
        leftovers = Leftovers(planning.target, metadata, made, earlier, chunk_id, self.report)
        corrections = Corrections(planning, metadata)
        files = FilePlanner(
            planning, folders, corrections, leftovers, self._reader, chunk_id, writer, verify=o.verify
        )
        specials = SpecialFiles(planning, folders, corrections, metadata, made)
        return Planner(planning, folders, files, specials, leftovers, self._reader, o.selection)

    def _pool(self, target: Target, sources: list[Source], names: TemporaryNames) -> WriterPool | None:
        """Helper processes, if there are enough files to be worth starting them."""
        if sum(source.files for source in sources) < MANY or not useful_helpers():
            return None
        permissions = self._options.permissions
        return WriterPool(self._vault.keys, target, self.report, names, permissions=permissions)


def _amount(plan: Plan) -> tuple[int, int]:
    """The requests and bytes of a plan, in constant memory."""
    requests = size = 0
    for wanted in plan.ranges():
        requests, size = requests + 1, size + wanted.end - wanted.start
    return requests, size


def is_new(target: Target) -> bool:
    """Whether the target holds nothing, but for what a new file system has."""
    if not target.root.exists:
        return True
    with target.handle(target.root) as fd:
        again = target.disk.open(b".", FOLDER, dir_fd=fd)
        try:
            return KEPT_NAMES.issuperset(target.disk.names(again))
        finally:
            target.disk.close(again)


def groups(sources: list[Source], in_place: bool) -> list[list[Source]]:
    """Split sources into groups that can be written together: no two of a group share a destination."""
    groups: list[list[Source]] = []
    taken: set[bytes] = set()
    for source in sources:
        key = source.place.path if in_place else source.name
        clash = not key or key in taken or b"" in taken
        clash = clash or (in_place and any(_inside(key, k) or _inside(k, key) for k in taken))
        if not groups or clash:
            groups.append([])
            taken = set()
        groups[-1].append(source)
        taken.add(key)
    return groups


def _inside(path: bytes, above: bytes) -> bool:
    return path.startswith(above + b"/")
