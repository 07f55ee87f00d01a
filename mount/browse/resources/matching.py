"""Tests paths against a pattern from a browser, in time that is linear in the path, whatever the pattern.

`re` backtracks: with `(a+)+$`, one file name can keep it busy for years, and no other thread runs meanwhile. So
regular expressions are run here as automata, as RE2 does: the states that the pattern can be in are followed all at
once, and each set of them is worked out only when it first occurs. What no automaton can do is refused: references
to groups, look-ahead and look-behind, atomic groups.
"""

from __future__ import annotations

import fnmatch
import os
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from catalog.errors import UsageError
from catalog.names import in_pattern, is_marked, shows_as

# The parser of `re`, which has no public name: what it returns is plain lists, the same from Python 3.11 on.
from re import _constants as sre  # isort: skip
from re import _parser as parser  # isort: skip

LONGEST = 1000  # characters of a pattern
LARGEST = 2000  # steps of an automaton, with repeated parts counted as often as they are repeated
KEPT = 200_000  # what the sets of states that are kept cost together: 64 for each, and its members; some 15 MB

Fits = Callable[[bytes], bool]


def nothing() -> None:
    """The `check` of who does not want to end a match early."""


def matcher(
    text: str, *, regex: bool = False, ignore_case: bool = False, check: Callable[[], None] = nothing
) -> Fits:
    """A function that tests paths (absolute, without a slash at the end). For one thread. Raises UsageError.

    The patterns are those of catalog.history.search, except that a `$` does not match before a newline at the end.
    `check` is called during work that takes long; what it raises ends the match.
    """
    if not text:
        raise UsageError("an empty pattern matches nothing", "give a name, a glob or a regular expression")
    if len(text) > LONGEST:
        raise UsageError(f"the pattern has {len(text):,} characters", f"shorten it to {LONGEST:,}")
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError as e:
        raise UsageError("the pattern has characters that no file name can have", "correct it") from e
    quoted = in_pattern(raw, re.escape if regex else _literal)
    make = _regex if regex else _glob
    tests = [make(p, ignore_case, check) for p in (raw, quoted) if p is not None]
    if is_marked(raw):
        tests.append(lambda path: shows_as(path.rpartition(b"/")[2], raw.rpartition(b"/")[2]))
    return tests[0] if len(tests) == 1 else lambda path: any(fits(path) for fits in tests)


def _literal(byte: bytes) -> bytes:
    return b"[" + byte + b"]" if byte in (b"*", b"?", b"[") else byte


def _regex(raw: bytes, ignore_case: bool, check: Callable[[], None]) -> Fits:
    return Automaton(_parsed(raw, ignore_case), check, anywhere=True).fits


def _glob(raw: bytes, ignore_case: bool, check: Callable[[], None]) -> Fits:
    raw = raw.rstrip(b"/") or b"/"
    # Through latin-1: a name may contain any byte.
    translated = fnmatch.translate(raw.decode("latin-1")).encode("latin-1")
    if b"/" not in raw:
        # By `re`, which is faster and has nothing to go back to: `translate` makes each part between stars atomic.
        match = re.compile(translated, re.DOTALL | (re.IGNORECASE if ignore_case else 0)).match
        return lambda path: match(path, path.rfind(b"/") + 1) is not None
    if not raw.startswith(b"/"):
        translated = b"(?s:.*/)" + translated
    return Automaton(_parsed(translated, ignore_case), check, anywhere=False, glob=True).fits


