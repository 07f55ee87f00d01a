"""A small vault of a Windows machine, the same bytes each time, with every Windows key of `more`."""

from __future__ import annotations

from typing import Any

from catalog.format.blocks import PackKind
from catalog.format.keys import FileDigest
from catalog.format.nodes import Node
from catalog.format.packs import PackBuilder
from catalog.format.values import Hole, NodeKind, OutOfLine, Owner, Piece
from catalog.format.windows import Stream, Windows
from catalog.format.writing import FolderWriter, PieceWriter
from tests.kit.golden_vault import KEYS, MACHINE, TIME, GoldenVault, TreeBlock, file, node, pack_id

OWNER = Owner(-1, -1, "LAPTOP\\anna", "S-1-5-21-1-2-3-513")
ARCHIVE, DIRECTORY, SPARSE, REPARSE, ENCRYPTED = 0x20, 0x10, 0x200, 0x400, 0x4000
# O:BAG:BAD:P(A;;GA;;;SY), with the SIDs of owner and group after the ACL.
SECURITY = bytes.fromhex(
    "0100048030000000400000000000000014000000"
    "02001c00010000000000140000000010010100000000000512000000"
    "01020000000000052000000020020000"
    "01020000000000052000000020020000"
)
# A junction to C:\here: the substitute name, then the print name.
NAMES = "\\??\\C:\\here\0C:\\here\0".encode("utf-16-le")
JUNCTION = b"".join(
    n.to_bytes(size, "little") for n, size in ((0xA0000003, 4), (8 + len(NAMES), 2), (0, 2), (0, 2), (22, 2))
) + b"".join(n.to_bytes(2, "little") for n in (24, 14)) + NAMES  # fmt: skip
# FILE_FULL_EA_INFORMATION of one attribute: no next one, no flags, lengths of name and value, name, value.
EXTENDED = bytes.fromhex("00000000 00 06 0400") + b"$LXUID\0" + (1000).to_bytes(4, "little")


def known(attributes: int = ARCHIVE, **fields: Any) -> Windows:
    usual: dict[str, Any] = {"created": TIME - 10**15, "security": SECURITY}
    return Windows(attributes, **(usual | fields))


class GoldenWindowsVault(GoldenVault):
    system = "Windows"

    def _tree(self) -> None:
        pack = PackBuilder(KEYS, PackKind.TREE, MACHINE, pack_id=pack_id("windows tree"))
        below = TreeBlock(pack)
        pieces: list[Piece] = [self.small, Hole(7), self.ending] * 12
        writer, digest = PieceWriter(below.write), FileDigest()
        for p in pieces:
            writer.add(p)
            digest.add(p.length, None if isinstance(p, Hole) else p.id)
        paged = writer.finish(digest.digest(), sum(p.length for p in pieces if not isinstance(p, Hole)))
        assert not isinstance(paged, list)
        paged = paged._replace(at=below.seal(paged.at))
        self.stream_page = paged.at

        block = TreeBlock(pack)
        large = OutOfLine(block.write(SECURITY[:-32] + bytes(5000) + SECURITY[-32:]))
        drive = FolderWriter(block.write)
        zone, ending = Stream("Zone.Identifier", self.other.length, [self.other]), self.ending
        odd = Stream("\ud800 \U0001f600", 10 + ending.length, [Hole(10), ending])
        entries = [
            file(b"a file", 1, [self.small], windows=known(streams=[zone, odd], short_name="AFILE~1")),
            file(b"encrypted", 2, [self.last], windows=known(ARCHIVE | ENCRYPTED, efs=7)),
            file(b"far", 3, [], windows=known(security=large, extended=EXTENDED)),
            node(
                b"folder", NodeKind.FOLDER, 4, mode=0o755, more={"future": [1, "two", b"three"]},
                windows=known(DIRECTORY, streams=[zone]),
            ),
            node(
                b"junction", NodeKind.SYMLINK, 5, mode=0o777, content=b"here", size=4,
                windows=known(DIRECTORY | REPARSE, reparse=JUNCTION),
            ),
            file(b"no descriptor", 6, [], windows=known(security=None, created=None)),
            file(b"of another system", 7, []),
            file(b"oldest", 8, [], windows=known(created=-(2**63))),
            file(
                b"paged", 9, [], xattrs={b"user.a": b"1"},
                windows=known(streams=[Stream("many", sum(p.length for p in pieces), paged), zone]),
            ),
            file(b"sparse", 10, [Hole(1 << 40), self.small], windows=known(ARCHIVE | SPARSE)),
        ]  # fmt: skip
        for entry in entries:
            drive.add(self._owned(entry))
        root = FolderWriter(block.write)
        root.add(self._owned(node(b"C", NodeKind.FOLDER, 0, content=drive.finish(), windows=known(DIRECTORY))))
        tree = root.finish()
        assert tree is not None
        self.root = tree._replace(at=block.seal(tree.at))
        self.tree = pack

    @staticmethod
    def _owned(entry: Node) -> Node:
        if entry.windows is not None:
            entry.owner = OWNER
        return entry
