"""A restore by many, as the one who leads it sees it: cuts the points into parts, and finishes what parts can't."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from cache.reader import Reader
from catalog.errors import RpdriveError, UsageError
from catalog.format.records import PointName
from catalog.screen.progress import JobProgress
from catalog.vault import Vault
from mount.fleet.restoring.orders import Lost, Order, Result, SourceRow, Task, add_to, site_name
from mount.fleet.restoring.site import Site
from mount.fleet.restoring.spans import EVERYTHING, Limits, Part, cut
from mount.fleet.restoring.walking import FolderWalk
from mount.restore.disk.base import Disk
from mount.restore.disk.this import THIS_DISK
from mount.restore.file_writer import FileWriter
from mount.restore.folder_table import FolderTable
from mount.restore.folders import FolderPlanner
from mount.restore.leftovers import Leftovers
from mount.restore.options import Options
from mount.restore.report import PAGE_LOST, Report
from mount.restore.run import Restore, groups
from mount.restore.source import Source
from mount.restore.spool import Bits
from mount.restore.target import Target
from mount.restore.temporary_names import TemporaryNames
from mount.restore.twins import Twins

_LOST = 100_000  # problems of folders that are told apart


class Ended(NamedTuple):
    """A part that was done, or the error that it ended with; that names the worker's host."""

    number: int
    error: RpdriveError | None


# Does parts, and returns each as it ends. The first argument asks whether a worker sees the target.
DoParts = Callable[[bytes, Iterable[tuple[int, bytes]]], Iterator[Ended]]


class TogetherReport(Report):
    """The report of all parts. `expected` are the files and bytes of all of them, by their totals."""

    expected = 0, 0

    def progress(self, seconds: float) -> JobProgress:
        files, size = self.expected
        done = self.written + self.same + self.corrected
        return JobProgress(
            seconds, done, files, self.written_bytes + self.same_bytes, size, present=self.same_bytes
        )


class TogetherRestore(Restore):
    """Restores sources by `do_parts`. `limits` of one part; by default they follow from the totals."""

    def __init__(
        self, vault: Vault, reader: Reader, options: Options, do_parts: DoParts, disk: Disk = THIS_DISK,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        super().__init__(vault, reader, options, disk)
        self.report: TogetherReport = TogetherReport()
        self._do, self._limits = do_parts, limits
        self._lost: dict[tuple[bytes, str], Lost] = {}
        self._complete: dict[int, Bits] = {}  # by source

    def run(self, sources: list[Source]) -> Report:
        """Restore. Raises StoreError, LocalError and FleetFailed; reports the rest. Run again, it continues."""
        if len(groups(sources, False)) > 1:
            raise UsageError("two of these would be restored to the same place", "restore one after the other")
        o = self._options
        target = Target(self._disk, o.target, make=True, shared=True)
        self._folders = FolderTable(target.root)
        try:
            name = site_name(self._vault.keys, sources, o.selection)
            site = Site.begin(target, name, self._disk)
            try:
                site.give_order(msgspec.msgpack.encode(self._order(sources, site)))
                self._parts(sources, site, Task(o.target, name, site.token))
                site.end()
                self._finish(target, sources, site)
                site.remove(target, name)
            finally:
                site.close()
            return self.report
        finally:
            self._folders.close()
            target.close()

    def _order(self, sources: list[Source], site: Site) -> Order:
        o, texts = self._options, self._options.selection.texts
        points = [source.point.id for source in sources]
        return Order(
            [
                SourceRow(str(PointName.of(s.point)), s.place.path, points.index(s.point.id)) for s in sources
            ],
            str(o.policy), o.permissions, o.by_name, o.trust_modes, o.verify,
            [t[1:] for t in texts if t[:1] == "+"], [t[1:] for t in texts if t[:1] == "-"], "ignore case" in texts,
            o.own, site.has_links(),
        )  # fmt: skip

    # --- the parts ----------------------------------------------------------------------------------------------

    def _parts(self, sources: list[Source], site: Site, asks: Task) -> None:
        """Have all parts done. Raises the error of one that could not be."""
        report = self.report
        folders = [s.place.folder for s in sources if s.place.folder is not None]
        report.expected = sum(s.files for s in sources), sum(f.totals.bytes for f in folders)
        report.planning = False
        encode = msgspec.msgpack.encode
        self._of: dict[int, int] = {}  # the sources of the parts that are out

        def tasks() -> Iterator[tuple[int, bytes]]:
            number = 0
            for n, source in enumerate(sources):
                for part in self._cut(source):
                    self._of[number] = n
                    task = msgspec.structs.replace(
                        asks, source=n, number=number, first=part.span.first, end=part.span.end
                    )
                    yield number, encode(task)
                    number += 1

        for ended in self._do(encode(asks), tasks()):
            if ended.error is not None:
                raise ended.error
            self._take(ended.number, site)

    def _cut(self, source: Source) -> Iterator[Part]:
        if source.place.folder is None:
            yield Part(EVERYTHING, source.files, 0)
            return
        top = source.place.folder
        yield from cut(self._reader, top, self._limits or Limits.of(top.totals))

    def _take(self, number: int, site: Site) -> None:
        data = site.result(b"%d" % number)
        try:
            result = msgspec.msgpack.decode(data, type=Result)
        except (msgspec.DecodeError, ValueError) as e:
            raise RpdriveError("the result of a part is malformed", "run the command again") from e
        site.drop_result(b"%d" % number)
        source = self._of.pop(number)
        add_to(self.report, result)
        self._options.selection.found |= result.found
        for lost in result.folders:
            if len(self._lost) < _LOST:
                self._lost.setdefault((lost.path, lost.reason), lost)
        for folder in result.complete:
            self._complete.setdefault(source, Bits()).add(folder)

    # --- the last step ------------------------------------------------------------------------------------------

    def _finish(self, target: Target, sources: list[Source], site: Site) -> None:
        """Remove what lost attempts have left, and give folders their attributes."""
        o, keys, report = self._options, self._vault.keys, self.report
        before = len(report.problems)
        metadata = self._metadata()
        attempts = site.attempts()
        twins = Twins(target, self._reader, o.system)
        files = FileWriter(target, metadata, report, o.policy, TemporaryNames.of(keys, os.urandom(16)), twins)
        planning = self._planning(target, twins)
        folders = FolderPlanner(planning, metadata)
        earlier = [TemporaryNames.of(keys, attempt.id) for attempt in attempts]
        leftovers = Leftovers(target, metadata, files, earlier, keys.chunk_id, report)
        walk = FolderWalk(planning, folders, leftovers, self._reader, o.selection)
        for n, source in enumerate(sources):
            walk.complete = self._complete.get(n, Bits())
            walk.looks = [attempt.span for attempt in attempts if attempt.source == n]
            if source.place.is_folder or source.place.found is None:
                walk.walk(source, in_place=False)
            elif walk.looks:
                leftovers.look(target.root)
        walk.finish()
        self._finish_folders(target, metadata)
        told = {_once(problem.path, problem.reason) for problem in report.problems[before:]}
        for (path, reason), lost in sorted(self._lost.items()):
            if _once(path, reason) not in told:
                told.add(_once(path, reason))
                report.failed(path, reason, damaged=lost.damaged)


def _once(path: bytes, reason: str) -> tuple[bytes, str]:
    """What is told once: of all pages of a folder that can't be read, the first."""
    return path, PAGE_LOST if reason.startswith(PAGE_LOST) else reason
