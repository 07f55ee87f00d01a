"""Metadata that only Windows has, stored under reserved keys of `more`. docs/format.md, "Windows".

`Windows` is independent of any page, as `Node` is; `WindowsRow` is the same on the wire. Values that many files
share (above all security descriptors) are stored once in the page's table of xattr sets, or out of line.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from catalog.errors import Damaged
from catalog.format.message import U31, U32, Size
from catalog.format.packs import Extent
from catalog.format.values import Content, OutOfLine, Paged, Piece, Xattrs

MARK = "attributes"  # the key that every entry saved on Windows has
STREAM_NAME_MAX = 255  # UTF-16 units
STREAMS_MAX = 512 << 10  # bytes that the streams of one entry may occupy in its page
_FORBIDDEN = frozenset("/\\:\0")

Value: TypeAlias = bytes | OutOfLine


class Entry(Protocol):
    """The part of an entry on the wire that is read here."""

    @property
    def name(self) -> bytes: ...
    @property
    def more(self) -> dict[str, Any] | None: ...


class Page(Protocol):
    """The part of an entry's page that is read here."""

    def content(self, value: Any, name: bytes) -> list[Piece] | Paged: ...
    def xattr_set(self, index: int, name: bytes) -> Xattrs: ...


class PageTables(Protocol):
    """The tables of a page being written, as far as they are used here."""

    def content(self, content: Content) -> object: ...
    def xattrs(self, xattrs: Xattrs | None) -> int: ...


class Stream(NamedTuple):
    """An alternate data stream. `size` in bytes; `content` as a file's; the name without `:` and `:$DATA`."""

    name: str
    size: int
    content: list[Piece] | Paged


class Windows(msgspec.Struct, gc=False):
    """An entry's Windows metadata. Names are UTF-16 as str, with lone surrogates as they are.

    `attributes` are FILE_ATTRIBUTE_* as the system gave them, `created` in ns since the epoch (UTC), `security` a
    self-relative security descriptor, `reparse` a whole REPARSE_DATA_BUFFER, `extended` a list of
    FILE_FULL_EA_INFORMATION. `efs` is the size in bytes of an encrypted file, whose raw export is the content.
    """

    attributes: int = 0
    created: int | None = None
    security: Value | None = None
    streams: list[Stream] = msgspec.field(default_factory=list)  # by name, as its UTF-8 sorts
    reparse: Value | None = None
    extended: Value | None = None
    short_name: str = ""
    efs: int | None = None

    def values(self) -> list[Value]:
        """The values that can be stored out of line."""
        return [v for v in (self.security, self.reparse, self.extended) if v is not None]

    def fetched(self, fetch: Callable[[Extent], bytes]) -> Windows:
        """A copy with all values as bytes; `fetch` returns the bytes of an extent."""

        def whole(value: Value | None) -> Value | None:
            return value if value is None or isinstance(value, bytes) else fetch(value.at)

        security, reparse, extended = map(whole, (self.security, self.reparse, self.extended))
        return msgspec.structs.replace(self, security=security, reparse=reparse, extended=extended)


class StreamRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A stream on the wire."""

    name: bytes
    size: Size
    content: Any


class WindowsRow(msgspec.Struct, gc=False, frozen=True):
    """The keys of `more`. `security`, `reparse`, `extended` are indexes into the page's table of xattr sets."""

    attributes: U32
    created: int | None = None
    security: U31 | None = None
    streams: list[StreamRow] = []
    reparse: U31 | None = None
    extended: U31 | None = None
    short: bytes = b""
    efs: Size | None = None


KEYS = frozenset(WindowsRow.__struct_fields__)
msgspec.convert({MARK: 0}, WindowsRow)  # msgspec analyses the class now, in one thread


