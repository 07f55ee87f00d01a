"""The walk: compares folders of the source with those of the previous point, entry by entry, both sorted by name.

A folder without differences is not written again: the new tree refers to its pages. So a folder's writer is opened
only at the first difference in the folder or below, and then gets the unchanged entries before it.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Generic

from backup.above import has_other_metadata
from backup.ahead import Action, Ahead
from backup.choosing import are_all_distinct, contents, left_out, not_walked
from backup.entries import OWN, cause, checked, copied, no_page, no_status
from backup.exclusions import CACHE_TAG
from backup.files import FileReader
from backup.frame import Frame, RecordingPages
from backup.links import Links
from backup.pipeline import Pipeline
from backup.previous import TYPE_BITS, OldEntry, PreviousPoint
from backup.run import Run
from backup.saving import Saver
from backup.selection import Wanted
from backup.systems.base import TIME_MAX, TIME_MIN, File, Folder, OnlineOnly, Stat
from backup.systems.names import Names
from catalog.errors import LocalError
from catalog.format.blocks import PackKind
from catalog.format.nodes import Node
from catalog.format.packs import Extent, missing_pack
from catalog.format.values import NodeKind, Subtree
from catalog.format.writing import FolderWriter
from catalog.interruption import check
from catalog.patterns import Rule
from catalog.tree import leaves

_FOLDER = int(NodeKind.FOLDER)
_DEPTH = 4096  # folders in each other; each takes an open file


class Walk(Generic[Folder, File, Stat]):
    """One walk. Without a `pipeline` it writes nothing, for a dry run. `tick` is called regularly.

    `tree_blocks` are the places of the new tree's blocks, `page_bytes` their pages' raw bytes; `links` has the
    highest number given to a file of several links; `distinct_names` says whether no folder walked so far has two
    names that Windows treats as equal.
    """

    def __init__(
        self,
        run: Run[Folder, File, Stat],
        previous: PreviousPoint,
        pipeline: Pipeline | None,
        tick: Callable[[], None],
    ) -> None:
        self.tree_blocks: set[tuple[bytes, int]] = set()
        self.page_bytes = 0
        self.distinct_names = True
        self.links = Links(previous.links)
        self._run, self._pages, self._selection, self._previous = run, run.pages, run.selection, previous
        self._progress, self._problems, self._tick = run.progress, run.problems, tick
        self._pipeline, self._system, self._keys = pipeline, run.system, run.vault.keys
        self._deepest = min(_DEPTH, run.system.raise_limits())
        self._ahead = Ahead[File](run.system.close, self._deepest)
        if pipeline is not None:
            self._files = FileReader(run, pipeline, self._write_page, self._tick_within, previous.lacks)
            self._saver = Saver(
                run.system, previous, pipeline, self._files, self.links, self._ahead,
                say=self._say, emit=self._emit, unread=self._unread,
            )  # fmt: skip
        self._unwanted = run.system.unwanted_mounts()
        self._stack: list[Frame[Folder]] = []

    # --- the whole ----------------------------------------------------------------------------------------

    def run(self) -> Subtree | None:
        """Walk the source and write it to the pipeline. Returns the new tree's root.

        Raises Damaged if the previous tree is damaged, and LocalError if the root folder can't be read.
        """
        top = Frame[Folder](None, None, self._previous.root, None)
        try:
            place = self._run.reads.top
            top.places = place.below
            system, handle = self._system, place.handle
            top.handle = system.open_top() if handle is None else system.open_folder(b".", handle)
        except OSError as e:
            raise LocalError(f"/ can't be read: {e.strerror}", "check its permissions") from e
        top.wanted, top.layer = self._selection.wanted(), self._selection.exclusions.top
        self._walk(top)
        if top.writer is None:
            self._keep(top)
            return self._previous.root
        if self._pipeline is None:
            return None
        result: list[Subtree | None] = []
        writer = top.writer
        self._pipeline.after([], lambda: result.append(writer.finish()))
        self._pipeline.settle()
        return result[0]

    def _walk(self, top: Frame[Folder]) -> None:
        """Walk a folder and all below it, without recursion: folders may be nested deeper than Python's calls."""
        stack = self._stack
        stack.append(top)
        try:
            assert top.handle is not None
            top.device = self._system.file_status(top.handle).st_dev
            top.names = iter(self._names(top))
            self._begin(top)
            while stack:
                below = self._next_folder(stack[-1])
                if below is None:
                    self._end(stack.pop())
                else:
                    stack.append(below)
                    self._begin(below)
            self._ahead.settle()
        finally:
            self._ahead.close()
            for frame in reversed(stack):
                if frame.handle is not None:
                    self._system.close(frame.handle)

    def so_far(self) -> Subtree | None:
        """Write a complete tree in the middle of the walk: entries not walked yet are as in the previous point.

        Afterwards all chunks added so far have their places, and the store has their data packs.
        """
        assert self._pipeline is not None
        self._ahead.settle()
        self._open(self._stack[-1])
        self._pipeline.flush()
        below: Subtree | None = None
        node: Node | None = None
        for frame in reversed(self._stack):
            first = [copied(node, content=below)] if node is not None else []
            rest = frame.rest(self._pages, also=node is None)
            assert frame.writer is not None
            below, node = frame.writer.so_far(chain(first, rest)), frame.node
        return below

    # --- folders ------------------------------------------------------------------------------------------

    def _names(self, frame: Frame[Folder]) -> Names:
        """The names to handle in a folder, sorted; none if it can't be listed, which is reported as a problem."""
        if frame.handle is None:
            return []
        if frame.layer is not None and frame.wanted is None:
            read = partial(contents, self._system, frame.handle)
            frame.layer = frame.layer.within(read, frame.path, partial(self._say, frame, b""))
            if frame.layer.is_cache(read):
                if frame.is_asked:
                    self._say(frame, b"", "given as a path, but a CACHEDIR.TAG marks it as a cache: left out")
                return [CACHE_TAG]
        try:
            names = self._system.names(frame.handle) if frame.wanted is None else sorted(frame.wanted)
        except OWN:
            raise
        except Exception as e:  # noqa: BLE001 - the fault of one folder costs that folder
            self._say(frame, b"", f"the folder can't be listed: {cause(e)}")
            return []
        self.distinct_names = self.distinct_names and are_all_distinct(names)
        return names

    def _begin(self, frame: Frame[Folder]) -> None:
        """Prepare a folder on the stack for its first entry."""
        if self._previous.afresh or frame.previous is None:
            self._open(frame)
        frame.older = self._older(frame)
        frame.old = next(frame.older, None)

    def _next_folder(self, frame: Frame[Folder]) -> Frame[Folder] | None:
        """Handle the next entries of a folder, up to a folder to walk: returns it, or None at the end."""
        fd, wanted, layer = frame.handle, frame.wanted, frame.layer
        older, old, places = frame.older, frame.old, frame.places
        progress, status = self._progress, self._system.status
        progress.path = frame.current
        for name in frame.names:
            assert fd is not None  # without one there are no names
            if name == frame.name:
                continue  # a folder that changes while it is listed may list a name twice
            frame.name = name
            while old is not None and old.entry.name < name:
                self._gone(frame, old)
                old = next(older, None)
            match = None
            if old is not None and old.entry.name == name:
                match, old = old, next(older, None)
            frame.old = old
            progress.entries += 1
            if progress.entries & 255 == 0:
                self._tick()
            try:
                stands = None if places is None else frame.stands_for(name)
                st: Stat | None = status(name, fd) if stands is None else self._system.file_status(stands)
            except Exception as e:  # noqa: BLE001 - the fault of one entry costs that entry
                st, reason = None, no_status(e, must_be=wanted is not None)
                if reason:
                    self._say(frame, name, reason)
            is_folder = st is not None and st.st_mode & TYPE_BITS == stat.S_IFDIR
            # Rules aside, only folders are left out.
            if st is None or (
                (is_folder or layer is not None) and self._left_out(frame, st, asked=wanted is not None)
            ):
                if match is not None:
                    self._gone(frame, match)
                continue
            if not TIME_MIN <= st.st_mtime_ns <= TIME_MAX:
                self._say(frame, name, "its time is beyond the years 1677 to 2554: saved with the nearest one")
            if is_folder:
                below = self._subfolder(fd, st, match, frame)
                if below is not None:
                    return below
            else:
                self._file(fd, st, match, frame)
        while old is not None:
            frame.name = old.entry.name
            self._gone(frame, old)
            old = next(older, None)
        if frame.left_out and frame.is_asked:
            self._ahead.settle()  # or `has_nothing` would count files that can't be read
        return None

    def _older(self, frame: Frame[Folder]) -> Iterator[OldEntry]:
        """The entries of a folder's previous version."""

        def record(at: Extent) -> None:
            if self._previous.lacks(at):  # even if a cache still has the page
                raise missing_pack(PackKind.TREE, at.pack)
            frame.seen.append(at)
            if self._pipeline is not None and not self._previous.afresh:
                self._pipeline.trees.remember(at)

        for page in leaves(RecordingPages(self._pages, record), frame.previous, 0):
            doubtful = self._previous.is_doubtful(page.leaf)
            for entry in page.leaf.entries:
                yield OldEntry(entry, page.leaf, doubtful)

    def _say(self, frame: Frame[Folder], name: bytes, reason: str) -> None:
        """Report a problem of a folder, or of a name in it, after those of entries before it."""
        self._ahead.settle()
        self._problems.add(frame.path(name), reason)

    def _left_out(self, frame: Frame[Folder], st: Stat, *, asked: bool) -> bool:
        """Whether to leave out the current entry. That is a problem if it was `asked` for, or leads to what was."""
        reason = left_out(self._selection, frame.layer, frame.name, st)
        if reason is None:
            return False
        given = frame.wanted is not None and frame.wanted.get(frame.name) is None
        if isinstance(reason, Rule):
            frame.left_out, frame.example = frame.left_out + 1, reason
            reason = f"{'given as' if given else 'above'} a path, but left out by the rule {reason}"
        if asked:
            self._say(frame, frame.name, reason)
        return True

    def _gone(self, frame: Frame[Folder], old: OldEntry) -> None:
        self._open(frame)
        self._progress.removed += old.leaf.entries_in(old.entry)

    def _open(self, frame: Frame[Folder]) -> None:
        """Give a folder that differs, and those above it, a writer with their unchanged entries so far."""
        without: list[Frame[Folder]] = []
        at: Frame[Folder] | None = frame
        while at is not None and at.writer is None:
            without.append(at)
            at = at.parent
        while without:
            self._give_writer(without.pop())  # from the top down

    def _give_writer(self, frame: Frame[Folder]) -> None:
        if self._pipeline is None:
            frame.writer = FolderWriter(no_page)
            return
        frame.writer = FolderWriter(self._write_page, self._pipeline.trees.resolve)
        left = frame.passed
        for page in leaves(self._pages, frame.previous, 0) if left else ():
            for entry in page.leaf.entries[:left]:
                self._emit(frame, page.leaf.node(entry))
            left -= len(page.leaf.entries)
            if left <= 0:
                return

    def _write_page(self, page: bytes) -> Extent:
        assert self._pipeline is not None
        at = self._pipeline.trees.write(page)
        self.tree_blocks.add((at.pack, at.offset))
        self.page_bytes += len(page)
        return at

    def _keep(self, frame: Frame[Folder]) -> None:
        """Count the pages of an unchanged folder as pages of the new tree."""
        for at in frame.seen:
            self.tree_blocks.add((at.pack, at.offset))
            self.page_bytes += at.length

    def _emit(self, frame: Frame[Folder], node: Node) -> None:
        """Write an entry whose content has its place already."""
        if self._pipeline is not None:
            assert frame.writer is not None
            self._after(partial(frame.writer.add, node))

    def _after(self, action: Action) -> None:
        """Run an action once all entries before it have their places."""
        assert self._pipeline is not None
        if self._ahead.is_behind:
            self._ahead.put(partial(self._pipeline.after, [], action))
        else:
            self._pipeline.after([], action)

    def _tick_within(self) -> None:
        """Called while a file is read. In the middle of entries that were walked already, no point is written."""
        if self._ahead.is_running:
            check()
        else:
            self._tick()

    def _same(self, frame: Frame[Folder], match: OldEntry) -> None:
        """Keep an entry of the previous point."""
        self._progress.unchanged += 1
        if frame.writer is None:
            frame.passed += 1
        else:
            self._emit(frame, match.leaf.node(match.entry))

    def _count(self, match: OldEntry | None) -> None:
        if match is None:
            self._progress.new += 1
        else:
            self._progress.changed += 1

    def _subfolder(
        self, fd: Folder, st: Stat, match: OldEntry | None, frame: Frame[Folder]
    ) -> Frame[Folder] | None:
        """Handle a folder in a folder. Returns it if it must be walked; None if it is empty, and was before."""
        old = match if match is not None and match.entry.kind == _FOLDER else None
        previous = old.leaf.subtree(old.entry) if old is not None else None
        wanted = frame.wanted.get(frame.name) if frame.wanted is not None else None
        stands = frame.stands_for(frame.name)
        try:
            node, old = self._folder_node(fd, st, old, frame, above=wanted is not None)
        except OWN:
            raise
        except Exception as e:  # noqa: BLE001 - the fault of one entry costs that entry
            self._say(frame, frame.name, f"it can't be saved: {cause(e)}")
            if match is not None:
                self._gone(frame, match)
            return None
        if old is None:
            self._count(match)
            self._open(frame)
        child = Frame(frame, node, previous, old)
        child.device, child.wanted, child.places = st.st_dev, wanted, frame.places_below(frame.name)
        child.layer = frame.layer.below(frame.name) if frame.layer is not None else None
        if self._is_entered(st, frame, wanted, stands):
            try:
                if stands is not None:
                    child.handle = self._system.open_folder(b".", stands)
                else:
                    opener = self._system.open_folder if wanted is None else self._system.open_passage
                    child.handle = opener(frame.name, fd)
            except OWN:
                raise
            except Exception as e:  # noqa: BLE001 - the fault of one folder costs that folder
                self._say(frame, frame.name, f"the folder can't be opened: {cause(e)}")
        names = self._names(child)
        if not names and previous is None:
            self._end(child)
            return None
        child.names = iter(names)
        return child

    def _folder_node(
        self, fd: Folder, st: Stat, old: OldEntry | None, frame: Frame[Folder], *, above: bool
    ) -> tuple[Node, OldEntry | None]:
        """The entry of a folder, without content; and its previous one, if that has the same metadata."""
        node, stands = self._system.node(frame.name, st), frame.stands_for(frame.name)
        target: Any = frame.name if stands is None else stands
        if (
            old is not None
            and self._previous.is_same_folder(old, node, above=above)
            and not (above and has_other_metadata(self._system, self._keys, old, target, fd))
        ):
            kept = old.leaf.node(old.entry)
            node.size, node.mtime, node.ctime, node.xattrs = kept.size, kept.mtime, kept.ctime, kept.xattrs
            node.more, node.windows = kept.more, kept.windows
            return node, old
        if self._pipeline is not None:
            self._files.complete(partial(self._say, frame, frame.name), target, fd, node)
        return checked(node), None

    def _is_entered(self, st: Stat, frame: Frame[Folder], wanted: Wanted | None, stands: Folder | None) -> bool:
        """Whether to walk a folder rather than save it as an empty one. Folders above a given path are walked."""
        if frame.depth >= self._deepest:
            self._say(frame, frame.name, f"its contents are not saved: it lies below {self._deepest:,} folders")
            return False
        if wanted is not None or stands is not None:
            return True
        asked = frame.wanted is not None
        where = partial(frame.path, frame.name)
        reason = not_walked(self._selection, self._unwanted, st, frame.device, where, asked=asked)
        if reason and asked:
            self._say(frame, frame.name, reason)
        return not reason

    def _end(self, child: Frame[Folder]) -> None:
        """Close a folder after its last entry, and write or keep its own entry."""
        if child.handle is not None:
            self._system.close(child.handle)
        frame, node = child.parent, child.node
        if child.has_nothing():
            self._say(child, b"", f"no file of it is saved: all are left out, e.g. by the rule {child.example}")
        if frame is None or node is None:  # the top, which has no entry
            return
        if child.writer is not None:
            self._progress.unchanged += child.unchanged is not None
            self._close(frame, child, node)
            return
        self._keep(child)
        if child.unchanged is not None:
            self._same(frame, child.unchanged)
        else:
            node.content = child.previous
            self._emit(frame, node)

    def _close(self, frame: Frame[Folder], child: Frame[Folder], node: Node) -> None:
        """Write a folder whose entries differ, after all of them."""
        self._open(frame)
        if self._pipeline is None:
            return
        outer, inner = frame.writer, child.writer
        assert outer is not None and inner is not None

        def close() -> None:
            node.content = inner.finish()
            outer.add(node)

        self._after(close)

    # --- everything else ----------------------------------------------------------------------------------

    def _file(self, fd: Folder, st: Stat, match: OldEntry | None, frame: Frame[Folder]) -> None:
        progress = self._progress
        is_file = st.st_mode & TYPE_BITS == stat.S_IFREG
        if is_file:
            progress.files += 1
            progress.size += st.st_size
        if (
            match is not None
            and self._previous.is_same(match, st)
            and (st.st_nlink < 2 or self.links.is_same(match.entry, st))
        ):
            frame.saved += 1
            self._same(frame, match)
            return
        self._count(match)
        self._open(frame)
        frame.saved += 1
        if self._pipeline is None:
            progress.read_files += is_file
            progress.read_bytes += st.st_size if is_file else 0
            return
        try:
            self._saver.save(fd, st, match, frame)
        except OWN:
            raise
        except Exception as e:  # noqa: BLE001 - the fault of one entry costs that entry
            if isinstance(e, OnlineOnly) and match is not None and self._previous.has_contents(match, st):
                progress.changed -= 1
                self._same(frame, match)
                return
            self._unread(frame, frame.name, match, e)

    def _unread(self, frame: Frame[Folder], name: bytes, match: OldEntry | None, error: Exception) -> None:
        """Report a file that can't be read: it is left out of the point."""
        self._say(frame, name, f"it can't be read: {cause(error)}")
        at: Frame[Folder] | None = frame
        while at is not None:  # folders that have ended have added theirs to the one above
            at.saved -= 1
            at = at.parent if at not in self._stack else None
        if match is None:
            self._progress.new -= 1
        else:
            self._progress.changed -= 1
            self._progress.removed += 1
