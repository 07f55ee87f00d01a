"""What is in the objects of a made-up vault. Each is sealed as rpdrive seals it, but not compressed.

So the size of an object is the same for each machine, and a listing of twenty million objects needs none of them.
Point n changes one file: in folder n % folders, and the next one there each time. Every AFRESH points, the tree is
written whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from catalog.format.blocks import FRAME, RAW, PackKind, seal_block
from catalog.format.keys import GENERATION, VERSION, Keys
from catalog.format.nodes import Node
from catalog.format.packs import HEADER, TRAILER, TRAILER_MAGIC, BlockRow, Extent, PackBuilder
from catalog.format.records import (
    IndexedPack,
    IndexObject,
    Item,
    Job,
    Machine,
    Outcome,
    Point,
    Root,
    encode_record,
)
from catalog.format.sealed import HEADER as OBJECT_HEADER
from catalog.format.sealed import MAGIC, Kind, _key
from catalog.format.values import NodeKind, Owner, Subtree
from catalog.format.writing import begins_page, write_folder
from tests.kit.made.shape import (
    AFRESH,
    MOST,
    SECOND,
    Made,
    Names,
    Shape,
    drawn,
    item_id,
    machine_id,
    machine_name,
    pack_id,
    point_id,
)

FILE_BYTES = 64
OWNER = Owner(1000, 1000, "someone", "people")
_SEALED = OBJECT_HEADER.size + 32 + FRAME.size + 16  # bytes that sealing adds to a record: also a salt and a tag
_encoder = msgspec.msgpack.Encoder()


def _names(pattern: str) -> list[bytes]:
    """Names of which none begins a page, in order."""
    names = (pattern.format(n).encode() for n in range(1000))
    return [name for name in names if not begins_page(name, 0)][:MOST]


FOLDERS, FILES = _names("folder-{:03d}"), _names("file-{:03d}.txt")


class Contents:
    """The objects of one vault. Of points without folders, `roots` are the trees, by turns of `turn` points."""

    def __init__(self, keys: Keys, shape: Shape) -> None:
        if not (0 <= shape.folders <= MOST and 0 < shape.files <= MOST):
            raise ValueError(f"up to {MOST} folders of up to {MOST} files")
        self.keys, self.shape, self.names = keys, shape, Names(shape)
        self.roots: Sequence[Subtree] = ()
        self.turn = 1
        self.block = lru_cache(1 << 6)(self._block)
        self.page = lru_cache(1 << 8)(self._page)

    def sizes(self, group: str, *, is_start: bool = False) -> list[int]:
        """The sizes of a group's objects by point, the last for all after it: they are equal for all machines."""
        few = {"machines": 1, "items": 1, "packs": 2, "index": 2}.get(group, self.shape.points)
        made = [Made(group, 0, point, is_start) for point in range(min(few, self.shape.points))]
        if group in ("packs", "meta"):
            return [len(self.object(one)) for one in made]
        if self.shape.folders:
            return [self._record_size(one) for one in made]
        alike = {self._alike(one.point): one for one in reversed(made)}
        sizes = {key: self._record_size(one) for key, one in alike.items()}
        return [sizes[self._alike(one.point)] for one in made]

    def _record_size(self, made: Made) -> int:
        return _SEALED + len(encode_record(self._record(*made)[0]))

    def _alike(self, point: int) -> tuple[bool, int, Subtree | None]:
        """Points without folders for which this is the same have records of the same sizes."""
        return point > 0, len(_encoder.encode(point + 1)), self.root(0, point)

    def object(self, made: Made) -> bytes:
        """The bytes of an object."""
        group, machine, point, is_start = made
        if group == "packs":
            return b"".join(self._finished(self._data(machine, point)))
        if group == "meta":
            return b"".join(self._finished(self._tree(machine, point)[0]))
        record, kind = self._record(group, machine, point, is_start)
        return self._sealed(kind, self.names.name(made), encode_record(record))

    # --- records ----------------------------------------------------------------------------------------------

    def _record(
        self, group: str, machine: int, point: int, is_start: bool
    ) -> tuple[Machine | Item | Point | Job | IndexObject, Kind]:
        shape, owner, name = self.shape, machine_id(machine), machine_name(machine)
        begin = shape.time(machine, point)
        match group:
            case "machines":
                return Machine(
                    id=owner, name=name, hostname=name, system="Linux", created=shape.time(machine, 0)
                ), Kind.MACHINE
            case "items":
                return Item(
                    id=item_id(machine), machine=owner, name="root", paths=[b"/"], created=shape.time(machine, 0)
                ), Kind.ITEM
            case "points":
                return self.point(machine, point), Kind.POINT
            case "index":
                pack = self._data(machine, point)
                return IndexObject(packs=[IndexedPack(pack.id, pack.rows)]), Kind.INDEX
        total = shape.folders * (shape.files + 1)
        job = Job(
            id=drawn(b"job", machine, point), machine=owner, item=item_id(machine), kind="backup",
            outcome="running", machine_name=name, item_name="root", hostname=name, time=begin, finished=0,
            boot="made up",
        )  # fmt: skip
        if is_start:
            return job, Kind.JOB
        return msgspec.structs.replace(
            job, outcome=str(Outcome.COMPLETED), finished=begin + 50 * SECOND, point=point_id(machine, point),
            entries=total, files=total - shape.folders, bytes=(total - shape.folders) * FILE_BYTES, changed=1,
            unchanged=total - 1, read_bytes=FILE_BYTES, new_bytes=FILE_BYTES, stored_bytes=1000,
        ), Kind.JOB  # fmt: skip

    def point(self, machine: int, point: int) -> Point:
        """The record of a point."""
        name, begin, root = machine_name(machine), self.shape.time(machine, point), self.root(machine, point)
        return Point(
            id=point_id(machine, point), machine=machine_id(machine), item=item_id(machine), machine_name=name,
            item_name="root", hostname=name, system="Linux", sequence=point + 1,
            previous=point_id(machine, point - 1) if point else None, time=begin, finished=begin + 50 * SECOND,
            paths=[b"/"], root=Root.of(root) if root else None, trusted=begin, tree_blocks=1 + point % AFRESH,
            fresh_blocks=1, new_bytes=FILE_BYTES, stored_bytes=1000, checked=begin, distinct_names=True,
        )  # fmt: skip

    def _sealed(self, kind: Kind, name: str, content: bytes) -> bytes:
        """As `seal_object`, but never compressed."""
        salt = blake2b(name.encode(), digest_size=32).digest()
        header = OBJECT_HEADER.pack(MAGIC, VERSION, kind, GENERATION)
        frame = FRAME.pack(RAW, len(content)) + content
        ad = header + self.keys.vault_id + name.encode()
        return header + salt + AESGCM(_key(self.keys, kind, salt)).encrypt(bytes(12), frame, ad)

    # --- files and data packs ---------------------------------------------------------------------------------

    def version(self, folder: int, file: int, point: int) -> int:
        """The point that wrote what a file has in `point`."""
        folders, files = self.shape.folders, self.shape.files
        turn = (point - folder) // folders
        turn -= (turn - file) % files
        return max(turn * folders + folder, 0) if turn >= 0 else 0

    def changed(self, folder: int, point: int) -> int:
        """The last point up to `point` that changed a file of a folder; 0 if none did."""
        return max((point - folder) // self.shape.folders * self.shape.folders + folder, 0)

    def data(self, machine: int, folder: int, file: int, version: int) -> bytes:
        """The bytes of a file."""
        return blake2b(b"%d/%d/%d/%d" % (machine, folder, file, version), digest_size=FILE_BYTES).digest()

    def node(self, machine: int, folder: int, file: int, point: int) -> Node:
        """The entry of a file."""
        version = self.version(folder, file, point)
        data = self.data(machine, folder, file, version)
        inner = 0 if version else (folder * self.shape.files + file) * FILE_BYTES
        raw = FILE_BYTES if version else self.shape.folders * self.shape.files * FILE_BYTES
        at = Extent(
            pack_id(PackKind.DATA, machine, version), HEADER.size, raw + FRAME.size + 16, inner, FILE_BYTES,
            self.keys.chunk_id(data),
        )  # fmt: skip
        time = self.shape.time(machine, version)
        inode = 1000 + folder * MOST + file
        return Node(FILES[file], NodeKind.FILE, 0o644, OWNER, FILE_BYTES, time, time, inode, content=[at])

    def folder_node(self, machine: int, folder: int) -> Node:
        """The entry of a folder, without its pages."""
        time = self.shape.time(machine, 0)
        return Node(FOLDERS[folder], NodeKind.FOLDER, 0o755, OWNER, 0, time, time, 100 + folder)

    def _data(self, machine: int, point: int) -> PackBuilder:
        """The data pack that a point wrote: all files, or the one that has changed."""
        shape = self.shape
        files = [(point % shape.folders, point // shape.folders % shape.files)]
        if not point:
            files = [(folder, file) for folder in range(shape.folders) for file in range(shape.files)]
        chunks = [self.data(machine, folder, file, point) for folder, file in files]
        pack = PackBuilder(
            self.keys, PackKind.DATA, machine_id(machine), pack_id=pack_id(PackKind.DATA, machine, point)
        )
        raw = b"".join(chunks)
        ids = b"".join(map(self.keys.chunk_id, chunks))
        pack.add(FRAME.pack(RAW, len(raw)) + raw, [FILE_BYTES] * len(chunks), ids)
        return pack

    # --- trees ------------------------------------------------------------------------------------------------

    def root(self, machine: int, point: int) -> Subtree | None:
        """The tree of a point, if it has one."""
        if self.shape.folders:
            return self._tree(machine, point)[1]
        return self.roots[point // self.turn % len(self.roots)] if self.roots else None

    def _tree(self, machine: int, point: int) -> tuple[PackBuilder, Subtree]:
        """The tree pack that a point wrote, of one block, and the tree of all."""
        pages, subtree = self.block(machine, point)
        pack = PackBuilder(
            self.keys, PackKind.TREE, machine_id(machine), pack_id=pack_id(PackKind.TREE, machine, point)
        )
        raw = b"".join(pages)
        ids = b"".join(map(self.keys.chunk_id, pages))
        pack.add(FRAME.pack(RAW, len(raw)) + raw, [len(page) for page in pages], ids)
        return pack, subtree

    def _block(self, machine: int, point: int) -> tuple[list[bytes], Subtree]:
        """The pages that a point wrote, and its tree: one page for each folder that changed, and one above them."""
        folders = self.shape.folders
        own = range(folders) if point % AFRESH == 0 else [point % folders]
        pages = [self.page(machine, folder, self.changed(folder, point))[0] for folder in own]

        def write(page: bytes) -> Extent:
            inner = sum(map(len, pages))
            pages.append(page)
            return self._extent(machine, point, 0, inner, page)

        nodes = []
        for folder in range(folders):
            node = self.folder_node(machine, folder)
            last = self.changed(folder, point)
            content = self.page(machine, folder, last)[1]
            if folder in own:
                place = list(own).index(folder)
                at = self._extent(machine, point, 0, sum(map(len, pages[:place])), pages[place])
            else:
                at = self._earlier(machine, folder, max(last, point - point % AFRESH))
            node.content = Subtree(0, at, content.totals)
            nodes.append(node)
        tree = write_folder(nodes, write)
        assert tree is not None and tree.level == 0
        return pages, tree._replace(at=tree.at._replace(stored=self._stored(pages)))

    def _earlier(self, machine: int, folder: int, point: int) -> Extent:
        """The page of a folder in the block that an earlier point wrote."""
        pages, _tree = self.block(machine, point)
        place = folder if point % AFRESH == 0 else 0
        return self._extent(machine, point, self._stored(pages), sum(map(len, pages[:place])), pages[place])

    @staticmethod
    def _stored(pages: list[bytes]) -> int:
        return sum(map(len, pages)) + FRAME.size + 16

    def _extent(self, machine: int, point: int, stored: int, inner: int, page: bytes) -> Extent:
        pack = pack_id(PackKind.TREE, machine, point)
        return Extent(pack, HEADER.size, stored, inner, len(page), self.keys.chunk_id(page))

    def _page(self, machine: int, folder: int, point: int) -> tuple[bytes, Subtree]:
        """The page of a folder as it was after a point, and its totals."""
        found: list[bytes] = []

        def write(page: bytes) -> Extent:
            found.append(page)
            return Extent(bytes(16), 0, 0, 0, len(page), bytes(16))

        files = range(self.shape.files)
        tree = write_folder([self.node(machine, folder, file, point) for file in files], write)
        (page,) = found
        assert tree is not None
        return page, tree

    def _finished(self, pack: PackBuilder) -> list[bytes]:
        """As `PackBuilder.finish`, but the table of contents is never compressed."""
        rows: list[BlockRow] = pack.rows
        contents = _encoder.encode(rows)
        frame = FRAME.pack(RAW, len(contents)) + contents
        sealed = seal_block(self.keys, pack.kind.contents, pack.id, pack.size, frame)
        return [*map(bytes, pack.parts), sealed, TRAILER.pack(pack.size, len(sealed), TRAILER_MAGIC)]
