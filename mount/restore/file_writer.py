"""Writes verified data to files.

A file is written under a temporary name in its folder, and renamed when it is complete and every chunk is verified.
Until then, an existing file keeps the name.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import suppress
from hashlib import blake2b

from catalog.format.blocks import Buffer
from mount.restore.conflict import Action, Existing, Policy, copy_name, decide
from mount.restore.disk.base import Metadata
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW, NONBLOCK
from mount.restore.disk.whole_file import NEW, make_unnamed, make_whole, write_all
from mount.restore.file_plan import FilePlan
from mount.restore.final_names import FinalNames
from mount.restore.folder import Folder, Identity
from mount.restore.report import Report
from mount.restore.target import Handle, Swapped, Target, reason
from mount.restore.temporary_names import TemporaryNames
from mount.restore.twins import Twins

_OPEN_FILES = 256
_AGAIN = os.O_RDWR | NOFOLLOW | CLOEXEC | NONBLOCK
_TRIES = 100  # names to try for one copy


class _PartialFile:
    """A file of several pieces that is being written. `left` counts the bytes still to come."""

    __slots__ = ("file", "identity", "left", "lock", "lost", "temporary", "writing")

    def __init__(self, file: FilePlan) -> None:
        self.file = file
        self.left = file.todo
        self.lost = False
        self.temporary = file.temporary[0] if file.temporary else b""
        self.identity = file.temporary[1] if file.temporary else None
        self.lock = threading.Lock()
        self.writing = threading.Lock()


class FileWriter:
    """Writes files to a target, under temporary `names` first. Thread-safe."""

    def __init__(
        self, target: Target, metadata: Metadata, report: Report, policy: Policy, names: TemporaryNames,
        twins: Twins,
    ) -> None:  # fmt: skip
        self.names, self._twins = names, twins
        self.final_names = FinalNames()
        self.aside: Folder | None = (
            None  # files in the folders of this one are not counted: names are linked to them
        )
        self.unnamed = (
            False  # whether new small files have no name until they are complete: half of the system's time
        )
        self._disk, self._target, self._metadata = target.disk, target, metadata
        self._report, self._policy = report, policy
        self._lock = threading.Lock()
        self._partials: dict[int, _PartialFile] = {}
        self._handles: OrderedDict[int, Handle] = OrderedDict()

    def close(self) -> None:
        """Close open files. Incomplete ones stay under their temporary names, for the next run to continue."""
        self._handles.clear()

    def give_up(self, file: FilePlan, reason: str, *, damaged: bool = False) -> None:
        """Report, once, that a file could not be restored, and remove what was written of it."""
        if not file.whole:
            partial = self._partial(file)
            with partial.lock:
                if partial.lost:
                    return
                partial.lost = True
            self._forget(partial)
        self._report.failed(file.path(), reason, damaged=damaged)

    def _partial(self, file: FilePlan) -> _PartialFile:
        with self._lock:
            partial = self._partials.get(file.number)
            if partial is None:
                partial = self._partials[file.number] = _PartialFile(file)
            return partial

    def continues(self, file: FilePlan, handle: Handle) -> None:
        """Take the open, locked `file.temporary` over from the planner."""
        with self._lock:
            self._hold(file, handle)

    def write_whole(self, file: FilePlan, data: Buffer = b"") -> None:
        """Write a small file, or one of nothing but holes. Raises LocalError if the disk is full."""
        for attempt in (1, 2):
            try:
                with self._target.handle(file.folder) as folder:
                    self._write_whole(folder, file, data)
                return
            except FileNotFoundError as e:
                # Another restore removed the temporary file as a leftover: it is not locked.
                if attempt == 2:
                    self._not_written(file, e)
            except (OSError, OverflowError, ValueError) as e:
                self._not_written(file, e)
                return

    def _write_whole(self, folder: int, file: FilePlan, data: Buffer) -> None:
        if self.unnamed and not file.replace and self._made_unnamed(folder, file, data):
            return
        temporary = self.names.numbered(file.number)
        make_whole(
            self._disk, self._metadata, folder, temporary, data, file.size, file.attributes, file.path,
            plain=file.folder.plain, sync=file.replace,
        )  # fmt: skip
        try:
            self._move_into_place(folder, file, temporary, len(data))
        except BaseException:
            with suppress(OSError):
                self._disk.unlink(temporary, dir_fd=folder)
            raise

    def _made_unnamed(self, folder: int, file: FilePlan, data: Buffer) -> bool:
        """Make a file that gets its name once it is complete. False if that can't be, or the name is taken."""
        try:
            made = make_unnamed(
                self._disk, self._metadata, folder, file.final, data, file.size, file.attributes, file.path,
                plain=file.folder.plain,
            )  # fmt: skip
        except FileExistsError:
            return False
        if made:
            self._named(file, file.final, len(data), copied=file.final != file.name)
        else:
            self.unnamed = False  # in a folder of another file system: it is not tried again
        return made

    def write_piece(self, file: FilePlan, position: int, data: Buffer) -> None:
        """Write a piece of a larger file. Raises LocalError if the disk is full."""
        partial = self._partial(file)
        if partial.lost:
            return
        try:
            handle = self._handle(partial)
            with partial.writing:  # the kernel lets one thread at a time write to a file; others would spin
                write_all(self._disk, handle.fd, data, position)
        except (OSError, OverflowError, ValueError) as e:
            self._not_written(file, e)
            return
        with partial.lock:
            partial.left -= len(data)
            complete = partial.left == 0 and not partial.lost
        with self._report.lock:
            self._report.written_bytes += len(data)
        if complete:
            self._complete(partial)

    def adopt(self, file: FilePlan) -> None:
        """Complete a file whose temporary file already has all pieces. Raises LocalError if the disk is full."""
        self._complete(self._partial(file))

    def _complete(self, partial: _PartialFile) -> None:
        file = partial.file
        try:
            handle = self._handle(partial)
            self._metadata.set_on_file(handle.fd, file.attributes, file.path, plain=False)
            if file.replace:
                self._disk.fsync(handle.fd)
            with self._target.handle(file.folder) as folder:
                self._move_into_place(folder, file, partial.temporary, 0)
        except (OSError, OverflowError, ValueError) as e:
            self._not_written(file, e)
            return
        with self._lock:
            self._partials.pop(file.number, None)
            self._handles.pop(file.number, None)

    def _handle(self, partial: _PartialFile) -> Handle:
        """A descriptor of the temporary file, from a table of recently used ones."""
        file = partial.file
        with self._lock:
            held = self._handles.get(file.number)
            if held is not None:
                self._handles.move_to_end(file.number)
                return held
        with partial.lock:
            with self._lock:
                held = self._handles.get(file.number)
            if held is not None:
                return held
            with self._target.handle(file.folder) as folder:
                held = self._again(partial, folder) if partial.temporary else self._begin(partial, folder)
            with self._lock:
                self._hold(file, held)
            return held

    def _hold(self, file: FilePlan, handle: Handle) -> None:
        self._handles[file.number] = handle
        if len(self._handles) > _OPEN_FILES:
            self._handles.popitem(last=False)

    def _begin(self, partial: _PartialFile, folder: int) -> Handle:
        """Make the temporary file."""
        disk, file = self._disk, partial.file
        temporary = self.names.name(mark(file))
        mode = self._metadata.first_mode(file.attributes, plain=False)
        held = Handle(disk, disk.open(temporary, NEW, mode, dir_fd=folder))
        partial.temporary = temporary
        partial.identity = Identity.of(disk.fstat(held.fd))
        disk.ftruncate(held.fd, file.size)
        with suppress(OSError):  # a file system without locks
            disk.lock(held.fd)
        return held

    def _again(self, partial: _PartialFile, folder: int) -> Handle:
        """Open the temporary file again. Raises Swapped if its name leads to another file now."""
        disk = self._disk
        held = Handle(disk, disk.open(partial.temporary, _AGAIN, dir_fd=folder))
        mode = self._metadata.first_mode(partial.file.attributes, plain=False)
        if not self._target.is_own(held.fd, partial.identity, mode, folder):
            partial.temporary = b""  # not ours to remove
            raise Swapped("file")
        with suppress(OSError):  # a thread may still use the descriptor that has the lock
            disk.lock(held.fd)
        return held

    def _forget(self, partial: _PartialFile) -> None:
        with self._lock:
            self._handles.pop(partial.file.number, None)
        if partial.temporary:
            with suppress(OSError), self._target.handle(partial.file.folder) as folder:
                self._disk.unlink(partial.temporary, dir_fd=folder)

    def _not_written(self, file: FilePlan, error: OSError | OverflowError | ValueError) -> None:
        if isinstance(error, OSError):
            self._target.check_usable(error)
            self.give_up(file, reason(error))
        else:  # a number or name that this system doesn't take
            self.give_up(file, f"it could not be written: {error}")

    # --- final names ------------------------------------------------------------------------------------------

    def _move_into_place(self, folder: int, file: FilePlan, temporary: bytes, length: int) -> None:
        """Rename a complete file to its final name. Raises OSError."""
        final, number = file.final, 1
        copied = final != file.name
        while True:
            if file.replace:
                self._disk.rename(temporary, final, src_dir_fd=folder, dst_dir_fd=folder)
                break
            try:
                self._disk.rename_new(folder, temporary, final)
                break
            except FileExistsError:
                # The file was created after the plan was made: perhaps by this run, for an entry of an equal name.
                if self._twins.is_spelled_otherwise(file.folder, folder, final):
                    final = self._twins.apart(file.name)
                    self._report.renamed(file.folder.path(final), file.name)
                    continue
                there = Existing.of(self._disk.lstat(final, dir_fd=folder))
                action = self._decide(file, there)
                if action is Action.REPLACE:
                    file.replace = True
                elif action is Action.COPY and number < _TRIES:
                    final, copied = copy_name(file.name, file.time, number), True
                    number += 1
                elif action in (Action.KEEP, Action.SAME):
                    self._disk.unlink(temporary, dir_fd=folder)
                    with self._report.lock:
                        if self._is_aside(file):  # whoever was faster counts it
                            self._report.size -= file.size
                            self._report.written_bytes -= 0 if file.whole else file.todo
                        else:
                            self._report.same += action is Action.SAME
                            self._report.kept += action is Action.KEEP
                    self.final_names.put(file, final)
                    return
                else:
                    raise
        self._named(file, final, length, copied=copied)

    def _named(self, file: FilePlan, final: bytes, length: int, *, copied: bool) -> None:
        self.final_names.put(file, final)
        report = self._report
        with report.lock:
            report.written_bytes += length
            if not self._is_aside(file):
                report.written += 1
                report.replaced += file.replace
                report.copies += copied

    def _is_aside(self, file: FilePlan) -> bool:
        return self.aside is not None and file.folder.parent is self.aside

    def _decide(self, file: FilePlan, there: Existing) -> Action:
        wanted = Existing(file.attributes.kind, file.size, file.attributes.mtime)
        return decide(self._policy, there, wanted)


def mark(file: FilePlan) -> bytes:
    """8 bytes that identify a file in temporary names, the same in every run."""
    text = b"%d %d " % (file.size, file.attributes.mtime) + file.name
    return blake2b(text, digest_size=8).digest()
