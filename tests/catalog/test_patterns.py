"""Rules as in .gitignore: the same answers as git's own."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import UsageError
from catalog.patterns import LENGTH_MAX, RULES_MAX, Level, Patterns, Rule, Rules, TooLong, rules_in, rules_of
from tests.kit.ignored_by_git import Answer, Pair, answers_of_git, random_pair

CLASSES = (b"alnum alpha blank cntrl digit graph lower print punct space upper xdigit").split()
NONE = Answer(b"", 0, b"")


@pytest.fixture
def repository() -> Iterator[Path]:
    """On tmpfs, where 50,000 files are made and removed quickly."""
    folder = tempfile.mkdtemp(dir="/dev/shm")
    yield Path(folder, "repository")
    subprocess.run(["rm", "-rf", folder], check=True)


def ours(pair: Pair, *, ignore_case: bool = False) -> dict[bytes, Answer]:
    """What our rules say of each entry: as git walks, folder by folder, the rules of lower folders first."""
    lists = {
        folder: Rules(rules_in(text, os.fsdecode(folder), ignore_case=ignore_case), ignore_case=ignore_case)
        for folder, text in pair.rules.items()
    }
    found = {}
    for path, is_folder in pair.entries.items():
        names, levels, rule = path.split(b"/"), list[Level](), None
        for depth, name in enumerate(names):
            above = b"/".join(names[:depth])
            if above in lists:
                levels.insert(0, lists[above].top)
            below = depth + 1 < len(names)
            rule = next(filter(None, (lv.match(name, is_folder=is_folder or below) for lv in levels)), None)
            if rule is not None and not rule.negated:
                break
            levels = [level.below(name) for level in levels]
        found[path] = Answer(os.fsencode(rule.source), rule.line, b"") if rule is not None else NONE
    return found


def compare(folder: Path, pairs: list[Pair], *, ignore_case: bool) -> int:
    """Compare our answers with git's. Returns how many entries a rule decided on."""
    decided = 0
    for pair, wanted in zip(pairs, answers_of_git(folder, pairs, ignore_case=ignore_case), strict=True):
        found = ours(pair, ignore_case=ignore_case)
        for path in pair.entries:
            assert found[path][:2] == wanted[path][:2], (path, pair)
            decided += wanted[path].line > 0
    return decided


@pytest.mark.parametrize("ignore_case", [False, True])
def test_random_rules_and_trees(repository: Path, ignore_case: bool) -> None:
    rng = random.Random(20261127 + ignore_case)
    pairs = [random_pair(rng) for _ in range(5_000)]
    assert compare(repository, pairs, ignore_case=ignore_case) > 15_000


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_many_more_of_them(repository: Path, seed: int) -> None:
    rng = random.Random(seed)
    compare(repository, [random_pair(rng) for _ in range(10_000)], ignore_case=seed % 2 > 0)


@pytest.mark.parametrize("ignore_case", [False, True])
def test_classes_have_the_same_bytes(repository: Path, ignore_case: bool) -> None:
    names = {bytes([b]): False for b in range(1, 256) if b not in b"/."}
    pairs = [Pair(names, {b"": b"[[:%b:]]" % name}) for name in CLASSES]
    pairs += [Pair(names, {b"": b"[%c-%c]" % (a, b)}) for a, b in ((33, 90), (64, 122), (90, 255), (200, 100))]
    assert compare(repository, pairs, ignore_case=ignore_case) > 500


T, F = True, False


@pytest.mark.parametrize(
    ("rules", "entries"),
    [
        # Once saved or left out against git's answer.
        ("cache/**\n!cache/f", {b"cache/f": F, b"cache/g": T, b"cache": F}),
        ("*\n!*/\n!*.xlsx", {b"r.xlsx": F, b"a/b/r.xlsx": F, b"a/x.tmp": T, b"a": F}),
        ("cache/**/", {b"cache/f": F, b"cache/sub": T, b"cache": F}),
        ("foo", {b"foo": T, b"foo\n": F, b"x/foo": T}),
        ("[[:upper:]]*", {b"Foo": T, b"bar": F}),
        # Quirks of git's, which only its source shows.
        ("/foo**/bar", {b"foobar": T, b"foo/bar": T, b"foox/y/bar": T, b"fobar": F}),
        ("/f*o**/bar", {b"foobar": F, b"foo/bar": T, b"foox/bar": T, b"foo/y/bar": F}),
        ("a/**\\/b", {b"a/b": F, b"a/x/b": T, b"a/x/y/b": T}),
        ("?", {b"x": T, "é".encode(): F}),
        ("??", {b"x": F, "é".encode(): T}),
        ("a\\", {b"a\\": F, b"a": F}),
        ("trailing \\  ", {b"trailing  ": T, b"trailing ": F}),
        ("#no\n\\#yes\n\\!yes", {b"#no": F, b"#yes": T, b"!yes": T}),
    ],
)
def test_rules(repository: Path, rules: str, entries: dict[bytes, bool]) -> None:
    folders = {path.rpartition(b"/")[0] for path in entries} - {b""}
    folders |= {folder.partition(b"/")[0] for folder in folders} | {
        p for p in entries if p in (b"a", b"cache/sub", b"cache")
    }
    pair = Pair({p: p in folders for p in sorted(folders | entries.keys())}, {b"": rules.encode()})
    compare(repository, [pair], ignore_case=False)
    patterns = Patterns([r for r in rules.split("\n") if r != "a\\"], "--exclude")
    assert {p: patterns.match(p, p in folders) for p in entries} == entries


