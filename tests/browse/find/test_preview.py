"""The first look at a file goes by its first bytes; its text and hex come in pages; damage names the file."""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import Damaged, NotFound
from mount.browse.resources import preview as preview_module
from mount.browse.resources.opened import Opened
from mount.browse.resources.preview import TEXT_PAGE, encoding_of, hex_page, kind_of, media_type, preview, text
from tests.browse.find.vaults import LINES, Made, made, opened
from tests.kit.drives import Maker, add_machine, add_point
from tests.kit.vaults import Remote

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\0" * 20
HUGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 2**31 - 1, 2**31 - 1) + b"\0" * 20
WEBP = b"RIFF\x00\x01\x00\x00WEBPVP8X" + struct.pack("<II", 10, 0) + b"\xff\x03\x00\xff\x02\x00" + b"\0" * 20
AVIF = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"mif1", 0, b"miaf", b"avif") + b"\0" * 20


@pytest.fixture(scope="module")
def vault() -> Made:
    return made()


@pytest.fixture(scope="module")
def page(vault: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    with opened(vault, tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.mark.parametrize(
    ("head", "kind", "media"),
    [
        (PNG, "image", "image/png"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 30, "image", "image/jpeg"),
        (b"GIF89a" + struct.pack("<HH", 10, 10) + b"\0" * 20, "image", "image/gif"),
        (WEBP, "image", "image/webp"),
        (AVIF, "image", "image/avif"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "pdf", "application/pdf"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text", "text/plain"),
        (b"<!DOCTYPE html><html>", "text", "text/plain"),
        (b"<?xml version='1.0'?>", "text", "text/plain"),
        (b"#!/bin/sh\n\x1b[1mbold\x1b[0m\n", "text", "text/plain"),
        (b" %PDF-1.7 is not at the begin", "text", "text/plain"),
        (b"BM" + b"\0" * 30, "hex", "application/octet-stream"),  # a bitmap: no browser needs to show it
        (b"\x7fELF\x02\x01\x01" + b"\0" * 30, "hex", "application/octet-stream"),
        (struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0), "hex", "application/octet-stream"),
        (HUGE, "hex", "image/png"),
    ],
)  # fmt: skip
def test_the_kind_by_the_first_bytes(head: bytes, kind: str, media: str) -> None:
    found, known, why = kind_of(head, len(head))
    assert (found, known) == (kind, media)
    assert bool(why) == (kind == "hex")


def test_a_large_image_is_not_shown() -> None:
    assert kind_of(PNG, preview_module.IMAGE_MAX)[0] == "image"
    kind, _media, why = kind_of(PNG, preview_module.IMAGE_MAX + 1)
    assert kind == "hex"
    assert "32 MiB" in why


def test_no_head_is_too_short_or_too_strange() -> None:
    rng = random.Random(4)
    for head in (PNG, HUGE, WEBP, AVIF, b"GIF89a", b"%PDF-", "€".encode("utf-16")):
        for n in range(len(head) + 1):
            kind_of(head[:n], n)
    for _ in range(2000):
        head = rng.choice((b"", b"RIFF", b"\0\0\0\x20ftyp", b"\xff\xfe", b"\xef\xbb\xbf")) + rng.randbytes(20)
        assert kind_of(head, 10**6)[0] in ("text", "image", "pdf", "hex")
        assert media_type(head) in ("", "image/webp", "image/avif")


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"plain", "utf-8"),
        ("grün €".encode(), "utf-8"),
        ("grün €".encode()[:-1], "utf-8"),  # cut in the middle of a character
        (b"\xef\xbb\xbfmarked", "utf-8"),
        ("marked €".encode("utf-16"), "utf-16-le"),
        (b"\xfe\xff" + "marked".encode("utf-16-be"), "utf-16-be"),
        ("marked".encode("utf-32"), "utf-32-le"),
        ("not marked".encode("utf-16-le"), "utf-16-le"),
        ("not marked".encode("utf-16-be"), "utf-16-be"),
        ("grün".encode("latin-1"), "latin-1"),
        ("“so”".encode("cp1252"), "cp1252"),
        (b"\x81\x8d\x90", None),
        (b"a\0b\0\0\0", None),
        (b"a\x01b", None),
    ],
)
def test_encodings(data: bytes, encoding: str | None) -> None:
    assert encoding_of(data, whole=False) == encoding


