"""One restore: plan, write, link, finish folders, read back."""

from __future__ import annotations

import os
from contextlib import suppress

from cache.reader import Reader
from catalog.errors import LocalError
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent
from catalog.vault import Vault
from mount.restore.conflict import Action, Existing, Policy, copy_name, decide
from mount.restore.crew import MANY, Crew, helpers
from mount.restore.disk.attributes import Wearer
from mount.restore.disk.calls import CLOEXEC, DIRECTORY, NOFOLLOW, disk
from mount.restore.disk.foreign import Foreign
from mount.restore.disk.target import FULL, Folder, Refused, Target, rename_new
from mount.restore.options import Options
from mount.restore.plan import FilePlan, Plan
from mount.restore.planner import LinkPlan, Planner
from mount.restore.report import Report
from mount.restore.source import Source
from mount.restore.writer import Writer


class Restore:
    """Restores sources of one vault. `report` may be read by another thread meanwhile."""

    def __init__(self, vault: Vault, reader: Reader, options: Options) -> None:
        self.report = Report()
        self._vault, self._reader, self._options = vault, reader, options
        self._target: Target | None = None

    def run(self, sources: list[Source]) -> Report:
        """LocalError (the target can't be used, or is full), StoreError; other troubles are in the report."""
        options, report = self._options, self.report
        target = self._target = Target(options.target, make=not options.dry_run)
        wearer = self._wearer()
        try:
            if options.dry_run:
                self._plan_only(target, wearer, sources)
                return report
            crew = self._crew(target, wearer, sources)
            with Writer(self._vault, target, wearer, report, options.policy, os.urandom(4), crew) as writer:
                planner = self._planner(target, wearer, writer)
                for group in _groups(sources, options.in_place):
                    planner.plan = Plan(target.folders)
                    try:
                        self._write(planner, writer, wearer, group)
                    finally:
                        planner.plan.close()
            self._finish_folders(target, wearer)
            return report
        finally:
            target.close()

    def _wearer(self) -> Wearer:
        """What puts attributes on files of this system."""
        o, reader, problem = self._options, self._reader, self.report.problem

        def value(at: Extent) -> memoryview:
            return reader.chunk(PackKind.TREE, at)

        on_windows = getattr(disk, "wearer", None)
        if on_windows is not None:
            made: Wearer = on_windows(value, reader.open, problem, permissions=o.permissions)
            return made
        return Wearer(value, problem, permissions=o.permissions, by_name=o.by_name)

    def _crew(self, target: Target, wearer: Wearer, sources: list[Source]) -> Crew | None:
        """Helpers, if there is enough for them to do."""
        options = self._options
        if sum(source.files for source in sources) < MANY or not helpers():
            return None
        return Crew(self._vault.keys, target, wearer, self.report, permissions=options.permissions)

    def _plan_only(self, target: Target, wearer: Wearer, sources: list[Source]) -> None:
        planner = self._planner(target, wearer, None)
        for source in sources:
            self._walk(planner, target, source)
        self.report.planning = False

    def _planner(self, target: Target, wearer: Wearer, writer: Writer | None) -> Planner:
        o = self._options
        foreign = Foreign(
            self._reader, self.report.problem, permissions=o.permissions, fetch=writer is not None
        )  # fmt: skip
        return Planner(
            self._reader, self._vault.keys, target, self.report, wearer, writer, o.policy, o.selection,
            verify=o.verify, system=o.system, carry=getattr(wearer, "carry", foreign.attributes),
        )  # fmt: skip

    def _write(self, planner: Planner, writer: Writer, wearer: Wearer, group: list[Source]) -> None:
        assert self._target is not None
        self.report.planning = True
        for source in group:
            self._walk(planner, self._target, source)
        planner.finish()
        self.report.planning = False
        writer.settle()
        writer.write(planner.plan)
        Linker(self._target, writer, wearer, self.report, self._options.policy).link(planner.links)
        planner.links.clear()
        if self._options.verify:
            _read_back(self._vault, self._target, planner.plan, writer, self.report)

    def _walk(self, planner: Planner, target: Target, source: Source) -> None:
        planner.begin(source.point)
        folder: Folder | None = target.root
        if self._options.in_place:
            for found in source.way:
                assert folder is not None
                folder = planner.enter(found.leaf, found.entry, folder, passage=True)
                if folder is None:
                    return
        assert folder is not None
        place = source.place
        if place.found is None:
            planner.tree(place.folder, folder, b"")
        elif place.is_folder:
            below = planner.enter(place.found.leaf, place.found.entry, folder)
            if below is not None:
                planner.tree(place.folder, below, place.path.strip(b"/"))
        else:
            planner.entry(place.found, folder)

    def _finish_folders(self, target: Target, wearer: Wearer) -> None:
        """What was made gets its attributes, the innermost first: a folder's time is the last thing to change."""
        for folder in reversed(target.folders):
            if folder.attributes is None or not folder.exists:
                continue
            try:
                handle = target.handle(folder)
                fd = disk.open(b".", os.O_RDONLY | DIRECTORY | CLOEXEC, dir_fd=handle.fd)
                try:
                    wearer.put_on_folder(fd, folder.attributes, folder.path, plain=folder.plain)
                finally:
                    disk.close(fd)
            except OSError as e:
                self.report.problem(folder.path(), f"its attributes could not be set: {e.strerror or e}")


