"""Rules that leave out or choose paths: those of a .gitignore file, with git's own answers.

What a rule means is said in gitignore(5); the details that it leaves open (bytes, classes, a trailing backslash,
`**` beside other characters) are as in git's dir.c and wildmatch.c. Names are bytes: `?` is one byte.

A rule becomes names in a row, with `ANY` for any number of folders. A `Level` stands for a folder: it knows how far
each rule has come on the way there, so that an entry costs its name, whatever the length of its path. A name is
matched by a regular expression over bytes that tries each star once, from left to right (atomic groups): what comes
after a star is taken at its first place, which is enough for a glob. So no rule takes more than linear time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from catalog.errors import UsageError
from catalog.globs import STAR, Token, name_pattern, tokens

LENGTH_MAX = 4096  # bytes of one rule
RULES_MAX = 10_000  # in one list
_GROUP = 64  # expressions that are tried as one
_KEPT = 1 << 16  # positions in levels that are kept to be used again
_SLASH = Token("byte", b"/")
_SPECIAL = re.compile(rb"[*?\[\\]")


class Name(NamedTuple):
    """What one name of a path must be: `text` itself, or end or begin with it, or match an expression."""

    way: str  # "is", "ends", "begins", "matches"
    text: bytes


ANY = Name("any folders", b"")
_NO_NAME = Name("is", b"")
_Row: TypeAlias = tuple[Name, ...]


class Rule(NamedTuple):
    """One rule, and where it stands. `rows` are the names that a path must have, in one of these ways."""

    text: str
    source: str  # an option, or the path of a file
    line: int  # in the file, from 1; 0 for an option
    negated: bool
    folders_only: bool
    rows: tuple[_Row, ...]

    @property
    def is_void(self) -> bool:
        """Whether no path can fit, e.g. because a class has no end. In a file, that is no error."""
        return all(_NO_NAME in row for row in self.rows)

    def __str__(self) -> str:
        place = f"{self.source}, line {self.line}" if self.line else self.source
        return f"{self.text} ({place})"


class TooLong(ValueError):
    """A rule or a list of rules is longer than is useful."""


# --- reading rules --------------------------------------------------------------------------------------------


def rules_in(data: bytes, source: str, *, ignore_case: bool = False) -> list[Rule]:
    """The rules in the contents of a file. Raises TooLong."""
    found = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        rule = _rule(line.removesuffix(b"\r"), source, number, ignore_case)
        if rule is not None:
            found.append(rule)
    if len(found) > RULES_MAX:
        raise TooLong(f"{source} has {len(found):,} rules, more than {RULES_MAX:,}")
    return found


def rules_of(patterns: Sequence[str], option: str, *, ignore_case: bool = False) -> list[Rule]:
    """The rules that an option was given. Raises UsageError for one that is too long, or can't match anything."""
    found = []
    for pattern in patterns:
        try:
            rule = _rule(os.fsencode(pattern), option, 0, ignore_case)
        except TooLong as e:
            raise UsageError(f"the {option} pattern {pattern[:20]!r}… has more than {LENGTH_MAX:,} bytes") from e
        if rule is None:
            continue
        if rule.is_void:
            raise UsageError(f"malformed {option} pattern: {rule.text!r} matches nothing", "see docs/exclude.md")
        found.append(rule)
    return found


def _rule(line: bytes, source: str, number: int, ignore_case: bool) -> Rule | None:
    """The rule in a line; None if there is none."""
    if not line or line.startswith(b"#"):
        return None
    if len(line) > LENGTH_MAX:
        raise TooLong(f"line {number} of {source} has more than {LENGTH_MAX:,} bytes")
    line = _trimmed(line.partition(b"\0")[0])
    negated = line.startswith(b"!")
    whole = line[1:] if negated else line
    folders_only = whole.endswith(b"/")
    body = whole[:-1] if folders_only else whole
    text = line.decode(errors="backslashreplace")
    return Rule(text, source, number, negated, folders_only, _rows(body, ignore_case))


def _trimmed(line: bytes) -> bytes:
    """The line without spaces at its end. A backslash keeps the space after it."""
    end = place = 0
    while place < len(line):
        if line[place] == ord("\\"):
            place += 1
            end = place + 1
        elif line[place] != ord(" "):
            end = place + 1
        place += 1
    return line[:end]


