"""The walks of those who restore one part of a point, and of the one who finishes its folders."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.errors import Damaged
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind, Subtree
from catalog.interruption import check
from catalog.tree import PageSource
from mount.fleet.restoring.spans import EVERYTHING, TOP, Numbered, Span, entries_in
from mount.restore.disk.base import Metadata, Status
from mount.restore.folder import Folder
from mount.restore.folders import FolderPlanner
from mount.restore.leftovers import Leftovers
from mount.restore.planner import Planner
from mount.restore.planning import Planning
from mount.restore.report import LostPages, Report
from mount.restore.selection import Selection
from mount.restore.special_files import SpecialFiles
from mount.restore.spool import Bits
from mount.restore.target import PREFIX, is_unfinished, mark_in

_FOLDER = int(NodeKind.FOLDER)


class PassingFolders(FolderPlanner):
    """Makes and enters the folders that lead to a part. Who finishes them counts them, and tells what is wrong.

    `quiet` gets the problems all the same: a folder that failed here may not fail again. `complete` gets the
    numbers of folders that an earlier restore had finished, and into which something may now be written.
    """

    def __init__(self, planning: Planning, metadata: Metadata, quiet: Report) -> None:
        super().__init__(planning, metadata)
        self._report = self.quiet = quiet
        self.number = TOP  # of the folder that is entered next
        self.complete: list[int] = []

    def enter(
        self, leaf: Leaf, entry: Entry, parent: Folder, *, make: bool = True, passage: bool = False
    ) -> Folder | None:
        planning = self._planning
        loud, planning.report = planning.report, self.quiet
        try:
            return super().enter(leaf, entry, parent, make=make, passage=passage)
        finally:
            planning.report = loud

    def _meet(self, folder: Folder, st: Status) -> None:
        super()._meet(folder, st)
        if folder.attributes is not None and not is_unfinished(st):
            self.complete.append(self.number)


class PartPlanner(Planner):
    """Walks the entries in `span`, and the folders that lead to them."""

    span = EVERYTHING
    passing: PassingFolders  # the planner of its folders

    def _tree(self, top: Subtree | None, folder: Folder, path: bytes) -> None:
        planning = self._planning
        planning.twins.enter(folder, top)
        stack = [(path, folder, self._chosen(path), self._part(top, folder, TOP))]
        while stack:
            check()
            above, here, chosen, rest = stack[-1]
            found = next(rest, None)
            if found is None:
                self._leftovers.look(here)
                planning.leave(here)
                stack.pop()
                continue
            entry = found.entry
            inside = above + b"/" + entry.name if above else entry.name
            is_folder = entry.kind == _FOLDER
            taken = self._taken(inside, is_folder, chosen=chosen)
            if taken is None:
                continue
            if not is_folder:
                self._entry(found.leaf, entry, here)
                continue
            self.passing.number = found.number
            below = self._folders.enter(found.leaf, entry, here, make=taken)
            if below is not None:
                inner = self._subtree(found.leaf, entry, below)
                planning.twins.enter(below, inner)
                stack.append((inside, below, taken, self._part(inner, below, found.number)))

    def _subtree(self, leaf: Leaf, entry: Entry, folder: Folder) -> Subtree | None:
        loud, self._report = self._report, self.passing.quiet
        try:
            return super()._subtree(leaf, entry, folder)
        finally:
            self._report = loud

    def _part(self, top: Subtree | None, folder: Folder, number: int) -> Iterator[Numbered]:
        """The entries of a folder to look at; damage is told by who can't restore what it has cost."""
        lost = LostPages(self.passing.quiet, folder.path)
        try:
            yield from entries_in(self._pages, top, number, self.span, lost)
        except Damaged as e:
            lost(e)


class PartSpecials(SpecialFiles):
    """Makes symlinks and the like; once more, where another attempt was faster: then it is there."""

    def restore(self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes) -> None:
        try:
            super().restore(leaf, entry, folder, name)
        except FileExistsError:
            folder.fresh = False
            super().restore(leaf, entry, folder, name)


class FolderWalk(Planner):
    """Walks the folders only, and reads only the pages that have some.

    `complete`: numbers of folders that get their attributes again, as they had them before the parts were restored.
    `looks`: spans whose folders may have temporary files of attempts that have not ended.
    """

    complete: Bits
    looks: list[Span]

    def __init__(
        self, planning: Planning, folders: FolderPlanner, leftovers: Leftovers, pages: PageSource,
        selection: Selection,
    ) -> None:  # fmt: skip
        self._planning, self._folders, self._leftovers = planning, folders, leftovers
        self._pages, self._selection = pages, selection
        self._report, self._target = planning.report, planning.target

    def _tree(self, top: Subtree | None, folder: Folder, path: bytes) -> None:
        planning = self._planning
        planning.twins.enter(folder, top)
        end = TOP + 1 + (top.totals.entries if top is not None else 0)
        stack = [(path, folder, self._chosen(path), (TOP, end), self._rest(top, folder, TOP))]
        while stack:
            check()
            above, here, chosen, (number, after), rest = stack[-1]
            found = next(rest, None)
            if found is None:
                if any(span.meets(number, after) for span in self.looks):
                    self._leftovers.look(here)
                planning.leave(here)
                stack.pop()
                continue
            entry = found.entry
            inside = above + b"/" + entry.name if above else entry.name
            taken = self._taken(inside, True, chosen=chosen)
            if taken is None:
                continue
            below = self._folders.enter(found.leaf, entry, here, make=taken)
            if below is None:
                continue
            if below.attributes is None and found.number in self.complete:
                below.attributes = planning.attributes(found.leaf, entry, here, below.name)
            inner = self._subtree(found.leaf, entry, below)
            planning.twins.enter(below, inner)
            stack.append(
                (inside, below, taken, (found.number, found.after), self._rest(inner, below, found.number))
            )

    def _rest(self, top: Subtree | None, folder: Folder, number: int) -> Iterator[Numbered]:
        lost = LostPages(self._report, folder.path)
        try:
            for found in entries_in(self._pages, top, number, EVERYTHING, lost, folders_only=True):
                name = found.entry.name
                if found.entry.kind == _FOLDER:
                    yield found
                elif name.startswith(PREFIX) and mark_in(name):
                    self._leftovers.keep(folder, name)
        except Damaged as e:
            lost(e)