def _parsed(raw: bytes, ignore_case: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that [[ may mean something else one day
            return parser.parse(raw, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
    except (re.error, OverflowError) as e:
        raise UsageError(f"{os.fsdecode(raw)!r} is not a regular expression: {e}", "correct it") from e
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> UsageError:
    return UsageError("the regular expression is nested too deeply", "simplify it")


# --- the automaton ------------------------------------------------------------------------------------------


class _Node(NamedTuple):
    """A step of the pattern: a byte out of `accepts`; if that is empty, no byte, with a condition or a choice."""

    accepts: frozenset[int]
    condition: str  # "" if there is none
    following: tuple[int, ...]


_END = 256  # what follows the last byte of a path
_MATCH = "match"  # the condition of the last node

_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGIT = frozenset(b"0123456789")
_SPACE = frozenset(b" \t\n\r\f\v")
_ALL = frozenset(range(256))
_CATEGORIES = {
    sre.CATEGORY_DIGIT: _DIGIT, sre.CATEGORY_NOT_DIGIT: _ALL - _DIGIT,
    sre.CATEGORY_SPACE: _SPACE, sre.CATEGORY_NOT_SPACE: _ALL - _SPACE,
    sre.CATEGORY_WORD: _WORD, sre.CATEGORY_NOT_WORD: _ALL - _WORD,
}  # fmt: skip
_CONDITIONS = {
    sre.AT_BEGINNING: "start", sre.AT_BEGINNING_STRING: "start", sre.AT_END: "end", sre.AT_END_STRING: "end",
    sre.AT_BOUNDARY: "border", sre.AT_NON_BOUNDARY: "no border",
}  # fmt: skip
_START, _NEWLINE, _IN_WORD, _OTHER = range(4)  # what came before


class _State:
    """A set of nodes that the pattern can be at, and where each next byte leads, as far as it is known."""

    __slots__ = ("before", "nodes", "table")

    def __init__(self, nodes: frozenset[int], before: int) -> None:
        self.nodes = nodes
        self.before = before
        self.table: list[_State | None] = [None] * 257


_MATCHED = _State(frozenset(), _OTHER)


class Automaton:
    """A parsed regular expression, run without going back. Raises UsageError for what can't be run so."""

    def __init__(
        self, parsed: Any, check: Callable[[], None] = nothing, *, anywhere: bool, glob: bool = False
    ) -> None:
        self._nodes: list[_Node] = []
        self._glob = glob
        self._check = check
        if parsed.state.flags & re.LOCALE:
            raise _impossible("the flag L")
        last = self._add(condition=_MATCH)
        try:
            self._first = self._sequence(parsed, parsed.state.flags, last)
        except RecursionError:
            raise _too_deep() from None
        self._always = frozenset([self._first]) if anywhere else frozenset[int]()
        self._words = any(n.condition.endswith("border") for n in self._nodes)
        self._states: dict[tuple[frozenset[int], int], _State] = {}
        self._kept = 0
        self._folder, self._in_folder = b"", self._state(frozenset([self._first]), _START)

    def fits(self, path: bytes) -> bool:
        """Whether the path matches. The state after its folder is kept for the next path of that folder."""
        start = path.rfind(b"/") + 1
        folder = path[:start]
        if folder != self._folder:
            self._in_folder = self._run(self._state(frozenset([self._first]), _START), folder)
            self._folder = folder
        state = self._run(self._in_folder, path[start:])
        return (state.table[_END] or self._step(state, _END)) is _MATCHED

    def _run(self, state: _State, data: bytes) -> _State:
        for byte in data:
            state = state.table[byte] or self._step(state, byte)
        return state

    def _step(self, state: _State, byte: int) -> _State:
        """The state that follows another after a byte (or `_END`)."""
        if state is _MATCHED:
            return state
        self._check()
        reached: set[int] = set()
        matched = False
        seen = set(state.nodes)
        waiting = list(seen)
        while waiting:
            node = self._nodes[waiting.pop()]
            if node.accepts:
                if byte in node.accepts:
                    reached.update(node.following)
                continue
            if node.condition == _MATCH:
                matched = True
            elif not node.condition or _holds(node.condition, state.before, byte):
                new = [n for n in node.following if n not in seen]
                seen.update(new)
                waiting += new
        following = _MATCHED if matched else self._state(frozenset(reached) | self._always, self._kind(byte))
        state.table[byte] = following
        return following

    def _state(self, nodes: frozenset[int], before: int) -> _State:
        known = self._states.get((nodes, before))
        if known is None:
            self._kept += 64 + len(nodes)
            if self._kept > KEPT:
                for state in self._states.values():
                    state.table = [None] * 257
                self._states.clear()
                self._kept = 64 + len(nodes)
            known = self._states[nodes, before] = _State(nodes, before)
        return known

    def _kind(self, byte: int) -> int:
        if byte == 10:
            return _NEWLINE
        return _IN_WORD if self._words and byte in _WORD else _OTHER

    # --- from the parsed pattern, backwards: each part knows the node that follows it ----------------------

    def _add(self, accepts: frozenset[int] = frozenset(), condition: str = "", *following: int) -> int:
        if len(self._nodes) >= LARGEST:
            raise UsageError("the regular expression repeats too much", "use fewer or smaller numbers in {}")
        self._nodes.append(_Node(accepts, condition, following))
        return len(self._nodes) - 1

    def _never(self) -> int:
        return self._add(condition="never")

    def _sequence(self, parts: Any, flags: int, following: int) -> int:
        for op, value in reversed(list(parts)):
            following = self._part(op, value, flags, following)
        return following

    def _part(self, op: Any, value: Any, flags: int, following: int) -> int:
        if op in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN):
            accepts = _bytes_of(op, value, flags)
            return self._add(accepts, "", following) if accepts else self._never()
        if op is sre.BRANCH:
            return self._add(frozenset(), "", *(self._sequence(p, flags, following) for p in value[1]))
        if op is sre.SUBPATTERN:
            _group, added, removed, parts = value
            return self._sequence(parts, (flags | added) & ~removed, following)
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            least, most, parts = value
            return self._repeated(least, most, parts, flags, following)
        if op is sre.AT and value in _CONDITIONS:
            lines = flags & re.MULTILINE and value in (sre.AT_BEGINNING, sre.AT_END)
            return self._add(frozenset(), ("line " if lines else "") + _CONDITIONS[value], following)
        if op is sre.ATOMIC_GROUP and self._glob:  # there only to keep `re` from going back
            return self._sequence(value, flags, following)
        if op is sre.FAILURE:
            return self._never()
        raise _impossible(str(op).lower())

    def _repeated(self, least: int, most: Any, parts: Any, flags: int, following: int) -> int:
        if most is sre.MAXREPEAT:
            loop = self._never()  # replaced when it is known what it leads to
            again = self._sequence(parts, flags, loop)
            self._nodes[loop] = _Node(frozenset(), "", (again, following))
            following = loop
        else:
            end = following
            for _ in range(most - least):
                following = self._add(frozenset(), "", self._sequence(parts, flags, following), end)
        for _ in range(least):
            before = len(self._nodes)
            following = self._sequence(parts, flags, following)
            if len(self._nodes) == before:
                break  # a part that is empty, however often it is repeated
        return following


def _impossible(what: str) -> UsageError:
    return UsageError(
        f"a search in the page can't use this part of a regular expression: {what.replace('_', ' ')}",
        "leave out look-around, references and atomic groups, or use `rpdrive find --regex`",
    )


def _holds(condition: str, before: int, byte: int) -> bool:
    match condition:
        case "start":
            return before == _START
        case "end":
            return byte == _END
        case "line start":
            return before in (_START, _NEWLINE)
        case "line end":
            return byte in (_END, 10)
        case "border" | "no border":
            return ((before == _IN_WORD) != (byte in _WORD)) == (condition == "border")
    return False  # never


def _bytes_of(op: Any, value: Any, flags: int) -> frozenset[int]:
    """The bytes that a part of a pattern for one byte accepts."""
    if op is sre.ANY:
        return _ALL if flags & re.DOTALL else _ALL - {10}
    if op is sre.IN:
        negated, found = False, set[int]()
        for kind, member in value:
            if kind is sre.NEGATE:
                negated = True
            elif kind is sre.LITERAL:
                found.add(member)
            elif kind is sre.RANGE:
                found.update(range(member[0], member[1] + 1))
            elif kind is sre.CATEGORY and member in _CATEGORIES:
                found |= _CATEGORIES[member]
            else:
                raise _impossible(str(member).lower())
        found = _both_cases(found) if flags & re.IGNORECASE else found
        return _ALL - found if negated else frozenset(found)
    accepted = _both_cases({value}) if flags & re.IGNORECASE else {value}
    return _ALL - accepted if op is sre.NOT_LITERAL else frozenset(accepted)


def _both_cases(members: set[int]) -> set[int]:
    """With each letter in the other case, too; letters of ASCII only, as `re` does for bytes."""
    text = bytes(members)
    return members | set(text.lower()) | set(text.upper())