def _groups(sources: list[Source], in_place: bool) -> list[list[Source]]:
    """Sources that can be written together: none of a group lands where another does."""
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


class Linker:
    """Gives files their further names, once the first is there."""

    def __init__(self, target: Target, writer: Writer, wearer: Wearer, report: Report, policy: Policy) -> None:
        self._target, self._writer, self._wearer = target, writer, wearer
        self._report, self._policy = report, policy

    def link(self, links: list[LinkPlan]) -> None:
        firsts: dict[int, FilePlan] = {}
        for number, file in links:
            if number == file.number:
                firsts[number] = file
                continue
            first = firsts.get(number)
            landed = self._writer.landed.get(number)
            if first is None or landed is None:
                self._report.failed(file.path(), "it is a hard link to a file that could not be restored")
                continue
            try:
                self._one(first, landed, file)
            except OSError as e:
                if e.errno in FULL:
                    raise LocalError(f"{os.fsdecode(self._target.top)} can't take more: {e.strerror}") from e
                why = "a symlink stands in its way" if isinstance(e, Refused) else e.strerror or e
                self._report.failed(file.path(), f"the hard link could not be made: {why}")

    def _one(self, first: FilePlan, landed: bytes, file: FilePlan) -> None:
        here = self._target.handle(file.folder)
        there = self._target.handle(first.folder)
        source = disk.stat(landed, dir_fd=there.fd, follow_symlinks=False)
        final, number = file.name, 0
        while True:
            found = None if file.folder.fresh and number == 0 else self._target.status(file.folder, final)
            if found is not None and (found.st_dev, found.st_ino) == (source.st_dev, source.st_ino):
                with self._report.lock:
                    self._report.same += 1
                return
            wanted = Existing(file.attributes.kind, file.size, file.attributes.mtime)
            action = decide(self._policy, found and Existing.of(found), wanted)
            if action is Action.SAME and self._policy is Policy.OVERWRITE:
                action = Action.REPLACE  # equal, and a file of its own
            if action is not Action.COPY:
                break
            number += 1
            final = copy_name(file.name, file.time, number)
        with self._report.lock:
            self._report.same += action is Action.SAME
            self._report.kept += action is Action.KEEP
        if action is Action.REFUSE:
            raise IsADirectoryError(21, "a folder stands there")
        if action in (Action.SAME, Action.KEEP):
            return
        temporary = self._writer.temporary(file.number)
        disk.link(landed, temporary, src_dir_fd=there.fd, dst_dir_fd=here.fd, follow_symlinks=False)
        try:
            if action is Action.REPLACE:
                disk.rename(temporary, final, src_dir_fd=here.fd, dst_dir_fd=here.fd)
            else:
                rename_new(here.fd, temporary, final)
        except BaseException:
            with suppress(OSError):
                disk.unlink(temporary, dir_fd=here.fd)
            raise
        with self._report.lock:
            self._report.written += 1
            self._report.copies += number > 0
            self._report.replaced += action is Action.REPLACE


def _read_back(vault: Vault, target: Target, plan: Plan, writer: Writer, report: Report) -> None:
    """Compare what is on the disk now, not in memory, with what was to be written."""
    disk.sync()
    chunk_id = vault.keys.chunk_id
    seen: dict[int, bool] = {}
    fd, of = -1, -1
    try:
        for row in plan.rows():
            length, chunk, number, position, file = row[4:]
            if seen.get(number) is False:
                continue
            try:
                if of != number:
                    if fd >= 0:
                        disk.close(fd)
                        fd = -1
                    name = writer.landed.get(number, file.final)
                    folder = target.handle(file.folder).fd
                    fd = disk.open(name, os.O_RDONLY | NOFOLLOW | CLOEXEC, dir_fd=folder)
                    of = number
                    if hasattr(disk, "posix_fadvise"):
                        disk.posix_fadvise(fd, 0, 0, disk.POSIX_FADV_DONTNEED)
                data = disk.pread(fd, length, position)
                good = len(data) == length and chunk_id(data) == chunk
            except OSError:
                of, good = -1, False
            seen[number] = good
            if not good:
                report.failed(file.path(), "read back, it is not what was written")
    finally:
        if fd >= 0:
            disk.close(fd)
    report.verified += sum(seen.values())
