"""The walk that makes a plan: trees of recovery points beside what the target has already."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from catalog.errors import Damaged, LocalError
from catalog.format.keys import FileDigest, Keys
from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.records import Point
from catalog.format.values import TYPE_BITS, Hole, NodeKind, Owner, Paged, Piece, Subtree
from catalog.format.windows import Windows
from catalog.names import IGNORE_CASE, apart, folded, spelling
from catalog.tree import Found, PageSource, Pieces, leaves
from mount.restore.conflict import Action, Existing, Policy, copy_name, decide
from mount.restore.disk.attributes import Attributes, Wearer
from mount.restore.disk.calls import CLOEXEC, NOFOLLOW, NONBLOCK, disk, lock
from mount.restore.disk.target import FULL, UNFINISHED, Folder, Refused, Target
from mount.restore.plan import FilePlan, Plan
from mount.restore.report import Planned, Report
from mount.restore.selection import Selection
from mount.restore.writer import Writer, mark

_FILE, _FOLDER, _SYMLINK = int(NodeKind.FILE), int(NodeKind.FOLDER), int(NodeKind.SYMLINK)
_DEVICES = (int(NodeKind.CHAR_DEVICE), int(NodeKind.BLOCK_DEVICE))
_KNOWN = {int(kind) for kind in NodeKind}
_CONTINUED = 256 << 10  # bytes; of a smaller file nothing is continued
_BATCH = 64


class LinkPlan(NamedTuple):
    """One more name of a file: `number` is the FilePlan's of its first."""

    number: int
    file: FilePlan


