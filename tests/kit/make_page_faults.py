"""Vectors of tree pages with one fault each, without blocks and ids around them."""

from __future__ import annotations

from typing import Any

import msgspec

Fault = dict[str, Any]


def fault(what: str, error: str, layer: str, **read: Any) -> Fault:
    return {"fault": what, "error": error, "layer": layer, "read": read}


def page_faults() -> dict[str, Fault]:
    """Pages alone. An extent whose `inner` is n refers to page n of `pages`."""
    pack, cid = bytes(16), b"c" * 16

    def at(n: int, table: int = 0) -> list[Any]:
        return [table, 8, 99, n, 1, cid]

    def entry(
        name: bytes = b"name",
        kind: int = 0,
        content: Any = (),
        *,
        owner: int = 0,
        xattrs: int = -1,
        more: Any = None,
        **values: Any,
    ) -> list[Any]:
        row = {
            "name": name, "kind": kind, "mode": 0o644, "owner": owner, "size": 0, "mtime": 0, "ctime": 0,
            "inode": 1, "nlink": 1, "link": 0, "content": content, "xattrs": xattrs, "more": more,
        }  # fmt: skip
        return [*(row | values).values()]

    def leaf(*entries: Any, sets: Any = (), owners: Any = ((0, 0, "", ""),)) -> list[Any]:
        return [[pack], owners, sets, entries]

    def malformed(what: str, **values: Any) -> Fault:
        """An entry between two good ones."""
        return folder(what, "malformed", 0, leaf(entry(b"a"), entry(b"b", **values), entry(b"c")))

    def owned(what: str, *owner: Any) -> Fault:
        """As `malformed`, an entry of this owner."""
        page = leaf(entry(b"a"), entry(b"b", owner=1), entry(b"c"), owners=[[0, 0, "", ""], list(owner)])
        return folder(what, "malformed", 0, page)

    def folder(what: str, layer: str, level: int, *pages: Any) -> Fault:
        encoded = [p.hex() if isinstance(p, bytes) else msgspec.msgpack.encode(p).hex() for p in pages]
        return fault(what, "Damaged", layer, how="pages", level=level, pages=encoded)

    def paged(what: str, layer: str, level: Any, *pages: Any, where: Any = None) -> Fault:
        content = {"l": level, "a": at(1) if where is None else where, "n": 1, "d": cid}
        return folder(what, layer, 0, leaf(entry(content=content)), *pages)

    def windows(what: str, layer: str, *, sets: Any = (), pages: Any = (), **more: Any) -> Fault:
        return folder(what, layer, 0, leaf(entry(more={"attributes": 32} | more), sets=sets), *pages)

    def stream(name: bytes, content: Any = ()) -> list[Any]:
        return [name, 0, content]

    totals = [1, 1, 0, 0]
    index = [[pack], [[b"name", at(0), totals]]]  # its only child is page 0
    good = leaf(entry())
    extent = [0, 8, 99, 0, 5, cid]
    return {
        "page-garbage": folder("a page that is no MessagePack", "message", 0, b"\xc1"),
        "page-cut": folder("a page cut short", "message", 0, msgspec.msgpack.encode(good)[:-1]),
        "page-nested-without-end": folder("a page of 5,000 nested arrays", "message", 0, b"\x91" * 5000),
        "page-empty": folder("a leaf without entries", "message", 0, leaf()),
        "page-index-empty": folder(
            "an index page without children: a folder must not seem empty", "message", 1, [[pack], []]
        ),
        "page-cycle": folder("an index page that is its own child", "message", 8, index),
        "page-not-descending": folder(
            "an index page where a leaf should be", "message", 1, [[pack], [[b"name", at(1), totals]]], index
        ),
        "page-leaf-too-high": folder("a leaf where an index page should be", "message", 1, good),
        "page-level-absurd": folder("a folder of 9 levels", "levels", 9, index),
        "page-level-absurd-below": folder(
            "a folder in a folder of 200 levels", "entry", 0, leaf(entry(kind=1, content=[200, at(0), totals]))
        ),
        "page-level-negative": folder(
            "a folder in a folder of -1 levels", "entry", 0, leaf(entry(kind=1, content=[-1, at(0), totals]))
        ),
        "page-pack-out-of-table": folder(
            "a child in pack 1 of 1", "table", 1, [[pack], [[b"name", at(0, 1), totals]]]
        ),
        "page-owner-out-of-table": folder("owner 1 of 1", "table row", 0, leaf(entry(owner=1))),
        "page-owner-negative": folder("owner -1", "malformed", 0, leaf(entry(owner=-1))),
        "page-xattrs-out-of-table": folder("xattr set 0 of 0", "table row", 0, leaf(entry(xattrs=0))),
        "page-pack-id-short": folder(
            "a pack id of 15 bytes", "message", 1, [[pack[1:]], [[b"name", at(0), totals]]]
        ),
        "page-chunk-id-short": folder(
            "a chunk id of 15 bytes", "piece", 0, leaf(entry(content=[[0, 8, 99, 0, 5, cid[1:]]]))
        ),
        "page-extent-negative": folder(
            "an extent at -8", "entry", 0, leaf(entry(content=[[0, -8, 99, 0, 5, cid]]))
        ),
        "page-extent-fraction": folder(
            "an extent at 8.5", "entry", 0, leaf(entry(content=[[0, 8.5, 99, 0, 5, cid]]))
        ),
        "page-extent-elsewhere-without-length": folder(
            "a stored length of 0 for another block",
            "table",
            0,
            leaf(entry(kind=1, content=[0, [0, 999, 0, 0, 5, cid], totals])),
        ),
        "page-hole-empty": folder("a hole of 0 bytes", "piece", 0, leaf(entry(content=[[0]]))),
        "page-hole-negative": folder("a hole of -1 bytes", "entry", 0, leaf(entry(content=[[-1]]))),
        "page-piece-between": folder("a piece of two numbers", "piece", 0, leaf(entry(content=[[5, 8]]))),
        "page-name-empty": folder("an empty name", "names", 0, leaf(entry(b""))),
        "page-name-slash": folder("a name with a slash", "names", 0, leaf(entry(b"../x"))),
        "page-name-nul": folder("a name with a NUL", "names", 0, leaf(entry(b"a\0"), entry(b"b"))),
        "page-name-dots": folder("the name ..", "names", 0, leaf(entry(b".."))),
        "page-names-equal": folder("a name twice", "names", 0, leaf(entry(b"a"), entry(b"a"))),
        "page-names-descend": folder("names out of order", "names", 0, leaf(entry(b"b"), entry(b"a"))),
        "page-names-descend-above": folder(
            "first names out of order", "names", 1, [[pack], [[b"b", at(0), totals], [b"a", at(0), totals]]]
        ),
        "page-device-of-one-number": folder(
            "a device with a major number only", "malformed", 0, leaf(entry(kind=4, content=[1]))
        ),
        "page-symlink-without-target": folder(
            "a symlink without a target", "malformed", 0, leaf(entry(kind=2, content=None))
        ),
        "page-file-without-pieces": folder("a file with nil for its pieces", "entry", 0, leaf(entry(content=None))),
        "entry-mode-too-large": malformed("a mode of 13 bits", mode=0o10000),
        "entry-mode-negative": malformed("mode -1", mode=-1),
        "entry-size-too-large": malformed("a size of 64 bits", size=1 << 63),
        "entry-size-negative": malformed("size -1", size=-1),
        "entry-inode-negative": malformed("inode -1", inode=-1),
        "entry-nlink-too-large": malformed("2^32 links", nlink=1 << 32),
        "entry-link-too-large": malformed("link number 2^31", link=1 << 31),
        "entry-link-negative": malformed("link number -1", link=-1),
        "entry-time-is-text": malformed("a time given as text", mtime="now"),
        "entry-xattrs-below-none": malformed("xattr set -2", xattrs=-2),
        "entry-kind-unknown": malformed("kind 7", kind=7),
        "entry-more-is-text": malformed("more given as text", more="text"),
        "entry-owner-too-large": owned("uid 2^32 - 1", (1 << 32) - 1, 0, "", ""),
        "entry-owner-below-none": owned("gid -2", 0, -2, "", ""),
        "entry-owner-of-three": owned("an owner of three values", 0, 0, ""),
        "entry-target-with-nul": malformed("a target with a NUL", kind=2, content=b"a\0b"),
        "entry-device-too-large": malformed("a minor number of 33 bits", kind=5, content=[1, 1 << 32]),
        "entry-fifo-with-content": malformed("a FIFO with a content", kind=3, content=b"x"),
        "entry-xattr-with-nul": folder(
            "an xattr whose name has a NUL", "xattrs", 0, leaf(entry(xattrs=0), sets=[[[b"user.a\0b", b"1"]]])
        ),
        "entry-xattr-without-name": folder(
            "an xattr without a name", "xattrs", 0, leaf(entry(xattrs=0), sets=[[[b"", b"1"]]])
        ),
        "entry-without-name": folder("an entry that is an integer", "nameless", 0, leaf(entry(b"a"), 5)),
        "page-stored-too-long": folder(
            "a block of 8 MiB and 22 bytes", "entry", 0, leaf(entry(content=[[0, 8, (8 << 20) + 22, 0, 5, cid]]))
        ),
        "page-offset-too-large": folder(
            "an offset of 49 bits", "entry", 0, leaf(entry(content=[[0, 1 << 48, 99, 0, 5, cid]]))
        ),
        "page-piece-without-stored": folder(
            "a piece in the page's own block", "piece", 0, leaf(entry(content=[[0, 8, 0, 0, 5, cid]]))
        ),
        "page-hole-too-long": folder("a hole of 2^63 bytes", "entry", 0, leaf(entry(content=[[1 << 63]]))),
        "page-entries-too-many": folder(
            "a child with 2^32 - 1 entries", "message", 1, [[pack], [[b"name", at(1), [(1 << 32) - 1, 0, 0, 0]]]]
        ),
        "page-numbers-too-large": folder(
            "two folders of 2^32 - 2 entries",
            "numbers",
            0,
            leaf(*(entry(n, kind=1, content=[0, at(1), [(1 << 32) - 2, 0, 0, 0]]) for n in (b"a", b"b"))),
        ),
        "page-xattr-neither": folder(
            "an xattr that is neither bytes nor an extent",
            "xattrs",
            0,
            leaf(entry(xattrs=0), sets=[[[b"user.a", "text"]]]),
        ),
        "pieces-level-absurd": paged("pieces of 9 levels", "entry", 9),
        "pieces-level-is-text": paged("pieces of level one", "entry", "one"),
        "pieces-empty": paged("a page of no pieces", "message", 0, [[pack], []]),
        "pieces-index-empty": paged("an index page of no pieces", "message", 1, [[pack], []]),
        "pieces-cycle": paged(
            "an index page of pieces that is its own child", "message", 8, [[pack], [[at(1), 5]]]
        ),
        "pieces-cover-more": paged(
            "a page said to cover more than it does", "cover", 1, [[pack], [[at(2), 6]]], [[pack], [extent]]
        ),
        "pieces-cover-nothing": paged(
            "a page said to cover nothing", "message", 1, [[pack], [[at(2), 0]]], [[pack], [extent]]
        ),
        "windows-attributes-too-large": windows("attributes of 33 bits", "windows", attributes=1 << 32),
        "windows-attributes-are-text": windows("attributes given as text", "windows", attributes="A"),
        "windows-created-is-text": windows("a time of creation given as text", "windows", created="now"),
        "windows-security-out-of-table": windows("a descriptor in set 0 of 0", "table row", security=0),
        "windows-security-negative": windows("a descriptor in set -1", "windows", security=-1),
        "windows-security-of-another-kind": windows(
            "a descriptor that is a reparse point", "windows value", sets=[[[b"reparse", b"x"]]], security=0
        ),
        "windows-security-of-two-values": windows(
            "a set of two values", "windows value", sets=[[[b"reparse", b"x"], [b"security", b"x"]]], security=0
        ),
        "windows-security-neither": windows(
            "a descriptor that is neither bytes nor an extent", "xattrs", sets=[[[b"security", 5]]], security=0
        ),
        "windows-reparse-elsewhere": windows(
            "a reparse point in pack 1 of 1", "table", sets=[[[b"reparse", at(0, 1)]]], reparse=0
        ),
        "windows-extended-is-bytes": windows("extended attributes in the entry itself", "windows", extended=b"x"),
        "windows-short-not-unicode": windows("a short name that is not Unicode", "windows text", short=b"\xff"),
        "windows-efs-negative": windows("an encrypted file of -1 bytes", "windows", efs=-1),
        "windows-stream-not-unicode": windows(
            "a stream whose name is not Unicode", "windows text", streams=[stream(b"\xff")]
        ),
        "windows-stream-without-name": windows("a stream without a name", "windows names", streams=[stream(b"")]),
        "windows-stream-of-a-path": windows("a stream named \\a", "windows names", streams=[stream(b"\\a")]),
        "windows-stream-of-a-type": windows("a stream named a:b", "windows names", streams=[stream(b"a:b")]),
        "windows-stream-name-long": windows(
            "a stream's name of 256 units", "windows names", streams=[stream("\U0001f600".encode() * 128)]
        ),
        "windows-stream-twice": windows("a stream twice", "windows names", streams=[stream(b"a"), stream(b"a")]),
        "windows-streams-descend": windows(
            "streams out of order", "windows names", streams=[stream(b"b"), stream(b"a")]
        ),
        "windows-stream-of-two": windows("a stream without pieces", "windows", streams=[[b"a", 0]]),
        "windows-stream-nil": windows("nil for a stream's pieces", "entry", streams=[stream(b"a", None)]),
        "windows-stream-piece-between": windows(
            "a stream with a piece of two numbers", "piece", streams=[stream(b"a", [[5, 8]])]
        ),
        "windows-stream-pack-out-of-table": windows(
            "a stream in pack 1 of 1", "table", streams=[stream(b"a", [[1, 8, 99, 0, 5, cid]])]
        ),
        "windows-stream-pages-cover-more": windows(
            "a page of a stream's pieces said to cover more than it does",
            "cover",
            pages=([[pack], [[at(2), 6]]], [[pack], [extent]]),
            streams=[stream(b"a", {"l": 1, "a": at(1), "n": 1, "d": cid})],
        ),
        "pieces-page-is-a-folder": paged("a page of a folder where pieces should be", "message", 0, good),
    }
