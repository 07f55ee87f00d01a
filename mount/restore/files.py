"""Plans files: decides about each, and adds the pieces to fetch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind, Paged, Piece
from catalog.tree import PageSource
from mount.restore.conflict import Action, Existing, decide
from mount.restore.contents import checked, holds, positions
from mount.restore.corrections import Corrections
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW
from mount.restore.file_plan import FilePlan
from mount.restore.folder import Folder
from mount.restore.folders import FolderPlanner
from mount.restore.leftovers import Extents, Leftovers
from mount.restore.planning import Planning
from mount.restore.writer import Writer

_FILE = int(NodeKind.FILE)
_CONTINUED = 256 << 10  # bytes; a smaller file is written again rather than continued


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
        there = None if folder.fresh else planning.status(folder, name)
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
        if planning.dry:
            planning.list_action(folder, name, action, size, final)
        planning.watch.wrote(action, folder, name, leaf, entry, 0 if there is None else there.st_size)
        if action is Action.REFUSE:
            planning.refuse(folder, name, "a folder exists where this file belongs; left unchanged")
            return
        file = FilePlan(
            planning.number(), folder, name, final, size, attributes, action is Action.REPLACE, entry.link,
            planning.time,
        )  # fmt: skip
        if action is Action.KEEP:
            report.kept += 1
            return
        there_already = action in (Action.SAME, Action.CORRECT)
        if entry.link:
            file = planning.first_link(file, there=there_already)
        if there_already:
            report.same += action is Action.SAME
            report.corrected += action is Action.CORRECT
            report.same_bytes += size
            if planning.foreign and action is Action.CORRECT:
                planning.note_left_out(leaf, entry, folder, final)
            if self._writer is not None:
                self._writer.files.final_names.put(file, final)
            return
        if planning.foreign:
            planning.note_left_out(leaf, entry, folder, final)
        if self._writer is None or not self._folders.ensure(folder):
            return
        if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Extent):
            planning.plan.add(file, ((0, content[0]),))  # most files
            return
        self._plan(self._writer, file, content)

    def _decide(
        self, folder: Folder, name: bytes, there: Existing, wanted: Existing, content: list[Piece] | Paged
    ) -> Action:
        policy, same = self._planning.policy, None
        if self._verify and decide(policy, there, wanted) is Action.SAME:
            same = self._holds(folder, name, content, wanted.size)
        return decide(policy, there, wanted, same=same)

    def _plan(self, writer: Writer, file: FilePlan, content: list[Piece] | Paged) -> None:
        """Plan a file that is not a single piece."""
        extents = self._extents(content)
        lengths = [p.length for _at, p in extents()] if isinstance(content, list) else []
        file.whole = isinstance(content, list) and len(lengths) <= 1 and sum(lengths) in (0, file.size)
        file.todo = sum(lengths) if isinstance(content, list) else sum(p.length for _at, p in extents())
        if not file.todo:
            writer.write_empty(self._planning.plan, file)
            return
        wanted = extents()
        if not file.whole and file.size >= _CONTINUED and file.folder.exists and not file.folder.fresh:
            missing = self._leftovers.resume(file, extents)
            if missing is not None:
                wanted = (pair for n, pair in enumerate(extents()) if n in missing)
                if not file.todo:
                    writer.files.adopt(file)
                    return
        self._planning.plan.add(file, wanted)

    def _extents(self, content: list[Piece] | Paged) -> Extents:
        """What returns the pieces that are not holes. Raises Damaged if a paged list is not what it was."""
        if isinstance(content, list):
            listed = list(positions(self._pages, content))
            return lambda: _extents(iter(listed))
        pieces = checked(self._pages, content)
        return lambda: _extents(pieces())

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


def _extents(pieces: Iterator[tuple[int, Piece]]) -> Iterator[tuple[int, Extent]]:
    return ((at, p) for at, p in pieces if isinstance(p, Extent))
