"""Patterns of searches: as `rpdrive find` and `re` understand them, and never slower than the path is long."""

from __future__ import annotations

import os
import random
import re

import pytest

from catalog.errors import UsageError
from catalog.history.search import pattern
from mount.browse.resources.matching import KEPT, LARGEST, Automaton, matcher

from re import _parser as parser  # isort: skip

GLOBS = [
    "a.txt",
    "*.txt",
    "[ab]?",
    "x/*.txt",
    "/x/*.txt",
    "letters/",
    "A.TXT",
    "/",
    "*/a*b/*",
    "[!a]*/c",
    "a\nb",
    "?/",
]
PATHS = [
    b"/a.txt", b"/x/a.txt", b"/x/y/a.txt", b"/y/x/a.txt", b"/xx/a.txt", b"/x/a1", b"/c1", b"/letters",
    b"/x/letters/a", b"/a\nb", b"/A.TxT", b"/ab/a/b/c", b"/\xff/c", b"/x/\xffb", b"/x", b"/.txt", b"/x/a.txt2",
]  # fmt: skip


@pytest.mark.parametrize("ignore_case", [False, True])
@pytest.mark.parametrize("text", [*GLOBS, os.fsdecode(b"\xff*"), os.fsdecode(b"\xff*/c")])
def test_globs_are_those_of_find(text: str, ignore_case: bool) -> None:
    fits, theirs = matcher(text, ignore_case=ignore_case), pattern(text, ignore_case=ignore_case)
    assert [p for p in PATHS if fits(p)] == [p for p in PATHS if theirs(p)]


def some_regex(rng: random.Random, depth: int = 3) -> str:
    """A regular expression without what is refused."""
    if depth == 0:
        return rng.choice(["a", "b", "/", ".", "[ab]", "[^a/]", r"\w", r"\W", r"\d", "\n", "A", "[a-c]", r"\S"])
    inner = some_regex(rng, depth - 1)
    other = some_regex(rng, depth - 1)
    return rng.choice(
        [
            inner + other, f"({inner}|{other})", f"(?:{inner})*", f"({inner})+?", f"(?:{inner})?",
            f"(?:{inner}){{2}}", f"(?:{inner}){{1,3}}", f"(?:{inner}){{2,}}", f"^{inner}", rf"{inner}\Z",
            rf"\b{inner}", rf"{inner}\B", f"(?i:{inner})", f"(?m:^{inner})", f"(?m:{inner}$)", f"(?-s:{inner}.)",
            f"(?:|{inner})", rf"\A{inner}",
        ]
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_regular_expressions_are_those_of_re(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(15):
        text = some_regex(rng)
        fits, search = matcher(text, regex=True), re.compile(os.fsencode(text), re.DOTALL).search
        for _ in range(25):
            path = b"/" + bytes(rng.choice(b"aabbc/A1 \n.") for _ in range(rng.randrange(9)))
            assert fits(path) == (search(path) is not None), (text, path)


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$",
        "^/(a|a)*$",
        "(a|aa)+$",
        "(a*)*b",
        "(.*a){20}$",
        "a*a*a*a*a*a*a*a*b",
        "(a?){40}a{40}b",
        "(x+x+)+y",
        ".*.*=.*",
    ],
)
def test_no_pattern_runs_away(text: str) -> None:
    """With `re`, most of these would not end before the sun does."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    fits = matcher(text, regex=True, check=count)
    assert not fits(b"/" + b"a" * 4000 + b"!") and not fits(b"/" + b"x" * 4000 + b"!")
    assert steps < 9000  # new states: of each byte at most one


def test_many_states_are_let_go_and_the_answer_stays() -> None:
    text = "(a|b)*a(a|b){12}$"  # 2 ** 12 sets of states
    automaton = Automaton(parser.parse(os.fsencode(text), re.DOTALL), anywhere=True)
    search = re.compile(os.fsencode(text)).search
    rng = random.Random(1)
    for _ in range(400):
        path = b"/" + bytes(rng.choice(b"ab") for _ in range(60))
        assert automaton.fits(path) == (search(path) is not None)
        assert sum(64 + len(state.nodes) for state in automaton._states.values()) <= KEPT


def test_a_search_that_ends_ends_the_match() -> None:
    class Ended(Exception):
        pass

    def check() -> None:
        raise Ended

    with pytest.raises(Ended):
        matcher("a", regex=True, check=check)(b"/a")


@pytest.mark.parametrize("depth", [10, 100, 200, 300, 400, 500, 900])
def test_deep_nesting_is_run_or_refused(depth: int) -> None:
    text = "(" * depth + "a" + ")" * depth
    try:
        fits = matcher(text[:1000], regex=True)
    except UsageError:
        assert depth > 100
    else:
        assert fits(b"/a") and not fits(b"/b")


def test_what_may_mean_something_else_one_day_is_no_warning() -> None:
    assert matcher("[[a]", regex=True)(b"/[") and matcher("[[a]", regex=True)(b"/a")


REFUSED = [
    "", "(", "[", "*", "a{2,1}", "a" * 1001, f"a{{{LARGEST + 1}}}", "((a{50}){50}){50}", "a{9999999999}", "\ud800",
    r"(a)\1", "(?=a)", "(?!a)b", "(?<=a)b", "(?<!a)b", "(?>a)", "a++", "(a)?(?(1)b|c)", "(?L)a",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        matcher(text, regex=True)
    assert caught.value.advice and "\n" not in str(caught.value)