class Planner:
    """Walks sources into `plan`, which may be exchanged between two sources.

    What has no data is made at once. A dry run (`writer` None) makes nothing.
    """

    def __init__(
        self,
        pages: PageSource,
        keys: Keys,
        target: Target,
        report: Report,
        wearer: Wearer,
        writer: Writer | None,
        policy: Policy,
        selection: Selection,
        *,
        verify: bool,
        system: str,
        carry: Callable[[Attributes, Windows, Callable[[], bytes]], Attributes],
    ) -> None:
        self.links: list[LinkPlan] = []
        self._pages, self._keys, self._target = pages, keys, target
        self.plan = Plan(target.folders)
        self._report, self._wearer, self._writer = report, wearer, writer
        self._policy, self._selection, self._verify = policy, selection, verify
        self._system, self._carry = system, carry
        self._taken: dict[int, dict[str, bytes]] = {}  # names given in a folder (its number), by what they fold to
        self._firsts: dict[tuple[bytes, int], int] = {}  # (item, link number) -> FilePlan's number
        self._count = 0
        self._time = 0
        self._item = b""
        self._empty: list[FilePlan] = []
        self._adopted: set[tuple[int, bytes]] = set()
        self._visited: list[Folder] = []
        self._leaf: Leaf | None = None  # the page looked at, and its owners by their numbers
        self._owners: dict[int, Owner] = {}

    def begin(self, point: Point) -> None:
        """What follows is of this point."""
        self._time, self._item = point.time, point.item
        self._spell = spelling(self._system, point.system)

    # --- sources ------------------------------------------------------------------------------------------

    def tree(self, top: Subtree | None, folder: Folder, path: bytes) -> None:
        """Everything below a folder of the point, whose path in it (from the root) is `path`, into `folder`."""
        included = not self._selection.chooses or bool(path and self._selection.includes(path, True))
        self._visited.append(folder)
        stack = [(path, folder, included, self._entries(top, folder))]
        while stack:
            above, here, chosen, rest = stack[-1]
            found = next(rest, None)
            if found is None:
                self._taken.pop(here.number, None)
                stack.pop()
                continue
            leaf, entry = found
            inside = above + b"/" + entry.name if above else entry.name
            is_folder = entry.kind == _FOLDER
            if not self._selection.everything:
                if self._selection.excludes(inside, is_folder):
                    continue
                taken = chosen or self._selection.includes(inside, is_folder)
                if not taken and not is_folder:
                    continue
            else:
                taken = True
            if not is_folder:
                self._one(leaf, entry, here)
                continue
            below = self.enter(leaf, entry, here, make=taken)
            if below is not None:
                stack.append((inside, below, taken, self._entries(self._subtree(leaf, entry, below), below)))

    def entry(self, found: Found, folder: Folder) -> None:
        """One entry that is no folder."""
        if folder not in self._visited[-1:]:
            self._visited.append(folder)
        self._one(found.leaf, found.entry, folder)

    def finish(self) -> None:
        """No more sources: make what was put off, remove what dead runs have left."""
        self._flush_empty()
        if self._writer is None:
            return
        for folder in self._visited:
            if folder.exists and not folder.fresh:
                for name in self._target.leftovers(folder):
                    if (folder.number, name) not in self._adopted and not self._writer.is_own(name):
                        self._remove_leftover(folder, name)

    def _subtree(self, leaf: Leaf, entry: Entry, folder: Folder) -> Subtree | None:
        try:
            return leaf.subtree(entry)
        except Damaged as e:
            self._report.failed(folder.path(), str(e), damaged=True)
            return None

    def _entries(self, top: Subtree | None, folder: Folder) -> Iterator[tuple[Leaf, Entry]]:
        try:
            for page in leaves(self._pages, top, 1):
                for entry in page.leaf.entries:
                    yield page.leaf, entry
        except Damaged as e:
            self._report.failed(folder.path(), f"the rest of this folder can't be read: {e}", damaged=True)

    # --- folders ------------------------------------------------------------------------------------------

    def enter(
        self, leaf: Leaf, entry: Entry, parent: Folder, *, make: bool = True, passage: bool = False
    ) -> Folder | None:
        """The folder of an entry, made if it is missing (and `make`). None if it can't be: the report says why.

        `passage`: it is only on the way to what was asked for; a copy of it would be no help.
        """
        self._report.entries += 1
        name = self._name(entry, parent)
        try:
            attributes = self._attributes(leaf, entry, parent, name)
            there = self._there(parent, name)
            wanted = Existing(_FOLDER, 0, entry.mtime)
            action = decide(self._policy, there and Existing.of(there), wanted)
            if action is Action.COPY and not passage:
                name, there = self._free_name(parent, name, wanted)
            elif action not in (Action.WRITE, Action.SAME):
                self._report.failed(
                    parent.path(name), "something else stands where this folder should be; it was left alone"
                )
                return None
            folder = self._target.add(parent, name, attributes)
            if there is not None:
                self._meet(folder, there)
            elif make and not self.ensure(folder):
                return None
            self._visited.append(folder)
            self._plan_line(folder, b"", Action.WRITE if there is None else Action.SAME, 0)
            return folder
        except Damaged as e:
            self._report.failed(parent.path(name), str(e), damaged=True)
        except OSError as e:
            self._report.failed(parent.path(name), _why(e))
        return None

    def ensure(self, folder: Folder) -> bool:
        """Make a folder, and those above it, if need be. False if that fails: the report says why."""
        if folder.exists or self._writer is None:
            return True
        if folder.parent is not None and not self.ensure(folder.parent):
            return False
        try:
            self._target.make(folder)
            return True
        except FileExistsError:
            folder.exists = True  # somebody else made it meanwhile; _handle refuses what is no folder
            return True
        except OSError as e:
            if e.errno in FULL:
                raise LocalError(f"{folder.path().decode(errors='replace')} can't be made: {e.strerror}") from e
            self._report.failed(folder.path(), f"the folder could not be made: {_why(e)}")
            return False

    def _meet(self, folder: Folder, st: os.stat_result) -> None:
        """A folder that was there before: it is left as it is, unless it is ours, or is to be overwritten."""
        folder.exists = True
        a = folder.attributes
        assert a is not None
        unfinished = stat.S_IMODE(st.st_mode) == UNFINISHED and st.st_uid == disk.geteuid()
        equal = st.st_mtime_ns == a.mtime  # as an earlier restore has left it
        if not (unfinished or equal or self._policy is Policy.OVERWRITE):
            folder.attributes = None
        self._target.look(folder, st)

    # --- entries ------------------------------------------------------------------------------------------

    def _name(self, entry: Entry, folder: Folder) -> bytes:
        """What an entry is to be called in a folder: its own name, if the system that we write to can hold it."""
        name = self._spell(entry.name)
        if self._system in IGNORE_CASE:
            taken = self._taken.setdefault(folder.number, {})
            if taken.setdefault(folded(os.fsdecode(name)), name) != name:
                name = apart(entry.name, self._system)
        if name != entry.name:
            self._report.renamed(folder.path(name), entry.name)
        return name

    def _one(self, leaf: Leaf, entry: Entry, folder: Folder) -> None:
        report = self._report
        report.entries += 1
        name = self._name(entry, folder)
        try:
            if entry.kind == _FILE:
                self._file(leaf, entry, folder, name)
            else:
                self._special(leaf, entry, folder, name)
        except Damaged as e:
            report.failed(folder.path(name), str(e), damaged=True)
        except OSError as e:
            if e.errno in FULL:
                raise LocalError(f"{os.fsdecode(self._target.top)} can't take more: {e.strerror}") from e
            report.failed(folder.path(name), _why(e))

    def _file(self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes) -> None:
        report, size = self._report, entry.size
        report.files += 1
        if report.files & 255 == 0:
            report.path = folder.path(name)
        final = name
        if entry.link and self._further_link(leaf, entry, folder, name):
            return
        content = leaf.pieces(entry)
        attributes = self._attributes(leaf, entry, folder, name)
        wanted = Existing(_FILE, size, entry.mtime)
        there = self._there(folder, name)
        report.size += size
        action = Action.WRITE
        if there is not None:
            same = None
            found = Existing.of(there)
            if self._verify and decide(self._policy, found, wanted) is Action.SAME:
                same = self._holds(folder, name, content, size)
            action = decide(self._policy, found, wanted, same=same)
            if action is Action.COPY:
                final, beside = self._free_name(folder, name, wanted)
                if beside is not None:
                    action = Action.SAME
        self._plan_line(folder, name, action, size, final)
        if action is Action.REFUSE:
            report.failed(folder.path(name), "a folder stands where this file should be; it was left alone")
            return
        self._count += 1
        number = self._count
        if action in (Action.SAME, Action.KEEP):
            if action is Action.SAME:
                report.same += 1
                report.same_bytes += size
                if entry.link:
                    self._firsts[self._item, entry.link] = number
                    if self._writer is not None:
                        self._writer.landed[number] = final
                        self.links.append(
                            LinkPlan(number, self._link(number, folder, name, final, attributes, entry))
                        )
            else:
                report.kept += 1
            return
        if entry.link:
            self._firsts[self._item, entry.link] = number
        if self._writer is None or not self.ensure(folder):
            return
        file = FilePlan(
            number, folder, name, final, size, attributes, action is Action.REPLACE, entry.link, self._time
        )
        if entry.link:
            self.links.append(LinkPlan(number, file))
        if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Extent):
            self.plan.add(file, ((0, content[0]),))  # by far the most
            return
        pieces = _positions(self._pages, content)
        if isinstance(content, list):
            extents = [(at, p) for at, p in pieces if isinstance(p, Extent)]
            file.whole = len(extents) <= 1 and (not extents or extents[0][1].length == size)
        else:
            extents = [(at, p) for at, p in _checked(pieces, content) if isinstance(p, Extent)]
            file.whole = False
        if not extents:
            self._empty.append(file)
            if len(self._empty) >= _BATCH:
                self._flush_empty()
            return
        if not file.whole:
            if size >= _CONTINUED and folder.exists and not folder.fresh:
                extents = self._continued(file, extents)
            file.todo = sum(p.length for _at, p in extents)
            if not file.todo:
                self._writer.adopt(file)
                return
        self.plan.add(file, extents)

    def _link(
        self, number: int, folder: Folder, name: bytes, final: bytes, a: Attributes, entry: Entry
    ) -> FilePlan:
        return FilePlan(number, folder, name, final, entry.size, a, False, entry.link, self._time)

    def _flush_empty(self) -> None:
        files, self._empty = self._empty, []
        if files and self._writer is not None:
            write = self._writer.whole
            self._writer.later(lambda: _each(files, write))

    def _further_link(self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes) -> bool:
        """Whether an entry is one more name of what has been met: it is put off until that has landed."""
        first = self._firsts.get((self._item, entry.link))
        if first is None:
            return False
        self._count += 1
        self.links.append(
            LinkPlan(
                first,
                self._link(
                    self._count, folder, name, name, self._attributes(leaf, entry, folder, name, link=True), entry
                ),
            )
        )
        self._plan_line(folder, name, Action.WRITE, 0)
        return True

    def _special(self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes) -> None:
        """Symlinks, FIFOs, devices, sockets: made at once."""
        if entry.kind not in _KNOWN:
            raise Damaged("it is of a kind that this rpdrive doesn't know")
        if entry.link and self._further_link(leaf, entry, folder, name):
            return
        node = leaf.node(entry)
        a = self._attributes(leaf, entry, folder, name)
        wanted = Existing(entry.kind, 0, entry.mtime)
        if entry.kind == _SYMLINK:
            assert isinstance(node.content, bytes)
            wanted = wanted._replace(target=self._wearer.link(a, node.content))
        elif entry.kind in _DEVICES:
            assert isinstance(node.content, tuple)
            try:
                wanted = wanted._replace(device=disk.makedev(int(node.content[0]), int(node.content[1])))  # type: ignore[arg-type]
            except (OverflowError, ValueError, IndexError) as e:
                raise Damaged("it is a device without a number") from e
        st = self._there(folder, name)
        there = None if st is None else self._existing(folder, name, st)
        action = decide(self._policy, there, wanted)
        final = name
        if action is Action.COPY:
            final, beside = self._free_name(folder, name, wanted)
            if beside is not None:
                action = Action.SAME
        self._plan_line(folder, name, action, 0, final)
        if action is Action.REFUSE:
            self._report.failed(folder.path(name), "a folder stands where this should be; it was left alone")
        elif action is Action.KEEP:
            self._report.kept += 1
        elif action is Action.SAME:
            self._report.same += 1
        elif self._writer is not None and self.ensure(folder):
            self._make_special(folder, name, final, wanted, a, replace=action is Action.REPLACE)
            with self._report.lock:
                self._report.written += 1
                self._report.copies += action is Action.COPY
                self._report.replaced += action is Action.REPLACE
        if entry.link and self._writer is not None and action is not Action.KEEP and action is not Action.REFUSE:
            self._count += 1
            self._firsts[self._item, entry.link] = self._count
            self._writer.landed[self._count] = final
            self.links.append(LinkPlan(self._count, self._link(self._count, folder, name, final, a, entry)))

    def _make_special(
        self, folder: Folder, name: bytes, final: bytes, wanted: Existing, a: Attributes, *, replace: bool
    ) -> None:
        assert self._writer is not None
        fd = self._target.handle(folder).fd
        self._count += 1
        at = self._writer.temporary(self._count) if replace else final
        path = lambda: folder.path(final)  # noqa: E731
        try:
            if wanted.kind == _SYMLINK:
                disk.symlink(wanted.target, at, dir_fd=fd)
            else:
                disk.mknod(at, TYPE_BITS[wanted.kind] | 0o600, wanted.device, dir_fd=fd)
        except OSError as e:
            if e.errno == errno.EPERM and wanted.kind != _SYMLINK:
                what = NodeKind(wanted.kind).name.lower().replace("_", " ")
                raise OSError(e.errno, f"only root may make a {what}") from e
            raise
        self._wearer.put_on_name(fd, at, a, path, plain=folder.plain)
        if replace:
            disk.rename(at, final, src_dir_fd=fd, dst_dir_fd=fd)

    def _attributes(
        self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes, *, link: bool = False
    ) -> Attributes:
        if leaf is not self._leaf:
            self._leaf, self._owners = leaf, {}
        owner = self._owners.get(entry.owner)
        if owner is None:
            owner = self._owners[entry.owner] = leaf.owner(entry)
        xattrs = leaf.xattrs(entry) if entry.xattrs >= 0 else None
        a = Attributes(entry.kind, entry.mode & 0o7777, owner, entry.mtime, xattrs, bool(entry.more))
        if entry.more and not link and (windows := leaf.windows(entry)) is not None:
            return self._carry(a, windows, lambda: folder.path(name))
        return a

    # --- what is there ------------------------------------------------------------------------------------

    def _there(self, folder: Folder, name: bytes) -> os.stat_result | None:
        if not folder.exists or folder.fresh:
            return None
        return self._target.status(folder, name)

    def _existing(self, folder: Folder, name: bytes, st: os.stat_result) -> Existing:
        target = b""
        if stat.S_ISLNK(st.st_mode):
            target = os.fsencode(disk.readlink(name, dir_fd=self._target.handle(folder).fd))
        return Existing.of(st, target)

    def _free_name(self, folder: Folder, name: bytes, wanted: Existing) -> tuple[bytes, os.stat_result | None]:
        """A name beside `name` that is free, or that has the wanted already (then its status, too)."""
        number = 0
        while True:
            number += 1
            beside = copy_name(name, self._time, number)
            st = self._there(folder, beside)
            if st is None:
                return beside, None
            if decide(Policy.COPY, self._existing(folder, beside, st), wanted) is Action.SAME:
                return beside, st

    def _holds(self, folder: Folder, name: bytes, content: list[Piece] | Paged, size: int) -> bool:
        """Whether a file there has the very contents of an entry."""
        try:
            fd = disk.open(name, os.O_RDONLY | NOFOLLOW | CLOEXEC, dir_fd=self._target.handle(folder).fd)
        except OSError:
            return False
        try:
            return holds(fd, _positions(self._pages, content), size, self._keys.chunk_id)
        finally:
            disk.close(fd)

    # --- what dead runs have left -------------------------------------------------------------------------

    def _continued(self, file: FilePlan, extents: list[tuple[int, Extent]]) -> list[tuple[int, Extent]]:
        """What of a file is still to be fetched, if an earlier run has begun it."""
        start = b".rpdrive-" + mark(file).hex().encode()
        for name in self._target.leftovers(file.folder):
            if not name.startswith(start) or (file.folder.number, name) in self._adopted:
                continue
            try:
                fd = disk.open(
                    name, os.O_RDWR | NOFOLLOW | CLOEXEC | NONBLOCK,
                    dir_fd=self._target.handle(file.folder).fd,
                )  # fmt: skip
            except OSError:
                continue
            try:
                lock(fd)
                st = disk.fstat(fd)
                if not stat.S_ISREG(st.st_mode) or st.st_size != file.size or st.st_uid != disk.geteuid():
                    continue
                missing = [(at, p) for at, p in extents if not _has_piece(fd, at, p, self._keys.chunk_id)]
            except OSError:
                continue
            finally:
                disk.close(fd)
            file.temporary = name
            self._adopted.add((file.folder.number, name))
            done = sum(p.length for _at, p in extents) - sum(p.length for _at, p in missing)
            with self._report.lock:
                self._report.same_bytes += done
            return missing
        return extents

    def _remove_leftover(self, folder: Folder, name: bytes) -> None:
        with suppress(OSError):
            parent = self._target.handle(folder).fd
            fd = disk.open(name, os.O_RDONLY | NOFOLLOW | CLOEXEC | NONBLOCK, dir_fd=parent)
            try:
                if disk.fstat(fd).st_uid == disk.geteuid():
                    lock(fd)  # fails while another restore writes it
                    disk.unlink(name, dir_fd=parent)
            finally:
                disk.close(fd)

    def _plan_line(self, folder: Folder, name: bytes, action: Action, size: int, final: bytes = b"") -> None:
        if self._writer is not None or (not name and action is Action.SAME):
            return
        path = folder.path(name) + (b"" if name else b"/")
        note = os.fsdecode(final) if action is Action.COPY else ""
        self._report.planned.append(Planned(path, action.value, size, note))


