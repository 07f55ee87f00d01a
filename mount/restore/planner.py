"""Walks the trees of recovery points and compares them with the target, to plan what to fetch and write."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.errors import Damaged
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind, Subtree
from catalog.interruption import check
from catalog.tree import Found, PageSource, leaves
from mount.restore.files import FilePlanner
from mount.restore.folder import Folder
from mount.restore.folders import FolderPlanner
from mount.restore.leftovers import Leftovers
from mount.restore.planning import Planning
from mount.restore.report import LostPages
from mount.restore.selection import Selection
from mount.restore.source import Source
from mount.restore.special_files import SpecialFiles
from mount.restore.target import PREFIX, mark_in, reason

_FILE, _FOLDER = int(NodeKind.FILE), int(NodeKind.FOLDER)


class Planner:
    """Walks sources. Entries with data are planned; the others are made at once, except in a dry run."""

    def __init__(
        self,
        planning: Planning,
        folders: FolderPlanner,
        files: FilePlanner,
        specials: SpecialFiles,
        leftovers: Leftovers,
        pages: PageSource,
        selection: Selection,
    ) -> None:
        self._planning, self._folders, self._files, self._specials = planning, folders, files, specials
        self._leftovers, self._pages, self._selection = leftovers, pages, selection
        self._report, self._target = planning.report, planning.target

    def walk(self, source: Source, *, in_place: bool) -> None:
        """Plan a source. `in_place`: at its full path below the target's top, instead of only its name.

        Raises StoreError, and LocalError if the disk is full.
        """
        planning = self._planning
        planning.begin(source.point)
        folder: Folder | None = self._target.root
        assert folder is not None
        place = source.place
        saved = source.point.root.subtree() if source.point.root else None
        for found in place.above:
            if in_place:
                planning.twins.enter(folder, saved)
                folder = self._folders.enter(found.leaf, found.entry, folder, passage=True)
                if folder is None:
                    return
            saved = found.leaf.subtree(found.entry)
        planning.twins.enter(folder, saved)
        if self._planning.into and place.is_folder:
            if place.found is not None:
                self._folders.top(place.found.leaf, place.found.entry, folder)
            self._tree(place.folder, folder, place.path.strip(b"/"))
        elif place.found is None:
            self._tree(place.folder, folder, b"")
        elif place.is_folder:
            below = self._folders.enter(place.found.leaf, place.found.entry, folder)
            if below is not None:
                self._tree(place.folder, below, place.path.strip(b"/"))
        elif self._selection.excludes(place.path.strip(b"/"), False):
            self._report.failed(place.path, "given as a source, but left out by --exclude")
        elif self._selection.includes_source(place.path.strip(b"/"), False):
            self._single(place.found, folder)

    def finish(self) -> None:
        """End a group of sources: remove temporary files of stopped restores."""
        self._leftovers.remove()

    def _tree(self, top: Subtree | None, folder: Folder, path: bytes) -> None:
        """Plan everything below a folder of the point (at `path` from its root) into `folder`."""
        self._planning.twins.enter(folder, top)
        stack = [(path, folder, self._chosen(path), self._entries(top, folder))]
        while stack:
            check()
            above, here, chosen, rest = stack[-1]
            found = next(rest, None)
            if found is None:
                self._leftovers.look(here)
                self._planning.leave(here)
                stack.pop()
                continue
            leaf, entry = found
            inside = above + b"/" + entry.name if above else entry.name
            is_folder = entry.kind == _FOLDER
            taken = self._taken(inside, is_folder, chosen=chosen)
            if taken is None:
                continue
            if not is_folder:
                self._entry(leaf, entry, here)
                continue
            below = self._folders.enter(leaf, entry, here, make=taken)
            if below is not None:
                inner = self._subtree(leaf, entry, below)
                self._planning.twins.enter(below, inner)
                stack.append((inside, below, taken, self._entries(inner, below)))

    def _taken(self, inside: bytes, is_folder: bool, *, chosen: bool) -> bool | None:
        """Whether a path is to be restored; False: only what is in the folder may be. None: nothing there is."""
        if self._selection.everything:
            return True
        if self._selection.excludes(inside, is_folder):
            return None
        taken = chosen or self._selection.includes(inside, is_folder)
        return taken if taken or is_folder else None

    def _chosen(self, path: bytes) -> bool:
        """Whether all in a source's folder is to be restored, for its path."""
        return not self._selection.chooses or bool(path and self._selection.includes_source(path, True))

    def _single(self, found: Found, folder: Folder) -> None:
        """Plan one entry that is not a folder."""
        self._entry(found.leaf, found.entry, folder)
        self._leftovers.look(folder)

    def _subtree(self, leaf: Leaf, entry: Entry, folder: Folder) -> Subtree | None:
        try:
            return leaf.subtree(entry)
        except Damaged as e:
            self._report.failed(folder.path(), str(e), damaged=True)
            self._planning.watch.unknown(folder)
            return None

    def _entries(self, top: Subtree | None, folder: Folder) -> Iterator[tuple[Leaf, Entry]]:
        """The entries of a folder, but for those of pages that can't be read: the first such page is told of."""
        lost = LostPages(self._report, folder.path, lambda: self._planning.watch.unknown(folder))
        try:
            for page in leaves(self._pages, top, 1, lost=lost):
                for entry in page.leaf.entries:
                    yield page.leaf, entry
        except Damaged as e:
            lost(e)

    def _entry(self, leaf: Leaf, entry: Entry, folder: Folder) -> None:
        report = self._report
        report.entries += 1
        name = self._planning.name(leaf, entry, folder)
        if name.startswith(PREFIX) and mark_in(name):
            self._leftovers.keep(folder, name)
        try:
            if entry.kind == _FILE:
                self._files.restore(leaf, entry, folder, name)
            else:
                self._specials.restore(leaf, entry, folder, name)
        except Damaged as e:
            report.failed(folder.path(name), str(e), damaged=True)
        except OSError as e:
            self._target.check_usable(e)
            report.failed(folder.path(name), reason(e))
        except (OverflowError, ValueError) as e:  # a number or name that this system doesn't take
            report.failed(folder.path(name), f"it could not be written: {e}")
