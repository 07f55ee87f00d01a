"""A small vault, the same bytes each time: all values that are random elsewhere are fixed here.

The output of zstd differs between its versions, so all frames are raw except one, whose bytes are given here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from catalog.format import packs, sealed
from catalog.format.admins import make_admin
from catalog.format.blocks import FRAME, RAW, ZSTD, Buffer, PackKind
from catalog.format.keys import FileDigest, Keys
from catalog.format.nodes import Node
from catalog.format.packs import Extent, PackBuilder
from catalog.format.records import (
    IndexedPack,
    IndexObject,
    Item,
    Job,
    JobName,
    Machine,
    Point,
    PointName,
    Problem,
    Root,
    encode_record,
)
from catalog.format.sealed import Kind, seal_object
from catalog.format.slots import make_slot
from catalog.format.values import Hole, NodeKind, OutOfLine, Owner, Piece
from catalog.format.vaultfile import Immutable, VaultFile
from catalog.format.writing import FolderWriter, PieceWriter, begins_page, ends_page
from tests.kit.vaults import CHEAP

MASTER = bytes(range(32))
VAULT_ID = bytes(range(0xA0, 0xB0))
KEYS = Keys(MASTER, VAULT_ID)
PASSPHRASE = "a long enough passphrase"
PIN = "a passphrase of the admin"
PRIVATE = bytes(range(32, 64))  # the key of an admin
CREATED = "2026-01-02T03:04:05+00:00"
TIME = 1_767_323_045_123_456_789  # 2026-01-02T03:04:05.123456789Z
ROOT_OWNER = Owner(0, 0, "root", "root")

ZSTD_RAW = b"zstd " * 1000
ZSTD_PAYLOAD = bytes.fromhex("28b52ffd6088126d0000287a7374642001008083be6801")


def fixed(label: str, size: int = 16) -> bytes:
    """Fixed bytes in place of random ones."""
    return (label.encode() * size)[:size]


MACHINE = fixed("machine")


def pack_id(label: str) -> bytes:
    """A fixed id for a pack of the machine."""
    return MACHINE[:4] + b"\0" + fixed(label, 11)


def raw_frame(raw: Buffer, level: int = 3) -> bytes:
    return FRAME.pack(RAW, len(raw)) + raw


def zstd_frame() -> bytes:
    return FRAME.pack(ZSTD, len(ZSTD_RAW)) + ZSTD_PAYLOAD


@contextmanager
def raw_frames() -> Iterator[None]:
    """A context in which nothing is compressed."""
    with mock.patch.object(packs, "encode_frame", raw_frame), mock.patch.object(sealed, "encode_frame", raw_frame):
        yield


def put(pack: PackBuilder, *chunks: bytes, frame: bytes | None = None) -> list[Extent]:
    """Chunks as one block at the end of a pack."""
    ids = [KEYS.chunk_id(c) for c in chunks]
    raw = raw_frame(b"".join(chunks)) if frame is None else frame
    row = pack.add(raw, [len(c) for c in chunks], b"".join(ids))
    return list(row.extents(pack.id))


class TreeBlock:
    """Pages that will be one block of a tree pack: they refer to each other with a stored length of 0."""

    def __init__(self, pack: PackBuilder) -> None:
        self.pack = pack
        self.chunks: list[bytes] = []
        self.size = 0

    def write(self, page: bytes) -> Extent:
        at = Extent(self.pack.id, self.pack.size, 0, self.size, len(page), KEYS.chunk_id(page))
        self.chunks.append(page)
        self.size += len(page)
        return at

    def seal(self, at: Extent) -> Extent:
        """Close the block. Returns the extent of one of its pages, for references from other blocks."""
        return put(self.pack, *self.chunks)[0]._replace(inner=at.inner, length=at.length, id=at.id)


def names_that_begin_pages(count: int) -> list[bytes]:
    found = [n for i in range(2000) if begins_page(n := b"name %d" % i, 0)]
    return sorted(found)[:count]


def chunk_that_ends_a_page() -> bytes:
    return next(c for i in range(10_000) if ends_page(KEYS.chunk_id(c := b"ends %d" % i), 0))


def node(name: bytes, kind: NodeKind, number: int, **fields: Any) -> Node:
    """An entry; `number` makes its fields differ from those of others."""
    usual: dict[str, Any] = {"mode": 0o644, "owner": ROOT_OWNER, "size": 0, "mtime": TIME - number, "ctime": TIME}
    return Node(name=name, kind=kind, inode=1000 + number, **(usual | fields))


def file(name: bytes, number: int, pieces: list[Piece], **fields: Any) -> Node:
    return node(name, NodeKind.FILE, number, size=sum(p.length for p in pieces), content=pieces, **fields)


class GoldenVault:
    """`objects` is the vault, as name -> bytes; the other attributes are for tests that damage it."""

    system = "Linux"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        with raw_frames():
            self._make()

    def _make(self) -> None:
        self.slot = make_slot(
            MASTER, VAULT_ID, PASSPHRASE, CREATED, kdf=CHEAP, salt=fixed("slot salt"), slot_id="0badcafe"
        )
        self.admin = make_admin(KEYS, PRIVATE, CREATED)
        pin = make_admin(KEYS, fixed("second key", 32), CREATED, PIN, kdf=CHEAP, salt=fixed("admin salt"))
        self.vault_file = VaultFile(
            VAULT_ID,
            1,
            CREATED,
            (self.slot,),
            (self.admin, pin),
            soft_delete_days=30,
            immutable=Immutable(90, False),
        )
        self.objects["vault.json"] = self.objects["vault/1.json"] = self.vault_file.encode(KEYS)
        self._data()
        self._tree()
        self._records()

    def _data(self) -> None:
        one = PackBuilder(KEYS, PackKind.DATA, MACHINE, pack_id=pack_id("data pack one"))
        self.small, self.other = put(one, b"hello, drive\n", b"other\n")
        (self.zstd,) = put(one, ZSTD_RAW, frame=zstd_frame())
        two = PackBuilder(KEYS, PackKind.DATA, MACHINE, pack_id=pack_id("data pack two"))
        self.ending, self.last = put(two, chunk_that_ends_a_page(), b"hello, there\n")
        self.data = [one, two]

    def _tree(self) -> None:
        pack = PackBuilder(KEYS, PackKind.TREE, MACHINE, pack_id=pack_id("tree pack"))
        below = TreeBlock(pack)
        folder = FolderWriter(below.write)
        self.names = names_that_begin_pages(3)
        for n, name in enumerate(self.names):
            folder.add(file(name, n, [self.small]))
        many = folder.finish()
        assert many is not None and many.level == 1

        folder = FolderWriter(below.write)
        for name in (b"a", b"b", b"c"):
            folder.add(file(name, 15, [Hole(2**63 - 1)]))
        giants = folder.finish()
        assert giants is not None and giants.totals.bytes == 2**64 - 1, "more than a total holds"

        some: list[Piece] = [self.small, Hole(7), self.ending]
        pieces = [*some * 12, Hole(1 << 40), self.zstd]
        writer, digest = PieceWriter(below.write), FileDigest()
        for p in pieces:
            writer.add(p)
            digest.add(p.length, None if isinstance(p, Hole) else p.id)
        paged = writer.finish(digest.digest(), sum(p.length for p in pieces if not isinstance(p, Hole)))
        assert not isinstance(paged, list) and paged.level >= 1
        outside = below.seal(paged.at)
        self.pages = outside
        giants = giants._replace(
            at=outside._replace(inner=giants.at.inner, length=giants.at.length, id=giants.at.id)
        )
        many = many._replace(at=outside._replace(inner=many.at.inner, length=many.at.length, id=many.at.id))
        paged = paged._replace(at=outside)

        top = TreeBlock(pack)
        large = OutOfLine(top.write(b"x" * 5000))
        acl = bytes.fromhex("0200000001000700ffffffff04000500ffffffff20000500ffffffff")
        root = FolderWriter(top.write)
        size = sum(p.length for p in pieces)
        for entry in (
            node(b"block", NodeKind.BLOCK_DEVICE, 2, content=(8, 1)),
            node(b"char", NodeKind.CHAR_DEVICE, 3, content=(1, 3)),
            file(b"compressed", 4, [self.zstd], mtime=-1, more={"future": [1, "two", b"three"]}),
            file(b"empty", 5, []),
            node(b"empty folder", NodeKind.FOLDER, 6, mode=0o1777),
            node(b"giants", NodeKind.FOLDER, 14, content=giants),
            file(b"link a", 7, [self.last], nlink=2, link=1, mode=0o4755),
            file(b"link b", 7, [self.last], nlink=2, link=1, mode=0o4755),
            node(b"many", NodeKind.FOLDER, 8, content=many, mode=0o755),
            node(b"paged", NodeKind.FILE, 9, size=size, content=paged),
            node(b"socket", NodeKind.SOCKET, 10),
            file(b"sparse", 11, [Hole(4096), self.other, Hole(10)], xattrs={b"user.big": large, b"user.a": b"1"}),
            node(b"symlink", NodeKind.SYMLINK, 12, mode=0o777, size=12, content=b"hello\xfe/there"),
            file(b"with acl", 13, [self.small], xattrs={b"system.posix_acl_access": acl}),
            node(b"\xff not UTF-8", NodeKind.FIFO, 1, mode=0o600, owner=Owner(1000, 1000)),
        ):
            root.add(entry)
        tree = root.finish()
        assert tree is not None and tree.level == 0
        self.root = tree._replace(at=top.seal(tree.at))
        self.tree = pack

    def _records(self) -> None:
        for pack in (*self.data, self.tree):
            self.objects[pack.name] = b"".join(pack.finish())
        machine, item = MACHINE, fixed("item")
        self.machine = Machine(id=machine, name="laptop", hostname="laptop.example", system="Linux", created=TIME)
        # Renamed and forgotten later: the newest version counts.
        self.forgotten = Machine(
            id=machine,
            name="old laptop",
            hostname="laptop.example",
            system="Linux",
            created=TIME,
            forgotten=True,
            shares=[fixed("other machine")],
        )
        self.item = Item(id=item, machine=machine, name="home", paths=[b"/home/\xff"], created=TIME)
        self.index = IndexObject(packs=[IndexedPack(pack.id, pack.rows) for pack in self.data])
        self.index_name = f"index/{machine.hex()}/{fixed('index').hex()}"
        self.point = Point(
            id=fixed("point"), machine=machine, item=item, machine_name="laptop", item_name="home",
            hostname="laptop.example", system=self.system, sequence=1, time=TIME, finished=TIME + 5 * 10**9,
            paths=[b"/home/\xff"], excludes=["*.tmp"], root=Root.of(self.root), trusted=TIME - 10**9, links=1,
            tree_blocks=2, fresh_blocks=2, new_bytes=5050, stored_bytes=4000, problem_count=1,
            problems=[Problem(b"home/\xff", "Permission denied")], checked=TIME + 4 * 10**9,
        )  # fmt: skip
        self.empty_point = Point(
            id=fixed("empty point"), machine=machine, item=item, machine_name="laptop", item_name="home",
            hostname="laptop.example", system=self.system, sequence=2, previous=self.point.id, time=TIME + 10**12,
            finished=TIME + 10**12, paths=[b"/home/\xff"], partial=True,
        )  # fmt: skip
        self.point_name, self.empty_name = (str(PointName.of(p)) for p in (self.point, self.empty_point))
        self.job = Job(
            id=fixed("job"), machine=machine, item=item, kind="backup", outcome="completed with warnings",
            machine_name="laptop", item_name="home", hostname="laptop.example", time=TIME,
            finished=TIME + 6 * 10**9, point=self.point.id, entries=20, files=12, bytes=5050, new=20,
            read_bytes=5050, new_bytes=5050, stored_bytes=4321, problem_count=1,
            problems=[Problem(b"home/\xff", "Permission denied")],
        )  # fmt: skip
        self.job_name = str(JobName.of(self.job))
        for kind, name, record in (
            (Kind.MACHINE, f"machines/{machine.hex()}/00000001", self.machine),
            (Kind.MACHINE, f"machines/{machine.hex()}/00000002", self.forgotten),
            (Kind.JOB, self.job_name, self.job),
            (Kind.ITEM, f"items/{machine.hex()}/{item.hex()}/00000001", self.item),
            (Kind.POINT, self.point_name, self.point),
            (Kind.POINT, self.empty_name, self.empty_point),
            (Kind.INDEX, self.index_name, self.index),
        ):
            self.objects[name] = seal_object(KEYS, kind, name, encode_record(record), salt=fixed(name, 32))