def decode_windows(leaf: Page, entry: Entry) -> Windows | None:
    """An entry's Windows metadata; None if it was saved on another system. Raises Damaged."""
    if not entry.more or MARK not in entry.more:
        return None
    row = _row(entry)
    streams = [Stream(_text(s.name), s.size, leaf.content(s.content, entry.name)) for s in row.streams]
    _check_streams(entry.name, [s.name for s in row.streams], streams)
    return Windows(
        row.attributes,
        row.created,
        _value(leaf, entry, "security", row.security),
        streams,
        _value(leaf, entry, "reparse", row.reparse),
        _value(leaf, entry, "extended", row.extended),
        _text(row.short),
        row.efs,
    )


def others(more: dict[str, Any] | None) -> dict[str, Any] | None:
    """`more` without the keys for Windows."""
    if not more or MARK not in more:
        return more
    return {key: value for key, value in more.items() if key not in KEYS} or None


def encode_windows(tables: PageTables, windows: Windows, more: dict[str, Any] | None) -> dict[str, Any]:
    """`more` with the keys for Windows added, for a page with these tables."""
    w = windows
    row: dict[str, Any] = {MARK: w.attributes}
    if w.created is not None:
        row["created"] = w.created
    if w.security is not None:
        row["security"] = tables.xattrs({b"security": w.security})
    if w.streams:
        rows = [[name_bytes(s.name), s.size, tables.content(s.content)] for s in w.streams]
        row["streams"] = sorted(rows, key=itemgetter(0))
    if w.reparse is not None:
        row["reparse"] = tables.xattrs({b"reparse": w.reparse})
    if w.extended is not None:
        row["extended"] = tables.xattrs({b"extended": w.extended})
    if w.short_name:
        row["short"] = name_bytes(w.short_name)
    if w.efs is not None:
        row["efs"] = w.efs
    return {**more, **row} if more else row


def windows_bound(windows: Windows) -> int:
    """An upper bound of the bytes that the metadata occupies in a page."""
    inline = sum(len(v) if isinstance(v, bytes) else 70 for v in windows.values())
    return 120 + inline + 3 * len(windows.short_name) + sum(map(stream_bound, windows.streams))


def stream_bound(s: Stream) -> int:
    """An upper bound of the bytes that a stream occupies in its entry, where STREAMS_MAX limits their sum."""
    return 16 + 3 * len(s.name) + 66 * (len(s.content) if isinstance(s.content, list) else 2)


def name_bytes(name: str) -> bytes:
    """The name in UTF-8, with each lone surrogate as three bytes."""
    return name.encode("utf-8", "surrogatepass")


def name_text(name: bytes) -> str:
    """The reverse of name_bytes. Raises UnicodeDecodeError."""
    return name.decode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
    try:
        return name_text(name)
    except UnicodeDecodeError as e:
        raise Damaged("an entry saved on Windows has a stream name or short name that is not Unicode") from e


def _row(entry: Entry) -> WindowsRow:
    try:
        return msgspec.convert(entry.more, WindowsRow)
    except msgspec.ValidationError as e:
        raise Damaged(f"the Windows metadata of {entry.name.decode(errors='replace')!r} are malformed") from e


def _value(leaf: Page, entry: Entry, key: str, index: int | None) -> Value | None:
    if index is None:
        return None
    found = leaf.xattr_set(index, entry.name)
    if list(found) != [key.encode()]:
        raise Damaged(f"the {key} of {entry.name.decode(errors='replace')!r} is a value of another kind")
    return found[key.encode()]


def is_stream_name(name: str) -> bool:
    """Whether an entry may have a stream of this name."""
    return 1 <= _units(name) <= STREAM_NAME_MAX and _FORBIDDEN.isdisjoint(name)


def _check_streams(entry: bytes, raw: list[bytes], streams: list[Stream]) -> None:
    bad = any(a >= b for a, b in pairwise(raw)) or any(not is_stream_name(s.name) for s in streams)
    if bad:
        raise Damaged(f"the streams of {entry.decode(errors='replace')!r} have invalid names")


def _units(name: str) -> int:
    return len(name) + sum(c > "\uffff" for c in name)