def test_a_rule_says_where_it_stands() -> None:
    rules = rules_in(b"# first\n*.tmp\r\n\n!keep.tmp\n\xff", "/etc/rules")
    assert [str(r) for r in rules] == [
        "*.tmp (/etc/rules, line 2)",
        "!keep.tmp (/etc/rules, line 4)",
        "\\xff (/etc/rules, line 5)",
    ]
    assert [str(r) for r in rules_of(["*.tmp"], "--exclude")] == ["*.tmp (--exclude)"]


def test_a_pattern_that_is_not_utf8() -> None:
    patterns = Patterns([os.fsdecode(b"caf\xe9*")], "--exclude")
    assert patterns.match(b"x/caf\xe9.txt", False)
    assert not patterns.match("x/café".encode(), False)


def test_a_pattern_with_a_newline() -> None:
    patterns = Patterns(["a\nb"], "--exclude")
    assert patterns.match(b"a\nb", False)
    assert not patterns.match(b"a", False)


def test_no_warning_of_pythons() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("[[:upper:]]*", "[[a]*?", "[a--b]", "[a||b]x*y", "[a&&b]*x?", "[a~~b]?"):
            Patterns([text], "--exclude").match(b"xyz", False)


@pytest.mark.parametrize("text", ["!", "/", "//", "a[b", "[[:nothing:]]", "a\\", "a//b", "!a\\/"])
def test_a_pattern_that_matches_nothing(text: str) -> None:
    with pytest.raises(UsageError, match=r"malformed --exclude pattern: .* matches nothing"):
        Patterns([text], "--exclude")
    assert len(rules_in(text.encode(), "a file")) == 1  # as git: no error


def test_bounds() -> None:
    with pytest.raises(UsageError, match="more than 4,096 bytes"):
        Patterns(["a" * (LENGTH_MAX + 1)], "--exclude")
    with pytest.raises(TooLong):
        rules_in(b"a" * (LENGTH_MAX + 1), "file")
    with pytest.raises(TooLong):
        rules_in(b"a\n" * (RULES_MAX + 1), "file")


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (b"*a" * 2048, b"a" * 255),
        (b"*a" * 100 + b"b", b"a" * 255),
        (b"*?" * 1000 + b"x", b"a" * 255),
        (b"*[ab]*" * 600 + b"c", b"a" * 255),
        (b"**/a/" * 800 + b"b", b"a"),
        (b"a*/" * 1000 + b"b", b"a" * 255),
    ],
)
def test_no_rule_takes_exponential_time(rule: bytes, name: bytes) -> None:
    """With backtracking over each star, any of these would take longer than the universe has existed."""
    level = Rules(rules_in(rule, "file")).top
    for _ in range(50):
        assert level.match(name, is_folder=True) is None
        level = level.below(name)


def test_levels_are_not_kept_without_bound() -> None:
    """Rules whose state differs in nearly every folder."""
    rules = Rules(
        rules_in(b"\n".join(b"**/%c*/**/%c/x" % (a, b) for a in b"abcdefgh" for b in b"stuvwxyz"), "file")
    )
    rng = random.Random(1)
    most = 0
    for _ in range(800):
        level = rules.top
        for _ in range(6):
            level = level.below(bytes(rng.choices(b"abcdefghstuvwxyz", k=2)))
        most = max(most, sum(len(key) + 1 for key in rules._levels))
    assert most <= 1 << 16


def test_rules_are_matched_by_their_number() -> None:
    """The last rule that fits decides, in whichever way it is found."""
    lines = ["a*", "*b", "ab", "!a?", "*x*", "[a]b", "!*", "/ab", "**/a*/../x", "!/a*b", "ab/"]
    for count in range(1, len(lines) + 1):
        found = Rules(rules_of(lines[:count], "--exclude")).top.match(b"ab", is_folder=True)
        fits = [n for n, line in enumerate(lines[:count]) if line not in ("*x*", "**/a*/../x")]
        assert isinstance(found, Rule)
        assert found.text == lines[fits[-1]]


def test_rules_with_a_path_cost_nothing_elsewhere() -> None:
    rules = Rules(rules_of([f"/home/user{n}/x" for n in range(1000)], "--exclude"))
    inside = rules.top.below(b"srv").below(b"data")
    assert inside.below(b"further") is inside
    assert inside.match(b"x", is_folder=False) is None
    at_home = rules.top.below(b"home").below(b"user7")
    assert str(at_home.match(b"x", is_folder=False)) == "/home/user7/x (--exclude)"
