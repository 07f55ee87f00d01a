"""The last mark of a machine's points, in a file of this machine: the next one reads only what is new.

Trees never change, so a reference that was followed once stands for all that is below it. The file holds ids of
references, of packs and of points, and offsets. It may be lost; a changed one is noticed by its digest, under a key
of the vault, and counts as lost.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
from blake3 import blake3

from catalog.errors import Damaged
from catalog.format.keys import ID_BYTES, Keys, expand
from catalog.format.message import decode
from catalog.format.places import PlacesRecord
from catalog.format.records import Machine
from catalog.mark.ids import Ids
from catalog.mark.live import AT_ONCE, ROW, Live, batched
from catalog.mark.roots import Roots
from catalog.mark.run import Marked, mark
from catalog.screen.phases import Follower
from catalog.vault import Vault

WEEK = 7 * 86_400 * 10**9  # ns
_MAGIC = b"RPDMARK\1"
_LENGTH = struct.Struct(">I")
_DIGEST = 32
_PIECE = 1 << 20  # bytes read or written at once
_MOST_HEAD = 64 << 20
_log = logging.getLogger("rpdrive.mark")


class _Head(msgspec.Struct, array_like=True):
    """`machines` whose points were marked; when the last run and the last `full` one began (ns, store's time)."""

    vault: bytes
    machines: list[bytes]
    began: int
    full: int
    points: list[bytes]
    went: int
    slots: int
    seen: int
    rows: int


_head = msgspec.msgpack.Decoder(_Head)


class _Since(NamedTuple):
    """When the last mark and the last full one began, and how many points went between them."""

    began: int
    full: int
    went: int


class Last(NamedTuple):
    """A mark that was made before: when it and the last full one began (ns, by the store's clock), of which points.

    `marked` is given to `mark` as what is begun already.
    """

    marked: Marked
    began: int
    full: int
    points: frozenset[bytes]
    went: int  # points that were marked since the last full mark, and were no roots any more at the last one

    def gone(self, roots: Roots) -> int:
        """How many points went since the last full mark: what only they referred to is still taken for live."""
        return self.went + len(self.points - {root.name.id for root in roots.roots})

    def is_stale(self, roots: Roots, now: int) -> bool:
        """Whether a full mark is due: points went, and the last full mark is a week old by the store's clock."""
        return self.gone(roots) > 0 and now - self.full >= WEEK


class LastMark:
    """The file with the last mark of the points of some machines (ids), in a folder for state."""

    def __init__(self, state: Path, vault: Vault, machines: Iterable[bytes]) -> None:
        self._vault, self._machines = vault, sorted(machines)
        name = blake3(b"".join(self._machines)).hexdigest(length=8)
        place = vault.state_id.removeprefix(vault.id.hex())
        self.path = state / "marks" / f"{vault.id.hex()[:16]}-{name}{place}"

    def load(self) -> Last | None:
        """The last mark; None if there is none that can be used."""
        try:
            with self.path.open("rb") as file:
                _check_digest(file, self._vault.keys)
                return self._read(file)
        except FileNotFoundError:
            return None
        except (OSError, Damaged) as e:
            _log.warning("the last mark %s is not used: %s", self.path, e)
            return None

    def _read(self, file: IO[bytes]) -> Last:
        file.seek(len(_MAGIC))
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        head = decode(_head, file.read(min(length, _MOST_HEAD)), "its head")
        if head.vault != self._vault.id or head.machines != self._machines:
            raise Damaged("it is of other machines")
        seen = Ids.of_table(head.slots, head.seen, _parts(file, head.slots, ID_BYTES))
        marked = Marked(Live(), seen)
        try:
            marked.live.add_rows(head.rows, _parts(file, head.rows, ROW.size))
        except BaseException:
            marked.close()
            raise
        return Last(marked, head.began, head.full, frozenset(head.points), head.went)

    def save(self, marked: Marked, roots: Roots, began: int, last: Last | None = None) -> None:
        """Keep a mark of these roots; `last` is the one with which it began. Nothing is raised: it is a cache.

        What could not be read, and what leads to it, is left out: the next mark looks at it again.
        """
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                full, went = (began, 0) if last is None else (last.full, last.gone(roots))
                self._write(file, marked, roots, _Since(began, full, went))
            temporary.replace(self.path)
        except OSError as e:
            _log.warning("the mark can't be kept in %s: %s", self.path, e.strerror)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _write(self, file: IO[bytes], marked: Marked, roots: Roots, since: _Since) -> None:
        rows = sum(1 for _row in marked.live.rows())
        points = [root.name.id for root in roots.roots]
        seen = marked.seen.without(marked.hiding) if marked.hiding else marked.seen
        row = _Head(self._vault.id, self._machines, *since[:2], points, since.went, seen.slots, len(seen), rows)
        head = msgspec.msgpack.encode(row)
        digest = _hash(self._vault.keys)
        some = batched(marked.live.rows(), AT_ONCE)
        for part in chain((_MAGIC + _LENGTH.pack(len(head)) + head,), seen.parts(), map(b"".join, some)):
            digest.update(part)
            file.write(part)
        if seen is not marked.seen:
            seen.close()
        file.write(digest.digest(length=_DIGEST))
        file.flush()
        os.fsync(file.fileno())

    def delete(self) -> None:
        """Forget the last mark."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def mark_on(
    kept: LastMark,
    vault: Vault,
    roots: Roots,
    began: int,
    *,
    machines: Mapping[bytes, Machine] | None = None,
    places: Sequence[PlacesRecord] | None = None,
    follow: Follower | None = None,
) -> Marked:
    """Mark from where the last mark ended; from nothing if there is none, or if a full mark is due. Keeps it.

    `began` is the store's time (ns) before the points were listed. Otherwise as `mark`. What only points that went
    refer to is taken for live until the next full mark.
    """
    last = kept.load()
    if last is not None and last.is_stale(roots, began):
        last.marked.close()
        last = None
    begun = None if last is None else last.marked
    marked = mark(vault, roots, machines=machines, places=places, begun=begun, follow=follow)
    if last is None or marked.pages or last.points != {root.name.id for root in roots.roots}:
        kept.save(marked, roots, began, last)
    return marked


def _parts(file: IO[bytes], count: int, size: int) -> Iterator[bytes]:
    """`count` things of `size` bytes each from a file, in parts of whole ones."""
    while count:
        data = file.read(min(count, _PIECE // size) * size)
        if not data or len(data) % size:
            raise Damaged("it is truncated")
        count -= len(data) // size
        yield data


def _hash(keys: Keys) -> blake3:
    return blake3(key=expand(keys.records, b"rpdrive/1 last mark"))


def _check_digest(file: IO[bytes], keys: Keys) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    digest, left = _hash(keys), size - _DIGEST
    if file.read(len(_MAGIC)) != _MAGIC:
        raise Damaged("it is not a mark of this version")
    file.seek(0)
    while left > 0:
        data = file.read(min(left, _PIECE))
        if not data:
            break
        digest.update(data)
        left -= len(data)
    if left or file.read() != digest.digest(length=_DIGEST):
        raise Damaged("it has been changed")
