"""Line by line: the changes make one text of the other, are few, and are found in a bounded time."""

from __future__ import annotations

import difflib
import random

import pytest

from mount.browse.resources import lines
from mount.browse.resources.lines import changes
from mount.browse.resources.textdiff import AROUND, LONGEST, MOST, compared, text_of


def applied(before: list[str], after: list[str], work: int = lines.WORK) -> int:
    """Checks that the changes make `after` of `before`; the number of lines in them."""
    made: list[str] = []
    done = count = 0
    for a, a_end, b, b_end in changes(before, after, work):
        assert done <= a <= a_end and b <= b_end and (a_end > a or b_end > b)
        made += before[done:a] + after[b:b_end]
        count += a_end - a + b_end - b
        done = a_end
    assert made + before[done:] == after
    return count


def fewest(before: list[str], after: list[str]) -> int:
    """The length of the shortest difference, by the textbook's table."""
    row = list(range(len(after) + 1))
    for n, line in enumerate(before, 1):
        above, row = row, [n]
        for m, other in enumerate(after, 1):
            row.append(above[m - 1] if line == other else 1 + min(above[m], row[-1]))
    return row[-1]


@pytest.mark.parametrize("seed", range(30))
def test_random_texts(seed: int) -> None:
    rng = random.Random(seed)
    few = rng.choice((2, 5, 30, 1000))
    before = [str(rng.randrange(few)) for _ in range(rng.randrange(60))]
    after = list(before)
    for _ in range(rng.randrange(12)):
        at = rng.randrange(len(after) + 1)
        after[at : at + rng.randrange(4)] = [str(rng.randrange(few)) for _ in range(rng.randrange(4))]
    count = applied(before, after)
    if few <= 2:  # no line is there only once: Myers alone, which is the shortest
        assert count == fewest(before, after)
    assert count <= fewest(before, after) + 12
    assert applied(before, after, work=50) >= fewest(before, after)
    assert applied(before, after, work=0) >= fewest(before, after)


def test_what_would_take_too_long_is_changed_as_a_whole() -> None:
    rng = random.Random(1)
    before, after = ([rng.choice("ab") + str(n % 97) for n in range(5_000)] for _ in range(2))
    assert applied(before, after) > 0
    # Texts of many lines, of which no two are the same, and all are the same.
    many = [str(n) for n in range(10_000)]
    assert applied(many, many[::-1]) > 0
    assert applied(["x"] * 10_000, ["x"] * 9_000 + ["y"] * 1000) == 2000
    assert applied(["x", "y"] * 5_000, ["y", "x", "x"] * 3_300) > 0


def shown(before: str, after: str) -> list[str]:
    return [f"{line.op}{line.a or ''}:{line.b or ''} {line.text}" for line in compared(before, after)[0]]


def test_hunks_with_three_lines_around() -> None:
    before = "".join(f"{n}\n" for n in range(1, 31))
    after = before.replace("10\n", "ten\nand more\n").replace("13\n", "").replace("28\n", "x\n")
    assert shown(before, after) == [
        "…: ", " 7:7 7", " 8:8 8", " 9:9 9", "-10: 10", "+:10 ten", "+:11 and more", " 11:12 11", " 12:13 12",
        "-13: 13", " 14:14 14", " 15:15 15", " 16:16 16", "…: ",
        " 25:25 25", " 26:26 26", " 27:27 27", "-28: 28", "+:28 x",
        " 29:29 29", " 30:30 30",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_hunks_are_those_of_difflib(seed: int) -> None:
    rng = random.Random(seed)
    before = [f"{n}\n" for n in range(80)]
    after = list(before)
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(after) + 1)
        after[at : at + rng.randrange(3)] = [f"new {rng.randrange(10**9)}\n" for _ in range(rng.randrange(3))]
    ours = [(line.op, line.text + "\n") for line in compared("".join(before), "".join(after))[0] if line.op != "…"]
    theirs = list(difflib.unified_diff(before, after, n=AROUND))[2:]
    assert ours == [(line[0], line[1:]) for line in theirs if not line.startswith("@@")]


def test_what_looks_the_same_is_put_into_words() -> None:
    assert shown("a\nb", "a\nb\n") == [" 1:1 a", "-2: b (no newline at the end)", "+:2 b"]
    assert shown("a\r\nb\r\n", "a\nb\r\n") == ["-1: a", "+:1 a", " 2:2 b"]
    assert shown("a\r\n", "a\n") == ["-1: a (CR LF)", "+:1 a"]
    assert shown("", "a\n") == ["+:1 a"] and shown("a", "") == ["-1: a (no newline at the end)"]
    assert shown("same\n", "same\n") == []


def test_what_is_shown_is_bounded() -> None:
    before, after = "x\n" * 10, "".join(f"{n}\n" for n in range(MOST + 100))
    found, left_out = compared(before, after)
    assert len(found) == MOST + 1 and found[-1].op == "…" and left_out == 110
    (line,) = compared("", "y" * (LONGEST * 3))[0]
    assert line.text == "y" * LONGEST + "… (no newline at the end)"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ("utf-8", "")), (b"caf\xc3\xa9\n", ("utf-8", "café\n")), (b"\xef\xbb\xbfa", ("utf-8", "a")),
        ("é\n".encode("utf-16"), ("utf-16-le", "é\n")), (b"caf\xe9\n", ("latin-1", "café\n")), (b"\0\1\2", None),
        (b"a" * 9000 + b"\xff\0", ("utf-8", "a" * 9000 + "\ufffd\0")),
    ],
)  # fmt: skip
def test_encodings_are_those_of_the_preview(data: bytes, expected: tuple[str, str] | None) -> None:
    assert text_of(data) == expected
