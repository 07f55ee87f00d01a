"""Stores the contents of files: small ones whole, large ones cut by content, holes as holes."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import Generic, TypeAlias

from msgspec.structs import replace
from pyfastcdc import FastCDC

from backup.fixed import Earlier, FixedPieces, Into
from backup.pieces import Contents, PendingPieces, finished, waits_for
from backup.pipeline import Pipeline, Placed
from backup.run import Run
from backup.systems.base import File, Folder, ImageReader, SideDataReader, Stat, kept_time
from catalog.errors import Damaged, DeviceUnreadable, ObjectNotFound, SnapshotLost
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import Hole, NodeKind, OutOfLine, Owner, Paged, Piece, Xattrs
from catalog.format.windows import STREAMS_MAX, Stream, is_stream_name, stream_bound
from catalog.format.writing import INLINE_XATTR, WritePage

SMALL_FILE = 256 << 10  # bytes; a smaller file is one chunk in a shared block
CUT_MIN, CUT_AVERAGE, CUT_MAX = 256 << 10, 1 << 20, 4 << 20  # bytes
_SMALL_RANGE = 64 << 10  # bytes; a shorter piece of a file with holes goes into a shared block
_BUFFER = 2 * CUT_MAX
_XATTRS_INLINE = 16 << 10  # bytes of one entry's values within its page
_UNTOLD_MAX = 64 << 30  # bytes read of a file that says it has none: it may have no end
_NOBODY = Owner(0, 0)
_XATTR_MAX = 192 << 10  # bytes; a larger value doesn't fit a tree block


Say: TypeAlias = Callable[[str], None]  # reports a problem of the entry at hand


class FileReader(Generic[Folder, File, Stat]):
    """Reads files into the pipeline. `tick` is called regularly while it reads a large one.

    `lacks` says which blocks of the previous point may not be kept.
    """

    def __init__(
        self,
        run: Run[Folder, File, Stat],
        pipeline: Pipeline,
        write_page: WritePage,
        tick: Callable[[], None],
        lacks: Callable[[Extent], bool],
    ) -> None:
        self._run, self._lacks = run, lacks
        self._before: list[Piece] | Paged | None = None  # of the file at hand, in the previous point
        self._before_time = 0  # its ctime
        self._keys, self._pipeline, self._write_page = run.vault.keys, pipeline, write_page
        self._system, self._pages = run.system, run.pages
        self._progress, self._tick = run.progress, tick
        self._cutter = FastCDC(CUT_AVERAGE, min_size=CUT_MIN, max_size=CUT_MAX, seed=run.vault.keys.cutter_seed)

    def read(self, folder: Folder, say: Say, name: bytes, node: Node) -> Contents:
        """Store a file's data and complete its node. Raises OSError if it can't be read.

        The node keeps the times from before the reading, so that the next backup sees a change during it.
        """
        try:
            file = self._system.open_file(name, folder)
        except BaseException:
            self._before = None  # the next file is another one
            raise
        return self.read_opened(file, folder, say, node)

    def may_open_ahead(self, st: Stat) -> bool:
        """Whether a regular file of this status may be opened before its turn."""
        return self._system.opens_ahead and st.st_size < SMALL_FILE and st.st_blocks * 512 >= st.st_size

    def open_ahead(self, folder: Folder, name: bytes, size: int) -> File:
        """Open a small file before its turn comes, and have the system read it meanwhile. Raises OSError."""
        file = self._system.open_file(name, folder)
        if size:
            self._system.expect(file, 0, size)
        return file

    def read_opened(self, file: File, folder: Folder, say: Say, node: Node) -> Contents:
        """`read` of an open file, which is closed in any case. The folder of one opened ahead may be closed."""
        try:
            contents, changed = self._once(file, node)
            if changed:
                if self._system.file_status(file).st_dev in self._run.reads.frozen:
                    raise SnapshotLost(
                        "a file changed in a snapshot, which can't be: no recovery point was made of it",
                        "see what the system's log says of the snapshot, then run the backup again",
                    )
                contents, changed = self._once(file, node)
                if changed:
                    say("changed while it was read; it was saved as it was read")
            self.complete(say, file, folder, node)
        finally:
            self._progress.left = 0
            self._before = None
            self._system.close(file)
        self._progress.read_files += 1
        return contents

    def _once(self, file: File, node: Node) -> tuple[Contents, bool]:
        """Store the data once. Returns the contents, and whether the file changed while it was read."""
        st = self._system.file_status(file)
        if not stat.S_ISREG(st.st_mode):
            raise OSError(0, "it was replaced by something else while it was read")
        node.mtime, node.ctime, node.inode, node.mode = (
            kept_time(st.st_mtime_ns),
            kept_time(st.st_ctime_ns),
            st.st_ino,
            st.st_mode & 0o7777,
        )
        node.owner = self._system.owner(st)
        contents = self._contents(file, st, node)
        now = self._system.file_status(file)
        before = (st.st_size, st.st_mtime_ns, st.st_ctime_ns)
        return contents, (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != before

    def _contents(self, file: File, st: Stat, node: Node) -> Contents:
        """Store the data of a file or stream, and set the size of its node."""
        image = self._system.image_reader
        if image is not None and image.is_image(file):
            return self._image(image, file, st, node)
        contents = self._small(file, st, node)
        if contents is not None:
            return contents
        small = st.st_size < SMALL_FILE and st.st_blocks * 512 >= st.st_size
        if small and self._system.file_status(file).st_size == st.st_size:
            return self._untold(file, node)
        return self._large(file, st, node)

    def _small(self, file: File, st: Stat, node: Node) -> Contents | None:
        """Store a small file without holes. Returns None for any other file."""
        if st.st_size >= SMALL_FILE or st.st_blocks * 512 < st.st_size:
            return None
        data = self._system.read_small(file, st.st_size, SMALL_FILE)  # also of 0 bytes: see `_untold`
        if len(data) >= SMALL_FILE:  # the file grew
            return None
        node.size = len(data)
        self._progress.read_bytes += len(data)
        return [self._pipeline.chunk(data, self._keys.chunk_id(data), alone=False)] if data else []

    def _image(self, image: ImageReader[File], file: File, st: Stat, node: Node) -> Contents:
        def passed(position: int, read: int) -> None:
            self._progress.left = st.st_size - position
            self._progress.read_bytes += read
            self._tick()

        earlier = None
        if self._before is not None:
            earlier = Earlier(self._pages, self._before, self._lacks, self._before_time)
        node.size = self._progress.left = st.st_size
        into = Into(self._pipeline, self._keys, self._write_page, passed)
        try:
            contents = FixedPieces(image, into).store(file, st.st_size, earlier).end()
        except OSError as e:
            raise DeviceUnreadable(f"the image can't be read: {e.strerror}", "check its device") from e
        for reason in image.problems():
            self._run.problems.add(node.name, reason)
        return contents

    def _large(self, file: File, st: Stat, node: Node) -> Contents:
        self._progress.left = st.st_size
        pending = PendingPieces(self._pipeline, self._write_page)
        position, sparse = 0, st.st_blocks * 512 < st.st_size
        for start, end in self._system.data_ranges(file, st):
            if start > position:
                pending.add(Hole(start - position), start - position, None)
            position = self._cut(file, (start, end), st.st_size, pending, sparse)
            if position < end:
                break  # the file shrank while it was read
        else:
            if position < st.st_size:
                pending.add(Hole(st.st_size - position), st.st_size - position, None)
                position = st.st_size
        node.size = position
        return pending.end()

    def _untold(self, file: File, node: Node) -> Contents:
        """Store a file that has more bytes than it says: files of /proc, documents of some FUSE file systems."""
        pending = PendingPieces(self._pipeline, self._write_page)
        node.size = self._cut(file, (0, _UNTOLD_MAX), 0, pending, sparse=False)
        if node.size >= _UNTOLD_MAX:
            raise OSError(errno.EFBIG, f"it says that it is small, and has no end after {_UNTOLD_MAX >> 30} GiB")
        return pending.end()

    def _cut(self, file: File, extent: tuple[int, int], size: int, pending: PendingPieces, sparse: bool) -> int:
        """Store a range of a file of `size` bytes, cut by content. Returns the position after the last byte."""
        position, end = extent
        buffer = memoryview(bytearray(min(_BUFFER, end - position)))
        is_cold = size > 0 and self._system.expect(file, position, len(buffer))
        kept = 0
        while True:
            room = min(len(buffer) - kept, end - position)
            got = self._system.fill(file, buffer[kept : kept + room], position)
            if is_cold:
                self._system.release(file, position, got)
            position += got
            self._progress.left = max(size - position, 0)
            filled = kept + got
            last = got < room or position >= end
            if size and not last:
                is_cold = self._system.expect(file, position, min(_BUFFER, end - position))
            done = 0
            for cut in self._cutter.cut_buf(buffer[:filled]):
                if not last and cut.offset + cut.length == filled:
                    break  # the end of the buffer is no boundary of the content
                data = bytes(cut.data)
                chunk = self._keys.chunk_id(data)
                alone = not sparse or len(data) >= _SMALL_RANGE
                pending.add(self._pipeline.chunk(data, chunk, alone=alone), len(data), chunk)
                self._progress.read_bytes += len(data)
                done = cut.offset + cut.length
            self._tick()
            if last:
                return position
            kept = filled - done
            buffer[:kept] = bytes(buffer[done:filled])

    def remember_pages(self, content: list[Piece] | Paged, ctime: int) -> None:
        """Let the pages of a file's previous version be reused where they are equal. It is the next to be read."""
        self._before, self._before_time = content, ctime
        if not isinstance(content, Paged):
            return
        try:
            below = [(content.level, content.at)]
            while below:
                level, at = below.pop()
                self._pipeline.trees.remember(at)
                if level:
                    index = self._pages.piece_index(at)
                    below.extend((level - 1, index.at(child)) for child in index.children)
        except (Damaged, ObjectNotFound):
            pass  # then more pages are written

    def complete(self, say: Say, target: File | bytes, folder: Folder, node: Node) -> None:
        """Add extended attributes and side data of an open file, or of a name in a folder, to a node."""
        node.xattrs = self.xattrs(say, target, folder)
        reader = self._system.side_data_reader
        if reader is not None:
            self._add_side_data(reader, say, target, folder, node)

    def xattrs(self, say: Say, target: File | bytes, folder: Folder) -> Xattrs | None:
        """Extended attributes of an open file or of a name in a folder; large values go to pages of the tree."""
        try:
            found = self._system.xattrs(target, folder)
        except OSError as e:
            say(f"its extended attributes can't be read: {e.strerror}")
            return None
        if not found:
            return None
        values: Xattrs = {}
        room = _XATTRS_INLINE
        for name, value in sorted(found.items()):
            if len(value) > _XATTR_MAX:
                say(f"its extended attribute {name.decode(errors='replace')} is too large to save")
            elif len(value) > min(INLINE_XATTR, room):
                values[name] = OutOfLine(self._write_page(value))
            else:
                values[name] = value
                room -= len(value)
        return values or None

    # --- side data --------------------------------------------------------------------------------------------

    def _add_side_data(
        self, reader: SideDataReader[Folder, File], say: Say, target: File | bytes, folder: Folder, node: Node
    ) -> None:
        """Set a node's `windows`, and do so before any action that is queued later."""
        try:
            data = reader.side_data(target, folder)
        except OSError as e:
            say(f"its attributes can't be read: {e.strerror}")
            return
        for reason in data.problems:
            say(reason)
        node.mode, node.owner = data.mode, data.owner
        data.store_large(self._write_page)
        streams: list[tuple[str, int, Contents]] = []
        waits: list[Placed] = []
        room, left_out = STREAMS_MAX, 0
        for name, opened in data.streams:
            text = name.encode(errors="replace").decode()
            if not is_stream_name(name) or any(name == other for other, _size, _contents in streams):
                say(f"its stream {text} has a name that can't be saved")
                continue
            try:
                size, contents = self._stream(opened())
            except OSError as e:
                say(f"its stream {text} can't be read: {e.strerror}")
                continue
            pieces = 1 if isinstance(contents, PendingPieces) else len(contents)
            room -= stream_bound(Stream(name, size, [Hole(1)] * pieces))
            if room < 0:
                left_out += 1
                continue
            streams.append((name, size, contents))
            waits += waits_for(contents)
        if left_out:
            say(f"it has too many streams: {left_out:,} of them are not saved")

        def settle() -> None:
            settled = [Stream(name, size, finished(contents)) for name, size, contents in streams]
            node.windows = data.windows(settled)

        self._pipeline.after(waits, settle)

    def add_link(self, name: bytes, folder: Folder, node: Node, first: Node) -> None:
        """Give another link of a file the side data of its first link, but the short name of its own."""
        reader = self._system.side_data_reader
        if reader is None:
            return
        short = reader.short_name(name, folder)

        def settle() -> None:
            node.windows = first.windows and replace(first.windows, short_name=short)

        self._pipeline.after([], settle)

    def _stream(self, file: File) -> tuple[int, Contents]:
        """Store a stream, and close it. Returns its length in bytes and its contents."""
        try:
            st = self._system.file_status(file)
            shape = Node(b"", int(NodeKind.FILE), 0, _NOBODY, st.st_size, 0, 0, 0)
            contents = self._contents(file, st, shape)
            return shape.size, contents
        finally:
            self._progress.left = 0
            self._system.close(file)
