"""A vault with two points of one item, whose entries are of every kind; and pages of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

from catalog.format.records import Point
from catalog.format.values import NodeKind
from mount.browse.resources.opened import Opened
from tests.kit.browsing import opened_as
from tests.kit.drives import Maker, acl, add_item, add_machine, add_point
from tests.kit.vaults import Remote

HOUR = 3600 * 10**9
START = 1_790_000_000 * 10**9
ODD = (
    b"\xff\xfe",
    b"<img src=x onerror=alert(1)>",
    b"a\r\nb",
    b"n" * 255,
    "\u202egnp.exe".encode(),
    b"README",
    b"readme",
)
LINES = "".join(f"line {n} with € and 𝄞\n" for n in range(40_000))


class Made(NamedTuple):
    """The vault, and the ids of its points, the oldest first."""

    remote: Remote
    points: list[str]


def made() -> Made:
    remote = Remote()
    vault = remote.vault
    add_machine(vault)
    add_item(vault)
    maker = Maker(vault)
    rights = acl((1, 6, 0), (2, 5, 77), (4, 4, 0), (8, 7, 1001), (16, 6, 0), (32, 0, 0))
    texts = maker.folder(b"texts", [
        maker.file(b"lines.txt", LINES.encode()),
        maker.file(b"latin.txt", "Größe\n".encode("latin-1")),
        maker.file(b"page.html", b"<!DOCTYPE html><script>alert(1)</script>"),
        maker.file(b"image.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"),
        maker.file(b"empty"),
        maker.file(b"holes", b"begin", 1_000_000, b"end"),
    ])  # fmt: skip
    kinds = maker.folder(b"kinds", [
        maker.node(b"link", NodeKind.SYMLINK, size=8, content=b"../texts"),
        maker.node(b"pipe", NodeKind.FIFO),
        maker.node(b"disk", NodeKind.BLOCK_DEVICE, content=(8, 17)),
        maker.node(b"unknown", cast(NodeKind, 9)),
        maker.folder(b"empty", []),
        maker.file(
            b"rights", b"x", mode=0o4750, nlink=2, link=1, mtime=0,
            xattrs={
                b"system.posix_acl_access": rights, b"user.note": "grün".encode(),
                b"user.raw": bytes(range(256)) * 3,
               
                b"user.large": maker.out_of_line(b"L" * 10_000), b"user.huge": maker.out_of_line(b"H" * 200_000),
            },
        ),
    ])  # fmt: skip
    odd = maker.folder(b"odd", [maker.file(name, b"1") for name in ODD])
    many = maker.folder(b"many", [maker.node(b"%05d" % n, content=[]) for n in range(1000)])
    for name in (b"e", b"d", b"c", b"b", b"a"):
        many = maker.folder(name, [many])
    turned = maker.folder(b"turned", [maker.file(b"inside", b"2")])
    both = [texts, kinds, odd, many]
    points: list[Point] = [
        add_point(vault, maker.root([*both, turned]), 1, START),
        add_point(vault, maker.root([*both, maker.file(b"turned", b"now a file")]), 2, START + HOUR),
        add_point(vault, None, 3, START + 2 * HOUR),
    ]
    return Made(remote, [point.id.hex() for point in points])


@contextmanager
def opened(made: Made, folder: Path) -> Iterator[Opened]:
    """The vault, as another process opens it."""
    found = opened_as(folder, made.remote.opened())
    try:
        yield found
    finally:
        found.close()
