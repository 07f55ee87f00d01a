"""Names of downloads and tops of archives, without a vault."""

from __future__ import annotations

import pytest

from mount.browse.resources.names import disposition, file_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain.txt", "plain.txt"),
        ("grün 文.txt".encode(), "grün 文.txt"),
        (b'a"b\\c\r\nSet-Cookie: x', "a_b_c__Set-Cookie_ x"),
        ("cod\u202egpj.exe".encode(), "cod_gpj.exe"),
        (b"aux", "_aux"),
        (b"Com1.tar.gz", "_Com1.tar.gz"),
        (b"console", "console"),
        (b"..", "__"),
        (b"trailing. ", "trailing__"),
        (b"", "download"),
        (b"C:x", "C_x"),
        (b"raw \xff", "raw \uf0ff"),
        (b"n" * 300 + b".tar", "n" * 251 + ".tar"),
        ("文".encode() * 85 + b".zip", "文" * 83 + ".zip"),
    ],
)
def test_a_name_every_system_takes(name: bytes, shown: str) -> None:
    assert file_name(name) == shown
    header = disposition("attachment", name)
    assert header.isascii() and header.isprintable() and header.count('"') == 2 and "\\" not in header


def test_both_forms_of_a_name() -> None:
    assert disposition("inline", "ü%.png".encode()) == "inline; filename=\"__.png\"; filename*=UTF-8''%C3%BC%25.png"
