"""The pieces of files on their way into a tree: chunks with or without a place yet, and holes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from backup.pipeline import Pipeline, Place, Placed
from catalog.format.keys import FileDigest
from catalog.format.nodes import Node
from catalog.format.values import Hole, Paged, Piece
from catalog.format.writing import INLINE_PIECES, PieceWriter, WritePage

_BATCH = 128  # pieces of a large file that are written together


class PendingPieces:
    """The pieces of one large file, until all have their places: few are kept, many are written to pages."""

    def __init__(self, pipeline: Pipeline, write: WritePage) -> None:
        self._pipeline = pipeline
        self._pieces: list[Placed | Hole] = []
        self._count = 0
        self._writer = PieceWriter(write, pipeline.trees.resolve)
        self._digest = FileDigest()
        self._allocated = 0
        self._result: list[Piece] | Paged | None = None

    def add(self, piece: Placed | Hole, length: int, chunk: bytes | None) -> None:
        """Add a piece with its length in bytes and its chunk id (None: a hole)."""
        self._digest.add(length, chunk)
        if chunk is not None:
            self._allocated += length
        self._pieces.append(piece)
        self._count += 1
        if len(self._pieces) >= _BATCH:
            self._release()

    def _release(self) -> None:
        batch, self._pieces = self._pieces, []

        def add() -> None:
            for piece in settled(batch):
                self._writer.add(piece)

        self._pipeline.after([p for p in batch if not isinstance(p, Hole)], add)

    def end(self) -> list[Placed | Hole] | PendingPieces:
        """End the file. Returns the pieces themselves if they are few enough for the entry."""
        if self._count <= INLINE_PIECES:
            return self._pieces
        self._release()
        return self

    def finish(self) -> list[Piece] | Paged:
        """The content of the file's entry, once all pieces have their places."""
        if self._result is None:
            self._result = self._writer.finish(self._digest.digest(), self._allocated)
        return self._result


Contents: TypeAlias = list[Placed | Hole] | PendingPieces


def settled(pieces: list[Placed | Hole]) -> list[Piece]:
    """The pieces with their places. All must have one by now."""
    found: list[Piece] = []
    for p in pieces:
        piece = p.extent if isinstance(p, Place) else p
        assert piece is not None
        found.append(piece)
    return found


def waits_for(contents: Contents) -> list[Placed]:
    """The chunks that must have places before the file's entry can be written."""
    return [] if isinstance(contents, PendingPieces) else [p for p in contents if not isinstance(p, Hole)]


def finished(contents: Contents) -> list[Piece] | Paged:
    """The content of an entry, once all pieces have their places."""
    return contents.finish() if isinstance(contents, PendingPieces) else settled(contents)


def write_after(pipeline: Pipeline, contents: Contents, node: Node, write: Callable[[Node], None]) -> None:
    """Write the entry of a file once its contents have their places."""

    def add() -> None:
        node.content = finished(contents)
        write(node)

    pipeline.after(waits_for(contents), add)
