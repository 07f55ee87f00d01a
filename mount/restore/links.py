"""Makes hard links, for files whose first name has been restored."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from mount.restore.conflict import Action, Existing, Policy, copy_name, decide
from mount.restore.file_plan import FilePlan, LinkPlan
from mount.restore.file_writer import FileWriter
from mount.restore.report import Report
from mount.restore.target import Refused, Target


class Linker:
    """Makes hard links for files with several names, once the first name is restored."""

    def __init__(self, target: Target, files: FileWriter, report: Report, policy: Policy) -> None:
        self._target, self._files = target, files
        self._report, self._policy = report, policy

    def link(self, links: Iterable[LinkPlan]) -> None:
        """Make all links. Raises LocalError if the disk is full; other failures are reported."""
        for first, file in links:
            name = self._files.final_names.of_linked(first)
            if name is None:
                self._report.failed(file.path(), "a hard link to a file that could not be restored")
                continue
            try:
                self._one(first, name, file)
            except OSError as e:
                self._target.check_usable(e)
                why = "a symlink is where one of its folders belongs" if isinstance(e, Refused) else e.strerror or e
                self._report.failed(file.path(), f"the hard link could not be made: {why}")

    def _one(self, first: FilePlan, name: bytes, file: FilePlan) -> None:
        disk = self._target.disk
        here = self._target.handle(file.folder)
        there = self._target.handle(first.folder)
        source = disk.lstat(name, dir_fd=there.fd)
        final, number = file.name, 0
        while True:
            found = None if file.folder.fresh and number == 0 else self._target.status(file.folder, final)
            if found is not None and (found.st_dev, found.st_ino) == (source.st_dev, source.st_ino):
                with self._report.lock:
                    self._report.same += 1
                return
            wanted = Existing(file.attributes.kind, file.size, file.attributes.mtime)
            action = decide(self._policy, None if found is None else Existing.of(found), wanted)
            if action is Action.SAME and self._policy is Policy.OVERWRITE:
                action = Action.REPLACE  # equal, but not the same file
            if action is not Action.COPY:
                break
            number += 1
            final = copy_name(file.name, file.time, number)
        with self._report.lock:
            self._report.same += action is Action.SAME
            self._report.kept += action is Action.KEEP
        if action is Action.REFUSE:
            raise IsADirectoryError(21, "a folder exists there")
        if action in (Action.SAME, Action.KEEP):
            return
        temporary = self._files.names.numbered(file.number)
        disk.link(name, temporary, src_dir_fd=there.fd, dst_dir_fd=here.fd)
        try:
            if action is Action.REPLACE:
                disk.rename(temporary, final, src_dir_fd=here.fd, dst_dir_fd=here.fd)
            else:
                disk.rename_new(here.fd, temporary, final)
        except BaseException:
            with suppress(OSError):
                disk.unlink(temporary, dir_fd=here.fd)
            raise
        with self._report.lock:
            self._report.written += 1
            self._report.copies += number > 0
            self._report.replaced += action is Action.REPLACE
