"""Makes hard links, for files whose first name has been restored."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

from mount.restore.conflict import Action, Existing, Policy, copy_name, decide, is_same
from mount.restore.disk.base import Disk, Metadata, Status
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW
from mount.restore.disk.limits import HARD_LINKS
from mount.restore.disk.whole_file import NEW, write_all
from mount.restore.file_plan import FilePlan, LinkPlan
from mount.restore.file_writer import FileWriter
from mount.restore.folder import Identity
from mount.restore.report import Report
from mount.restore.target import Refused, Swapped, Target
from mount.restore.twins import Twins

_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}
_READ = os.O_RDONLY | NOFOLLOW | CLOEXEC
_PART = 1 << 20  # bytes


class Linker:
    """Makes hard links once the first name of a file is restored; copies where the target has no hard links."""

    def __init__(
        self, target: Target, files: FileWriter, metadata: Metadata, report: Report, policy: Policy, twins: Twins
    ) -> None:
        self._target, self._files, self._metadata, self._twins = target, files, metadata, twins
        self._report, self._policy = report, policy

    def link(self, links: Iterable[LinkPlan]) -> None:
        """Make all links. Raises LocalError if the disk is full; other failures are reported."""
        for first, file in links:
            name = self._files.final_names.of_linked(first)
            if name is None:
                self._report.failed(file.path(), "a hard link to a file that could not be restored")
                continue
            try:
                self._once_more(first, name, file)
            except OSError as e:
                self._target.check_usable(e)
                why = "a symlink is where one of its folders belongs" if isinstance(e, Refused) else e.strerror or e
                self._report.failed(file.path(), f"the hard link could not be made: {why}")

    def _once_more(self, first: FilePlan, name: bytes, file: FilePlan) -> None:
        """Make one; in a shared target look again if another restore was faster."""
        try:
            self._one(first, name, file)
        except FileExistsError:
            if not self._target.shared:
                raise
            file.folder.fresh = False
            self._one(first, name, file)

    def _one(self, first: FilePlan, name: bytes, file: FilePlan) -> None:
        disk = self._target.disk
        here = self._target.handle(file.folder)
        there = self._target.handle(first.folder)
        source = disk.lstat(name, dir_fd=there.fd)
        action, final, number = self._decide(here.fd, source, file)
        with self._report.lock:
            self._report.same += action is Action.SAME
            self._report.kept += action is Action.KEEP
        if action is Action.REFUSE:
            raise IsADirectoryError(21, "a folder exists there")
        if action in (Action.SAME, Action.KEEP):
            return
        temporary = self._files.names.numbered(file.number)
        try:
            disk.link(name, temporary, src_dir_fd=there.fd, dst_dir_fd=here.fd)
        except OSError as e:
            if e.errno not in _NO_LINKS or not stat.S_ISREG(source.st_mode):
                raise
            if action is Action.REPLACE and self._is_there(file, final):
                with self._report.lock:
                    self._report.same += 1
                return
            self._copy(there.fd, name, source, here.fd, temporary, file)
            self._report.problem(file.folder.path(final), HARD_LINKS)
        try:
            if action is Action.REPLACE:
                disk.rename(temporary, final, src_dir_fd=here.fd, dst_dir_fd=here.fd)
            else:
                self._name(here.fd, temporary, final, file)
        except BaseException:
            with suppress(OSError):
                disk.unlink(temporary, dir_fd=here.fd)
            raise
        with self._report.lock:
            self._report.written += 1
            self._report.copies += number > 0
            self._report.replaced += action is Action.REPLACE

    def _decide(self, here: int, source: Status, file: FilePlan) -> tuple[Action, bytes, int]:
        """What to do with a further name of `source`, under which name, and the number of a copy's name."""
        final, number = file.name, 0
        while True:
            found = None if file.folder.fresh and number == 0 else self._target.status(file.folder, final)
            if found is not None and number == 0 and self._twins.is_spelled_otherwise(file.folder, here, final):
                final = self._apart(file)
                found = self._target.status(file.folder, final)
            if found is not None and (found.st_dev, found.st_ino) == (source.st_dev, source.st_ino):
                return Action.SAME, final, number
            action = decide(self._policy, None if found is None else Existing.of(found), _wanted(file))
            if action is Action.SAME and self._policy is Policy.OVERWRITE:
                action = Action.REPLACE  # equal, but not the same file
            if action is not Action.COPY:
                return action, final, number
            number += 1
            final = copy_name(file.name, file.time, number)

    def _is_there(self, file: FilePlan, name: bytes) -> bool:
        """Whether a copy of an earlier restore exists."""
        found = self._target.status(file.folder, name)
        return found is not None and is_same(Existing.of(found), _wanted(file))

    def _name(self, folder: int, temporary: bytes, final: bytes, file: FilePlan) -> None:
        try:
            self._target.disk.rename_new(folder, temporary, final)
        except FileExistsError:
            if not self._twins.is_spelled_otherwise(file.folder, folder, final):
                raise
            self._target.disk.rename_new(folder, temporary, self._apart(file))

    def _apart(self, file: FilePlan) -> bytes:
        name = self._twins.apart(file.name)
        self._report.renamed(file.folder.path(name), file.name)
        return name

    def _copy(self, there: int, name: bytes, source: Status, here: int, copy: bytes, file: FilePlan) -> None:
        """Copy a file with its holes and metadata, where it can't have another name. Raises OSError."""
        disk, a = self._target.disk, file.attributes
        with suppress(FileNotFoundError):
            disk.unlink(copy, dir_fd=here)  # some file systems make an empty file before they refuse a link
        old = disk.open(name, _READ, dir_fd=there)
        try:
            if not self._target.is_same(Identity.of(source), Identity.of(disk.fstat(old))):
                raise Swapped("file")
            new = disk.open(copy, NEW, self._metadata.first_mode(a, plain=False), dir_fd=here)
            try:
                disk.ftruncate(new, source.st_size)
                for position, data in _parts(disk, old):
                    write_all(disk, new, data, position)
                self._metadata.set_on_file(new, a, file.path, plain=False)
            except BaseException:
                with suppress(OSError):
                    disk.unlink(copy, dir_fd=here)
                raise
            finally:
                disk.close(new)
        finally:
            disk.close(old)


def _wanted(file: FilePlan) -> Existing:
    return Existing(file.attributes.kind, file.size, file.attributes.mtime)


def _parts(disk: Disk, fd: int) -> Iterator[tuple[int, bytes]]:
    """What a file holds outside its holes, with the positions (bytes)."""
    position = 0
    while True:
        try:
            position = disk.next_data(fd, position)
        except OSError as e:
            if e.errno == errno.ENXIO:
                return
            if e.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # of a system that does not know its holes
                raise
        data = disk.pread(fd, _PART, position)
        if not data:
            return
        yield position, data
        position += len(data)