def test_previews_of_a_vault(page: Opened, vault: Made) -> None:
    kinds = {
        b"/texts/lines.txt": "text", b"/texts/page.html": "text", b"/texts/image.svg": "text",
        b"/texts/empty": "empty",
        b"/texts/holes": "hex", b"/texts": "none", b"/kinds/link": "none", b"/kinds/pipe": "none", b"/": "none",
    }  # fmt: skip
    for at, kind in kinds.items():
        found = preview(page, vault.points[0], at)
        assert found.kind == kind
        assert bool(found.why) == (kind != "text")
    assert preview(page, vault.points[0], b"/texts/lines.txt").size == len(LINES.encode())


def test_a_long_text_comes_in_pages_cut_between_characters(page: Opened, vault: Made) -> None:
    at, parts, start = b"/texts/lines.txt", list[str](), 0
    while True:
        found = text(page, vault.points[0], at, start)
        assert (found.encoding, found.start, found.size) == ("utf-8", start, len(LINES.encode()))
        assert len(found.text.encode()) <= TEXT_PAGE
        parts.append(found.text)
        if found.next is None:
            break
        start = found.next
    assert "".join(parts) == LINES
    assert len(parts) > 3
    raw = LINES.encode()
    for start in range(1000, 1040):  # wherever a page begins, it begins with a character
        found = text(page, vault.points[0], at, start)
        assert raw[found.start :].startswith(found.text[:100].encode())
        assert found.start - start < 4
    assert text(page, vault.points[0], at, 10**12).text == ""
    assert text(page, vault.points[0], b"/texts/latin.txt").text == "Größe\n"
    assert text(page, vault.points[0], b"/texts/empty").next is None
    with pytest.raises(NotFound, match="/kinds/link is not a file"):
        text(page, vault.points[0], b"/kinds/link")


def test_hex_of_any_part(page: Opened, vault: Made) -> None:
    at, raw = b"/texts/lines.txt", LINES.encode()
    for start, count in ((0, 16), (1000, 65_536), (len(raw) - 5, 100), (len(raw), 10)):
        found = hex_page(page, vault.points[0], at, start, count)
        assert base64.b64decode(found.bytes) == raw[start : start + count]
        assert found.size == len(raw)


def test_damage_names_the_file_and_its_neighbours_are_fine(tmp_path: Path) -> None:
    remote = Remote()
    add_machine(remote.vault)
    maker = Maker(remote.vault)
    rng = random.Random(1)
    whole, begin, end = rng.randbytes(1000), b"begins well\n" * 10_000, rng.randbytes(300_000)
    good = maker.file(b"good", whole)
    bad = maker.file(b"bad.txt", begin, end)
    pack = maker.data.names[-1]
    worst = maker.file(b"worst", rng.randbytes(5000))
    point = add_point(remote.vault, maker.root([good, bad, worst]), 1).id.hex()
    for name in (pack, maker.data.names[-1]):
        data = bytearray(remote.memory.objects[name])
        data[len(data) // 2] ^= 1  # random bytes of a block: compressed, the text before them is short
        remote.memory.objects[name] = bytes(data)
    with opened(Made(remote, [point]), tmp_path) as page:
        found = text(page, point, b"/bad.txt")
        assert (found.text.encode(), found.next) == (begin, len(begin))
        for read in (text, hex_page):
            with pytest.raises(Damaged, match=f"/bad.txt can't be read from byte {len(begin):,} on"):
                read(page, point, b"/bad.txt", len(begin))
            with pytest.raises(Damaged, match="/worst can't be read from byte 0 on"):
                read(page, point, b"/worst")
        with pytest.raises(Damaged, match="/worst"):
            preview(page, point, b"/worst")
        assert base64.b64decode(hex_page(page, point, b"/good").bytes) == whole
