"""The walk: folders of the source beside those of the previous point, entry by entry, both sorted by name.

A folder in which nothing differs is not written again: its pages serve the new tree as they are. So a folder's
writer is opened only at the first difference in it or below, and then gets what had been passed unchanged.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeAlias

from backup import source
from backup.excludes import Excludes
from backup.files import Contents, FileReader, Paging, settled, waits_for
from backup.pipeline import Pipeline
from backup.progress import Progress
from catalog.errors import LocalError, MissingData
from catalog.format.packs import Extent
from catalog.format.trees import (
    Entry,
    FolderIndex,
    FolderWriter,
    Leaf,
    Node,
    NodeKind,
    OutOfLine,
    Paged,
    Subtree,
    Totals,
)
from catalog.tree import PageSource, leaves
from catalog.vault import Vault

_FILE, _FOLDER, _SYMLINK = int(NodeKind.FILE), int(NodeKind.FOLDER), int(NodeKind.SYMLINK)
_DEVICES = (int(NodeKind.CHAR_DEVICE), int(NodeKind.BLOCK_DEVICE))
Wanted: TypeAlias = "dict[bytes, Wanted | None]"


@dataclass
class Selection:
    """What to walk. `paths` are absolute; `skip` are folders to leave out, as (st_dev, st_ino)."""

    paths: list[bytes]
    excludes: list[str] = field(default_factory=list)
    one_file_system: bool = False
    skip: set[tuple[int, int]] = field(default_factory=set)

    def wanted(self) -> Wanted | None:
        """The paths as a tree of names; None stands for everything below."""
        tree: Wanted = {}
        for path in sorted(self.paths):  # a folder comes before what is in it
            parts = [p for p in path.split(b"/") if p]
            if not parts:
                return None
            at = tree
            for n, part in enumerate(parts):
                below = at.setdefault(part, None if n + 1 == len(parts) else {})
                if below is None:
                    break
                at = below
        return tree


@dataclass(frozen=True)
class Previous:
    """The point to compare with. An entry whose ctime (ns) is not before `trusted` is read again."""

    root: Subtree | None = None
    trusted: int = 0
    links: int = 0
    missing: frozenset[bytes] = frozenset()  # packs that have vanished
    afresh: bool = False  # its tree is scattered: write all pages again


class _Old(NamedTuple):
    entry: Entry
    leaf: Leaf


@dataclass
class _Link:
    """A file of several links: its number, how many links are still to be met, and what the first one gave."""

    number: int
    left: int
    node: Node | None = None
    contents: Contents | None = None


class _Frame:
    """A folder being walked: what it was, and its writer if it has one."""

    __slots__ = ("name", "node", "parent", "passed", "previous", "seen", "writer")

    def __init__(self, parent: _Frame | None, previous: Subtree | None, node: Node | None) -> None:
        self.parent = parent
        self.previous = previous
        self.node = node
        self.passed = 0  # entries of `previous` met unchanged while there was no writer
        self.name = b""  # the entry being looked at
        self.seen: list[Extent] = []  # pages of `previous` that were read
        self.writer: FolderWriter | None = None


class _Noting:
    """A page source that notes which pages of a folder were read through it."""

    def __init__(self, inner: PageSource, note: Callable[[Extent], None]) -> None:
        self._inner, self._note = inner, note
        self.piece_leaf, self.piece_index = inner.piece_leaf, inner.piece_index

    def leaf(self, at: Extent) -> Leaf:
        self._note(at)
        return self._inner.leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        self._note(at)
        return self._inner.folder_index(at)


class Walk:
    """One walk. With `pipeline` None it only looks, for a dry run.

    `tree_blocks` are the places of the new tree's blocks, `page_bytes` their pages' raw bytes; `links` is the
    highest number given to a file of several links.
    """

    def __init__(
        self,
        vault: Vault,
        pages: PageSource,
        pipeline: Pipeline | None,
        selection: Selection,
        previous: Previous,
        progress: Progress,
        problem: Callable[[bytes, str], None],
        tick: Callable[[], None],
    ) -> None:
        self.tree_blocks: set[tuple[bytes, int]] = set()
        self.page_bytes = 0
        self.links = previous.links
        self._pages, self._selection, self._previous = pages, selection, previous
        self._progress, self._problem, self._tick = progress, problem, tick
        self._pipeline = pipeline
        self._owners = source.Owners()
        if pipeline is not None:
            self._files = FileReader(vault.keys, pipeline, self._owners, self._write_page, problem, progress, tick)
        self._excludes = Excludes(selection.excludes) if selection.excludes else None
        self._linked: dict[tuple[int, int], _Link] = {}
        self._unwanted = source.unwanted_mounts()
        self._stack: list[_Frame] = []

    # --- the whole ----------------------------------------------------------------------------------------

    def run(self) -> Subtree | None:
        """Walk everything. The new tree's root, all written to the pipeline. Damaged: the previous tree is."""
        frame = _Frame(None, self._previous.root, None)
        try:
            top = source.open_folder(b"/")
        except OSError as e:
            raise LocalError(f"/ can't be read: {e.strerror}") from e
        try:
            self._folder(top, b"", frame, self._selection.wanted(), os.fstat(top).st_dev)
        finally:
            os.close(top)
        if frame.writer is None:
            self._keep(frame)
            return self._previous.root
        if self._pipeline is None:
            return None
        result: list[Subtree | None] = []
        writer = frame.writer
        self._pipeline.after([], lambda: result.append(writer.finish()))
        self._pipeline.settle()
        return result[0]

    def so_far(self) -> Subtree | None:
        """A whole tree at this moment: what has been walked as it is now, the rest as the previous point has it.

        Everything given so far has its place afterwards, and is on its way to the store.
        """
        assert self._pipeline is not None
        self._open(self._stack[-1])
        self._pipeline.flush()
        below: Subtree | None = None
        node: Node | None = None
        for frame in reversed(self._stack):
            rest = self._rest(frame, also=node is None)
            if node is not None:
                rest.insert(0, _copy(node, content=below))
            assert frame.writer is not None
            below, node = frame.writer.so_far(rest), frame.node
        return below

    def _rest(self, frame: _Frame, *, also: bool) -> list[Node]:
        """What the previous point has in a folder after the entry being looked at (or with it: `also`)."""
        return [
            page.leaf.node(e)
            for page in leaves(self._pages, frame.previous, 0, start=frame.name)
            for e in page.leaf.entries
            if e.name > frame.name or (also and e.name == frame.name)
        ]

    # --- folders ------------------------------------------------------------------------------------------

    def _folder(self, fd: int, path: bytes, frame: _Frame, wanted: Wanted | None, device: int) -> None:
        """Walk one folder. `wanted` names the only entries that count, in a folder above what was asked for."""
        self._stack.append(frame)
        if self._previous.afresh or frame.previous is None:
            self._open(frame)
        try:
            names = source.names(fd) if wanted is None else sorted(wanted)
        except OSError as e:
            self._problem(path, f"the folder can't be listed: {e.strerror}")
            names = []
        older = self._older(frame)
        old = next(older, None)
        for name in names:
            frame.name = name
            while old is not None and old.entry.name < name:
                self._gone(frame, old)
                old = next(older, None)
            match = None
            if old is not None and old.entry.name == name:
                match, old = old, next(older, None)
            here = path + b"/" + name if path else name
            st = self._status(fd, here, name, must_be=wanted is not None)
            if st is None or self._left_out(here, st, asked=wanted is not None):
                if match is not None:
                    self._gone(frame, match)
            elif stat.S_ISDIR(st.st_mode):
                below = wanted.get(name) if wanted is not None else None
                # What was asked for is walked even where it is the root of another file system.
                self._subfolder(fd, here, st, match, frame, below, device if wanted is None else st.st_dev)
            else:
                self._file(fd, here, st, match, frame)
        while old is not None:
            frame.name = old.entry.name
            self._gone(frame, old)
            old = next(older, None)
        self._stack.pop()

    def _older(self, frame: _Frame) -> Iterator[_Old]:
        """The entries of a folder's previous version."""

        def note(at: Extent) -> None:
            if at.pack in self._previous.missing:  # though a cache may still have the page
                raise MissingData(f"the tree pack {at.pack.hex()[:8]} is missing from the vault")
            frame.seen.append(at)
            if self._pipeline is not None and not self._previous.afresh:
                self._pipeline.trees.know(at)

        for page in leaves(_Noting(self._pages, note), frame.previous, 0):
            for entry in page.leaf.entries:
                yield _Old(entry, page.leaf)

    def _status(self, fd: int, here: bytes, name: bytes, *, must_be: bool) -> os.stat_result | None:
        self._progress.entries += 1
        if self._progress.entries & 255 == 0:
            self._tick()
        try:
            return source.status(name, fd)
        except FileNotFoundError:
            if must_be:
                self._problem(here, "it does not exist")
        except OSError as e:
            self._problem(here, f"it can't be read: {e.strerror}")
        return None

    def _left_out(self, here: bytes, st: os.stat_result, *, asked: bool) -> bool:
        is_folder = stat.S_ISDIR(st.st_mode)
        if self._excludes is not None and self._excludes.match(here, is_folder):
            reason = "it was asked for, and it is excluded"
        elif is_folder and (st.st_dev, st.st_ino) in self._selection.skip:
            reason = "it belongs to rpdrive: a vault, a cache or a state folder is not saved"
        else:
            return False
        if asked:
            self._problem(here, reason)
        return True

    def _gone(self, frame: _Frame, old: _Old) -> None:
        self._open(frame)
        self._progress.removed += old.leaf.entry_totals(old.entry).entries

    def _open(self, frame: _Frame) -> None:
        """Give a folder a writer, now that it differs, and write what was met unchanged."""
        if frame.writer is not None:
            return
        if frame.parent is not None:
            self._open(frame.parent)
        if self._pipeline is None:
            frame.writer = FolderWriter(_no_page)
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

    def _keep(self, frame: _Frame) -> None:
        """Count the pages of an unchanged folder to the new tree."""
        for at in frame.seen:
            self.tree_blocks.add((at.pack, at.offset))
            self.page_bytes += at.length

    def _emit(self, frame: _Frame, node: Node) -> None:
        """Write an entry whose content has its place."""
        if self._pipeline is not None:
            assert frame.writer is not None
            self._pipeline.after([], partial(frame.writer.add, node))

    def _same(self, frame: _Frame, match: _Old) -> None:
        """An entry that stays as it was."""
        self._progress.unchanged += 1
        if frame.writer is None:
            frame.passed += 1
        else:
            self._emit(frame, match.leaf.node(match.entry))

    def _count(self, match: _Old | None) -> None:
        if match is None:
            self._progress.new += 1
        else:
            self._progress.changed += 1

    def _subfolder(
        self,
        fd: int,
        here: bytes,
        st: os.stat_result,
        match: _Old | None,
        frame: _Frame,
        wanted: Wanted | None,
        device: int,
    ) -> None:
        """A folder in a folder. On another device it may be left empty; above what was asked for it may not."""
        old = match if match is not None and match.entry.kind == _FOLDER else None
        previous = old.leaf.subtree(old.entry) if old is not None else None
        node = _node(frame.name, _FOLDER, st, self._owners)
        same = old is not None and self._same_folder(old, node, above=wanted is not None)
        if same and old is not None:
            kept = old.leaf.node(old.entry)
            node.size, node.mtime, node.ctime, node.xattrs = kept.size, kept.mtime, kept.ctime, kept.xattrs
        else:
            self._count(match)
            self._open(frame)
            if self._pipeline is not None:
                node.xattrs = self._files.xattrs(here, frame.name, fd)
        child = _Frame(frame, previous, node)
        pseudo = wanted is None and b"/" + here in self._unwanted
        if pseudo or (self._selection.one_file_system and st.st_dev != device and wanted is None):
            self._inside(None, here, child, {}, st.st_dev)
        else:
            try:
                opener = source.open_folder if wanted is None else source.open_passage
                inside = opener(frame.name, fd)
            except OSError as e:
                self._problem(here, f"the folder can't be opened: {e.strerror}")
                self._inside(None, here, child, {}, st.st_dev)
            else:
                try:
                    self._inside(inside, here, child, wanted, st.st_dev)
                finally:
                    os.close(inside)
        if child.writer is not None:
            self._close(frame, child, node)
            return
        self._keep(child)
        if same and old is not None:
            self._same(frame, old)
        else:
            node.content = previous
            self._emit(frame, node)

    def _same_folder(self, old: _Old, now: Node, *, above: bool) -> bool:
        """Whether a folder's own metadata are unchanged. The times of one above what was asked for are not ours."""
        e = old.entry
        if e.mode != now.mode or e.inode != now.inode or old.leaf.owner(e) != now.owner:
            return False
        if above:
            return True
        if (e.mtime, e.ctime, e.size) != (now.mtime, now.ctime, now.size) or e.ctime >= self._previous.trusted:
            return False
        return not self._previous.missing or self._is_there(old)

    def _inside(self, fd: int | None, here: bytes, child: _Frame, wanted: Wanted | None, device: int) -> None:
        """Walk a folder, unless it was empty and still is: then there is nothing to walk or write."""
        if child.previous is None:
            try:
                empty = not (wanted if wanted is not None or fd is None else os.listdir(fd))
            except OSError:
                empty = False  # reported where it is walked
            if empty:
                return
        self._folder(-1 if fd is None else fd, here, child, wanted, device)

    def _close(self, frame: _Frame, child: _Frame, node: Node) -> None:
        """Write a folder that differs inside, once all that is in it is written."""
        self._open(frame)
        if self._pipeline is None:
            return
        outer, inner = frame.writer, child.writer
        assert outer is not None and inner is not None

        def close() -> None:
            node.content = inner.finish()
            outer.add(node)

        self._pipeline.after([], close)

    # --- everything else ----------------------------------------------------------------------------------

    def _file(self, fd: int, here: bytes, st: os.stat_result, match: _Old | None, frame: _Frame) -> None:
        progress = self._progress
        is_file = stat.S_ISREG(st.st_mode)
        if is_file:
            progress.files += 1
            progress.size += st.st_size
            progress.path = here
        if match is not None and self._unchanged(match, st) and self._same_link(match, st):
            self._same(frame, match)
            return
        self._count(match)
        self._open(frame)
        if self._pipeline is None:
            progress.read_files += is_file
            progress.read_bytes += st.st_size if is_file else 0
            return
        try:
            self._save(fd, here, st, match, frame)
        except OSError as e:
            self._problem(here, f"it can't be read: {e.strerror}")

    def _unchanged(self, match: _Old, st: os.stat_result) -> bool:
        """Whether an entry is as the previous point has it, and its data is still there."""
        e = match.entry
        if not (
            e.inode == st.st_ino
            and e.ctime == st.st_ctime_ns
            and e.mtime == st.st_mtime_ns
            and (e.size == st.st_size or e.kind != _FILE)
            and e.mode == st.st_mode & 0o7777
            and e.kind == source.kind_of(st.st_mode)
            and e.ctime < self._previous.trusted
        ):
            return False
        return not self._previous.missing or self._is_there(match)

    def _is_there(self, match: _Old) -> bool:
        """Whether nothing that an entry refers to lies in a pack that has vanished."""
        missing, (e, leaf) = self._previous.missing, match
        if any(isinstance(v, OutOfLine) and v.at.pack in missing for v in (leaf.xattrs(e) or {}).values()):
            return False
        pieces = leaf.pieces(e) if e.kind == _FILE else []
        if isinstance(pieces, Paged):
            return False  # it is read again, rather than looked up page by page
        return not any(isinstance(p, Extent) and p.pack in missing for p in pieces)

    def _save(self, fd: int, here: bytes, st: os.stat_result, match: _Old | None, frame: _Frame) -> None:
        """Write a new or changed entry. OSError if it can't be read."""
        assert self._pipeline is not None
        name = frame.name
        node = _node(name, source.kind_of(st.st_mode), st, self._owners)
        link: _Link | None = None
        if st.st_nlink > 1:
            link = self._link(st, match)
            node.nlink, node.link = st.st_nlink, link.number
            if link.node is not None:
                self._write(frame, _copy(link.node, name=name), link.contents)
                return
        contents: Contents | None = None
        if node.kind == _FILE:
            if match is not None and match.entry.kind == _FILE and not self._previous.afresh:
                self._files.know(match.leaf.pieces(match.entry), self._pages)
            contents = self._files.read(fd, here, name, node)
        else:
            if node.kind == _SYMLINK:
                node.content = os.readlink(name, dir_fd=fd)
            elif node.kind in _DEVICES:
                node.content = (os.major(st.st_rdev), os.minor(st.st_rdev))
            node.xattrs = self._files.xattrs(here, name, fd)
        if link is not None and link.left > 0 and node.inode == st.st_ino:  # else it was replaced meanwhile
            link.node, link.contents = node, contents
        self._write(frame, node, contents)

    def _same_link(self, match: _Old, st: os.stat_result) -> bool:
        """Whether an unchanged entry keeps its number: links of its file that were met before must have the same.

        They may not: a link in a renamed folder, or after a partial point, is new while another is unchanged.
        """
        if st.st_nlink < 2:
            return True
        number = match.entry.link
        link = self._linked.get((st.st_dev, st.st_ino))
        if not number or (link is not None and link.number != number):
            return False
        self._met(link or _Link(number, st.st_nlink), st)
        return True

    def _link(self, st: os.stat_result, match: _Old | None) -> _Link:
        link = self._linked.get((st.st_dev, st.st_ino))
        if link is None:
            if match is not None and match.entry.link and match.entry.inode == st.st_ino:
                number = match.entry.link
            else:
                self.links += 1
                number = self.links
            link = _Link(number, st.st_nlink)
        self._met(link, st)
        return link

    def _met(self, link: _Link, st: os.stat_result) -> None:
        """One more of a file's links was met: they are remembered until all were."""
        link.left -= 1
        if link.left > 0:
            self._linked[st.st_dev, st.st_ino] = link
        else:
            self._linked.pop((st.st_dev, st.st_ino), None)

    def _write(self, frame: _Frame, node: Node, contents: Contents | None) -> None:
        """Write an entry once its contents have their places. None: they stand in the node already."""
        writer = frame.writer
        assert writer is not None and self._pipeline is not None
        if contents is None:
            self._emit(frame, node)
            return

        def add() -> None:
            node.content = contents.finish() if isinstance(contents, Paging) else settled(contents)
            writer.add(node)

        self._pipeline.after(waits_for(contents), add)


def _node(name: bytes, kind: int, st: os.stat_result, owners: source.Owners) -> Node:
    return Node(
        name, kind, st.st_mode & 0o7777, owners.of(st), st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino
    )  # fmt: skip


def _copy(n: Node, *, name: bytes | None = None, content: Subtree | None = None) -> Node:
    """A node under another name, or of a folder with another content."""
    return Node(
        n.name if name is None else name, n.kind, n.mode, n.owner, n.size, n.mtime, n.ctime, n.inode, n.nlink,
        n.link, n.content if name is not None else content, n.xattrs, n.more,
    )  # fmt: skip


def _no_page(page: bytes) -> Extent:
    raise AssertionError("a dry run writes nothing")


def totals_of(progress: Progress) -> Totals:
    """What a dry run saw."""
    return Totals(progress.entries, progress.files, progress.size, 0)
