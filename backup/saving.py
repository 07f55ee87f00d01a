"""Saves the new and changed entries of a walk that are no folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeAlias

from backup.ahead import Ahead
from backup.entries import OWN, checked, copied
from backup.files import FileReader
from backup.frame import Frame
from backup.links import Link, Links
from backup.pieces import Contents, write_after
from backup.pipeline import Pipeline
from backup.previous import OldEntry, PreviousPoint
from backup.systems.base import File, Folder, Stat, System
from catalog.format.nodes import Node
from catalog.format.values import NodeKind

_FILE, _SYMLINK = int(NodeKind.FILE), int(NodeKind.SYMLINK)
_DEVICES = (int(NodeKind.CHAR_DEVICE), int(NodeKind.BLOCK_DEVICE))

Say: TypeAlias = Callable[[Frame[Folder], bytes, str], None]  # reports a problem of a name in a folder
Emit: TypeAlias = Callable[[Frame[Folder], Node], None]  # writes an entry that has its contents already
Unread: TypeAlias = Callable[[Frame[Folder], bytes, OldEntry | None, Exception], None]


class Saver(Generic[Folder, File, Stat]):
    """Reads entries and writes them into their folders, in the order of the walk.

    A small file is opened at once and read in its turn, after others were opened: see `Ahead`. `unread` is called
    for one that can't be read then.
    """

    def __init__(
        self,
        system: System[Folder, File, Stat],
        previous: PreviousPoint,
        pipeline: Pipeline,
        files: FileReader[Folder, File, Stat],
        links: Links,
        ahead: Ahead[File],
        *,
        say: Say[Folder],
        emit: Emit[Folder],
        unread: Unread[Folder],
    ) -> None:
        self._system, self._previous, self._pipeline, self._files = system, previous, pipeline, files
        self._links, self._ahead, self._say, self._emit, self._unread = links, ahead, say, emit, unread

    def save(self, fd: Folder, st: Stat, match: OldEntry | None, frame: Frame[Folder]) -> None:
        """Write the current entry of a folder. Raises OSError if it can't be read."""
        name, say = frame.name, partial(self._say, frame, frame.name)
        node = self._system.node(name, st)
        is_file = node.kind == _FILE
        if is_file and st.st_nlink < 2 and self._files.may_open_ahead(st):
            file = self._files.open_ahead(fd, name, st.st_size)
            self._ahead.put(partial(self._opened, file, fd, node, match, frame), file, st.st_size)
            return
        link: Link | None = None
        if is_file or st.st_nlink > 1:
            self._ahead.settle()  # chunks enter blocks in the order of the walk
        if st.st_nlink > 1:
            link = self._links.meet(match.entry if match is not None else None, st)
            node.nlink, node.link = st.st_nlink, link.number
            if link.node is not None:
                node = copied(link.node, name=name)
                self._files.add_link(name, fd, node, link.node)
                self._write(frame, node, link.contents)
                return
        contents: Contents | None = None
        if is_file:
            if match is not None and match.entry.kind == _FILE and not self._previous.afresh:
                self._files.remember_pages(match.leaf.pieces(match.entry), match.entry.ctime)
            contents = self._files.read(fd, say, name, node)
        else:
            if node.kind == _SYMLINK:
                node.content = self._system.readlink(name, fd)
            elif node.kind in _DEVICES:
                node.content = (os.major(st.st_rdev), os.minor(st.st_rdev))
            self._files.complete(say, name, fd, node)
        checked(node)
        if link is not None and link.left > 0 and node.inode == st.st_ino:  # else it was replaced during the walk
            link.node, link.contents = node, contents
        self._write(frame, node, contents)

    def _opened(self, file: File, fd: Folder, node: Node, match: OldEntry | None, frame: Frame[Folder]) -> None:
        """Save a file that was opened ahead. Its folder may be closed by now."""
        try:
            contents = self._files.read_opened(file, fd, partial(self._say, frame, node.name), node)
            self._write(frame, checked(node), contents)
        except OWN:
            raise
        except Exception as e:  # noqa: BLE001 - the fault of one entry costs that entry
            self._unread(frame, node.name, match, e)

    def _write(self, frame: Frame[Folder], node: Node, contents: Contents | None) -> None:
        """Write an entry once its contents have their places. None: the node has them already."""
        if contents is None:
            self._emit(frame, node)
            return
        assert frame.writer is not None
        write_after(self._pipeline, contents, node, frame.writer.add)
