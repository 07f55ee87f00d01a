"""The first look at a file: what it is by its first bytes, whatever its name says; parts of it as text or hex.

Only images of five kinds and PDF are ever shown as such, by another origin. SVG, HTML, XML and scripts are text.
"""

from __future__ import annotations

import base64
import codecs
import struct
from bisect import bisect_right
from contextlib import suppress

import msgspec

from catalog.errors import Damaged, MissingData, NotFound
from catalog.tree import Pieces
from mount.browse.resources.folders import SAFE
from mount.browse.resources.opened import At, Opened
from mount.browse.resources.wire import name_of
from mount.view.nodes import File

TEXT_PAGE = 256 << 10  # bytes
HEX_PAGE = 64 << 10
IMAGE_MAX = 32 << 20  # bytes of an image that is shown
PIXELS_MAX = 100_000_000
HEAD = 8 << 10  # bytes by which the kind is known
_CONTROLS = bytes([*range(0x09), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F])  # not in texts; ESC may be
_MARKS = (  # UTF-32 is told from UTF-16 by its zeros
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNIT = {"utf-32-le": 4, "utf-32-be": 4, "utf-16-le": 2, "utf-16-be": 2}


class Preview(msgspec.Struct, kw_only=True):
    """What a file can be shown as. `type` is its media type, `why` says why it is not shown better, or empty."""

    kind: str
    type: str
    why: str
    size: int


class TextPage(msgspec.Struct, kw_only=True):
    """A part of a file as text: bytes `from` to `next` (None: the end), cut between two characters."""

    encoding: str
    text: str
    start: int = msgspec.field(name="from")
    next: int | None
    size: int


class HexPage(msgspec.Struct, kw_only=True):
    """Bytes of a file, base64."""

    start: int = msgspec.field(name="from")
    size: int
    bytes: str


class _Opened:
    """A file of a recovery point, with its path for errors. Raises NotFound if the entry is something else."""

    def __init__(self, opened: Opened, place: At) -> None:
        path = name_of(place.path)[0]
        node = None if place.page is None else place.page.node(place.index)
        if place.page is None or not isinstance(node, File):
            raise NotFound(f"{path} is not a file in this recovery point", "open the folder above it")
        self._path, self._file = path, node.open()
        self.size = self._file.size
        leaf = place.page.leaf
        self._pieces = Pieces(opened.reader, leaf.pieces(leaf.entries[place.index]))

    def read(self, start: int, length: int) -> bytes:
        """Bytes from `start` on; fewer than there are if a part after them is damaged. Raises Damaged."""
        try:
            return bytes(self._file.read(start, length))
        except Damaged as e:
            error = e
        found = self._before_damage(start, min(start + length, self.size))
        if found:
            return found
        kind = MissingData if isinstance(error, MissingData) else Damaged
        raise kind(f"{self._path} can't be read from byte {start:,} on: {error}") from error

    def _before_damage(self, start: int, end: int) -> bytes:
        """The bytes of the pieces before the first one that can't be read."""
        found = bytearray()
        with suppress(Damaged):
            while (at := start + len(found)) < end:
                starts, pieces = self._pieces.run(at)
                n = bisect_right(starts, at) - 1
                border = min(starts[n] + pieces[n].length, end) if n >= 0 else at
                if border <= at:
                    break
                found += self._file.read(at, border - at)
        return bytes(found)


def preview(opened: Opened, point: str, at: bytes | int) -> Preview:
    """What an entry can be shown as. Raises NotFound, StoreError, and Damaged if its first bytes can't be read."""
    place = opened.find(point, at)
    try:
        file = _Opened(opened, place)
    except NotFound:
        return Preview(kind="none", type="", why="this is not a file", size=0)
    if not file.size:
        return Preview(kind="empty", type="", why="the file is empty", size=0)
    head = file.read(0, HEAD)
    size = min(file.size, SAFE)
    kind, media, why = kind_of(head, file.size)
    return Preview(kind=kind, type=media, why=why, size=size)


def kind_of(head: bytes, size: int) -> tuple[str, str, str]:
    """Kind, media type, and why it is not shown better, by the first bytes of a file and its size."""
    media = media_type(head)
    if media == "application/pdf":
        return "pdf", media, ""
    if media:
        if size > IMAGE_MAX:
            return "hex", media, f"an image of more than {IMAGE_MAX >> 20} MiB is not shown: download it"
        if _pixels(head, media) > PIXELS_MAX:
            return "hex", media, f"an image of more than {PIXELS_MAX // 10**6} megapixels is not shown: download it"
        return "image", media, ""
    if encoding_of(head, whole=len(head) >= size) is not None:
        return "text", "text/plain", ""
    return (
        "hex",
        "application/octet-stream",
        "its first bytes are not those of a text, an image or a PDF",
    )


def media_type(head: bytes) -> str:
    """The type of what browsers may show, by the first bytes; empty for all else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    brands = head[8 : int.from_bytes(head[:4])] if head[4:8] == b"ftyp" else b""
    if b"avif" in brands or b"avis" in brands:
        return "image/avif"
    return "application/pdf" if head.startswith(b"%PDF-") else ""


def _pixels(head: bytes, media: str) -> int:
    """Width times height, where they stand in the first bytes; else 0."""
    if media == "image/png" and len(head) >= 24:
        width, height = struct.unpack_from(">II", head, 16)
    elif media == "image/gif" and len(head) >= 10:
        width, height = struct.unpack_from("<HH", head, 6)
    elif media == "image/webp" and head[12:16] == b"VP8X" and len(head) >= 30:
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
    else:
        return 0
    return int(width) * int(height)


# --- text -----------------------------------------------------------------------------------------------------


def encoding_of(head: bytes, *, whole: bool) -> str | None:
    """The encoding of a text by its first bytes; None if it is none. `whole`: nothing follows them."""
    for mark, name in _MARKS:
        if head.startswith(mark) and len(head) >= len(mark) + (4 if name == "utf-32-le" else 0):
            return name
    if b"\0" in head:
        return _wide(head)
    if len(head.translate(None, _CONTROLS)) < len(head):
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, whole)
        return "utf-8"
    except UnicodeDecodeError:
        pass
    if not any(0x80 <= byte < 0xA0 for byte in head):
        return "latin-1"
    try:
        head.decode("cp1252")
        return "cp1252"
    except UnicodeDecodeError:
        return None


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: most of its characters are below U+0100, so every second byte is zero."""
    even, odd = head[0::2], head[1::2]
    for name, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros and zeros.count(0) > 0.7 * len(zeros) and others.count(0) == 0:
            text = head[: len(head) & ~1].decode(name, "replace")
            if not any(c in text for c in map(chr, _CONTROLS)):
                return name
    return None


def text(opened: Opened, point: str, at: bytes | int, start: int = 0) -> TextPage:
    """A page of a file as text, from byte `start` on; in Latin-1 if nothing better fits.

    Raises NotFound, StoreError, and Damaged if its first byte can't be read: it names the file. A part further on
    that can't be read ends the page before it.
    """
    file = _Opened(opened, opened.find(point, at))
    head = file.read(0, HEAD)
    encoding = encoding_of(head, whole=len(head) >= file.size) or "latin-1"
    mark = next((len(m) for m, name in _MARKS if name == encoding and head.startswith(m)), 0)
    start = max(min(start, file.size), mark)
    start -= (start - mark) % _UNIT.get(encoding, 1)
    data = file.read(start, TEXT_PAGE) if start < file.size else b""
    if encoding == "utf-8":
        skipped = next((n for n, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
        start, data = start + skipped, data[skipped:]
    end = start + len(data)
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    shown = decoder.decode(data, end >= file.size)
    end -= len(decoder.getstate()[0])
    return TextPage(
        encoding=encoding, text=shown.encode("utf-8", "replace").decode(), start=start,
        next=end if end < file.size else None, size=min(file.size, SAFE),
    )  # fmt: skip


def hex_page(opened: Opened, point: str, at: bytes | int, start: int = 0, count: int = HEX_PAGE) -> HexPage:
    """Up to `count` bytes of a file. Raises as `text`."""
    file = _Opened(opened, opened.find(point, at))
    data = file.read(start, count) if start < file.size else b""
    return HexPage(start=start, size=min(file.size, SAFE), bytes=base64.b64encode(data).decode())
