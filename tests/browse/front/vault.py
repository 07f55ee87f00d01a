"""A vault with what is hard to show: 100,000 names in a folder, names of strangers, texts, pictures, damage."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from catalog.format.nodes import Node
from catalog.format.values import NodeKind
from catalog.store.memory import MemoryStore
from catalog.vault_json import NAME
from mount.browse.resources.wire import path64
from tests.kit.browsing import Page, opened_as, page_of
from tests.kit.drives import Maker, acl, add_item, add_machine, add_point
from tests.kit.faults import UnreachableStore
from tests.kit.vaultmaker import open_empty

DAY = 86400 * 10**9
NOON = 1_795_348_800 * 10**9  # 2026-11-22T12:00:00Z
MANY = 100_000
NOBODY = 0xFFFFFFFF  # in rows of an ACL that name none
HOSTILE = (
    b"<img src=x onerror=document.title=1>", b"\"quotes' & <b>bold", b"line\r\nbreak", "\u202egnp.exe".encode(),
    b"raw\xff", b"x" * 255, b" spaces ", "zero\u200bwidth".encode(), b"${7*7}{{7*7}}",
    "\u05d0\u05d1\u05d2 \u0634".encode(),
    b"javascript:alert(1)",
)  # fmt: skip
PAGE = b"<script>document.title = 'ran'</script>\n"


def png() -> bytes:
    """A red square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + b"\xff\0\0" * 8 for _row in range(8)))
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class Shown(NamedTuple):
    """A page, and what it shows: the newest of two points, and the one before."""

    page: Page
    store: UnreachableStore
    new: str
    old: str

    def folder(self, path: str = "/", *, point: str = "") -> str:
        return f"/point/{point or self.new}/{path64(path.encode())}"

    def preview(self, path: str) -> str:
        return f"/preview/{self.new}/{path64(path.encode())}"


@contextmanager
def shown(folder: Path) -> Iterator[Shown]:
    memory = MemoryStore()
    store = UnreachableStore(memory, reachable=True)
    vault = open_empty(store)
    store.create(NAME, [vault.file.encode(vault.keys)])  # a page looks whether its vault is still there
    add_machine(vault)
    add_item(vault)
    maker = Maker(vault)
    kept = [maker.folder(b"kept", [maker.file(b"a.txt", b"older\n")])]
    old = add_point(vault, maker.root(kept), 1, NOON)
    texts = _texts(maker)
    damaged = bytearray(memory.objects[maker.data.names[-1]])
    damaged[len(damaged) // 3] ^= 1
    memory.objects[maker.data.names[-1]] = bytes(damaged)
    many = [maker.node(b"file-%06d.dat" % n, content=[], mtime=NOON - n) for n in range(MANY)]
    strange = [maker.file(name, b"x" * n) for n, name in enumerate(HOSTILE)]
    strange.append(maker.node(b"link", NodeKind.SYMLINK, content=b"../<b>kept</b>"))
    strange.append(maker.node(b"pipe", NodeKind.FIFO))
    away = [maker.file(b"one.txt", b"away and back\n")]
    root = [
        maker.folder(b"away", away), maker.folder(b"empty", []), maker.folder(b"many", many),
        maker.folder(b"kept", [maker.file(b"a.txt", b"newer\n")]), maker.folder(b"strange", strange),
        maker.folder(b"texts", texts),
    ]  # fmt: skip
    new = add_point(vault, maker.root(root), 2, NOON + DAY)
    with page_of(opened_as(folder, vault)) as page:
        yield Shown(page, store, new.id.hex(), old.id.hex())


def _texts(maker: Maker) -> list[Node]:
    """Files to look at; the last pack written is that of one which is damaged."""
    who = acl(
        (0x01, 6, 0xFFFFFFFF), (0x02, 4, 1234), (0x04, 4, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)
    )
    xattrs = {b"user.note": b"kept <i>here</i>", b"system.posix_acl_access": who}
    files = [
        maker.file(b"page.html", PAGE, xattrs=xattrs), maker.file(b"latin.txt", "caf\xe9".encode("latin-1")),
        maker.file(b"long.txt", b"".join(b"line %06d of a long text\n" % n for n in range(20_000))),
        maker.file(b"bytes.bin", bytes(range(256)) * 40), maker.file(b"square.png", png()),
        maker.file(b"nothing.txt"),
        maker.file(b"paper.pdf", b"%PDF-1.4\n%%EOF\n"),
        maker.file(b"picture.svg", b"<svg onload='document.title=1'/>"),
    ]  # fmt: skip
    return [*files, maker.file(b"broken.txt", b"this was a text\n" * 100)]
