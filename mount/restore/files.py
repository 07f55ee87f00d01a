"""Plans files: decides about each, and adds the pieces to fetch."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind, Paged, Piece
from catalog.tree import PageSource
from mount.restore.conflict import Action, Existing, decide
from mount.restore.contents import checked, holds, positions
from mount.restore.corrections import Corrections
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW
from mount.restore.file_plan import FilePlan, LinkPlan
from mount.restore.folders import FolderPlanner
from mount.restore.leftovers import Leftovers
from mount.restore.planning import Planning
from mount.restore.target import Folder
from mount.restore.writer import Writer

_FILE = int(NodeKind.FILE)
_CONTINUED = 256 << 10  # bytes; a smaller file is written again rather than continued
_BATCH = 64


class FilePlanner:
    """Adds files to the plan. Without `writer` (a dry run) it only decides about them.

    `verify`: compare the contents of an existing file that has the size and time of the entry.
    """

    def __init__(
        self,
        planning: Planning,
        folders: FolderPlanner,
        corrections: Corrections,
        leftovers: Leftovers,
        pages: PageSource,
        chunk_id: Callable[[bytes], bytes],
        writer: Writer | None,
        *,
        verify: bool,
    ) -> None:
        self._planning, self._folders, self._leftovers = planning, folders, leftovers
        self._corrections = corrections
        self._report, self._target = planning.report, planning.target
        self._pages, self._chunk_id, self._writer = pages, chunk_id, writer
        self._verify = verify
        self._empty: list[FilePlan] = []

    def restore(self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes) -> None:
        """Decide about an entry, and plan what to fetch for it. Raises Damaged or OSError."""
        planning, report, size = self._planning, self._report, entry.size
        report.files += 1
        if report.files & 255 == 0:
            report.path = folder.path(name)
        final = name
        if entry.link and planning.further_link(leaf, entry, folder, name):
            return
        content = leaf.pieces(entry)
        attributes = planning.attributes(leaf, entry, folder, name)
        there = planning.status(folder, name)
        report.size += size
        action = Action.WRITE
        if there is not None:
            wanted = Existing(_FILE, size, entry.mtime)
            action = self._decide(folder, name, Existing.of(there), wanted, content)
            if action is Action.COPY:
                final, same = planning.free_name(folder, name, wanted)
                if same is not None:
                    action = Action.SAME
        if action is Action.SAME and final == name and there is not None and self._corrections.wanted:
            holds_it = partial(self._has, content, size)
            action = self._corrections.file(folder, name, there, attributes, holds_it)
        planning.list_action(folder, name, action, size, final)
        if action is Action.REFUSE:
            report.failed(folder.path(name), "a folder exists where this file belongs; left unchanged")
            return
        file = FilePlan(
            planning.number(), folder, name, final, size, attributes, action is Action.REPLACE, entry.link,
            planning.time,
        )  # fmt: skip
        if action is Action.KEEP:
            report.kept += 1
            return
        if entry.link:
            planning.first_link(entry, file.number)
        if action in (Action.SAME, Action.CORRECT):
            report.same += action is Action.SAME
            report.corrected += action is Action.CORRECT
            report.same_bytes += size
            if action is Action.CORRECT:
                planning.note_left_out(leaf, entry, folder, final)
            if entry.link and self._writer is not None:
                self._writer.files.final_names[file.number] = final
                planning.links.append(LinkPlan(file.number, file))
            return
        planning.note_left_out(leaf, entry, folder, final)
        if self._writer is None or not self._folders.ensure(folder):
            return
        if entry.link:
            planning.links.append(LinkPlan(file.number, file))
        if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Extent):
            planning.plan.add(file, ((0, content[0]),))  # most files
            return
        self._plan(self._writer, file, content)

    def write_empty(self) -> None:
        """Write the deferred files without data, in a thread of the writer."""
        files, self._empty = self._empty, []
        if files and self._writer is not None:
            write = self._writer.files.write_whole
            self._writer.submit(lambda: _each(files, write))

    def _decide(
        self, folder: Folder, name: bytes, there: Existing, wanted: Existing, content: list[Piece] | Paged
    ) -> Action:
        policy, same = self._planning.policy, None
        if self._verify and decide(policy, there, wanted) is Action.SAME:
            same = self._holds(folder, name, content, wanted.size)
        return decide(policy, there, wanted, same=same)

    def _plan(self, writer: Writer, file: FilePlan, content: list[Piece] | Paged) -> None:
        """Plan a file that is not a single piece."""
        pieces = positions(self._pages, content)
        if isinstance(content, list):
            extents = [(at, p) for at, p in pieces if isinstance(p, Extent)]
            file.whole = len(extents) <= 1 and (not extents or extents[0][1].length == file.size)
        else:
            extents = [(at, p) for at, p in checked(pieces, content) if isinstance(p, Extent)]
            file.whole = False
        if not extents:
            self._empty.append(file)
            if len(self._empty) >= _BATCH:
                self.write_empty()
            return
        if not file.whole:
            if file.size >= _CONTINUED and file.folder.exists and not file.folder.fresh:
                extents = self._leftovers.resume(file, extents)
            file.todo = sum(p.length for _at, p in extents)
            if not file.todo:
                writer.files.adopt(file)
                return
        self._planning.plan.add(file, extents)

    def _holds(self, folder: Folder, name: bytes, content: list[Piece] | Paged, size: int) -> bool:
        """Whether an existing file has exactly the contents of an entry."""
        disk = self._target.disk
        try:
            with self._target.handle(folder) as parent:
                fd = disk.open(name, os.O_RDONLY | NOFOLLOW | CLOEXEC, dir_fd=parent)
        except OSError:
            return False
        try:
            return self._has(content, size, fd)
        finally:
            disk.close(fd)

    def _has(self, content: list[Piece] | Paged, size: int, fd: int) -> bool:
        return holds(self._target.disk, fd, positions(self._pages, content), size, self._chunk_id)


def _each(files: list[FilePlan], write: Callable[[FilePlan], None]) -> None:
    for file in files:
        write(file)
