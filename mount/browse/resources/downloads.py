"""What can be downloaded: files, and folders and baskets as archives. Without HTTP."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple, Protocol

import msgspec

from cache.reader import Reader
from catalog.errors import NotFound, UsageError
from catalog.format.keys import file_digest
from catalog.format.packs import Extent
from catalog.format.values import NodeKind, Paged, Piece
from mount.browse.resources.archives.contents import contents, cut, gathered, named
from mount.browse.resources.archives.tar import Tar
from mount.browse.resources.archives.tops import Spot, Top, archive_name, tops
from mount.browse.resources.archives.zip import Zip
from mount.browse.resources.opened import At, Opened

Kind = Literal["tar", "zip"]
Places = list[tuple[str, bytes]]  # point ids in hex, and paths
BASKET = "basket"  # in the place of a point's id: the path is the id of a basket
MOST_PLACES = 5_000  # in a basket
BASKETS = 64  # kept, of 256 KiB at most each: as large as a request may be
ARCHIVES = 8  # measured ones kept, of 1 MiB each; more if they have many hard links
MEASURED = 5_000  # entries; of an archive with more, no size is said before it is downloaded
LARGE_BYTES, LARGE_ENTRIES = 10 << 30, 100_000  # beyond these, there are better ways than an archive


class Download(Protocol):
    """A file or an archive: its bytes from any offset on if it is `resumable`. `etag` may be empty then."""

    @property
    def resumable(self) -> bool: ...
    @property
    def length(self) -> int: ...
    @property
    def etag(self) -> str: ...
    def read(self, start: int = 0) -> Iterator[bytes]: ...


class FileDownload:
    """One file. `etag` is made of the ids of its chunks, without reading any. Times in ns (UTC)."""

    resumable = True

    def __init__(self, reader: Reader, at: At) -> None:
        assert at.page is not None
        leaf, entry = at.page.leaf, at.page.leaf.entries[at.index]
        leaf.check(entry)
        self._reader, self._path = reader, at.path
        self._content = leaf.pieces(entry)
        self.name, self.length, self.mtime = entry.name, entry.size, entry.mtime

    @property
    def etag(self) -> str:
        return digest_of(self._content).hex()

    def head(self, length: int) -> bytes:
        """Its first bytes. Raises CutShort."""
        return b"".join(cut(self.read(), length))

    def read(self, start: int = 0) -> Iterator[bytes]:
        """Its bytes from an offset on. Raises CutShort."""
        return gathered(named(self._path, contents(self._reader, self._content, self.length, start)))


class Offer(NamedTuple):
    """What a link would bring. `size` in bytes, None if that takes a long walk; `advise`: a better way."""

    name: bytes
    size: int | None
    advise: Literal["restore", "drive"] | None


class Downloads:
    """The downloads of one vault. Thread-safe."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.streams = opened.streams
        self._lock = threading.Lock()
        self._baskets: OrderedDict[str, bytes] = OrderedDict()
        self._archives: OrderedDict[bytes, Tar | Zip] = OrderedDict()
        self._measuring: dict[bytes, threading.Lock] = {}

    def file(self, point: str, path: bytes) -> FileDownload:
        """A file by its path. Raises NotFound, UsageError if it is no file, Damaged and StoreError."""
        at = self._opened.find(point, path)
        if at.page is None or at.page.leaf.entries[at.index].kind != NodeKind.FILE:
            raise UsageError("only a file can be downloaded as it is", "download it as tar or zip")
        return FileDownload(self._opened.reader, at)

    # --- baskets --------------------------------------------------------------------------------------------

    def keep_basket(self, places: Places) -> str:
        """Keep what is in a basket, for as long as others don't push it out. Returns its id."""
        packed = msgspec.msgpack.encode(places)
        key = blake2b(packed, digest_size=16).hexdigest()
        with self._lock:
            self._baskets[key] = packed
            self._baskets.move_to_end(key)
            while len(self._baskets) > BASKETS:
                self._baskets.popitem(last=False)
        return key

    def basket(self, key: str) -> Places:
        """What is in a basket. Raises NotFound if it was pushed out."""
        with self._lock:
            found = self._baskets.get(key)
        if found is None:
            raise NotFound("this basket is no longer kept", "go back to the page, and begin the download again")
        return msgspec.msgpack.decode(found, type=Places)

    # --- archives -------------------------------------------------------------------------------------------

    def offer(self, places: Places, kind: Kind) -> Offer:
        """What an archive of some places would be. Raises as `archive`."""
        found = self._tops(places)
        folders = [top.spot.folder for top in found if top.spot.folder is not None]
        entries = len(found) + sum(folder.totals.entries for folder in folders)
        size = sum(folder.totals.bytes for folder in folders)
        advise: Literal["restore", "drive"] | None = None
        if entries > LARGE_ENTRIES:
            advise = "restore"
        elif size > LARGE_BYTES:
            advise = "restore" if len(found) > 1 or self._opened.read_only else "drive"
        exact = self._measured(found, kind, lambda: False).length if entries <= MEASURED else None
        return Offer(archive_name(found) + b"." + kind.encode(), exact, advise)

    def archive(self, places: Places, kind: Kind, stopped: Callable[[], bool]) -> tuple[Tar | Zip, bytes]:
        """An archive, measured, and its name. Raises NotFound, UsageError, Damaged, StoreError and Stopped."""
        found = self._tops(places)
        return self._measured(found, kind, stopped), archive_name(found) + b"." + kind.encode()

    def _tops(self, places: Places) -> list[Top]:
        if not 0 < len(places) <= MOST_PLACES:
            raise UsageError(
                f"an archive is of 1 to {MOST_PLACES} places, not {len(places)}", "put their folder in the basket"
            )
        found = (self._opened.find(point, path) for point, path in places)
        return tops([_spot(at) for at in found])

    def _measured(self, places: Sequence[Top], kind: Kind, stopped: Callable[[], bool]) -> Tar | Zip:
        key = _key(places, kind)
        with self._lock:
            mine = self._measuring.setdefault(key, threading.Lock())
        with mine:  # whoever wants the same archive waits for it
            with self._lock:
                known = self._archives.get(key)
                if known is not None:
                    self._archives.move_to_end(key)
                    return known
            try:
                made = (Tar if kind == "tar" else Zip)(self._opened.reader, places, stopped)
                with self._lock:
                    self._archives[key] = made
                    while len(self._archives) > ARCHIVES:
                        self._archives.popitem(last=False)
                return made
            finally:
                with self._lock:
                    self._measuring.pop(key, None)


def digest_of(content: list[Piece] | Paged) -> bytes:
    """The digest of a file's content (catalog.format.keys.FileDigest), by the ids of its chunks."""
    if isinstance(content, Paged):
        return content.digest
    return file_digest((piece.length, piece.id if isinstance(piece, Extent) else None) for piece in content)


def _spot(at: At) -> Spot:
    path = at.path.strip(b"/")
    if at.page is None:
        return Spot(at.tree.point, path, at.number, at.tree.point.root.subtree() if at.tree.point.root else None)
    leaf, entry = at.page.leaf, at.page.leaf.entries[at.index]
    return Spot(at.tree.point, path, at.number, leaf.subtree(entry) if entry.kind == NodeKind.FOLDER else None)


def _key(places: Sequence[Top], kind: Kind) -> bytes:
    digest = blake2b(kind.encode(), digest_size=16)
    for top in places:
        digest.update(b"%b%d\0" % (top.point.id, top.spot.number))
    return digest.digest()