def _rows(body: bytes, ignore_case: bool) -> tuple[_Row, ...]:
    """The names that a path must have to fit a rule (without its `!` and last slash)."""
    if b"/" not in body:
        found = tokens(body, is_path=False, ignore_case=ignore_case)
        return ((ANY, _name(found)),) if found is not None else ()
    body = body.removeprefix(b"/")
    special = _SPECIAL.search(body)
    # git compares what is before the first special character by itself: `**` after it counts as at the beginning.
    plain = body[: special.start()] if special else body
    rest = tokens(body[len(plain) :], is_path=True, ignore_case=ignore_case)
    if rest is None:
        return ()
    first = plain.lower() if ignore_case else plain
    return tuple(tuple(row) for row in _names_of([*map(_byte, first), *rest]))


def _byte(value: int) -> Token:
    return Token("byte", bytes((value,)))


def _names_of(found: list[Token]) -> list[list[Name]]:
    """The rows of names that tokens of a path mean."""
    rows: list[tuple[list[Name], list[Token]]] = [([], [])]  # names so far, and tokens of the next
    for token in found:
        if token == _SLASH:
            rows = [([*names, _name(at)], []) for names, at in rows]
        elif token.kind == "folders":
            rows = [row for names, at in rows for row in _over_folders(token.text, names, at)]
        else:
            for _names, at in rows:
                at.append(token)
    return [[*names, _name(at)] for names, at in rows]


def _over_folders(stars: bytes, names: list[Name], at: list[Token]) -> Iterable[tuple[list[Name], list[Token]]]:
    """The rows after a token about folders. `at` is not empty only right after the plain beginning of a rule."""
    further = [*names, _name([*at, STAR]), ANY]
    if stars == b"**\\/":  # `**\/` is at least one folder
        yield further, []
    elif stars == b"**/":
        yield (names, list(at)) if at else ([*names, ANY], [])
        if at:
            yield further, []
    else:
        yield ([*names], [*at, STAR]) if at else ([*names, ANY], [STAR])
        if at:
            yield further, [STAR]


def _name(found: list[Token]) -> Name:
    kinds = [token.kind for token in found]
    stars = kinds.count("star")
    if "set" in kinds or stars > 1 or (stars and "star" not in (kinds[0], kinds[-1])):
        return Name("matches", name_pattern(found))
    plain = b"".join(token.text for token in found if token.kind == "byte")
    return Name("is" if not stars else "ends" if kinds[0] == "star" else "begins", plain)


# --- applying rules -------------------------------------------------------------------------------------------


class _Table:
    """Finds the last of many rules whose last name fits."""

    def __init__(self, rules: list[tuple[int, Name]]) -> None:
        by_way: dict[str, list[tuple[int, bytes]]] = {}
        for number, name in sorted(rules, reverse=True):
            by_way.setdefault(name.way, []).append((number, name.text))
        self._is = {text: number for number, text in reversed(by_way.get("is", []))}
        self._ends, self._begins = by_way.get("ends", []), by_way.get("begins", [])
        self._endings, self._beginnings = tuple(t for _n, t in self._ends), tuple(t for _n, t in self._begins)
        matches = by_way.get("matches", [])
        self._groups = [matches[at : at + _GROUP] for at in range(0, len(matches), _GROUP)]
        self._expressions: list[re.Pattern[bytes]] = []

    def last(self, name: bytes) -> int:
        """The number of the last rule that fits, or -1."""
        best = self._is.get(name, -1)
        if self._endings and name.endswith(self._endings):
            best = max(best, next(number for number, text in self._ends if name.endswith(text)))
        if self._beginnings and name.startswith(self._beginnings):
            best = max(best, next(number for number, text in self._begins if name.startswith(text)))
        for place, group in enumerate(self._groups):
            if group[0][0] < best:
                break
            if place == len(self._expressions):
                self._expressions.append(_compiled(b"|".join(b"(%b)" % text for _number, text in group)))
            found = self._expressions[place].fullmatch(name)
            if found is not None:
                assert found.lastindex is not None
                return max(best, group[found.lastindex - 1][0])
        return best


def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


def _fits(name: Name) -> Callable[[bytes], object]:
    match name.way:
        case "is":
            return name.text.__eq__
        case "ends":
            return lambda found: found.endswith(name.text)
        case "begins":
            return lambda found: found.startswith(name.text)
        case _:
            return _compiled(name.text).fullmatch


class _Place(NamedTuple):
    """How far a rule has come: the next name of a row."""

    rule: int
    row: int
    next: int


