"""A recovery point with everything that an archive has to carry, and what it holds."""

from __future__ import annotations

import random

from cache.reader import Reader
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.records import Point
from catalog.format.values import NodeKind, Owner, Subtree
from catalog.points.choice import Place, find
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.browse.resources.archives.tops import Spot, Top, tops
from tests.kit.drives import Maker, acl, add_item, add_machine, add_point
from tests.kit.vaults import new_vault

BIG = random.Random(7).randbytes(3 << 20)
SECOND = 10**9
LONG = b"n" * 255
SMALL = 300  # files in a folder of several pages


class Tree:
    """A vault with one point, and the contents of its files by path."""

    def __init__(self, vault: Vault | None = None) -> None:
        self.store = MemoryStore()
        self.vault = new_vault(self.store) if vault is None else vault
        self.contents: dict[bytes, bytes] = {}
        add_machine(self.vault)
        add_item(self.vault)
        self.maker = Maker(self.vault)
        self._points = 0
        self.point = self.add(self.maker.root([self._home()]))
        self.reader = Reader(self.vault)

    def add(self, root: Subtree) -> Point:
        """Another point, a minute after the last."""
        self._points += 1
        return add_point(self.vault, root, self._points, at=(1_790_000_000 + 60 * self._points) * SECOND)

    def place(self, path: bytes) -> Place:
        return place_of(self.reader, self.point, path)

    def tops(self, *paths: bytes) -> list[Top]:
        return tops([spot_of(self.reader, self.point, path) for path in paths])

    def spoil(self, path: bytes) -> None:
        """Change a byte of the first block of a file's contents in the store."""
        found = self.place(path).found
        assert found is not None
        pieces = found.leaf.pieces(found.entry)
        assert isinstance(pieces, list)
        at = pieces[0]
        assert isinstance(at, Extent)
        (name,) = (name for name in self.store.objects if name.endswith(at.pack.hex()))
        data = bytearray(self.store.objects[name])
        data[at.offset + at.stored // 2] ^= 1
        self.store.objects[name] = bytes(data)

    def close(self) -> None:
        self.reader.close()

    def _file(self, path: bytes, *parts: bytes | int, **fields: object) -> Node:
        name = path.rpartition(b"/")[2]
        self.contents[path] = b"".join(bytes(p) if isinstance(p, int) else p for p in parts)
        return self.maker.file(name, *parts, **fields)

    def _home(self) -> Node:
        m = self.maker
        rng = random.Random(1)
        small = []
        data = {b"file-%03d" % n: rng.randbytes(rng.randrange(1, 3000)) for n in range(SMALL)}
        for (name, text), at in zip(data.items(), m.data.blocks(data.values(), 1 << 18), strict=True):
            small.append(m.node(name, size=len(text), content=[at]))
            self.contents[b"home/many/" + name] = text
        m.data.finish()
        linked = [
            self._file(b"home/links/" + name, b"the same", link=5, nlink=3)
            for name in (b"first", b"second", b"third")
        ]
        xattrs = {
            b"user.plain": b"value\n\0=",
            b"user.a=b%c": b"odd name",
            b"user.long": m.out_of_line(b"x" * 2500),
            b"system.posix_acl_access": acl((1, 6, 0), (2, 4, 1234), (4, 4, 0), (16, 4, 0), (32, 0, 0)),
        }
        return m.folder(
            b"home",
            [
                m.folder(b"many", small),
                m.folder(b"links", linked),
                m.folder(b"empty", [], mode=0o1777, mtime=-1_500_000_000),
                self._file(b"home/big.bin", BIG[: 1 << 20], BIG[1 << 20 :]),
                self._file(b"home/sparse", b"head", 5 << 20, b"tail"),
                self._file(b"home/nothing"),
                self._file(b"home/attributes", b"data", xattrs=xattrs, mode=0o4755),
                self._file(b"home/raw \xff\xfe", b"raw"),
                self._file("home/grün 文".encode(), b"text"),
                self._file(b"home/" + LONG, b"long"),
                self._file(b"home/a\\..\\b", b"backslash"),
                self._file(b"home/C:evil", b"colon"),
                self._file(b'home/"\r\n<x>', b"quote"),
                self._file(
                    b"home/owned",
                    b"o",
                    owner=Owner(3_000_000_000, 2_500_000, "ümläut" * 8, "g" * 40),
                    mtime=9_999_999_999 * SECOND,
                ),
                m.folder(b"deep", [m.folder(LONG, [self._file(b"home/deep/" + LONG + b"/" + LONG, b"deep")])]),
                m.node(b"link", NodeKind.SYMLINK, content=b"many/file-001", mode=0o777),
                m.node(b"link-long", NodeKind.SYMLINK, content=b"\xfe/" * 100, mode=0o777),
                m.node(b"fifo", NodeKind.FIFO),
                m.node(b"null", NodeKind.CHAR_DEVICE, content=(1, 3)),
                m.node(b"disk", NodeKind.BLOCK_DEVICE, content=(259, 70000)),
                m.node(b"socket", NodeKind.SOCKET),
            ],
        )


def place_of(reader: Reader, point: Point, path: bytes) -> Place:
    return find(reader, point.root.subtree() if point.root else None, path)


def spot_of(reader: Reader, point: Point, path: bytes) -> Spot:
    place = place_of(reader, point, path)
    return Spot(point, place.path.strip(b"/"), place.number, place.folder)


def whole(reader: Reader, point: Point) -> Top:
    """A point as the one top of an archive."""
    return Top(b"top", spot_of(reader, point, b""))
