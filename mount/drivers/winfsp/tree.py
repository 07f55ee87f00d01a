"""The view by the paths of Windows: from paths to nodes, and the attributes of nodes. Independent of WinFsp.

Methods raise NtRefusal for errors that callers expect, what the view raises, and WouldWait in a thread that must
not wait.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cache.memory import Lru
from cache.openfile import OpenFile
from cache.reader import Reader, WouldWait
from catalog.errors import Damaged, RpdriveError
from catalog.names import WINDOWS, folded, true_name
from catalog.windows.files import (
    COMPRESSED,
    DIRECTORY,
    NORMAL,
    OFFLINE,
    RECALL_ON_DATA_ACCESS,
    RECALL_ON_OPEN,
    REPARSE_POINT,
)
from catalog.windows.links import special, symlink, target_of, windows_target
from catalog.windows.reparse import SYMLINK, LinkTarget, is_link, tag_of
from catalog.windows.times import to_filetime
from mount.drivers.winfsp import ntstatus
from mount.drivers.winfsp.ntstatus import NtRefusal
from mount.view import nodes as views
from mount.view.all_points import AllPointsView
from mount.view.names import Names
from mount.view.nodes import EntryPage, File, Folder, Node, View
from mount.view.point import TreeFolder, TreePage
from mount.view.versions import ALL_VERSIONS, VERSIONS

# Attributes that hold for the original only: on the drive nothing is compressed, or stored on tape or in a cloud.
_NOT_HERE = OFFLINE | RECALL_ON_OPEN | RECALL_ON_DATA_ACCESS | COMPRESSED | DIRECTORY | REPARSE_POINT | NORMAL
UNIT = 4096  # bytes; allocation unit of the drive
_FOLDERS, _OTHERS = 8192, 1024  # paths whose nodes are kept
_LINKS = 32  # links that are followed on one path
_DATA = "$data"
Path = tuple[str, ...]
Info = dict[str, Any]


class Located(NamedTuple):
    """The node at a path. `path` has the true names, whatever the case of the request."""

    node: Node
    path: Path
    stream: str = ""  # its true name; empty for the file's own data


class WindowsTree:
    """A view by the paths of Windows. Thread-safe."""

    def __init__(self, view: View, reader: Reader) -> None:
        self.view = view
        self._reader = reader
        self.names = Names(fold=view.folds)
        self._folders: Lru[str, Located] = Lru(_FOLDERS)
        self._others: Lru[str, Located] = Lru(_OTHERS)

    # --- paths --------------------------------------------------------------------------------------------

    def find(self, file_name: str) -> Located:
        r"""The node at a path, e.g. `\folder\file:stream`, without following a link at its end.

        Raises NtRefusal, with REPARSE if there is a link on the path.
        """
        text, stream = _split_stream(file_name)
        found = self._walk([part for part in text.split("\\") if part])
        return found._replace(stream=self._stream_named(found.node, stream)) if stream else found

    def child(self, folder: Located, name: str) -> Located:
        """An entry of a folder by its name, which Windows sends in upper case if the drive ignores case."""
        inside = self.opened(folder.node)
        if self.view.folds and isinstance(inside, TreeFolder) and inside.distinct:
            # Most names are in lower case: a lookup of that saves listing the folder.
            lower = name.lower()
            true = true_name(lower, native=inside.made_on == WINDOWS)
            if true is not None and inside.find(true) is not None:
                name = lower
        return self._walk([*folder.path, name])

    def _walk(self, parts: list[str]) -> Located:
        found, done = self._known(parts)
        while done < len(parts):
            if self.reparse(found) is not None:
                raise NtRefusal(ntstatus.REPARSE)
            if not isinstance(found.node, Folder):
                raise NtRefusal(ntstatus.OBJECT_PATH_NOT_FOUND)
            found = self._entry(found, parts[done], last=done + 1 == len(parts))
            done += 1
            if not found.node.changes:
                kept = self._folders if isinstance(found.node, Folder) else self._others
                kept.put("\\".join(parts[:done]), found)
        return found

    def _known(self, parts: list[str]) -> tuple[Located, int]:
        """The longest beginning of a path that is known, and its number of parts."""
        for length in range(len(parts), 0, -1):
            path = "\\".join(parts[:length])
            found = self._folders.get(path) or self._others.get(path)
            if found is not None:
                return found, length
        return Located(self.view.root, ()), 0

    def _entry(self, parent: Located, name: str, *, last: bool) -> Located:
        folder = self.opened(parent.node)
        found = self.names.find(folder, name)
        if found is None:
            raise NtRefusal(ntstatus.OBJECT_NAME_NOT_FOUND if last else ntstatus.OBJECT_PATH_NOT_FOUND)
        true_name, node = found
        return Located(node, (*parent.path, self.names.speller(folder)(true_name)))

    def opened(self, node: Node) -> Folder:
        """The folder to search. Raises NtRefusal, WouldWait, and as `Folder.opened`."""
        if not isinstance(node, Folder):
            raise NtRefusal(ntstatus.NOT_A_DIRECTORY)
        if isinstance(node, TreeFolder):
            return node
        # Above the points, records are fetched and the points listed again.
        if self._reader.must_not_wait():
            raise WouldWait
        return node.opened()

    # --- attributes of nodes ------------------------------------------------------------------------------

    def info(self, found: Located) -> Info:
        """The fields of a FSP_FSCTL_FILE_INFO, as winfspy names them. Sizes in bytes, times as FILETIME."""
        node = found.node
        a, windows = node.attributes, node.windows
        created = windows.created if windows is not None else None
        attributes = (windows.attributes & ~_NOT_HERE) if windows is not None else 0
        reparse = self.reparse(found)
        if isinstance(node, Folder) or (isinstance(node, views.Link) and self._leads_to_folder(found)):
            attributes |= DIRECTORY
        elif windows is not None and windows.attributes & DIRECTORY:
            attributes |= DIRECTORY  # a link made on Windows knows whether it leads to a folder
        is_file = isinstance(node, File)
        size, allocated = (a.size, a.blocks * 512) if is_file else (0, 0)
        if is_file and windows is not None and windows.efs is not None:
            size = windows.efs  # of the plaintext, which only Windows can decrypt
        if found.stream:
            size = allocated = dict(self.stream_sizes(node))[found.stream]
            attributes &= ~DIRECTORY
            reparse = None
        if reparse is not None:
            attributes |= REPARSE_POINT
        return {
            "file_attributes": attributes or NORMAL,
            "reparse_tag": tag_of(reparse) if reparse is not None else 0,
            "allocation_size": -(-allocated // UNIT) * UNIT,
            "file_size": size,
            "creation_time": to_filetime(min(a.mtime, a.ctime) if created is None else created),
            "last_access_time": to_filetime(a.mtime),  # backups have no access times
            "last_write_time": to_filetime(a.mtime),
            "change_time": to_filetime(a.ctime),
            "index_number": a.inode,
        }

    def reparse(self, found: Located) -> bytes | None:
        """The REPARSE_DATA_BUFFER of a link or a special file; None for any other."""
        node = found.node
        windows = node.windows
        if windows is not None and isinstance(windows.reparse, bytes):
            # Reparse points of OneDrive, deduplication and others mean nothing here: the backup read the contents
            # behind them. But a file whose data is in the reparse point alone must not show as an empty file.
            is_empty = isinstance(node, File) and not node.attributes.size
            return windows.reparse if is_empty or is_link(tag_of(windows.reparse)) else None
        if isinstance(node, views.Link):
            return symlink(windows_target(node.target, self._point_root(found.path)))
        return special(node.attributes.mode, node.attributes.rdev)

    def _point_root(self, path: Path) -> Path:
        """The path, on the drive, of the root of the point that contains a path."""
        if not isinstance(self.view, AllPointsView) or (
            len(path) > 2 and path[2].encode() in (VERSIONS, ALL_VERSIONS)
        ):
            return ()
        return path[:3]

    def _link_root(self, found: Located) -> Path:
        r"""The path, on the drive, that a link's target starts from if it begins with `\`.

        In a link made on Windows, `\` is the root of its own drive, which is a folder of the point. The targets of
        other systems' links are given from the root of this drive already.
        """
        if found.node.windows is None:
            return ()
        return found.path[: len(self._point_root(found.path)) + 1]

    def security(self, found: Located) -> bytes | None:
        """The self-relative security descriptor of the backup; None if there is none."""
        windows = found.node.windows
        return windows.security if windows is not None and isinstance(windows.security, bytes) else None

    # --- links --------------------------------------------------------------------------------------------

    def resolve(self, file_name: str, resolve_last: bool) -> tuple[int, bytes]:
        """Resolve the links in a path: the reparse tag and the buffer to return to Windows.

        A path on the drive is returned as one link, however many were resolved.
        """
        text, stream = _split_stream(file_name)
        path, elsewhere = self._resolved([p for p in text.split("\\") if p], resolve_last)
        if elsewhere is not None:
            return elsewhere
        target = "\\" + "\\".join(path) + (f":{stream}" if stream else "")
        return SYMLINK, symlink(LinkTarget(target, relative=True))

    def _resolved(self, rest: list[str], resolve_last: bool) -> tuple[list[str], tuple[int, bytes] | None]:
        """The resolved path; or the tag and buffer of a link that leaves the drive or is no symbolic link."""
        done: list[str] = []
        rest = rest[::-1]
        left = _LINKS
        while rest:
            name = rest.pop()
            if name in ("", "."):
                continue
            if name == "..":
                del done[-1:]
                continue
            if not rest and not resolve_last:
                return [*done, name], None
            try:
                found = self._walk([*done, name])
            except NtRefusal as e:
                if e.number != ntstatus.OBJECT_NAME_NOT_FOUND:
                    raise
                if rest:
                    raise NtRefusal(ntstatus.OBJECT_PATH_NOT_FOUND) from e
                return [*done, name], None
            buffer = self.reparse(found)
            if buffer is None:
                done.append(name)
                continue
            target = target_of(buffer)
            if target is None:
                return [], (tag_of(buffer), buffer)
            left -= 1
            if not left:
                raise NtRefusal(ntstatus.REPARSE_POINT_NOT_RESOLVED)
            if not target.relative:
                path = "\\".join([target.path.rstrip("\\"), *rest[::-1]])
                return [], (SYMLINK, symlink(LinkTarget(path, relative=False)))
            if target.path.startswith("\\"):
                done = list(self._link_root(found))
            rest += target.path.split("\\")[::-1]
        return done, None

    def _leads_to_folder(self, found: Located) -> bool:
        """Whether a link leads to a folder of the drive: Windows expects the link itself to say so."""
        try:
            path, elsewhere = self._resolved(list(found.path), True)
            return elsewhere is None and isinstance(self._walk(path).node, Folder)
        except (NtRefusal, RpdriveError):
            return False

    # --- listings -----------------------------------------------------------------------------------------

    def entries(self, folder: Located, marker: str | None) -> Iterator[tuple[str, Info]]:
        """Names and infos of a folder, from the one after `marker` on; `.` and `..` first, except in the root."""
        inside = self.opened(folder.node)
        if folder.path:
            if marker is None:
                yield ".", self.info(folder)
            if marker in (None, "."):
                yield "..", self.info(self._walk(list(folder.path[:-1])))
            if marker in (".", ".."):
                marker = None
        show = self.names.speller(inside)
        for page, n in self._places(inside, marker, show):
            name = show(page.names[n])
            try:
                info = self.info(Located(page.node(n), (*folder.path, name)))
            except Damaged:
                # Opening this entry reports the error; the rest of the listing must not fail for it.
                inode, bits = page.kind(n)
                attributes = DIRECTORY if bits == stat.S_IFDIR else NORMAL
                info = {"file_attributes": attributes, "index_number": inode}
            yield name, info

    def _places(
        self, folder: Folder, marker: str | None, show: Callable[[bytes], str]
    ) -> Iterator[tuple[EntryPage, int]]:
        """The entries after a name, each as its page and its index there."""
        if marker is None:
            for page in folder.pages():
                yield from ((page, n) for n in range(len(page.names)))
            return
        if isinstance(folder, TreeFolder):
            try:
                found = self.names.find(folder, marker)
                place = folder.find(found[0]) if found is not None else None
            except Damaged:
                place = None  # the entry itself is damaged; its name is found below
            if place is not None:
                yield from _tree_places(folder, *place)
                return
        names = [(show(name), page, n) for page in folder.pages() for n, name in enumerate(page.names)]
        after = next((i for i, row in enumerate(names, 1) if row[0] == marker), None)
        if after is not None:
            yield from ((page, n) for _name, page, n in names[after:])
            return
        # A machine or point that was removed after the listing began.
        yield from ((page, n) for name, page, n in names if name > marker)

    # --- streams ------------------------------------------------------------------------------------------

    def stream_sizes(self, node: Node) -> list[tuple[str, int]]:
        """Names and sizes (bytes) of a node's alternate data streams."""
        windows = node.windows
        return [(s.name, s.size) for s in windows.streams] if windows is not None else []

    def _stream_named(self, node: Node, wanted: str) -> str:
        names = [name for name, _size in self.stream_sizes(node)]
        if wanted in names:
            return wanted
        same = [name for name in names if folded(name) == folded(wanted)]
        if len(same) != 1:
            raise NtRefusal(ntstatus.OBJECT_NAME_NOT_FOUND)
        return same[0]

    def open(self, found: Located) -> OpenFile | int:
        """A file or a stream for reading; or the NTSTATUS with which reading fails."""
        node, windows = found.node, found.node.windows
        if found.stream:
            return node.stream(found.stream)
        if isinstance(node, File):
            # The raw export of a file encrypted with EFS must not pass for the file: NTFS answers the same to a
            # user without the key. `rpdrive restore` restores such files.
            return node.open() if windows is None or windows.efs is None else ntstatus.ACCESS_DENIED
        return ntstatus.FILE_IS_A_DIRECTORY if isinstance(node, Folder) else ntstatus.INVALID_DEVICE_REQUEST


def _split_stream(file_name: str) -> tuple[str, str]:
    r"""A path, and the name of a stream: `\a\b:c:$DATA` is the stream `c`, `\a\b::$DATA` the file itself."""
    folder, slash, name = file_name.rpartition("\\")
    name, _colon, stream = name.partition(":")
    stream, colon, kind = stream.partition(":")
    if colon and kind.lower() != _DATA:
        raise NtRefusal(ntstatus.OBJECT_NAME_INVALID)
    return folder + slash + name, stream


def _tree_places(folder: TreeFolder, page: TreePage, n: int) -> Iterator[tuple[EntryPage, int]]:
    n += 1
    while True:
        yield from ((page, m) for m in range(n, len(page.names)))
        following = folder.after(page.numbers[-1])
        if following is None:
            return
        page, n = following