class Level:
    """A folder, as rules see it. `rules` are the list that it belongs to."""

    __slots__ = ("_last", "_onward", "_stay", "rules")

    def __init__(self, rules: Rules, places: Sequence[_Place]) -> None:
        self.rules = rules
        self._stay = tuple(p for p in places if rules.name(p) is ANY)
        ahead = [p for p in places if rules.name(p) is not ANY]
        self._onward = [(p, rules.fits(rules.name(p))) for p in ahead if not rules.ends_at(p)]
        last = sorted((p for p in ahead if rules.ends_at(p)), reverse=True)
        self._last = [(p.rule, rules.rules[p.rule].folders_only, rules.fits(rules.name(p))) for p in last]

    def match(self, name: bytes, *, is_folder: bool) -> Rule | None:
        """The last rule that fits an entry of this folder."""
        rules = self.rules
        if rules.ignore_case:
            name = name.lower()
        best = rules.anywhere(name, is_folder)
        for number, folders_only, fits in self._last:
            if number < best:
                break
            if (is_folder or not folders_only) and fits(name):
                best = number
                break
        return rules.rules[best] if best >= 0 else None

    def below(self, name: bytes) -> Level:
        """The level of a folder in this one."""
        if not self._onward and not self._last:
            return self
        if self.rules.ignore_case:
            name = name.lower()
        further = {p._replace(next=p.next + 1) for p, fits in self._onward if fits(name)}
        return self.rules.level({*self._stay, *further})


class Rules:
    """Rules in their order: the last one that fits decides. `top` is the level of the folder that they apply to."""

    def __init__(self, rules: list[Rule], *, ignore_case: bool = False) -> None:
        self.rules, self.ignore_case = rules, ignore_case
        self._levels: dict[tuple[_Place, ...], Level] = {}
        self._kept = 0
        self._known: dict[Name, Callable[[bytes], object]] = {}
        common: list[tuple[int, Name]] = []
        places = set()
        for number, rule in enumerate(rules):
            for row, names in enumerate(rule.rows):
                if len(names) == 2 and names[0] is ANY:
                    common.append((number, names[1]))
                else:
                    places.add(_Place(number, row, 0))
        self._of_folders = _Table(common)
        self._of_others = _Table([(n, name) for n, name in common if not rules[n].folders_only])
        self.top = self.level(places)

    def name(self, place: _Place) -> Name:
        return self.rules[place.rule].rows[place.row][place.next]

    def ends_at(self, place: _Place) -> bool:
        return place.next + 1 == len(self.rules[place.rule].rows[place.row])

    def fits(self, name: Name) -> Callable[[bytes], object]:
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = _fits(name)
        return found

    def anywhere(self, name: bytes, is_folder: bool) -> int:
        """The number of the last rule that fits such a name in any folder, or -1."""
        return (self._of_folders if is_folder else self._of_others).last(name)

    def level(self, places: set[_Place]) -> Level:
        """The level with these places, and those that `ANY` in front of a place reaches."""
        for place in list(places):
            while self.name(place) is ANY:
                place = place._replace(next=place.next + 1)  # noqa: PLW2901
                places.add(place)
        key = tuple(sorted(places))
        found = self._levels.get(key)
        if found is None:
            self._kept += len(key) + 1
            if self._kept > _KEPT:
                self._levels.clear()
                self._kept = len(key) + 1
            found = self._levels[key] = Level(self, key)
        return found


class Patterns:
    """Patterns of an option, matched against whole paths. Raises UsageError for a malformed one."""

    def __init__(self, patterns: Sequence[str], option: str, *, ignore_case: bool = False) -> None:
        rules = Rules(rules_of(patterns, option, ignore_case=ignore_case), ignore_case=ignore_case)
        self._top = rules.top
        self._folder, self._level = b"", self._top  # the last folder, and its level; None: it matches itself
        self._matches = False

    def match(self, path: bytes, is_folder: bool) -> bool:
        """Whether a path (from the root, without a leading slash) matches, or is below a folder that does."""
        folder, _, name = path.rpartition(b"/")
        if folder != self._folder:
            self._enter(folder)
        if self._matches:
            return True
        rule = self._level.match(name, is_folder=is_folder)
        return rule is not None and not rule.negated

    def _enter(self, folder: bytes) -> None:
        self._folder, self._level, self._matches = folder, self._top, False
        for name in folder.split(b"/") if folder else ():
            rule = self._level.match(name, is_folder=True)
            if rule is not None and not rule.negated:
                self._matches = True
                return
            self._level = self._level.below(name)