def _each(files: list[FilePlan], write: Callable[[FilePlan], None]) -> None:
    for file in files:
        write(file)


def _positions(pages: PageSource, content: list[Piece] | Paged) -> Iterator[tuple[int, Piece]]:
    """Pieces and where in the file they begin (bytes)."""
    position = 0
    for piece in content if isinstance(content, list) else Pieces(pages, content).all():
        yield position, piece
        position += piece.length


def _checked(pieces: Iterator[tuple[int, Piece]], content: Paged) -> Iterator[tuple[int, Piece]]:
    """The same, once they have the digest that they should have. Damaged."""
    digest, all_pieces = FileDigest(), list(pieces)
    for _at, piece in all_pieces:
        digest.add(piece.length, None if isinstance(piece, Hole) else piece.id)
    if digest.digest() != content.digest:
        raise Damaged("its pieces are not those that were saved")
    return iter(all_pieces)


def holds(fd: int, pieces: Iterator[tuple[int, Piece]], size: int, chunk_id: Callable[[bytes], bytes]) -> bool:
    """Whether a file has these contents, its holes read as zeros."""
    if disk.fstat(fd).st_size != size:
        return False
    for at, piece in pieces:
        if isinstance(piece, Extent):
            if not _has_piece(fd, at, piece, chunk_id):
                return False
        elif not _is_zero(fd, at, piece.length):
            return False
    return True


def _has_piece(fd: int, at: int, piece: Extent, chunk_id: Callable[[bytes], bytes]) -> bool:
    data = disk.pread(fd, piece.length, at)
    return len(data) == piece.length and chunk_id(data) == piece.id


def _is_zero(fd: int, start: int, length: int) -> bool:
    end = start + length
    while start < end:
        try:
            start = disk.lseek(fd, start, disk.SEEK_DATA)
        except OSError as e:
            return e.errno == errno.ENXIO
        if start >= end:
            return True
        data = disk.pread(fd, min(end - start, 1 << 20), start)
        if not data or data.count(0) != len(data):
            return False
        start += len(data)
    return True


def _why(e: OSError) -> str:
    if isinstance(e, Refused):
        return "a symlink or file stands in its way; restoring through it would leave the target"
    return f"it could not be written: {e.strerror or e}"
