"""Files with several names, in parts of a point that different workers restore.

The data of such a file is written into the site, once, by whoever meets one of its names first; all its names are
linked to that. So no worker needs to know what another one has, and a file of many names takes its room once.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind
from mount.fleet.restoring.site import LINKED
from mount.restore.conflict import Existing, is_same
from mount.restore.disk.limits import HARD_LINKS
from mount.restore.file_plan import FilePlan
from mount.restore.file_writer import FileWriter
from mount.restore.folder import Folder
from mount.restore.folder_table import FolderTable
from mount.restore.planning import Planning
from mount.restore.target import Target


class LinkedFiles:
    """The linked files of one point in the open `site`. `group`: the point's number among those of the restore."""

    def __init__(self, target: Target, folders: FolderTable, site: Folder, group: int) -> None:
        self._target, self._folders, self._site, self._group = target, folders, site, group
        self._shards: dict[int, Folder] = {}

    def place(self, link: int) -> tuple[Folder, bytes]:
        """Where the file with this link number belongs."""
        n = link % len(LINKED)
        folder = self._shards.get(n)
        if folder is None:
            folder = self._shards[n] = self._folders.add(self._site, LINKED[n])
            with self._target.handle(self._site) as site, suppress(FileExistsError):
                self._target.disk.mkdir(folder.name, 0o700, dir_fd=site)
            folder.exists = True
        return folder, b"%d-%x" % (self._group, link)

    def has(self, link: int, wanted: Existing) -> bool:
        """Whether the file is there as it should be. One that was changed by one of its names is removed."""
        folder, name = self.place(link)
        st = self._target.status(folder, name)
        if st is None:
            return False
        target = b""
        with self._target.handle(folder) as fd:
            if wanted.target:
                with suppress(OSError):
                    target = self._target.disk.readlink(name, dir_fd=fd)
            if is_same(Existing.of(st, target), wanted._replace(device=st.st_rdev)):
                return True
            with suppress(FileNotFoundError):
                self._target.disk.unlink(name, dir_fd=fd)
        return False

    def add(self, file: FilePlan) -> bool | None:
        """Have a file that exists be the one to link to. False if there is another one; None if that can't be."""
        folder, name = self.place(file.link)
        disk = self._target.disk
        try:
            with self._target.handle(file.folder) as here, self._target.handle(folder) as there:
                with suppress(FileExistsError):
                    disk.link(file.final, name, src_dir_fd=here, dst_dir_fd=there)
                one, other = disk.lstat(file.final, dir_fd=here), disk.lstat(name, dir_fd=there)
        except OSError as e:
            if e.errno not in (errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP):
                raise
            return None
        return os.path.samestat(one, other)  # type: ignore[arg-type]


class PartPlanning(Planning):
    """The state of the walk of one part. Without `linked`, the target has no hard links."""

    linked: LinkedFiles | None = None
    files: FileWriter

    def further_link(self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes) -> bool:
        if self.linked is not None and self.links.place(self._point, entry.link) is None:
            target = leaf.node(entry).content if entry.kind == NodeKind.SYMLINK else b""
            wanted = Existing(entry.kind, entry.size, entry.mtime, target if isinstance(target, bytes) else b"")
            if self.linked.has(entry.link, wanted):
                a = self.attributes(leaf, entry, folder, name)
                first = self._first(self.link_plan(folder, name, name, a, entry))
                self.files.final_names.put(first, first.final)
        return super().further_link(leaf, entry, folder, name)

    def first_link(self, file: FilePlan, *, there: bool) -> FilePlan:
        if self.linked is None:
            self.report.problem(file.path(), HARD_LINKS)
            return super().first_link(file, there=there)
        if not there:
            first = self._first(file)
            self._further(file)
            return first
        added = self.linked.add(file)
        if added is None:
            return super().first_link(file, there=there)
        first = self._first(file)
        self.files.final_names.put(first, first.final)
        if not added:
            self._further(file)
        return file

    def _first(self, file: FilePlan) -> FilePlan:
        """The plan of a linked file in the site, for one of its names."""
        assert self.linked is not None
        folder, name = self.linked.place(file.link)
        a, number = file.attributes, self.number()
        first = FilePlan(number, folder, name, name, file.size, a, False, file.link, file.time)
        self.links.add_first(self._point, first)
        self.named(first, file)
        return first

    def named(self, first: FilePlan, file: FilePlan) -> None:
        """Note by which of its names a linked file is called in reports."""

    def _further(self, file: FilePlan) -> None:
        place = self.links.place(self._point, file.link)
        assert place is not None
        name = file.name
        self.links.add_further(
            place,
            FilePlan(
                self.number(), file.folder, name, name, file.size, file.attributes, False, file.link, file.time
            ),
        )
