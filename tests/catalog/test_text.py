"""Sizes, lengths of time, numbers and ids as text."""

from __future__ import annotations

import pytest

from catalog.errors import UsageError
from catalog.screen.text import counted, duration_text, parse_duration, parse_size, short_ids


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("500M", 500 << 20),
        ("10G", 10 << 30),
        ("10gb", 10 << 30),
        ("1.5 GiB", 3 << 29),
        (" 2t ", 2 << 40),
        ("1P", 1 << 50),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1M", "1e9", "inf", "nan", "10X", "M", "1M1", "1,5G", "٣G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("90s", 90, "1 min 30 s"),
        ("30m", 1800, "30 min"),
        ("6h", 21_600, "6 h"),
        ("2d", 172_800, "2 d"),
        ("1.5 H", 5400, "1 h 30 min"),
        ("0.5s", 0.5, "0 s"),
        ("1w", 604_800, "7 d"),
        ("86461s", 86_461, "1 d"),
    ],
)
def test_lengths_of_time(text: str, seconds: float, shown: str) -> None:
    assert parse_duration(text) == seconds
    assert duration_text(seconds) == shown


@pytest.mark.parametrize("text", ["", "6", "0h", "-1h", "h", "1y", "soon", "1h30m", "1e9s", "99999999d", "٦h"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a length of time"):
        parse_duration(text)


def test_ids_are_cut_to_what_tells_them_apart() -> None:
    assert short_ids(["0123456789", "1123456789"]) == ["01234567", "11234567"]
    assert short_ids(["0123456789", "0123456788", "2123456788"]) == ["0123456789", "0123456788", "2123456788"]
    assert short_ids(["0123456789", "0123456789"]) == ["01234567", "01234567"]
    assert short_ids([]) == []


def test_numbers_of_things() -> None:
    assert [counted(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
    assert [counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
