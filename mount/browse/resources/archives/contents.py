"""The bytes of files, in pieces: for downloads of one file and for archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cache.openfile import MIB
from cache.reader import Reader
from catalog.errors import Damaged, RpdriveError
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent
from catalog.format.values import Paged, Piece

PIECE = MIB  # bytes read at once
GATHERED = 256 << 10  # bytes; small pieces are joined up to this


class CutShort(RpdriveError):
    """A file that can't be read ended a download. `path` is its path, in the archive if it is in one."""

    exit_code = Damaged.exit_code
    advice = "restore the folder: that goes on with the other files (docs/restore.md)"

    def __init__(self, path: bytes, error: RpdriveError) -> None:
        super().__init__(f"{path.decode(errors='replace')!r} can't be read: {error}")
        self.path, self.error = path, error


def named(path: bytes, parts: Iterable[Buffer]) -> Iterator[Buffer]:
    """The same bytes. Raises CutShort instead of Damaged, MissingData and StoreError."""
    try:
        yield from parts
    except RpdriveError as e:
        raise CutShort(path, e) from e


def contents(reader: Reader, content: list[Piece] | Paged, size: int, begin: int = 0) -> Iterator[Buffer]:
    """A file's bytes from an offset on, in pieces of PIECE bytes at most. Holes are zeros.

    All of its bytes, or an error: raises Damaged, MissingData or StoreError.
    """
    if begin >= size:
        return
    if isinstance(content, list) and len(content) == 1 and size <= PIECE:
        piece = content[0]
        if isinstance(piece, Extent) and piece.length == size:  # most files: no need to look around
            yield reader.chunk(PackKind.DATA, piece)[begin:]
            reader.counters.add("bytes_served", size - begin)
            return
    file = reader.open(content, size)
    while begin < size:
        parts = file.parts(begin, PIECE)
        got = sum(map(len, parts))
        if not got:
            raise Damaged(f"a file of {size} bytes has no data from byte {begin} on")
        begin += got
        yield from parts


def gathered(parts: Iterable[Buffer]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth sending; copies, so that nobody keeps a block meanwhile."""
    held: list[Buffer] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= GATHERED:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def cut(parts: Iterable[bytes], length: int) -> Iterator[bytes]:
    """The first `length` bytes."""
    if not length:
        return
    for part in parts:
        if len(part) >= length:
            yield part[:length]
            return
        yield part
        length -= len(part)
