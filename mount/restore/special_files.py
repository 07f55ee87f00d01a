"""Restores entries without data: symlinks, FIFOs, devices and sockets. They are made during the walk."""

from __future__ import annotations

import errno
from contextlib import suppress

from catalog.errors import Damaged
from catalog.format.pages import Entry, Leaf
from catalog.format.values import TYPE_BITS, NodeKind
from mount.restore.conflict import Action, Existing, decide
from mount.restore.corrections import Corrections
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import Metadata
from mount.restore.disk.limits import SYMLINKS
from mount.restore.file_writer import FileWriter
from mount.restore.folder import Folder
from mount.restore.folders import FolderPlanner
from mount.restore.planning import FOREIGN, Planning
from mount.restore.target import Unsupported

_SYMLINK = int(NodeKind.SYMLINK)
_DEVICES = (int(NodeKind.CHAR_DEVICE), int(NodeKind.BLOCK_DEVICE))
_MAKING = (Action.WRITE, Action.REPLACE, Action.COPY)
_NO_SYMLINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}
_KNOWN = {int(kind) for kind in NodeKind}


class SpecialFiles:
    """Makes entries without data. Without `files` (a dry run) it only decides about them."""

    def __init__(
        self, planning: Planning, folders: FolderPlanner, corrections: Corrections, metadata: Metadata,
        files: FileWriter | None,
    ) -> None:  # fmt: skip
        self._planning, self._folders, self._corrections = planning, folders, corrections
        self._report, self._target = planning.report, planning.target
        self._metadata, self._files = metadata, files

    def restore(self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes) -> None:
        """Decide about an entry, and make it. Raises Damaged or OSError."""
        planning, report = self._planning, self._report
        if entry.kind not in _KNOWN:
            raise Damaged("its entry is malformed, or of a kind unknown to this version of rpdrive")
        if entry.link and planning.further_link(leaf, entry, folder, name):
            return
        a = planning.attributes(leaf, entry, folder, name)
        wanted = self._wanted(leaf, entry, a)
        st = planning.status(folder, name)
        there = None if st is None else planning.existing(folder, name, st)
        action = decide(planning.policy, there, wanted)
        final = name
        if action is Action.COPY:
            final, same = planning.free_name(folder, name, wanted)
            if same is not None:
                action = Action.SAME
        if action is Action.SAME and final == name and st is not None and self._corrections.wanted:
            action = self._corrections.named(folder, name, st, a)
        if planning.foreign and entry.kind in _DEVICES and action in _MAKING:
            report.failed(folder.path(name), f"this device was left out: {FOREIGN}")
            return
        if planning.foreign and (action in _MAKING or action is Action.CORRECT):
            planning.note_left_out(leaf, entry, folder, final)
        planning.list_action(folder, name, action, 0, final)
        if action is Action.REFUSE:
            planning.refuse(folder, name, "a folder exists where this entry belongs; left unchanged")
        elif action is Action.KEEP:
            report.kept += 1
        elif action is Action.SAME:
            report.same += 1
        elif action is Action.CORRECT:
            report.corrected += 1
        elif self._files is not None and self._folders.ensure(folder):
            final = self._make(self._files, folder, final, wanted, a, replace=action is Action.REPLACE)
            with report.lock:
                report.written += 1
                report.copies += action is Action.COPY
                report.replaced += action is Action.REPLACE
        if entry.link and self._files is not None and action not in (Action.KEEP, Action.REFUSE):
            file = planning.link_plan(folder, name, final, a, entry)
            planning.first_link(file, there=True)
            self._files.final_names.put(file, final)

    def _wanted(self, leaf: Leaf, entry: Entry, a: Attributes) -> Existing:
        node = leaf.node(entry)
        wanted = Existing(entry.kind, 0, entry.mtime)
        if entry.kind == _SYMLINK:
            assert isinstance(node.content, bytes)
            return wanted._replace(target=self._metadata.link_target(a, node.content))
        if entry.kind in _DEVICES:
            assert isinstance(node.content, tuple)
            try:
                major, minor = int(node.content[0]), int(node.content[1])  # type: ignore[arg-type]
                return wanted._replace(device=self._target.disk.makedev(major, minor))
            except (OverflowError, ValueError, IndexError) as e:
                raise Damaged("its device number is missing or out of range") from e
        return wanted

    def _make(
        self, files: FileWriter, folder: Folder, final: bytes, wanted: Existing, a: Attributes, *, replace: bool
    ) -> bytes:
        """Make an entry. Returns its name. Raises OSError."""
        twins = self._planning.twins
        with self._target.handle(folder) as fd:
            try:
                self._make_in(fd, files, folder, final, wanted, a, replace=replace)
            except FileExistsError:
                if not twins.is_spelled_otherwise(folder, fd, final):
                    raise
                name, final = final, twins.apart(final)
                self._make_in(fd, files, folder, final, wanted, a, replace=False)
                self._report.renamed(folder.path(final), name)
        return final

    def _make_in(
        self, fd: int, files: FileWriter, folder: Folder, final: bytes, wanted: Existing, a: Attributes, *,
        replace: bool,
    ) -> None:  # fmt: skip
        """Under a temporary name until it is complete: a later run takes what has its final name for restored."""
        disk = self._target.disk
        at = files.names.numbered(self._planning.number())
        try:
            if wanted.kind == _SYMLINK:
                disk.symlink(wanted.target, at, dir_fd=fd)
            else:
                disk.mknod(at, TYPE_BITS[wanted.kind] | 0o600, wanted.device, dir_fd=fd)
        except OSError as e:
            if wanted.kind == _SYMLINK and e.errno in _NO_SYMLINKS:
                raise Unsupported(e.errno, SYMLINKS) from e
            if e.errno == errno.EPERM and wanted.kind != _SYMLINK:
                what = NodeKind(wanted.kind).name.lower().replace("_", " ")
                raise OSError(e.errno, f"only root may create a {what}") from e
            raise
        try:
            self._metadata.set_on_name(fd, at, a, lambda: folder.path(final), plain=folder.plain)
            if replace:
                disk.rename(at, final, src_dir_fd=fd, dst_dir_fd=fd)
            else:
                disk.rename_new(fd, at, final)
        except OSError:
            with suppress(OSError):
                disk.unlink(at, dir_fd=fd)
            raise
