"""What a backup leaves out by rules: of options, of files of rules, and of files in the folders themselves.

Of rules that fit, those of `--exclude` count first, then those of files in the folders, the lowest folder first,
then those of `--exclude-file`; within one of these, the last one. This is git's order for its `--exclude`,
.gitignore, and `--exclude-from`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from catalog.errors import LocalError, UsageError
from catalog.patterns import Level, Rule, Rules, TooLong, rules_in, rules_of

CACHE_TAG = b"CACHEDIR.TAG"
OF_SYSTEM = "the registry's lists for backups (--no-system-exclusions)"
_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"  # https://bford.info/cachedir/
_FILE_MAX = 64 << 10  # bytes of a file of rules in a folder
_ACTIVE_MAX = 20_000  # rules of such files in folders in each other
_LIST_MAX = 16 << 20  # bytes of a file of --exclude-file
_RECORDED = 1000  # rules that a point lists

Read: TypeAlias = Callable[[bytes, int], bytes | None]  # a file of the folder: its name, bytes at most -> contents
Say: TypeAlias = Callable[[str], None]


class Exclusions:
    """The rules of one backup. `ignore_files` is the name of files with rules in folders; empty: none are read.

    `caches`: leave out what is in folders that a CACHEDIR.TAG marks as caches. `of_system` are rules of the system
    itself, the weakest of all. Raises UsageError for a malformed
    rule, and LocalError for a file of `files` that can't be read.
    """

    def __init__(
        self,
        patterns: Sequence[str] = (),
        files: Sequence[Path] = (),
        *,
        ignore_files: str = "",
        caches: bool = False,
        ignore_case: bool = False,
        of_system: Sequence[str] = (),
    ) -> None:
        self.ignore_files, self.caches = ignore_files.encode(errors="surrogateescape"), caches
        self.ignore_case, self._patterns = ignore_case, patterns
        lists = [rules_of(patterns, "--exclude", ignore_case=ignore_case)]
        lists += [_rules_of_file(path, ignore_case) for path in reversed(files)]
        if of_system:
            lists.append(rules_of(of_system, OF_SYSTEM, ignore_case=ignore_case))
        self._lists = [Rules(rules, ignore_case=ignore_case) for rules in lists]
        if b"/" in self.ignore_files or self.ignore_files in (b".", b".."):
            raise UsageError(
                f"--ignore-files takes a name, not {ignore_files!r}", "e.g. --ignore-files .rpdriveignore"
            )

    @property
    def top(self) -> Layer | None:
        """The layer of the root folder; None if there are no rules at all."""
        first, *others = (rules.top for rules in self._lists)
        levels = [level for level in (first, *others) if level.rules.rules]
        if not levels and not self.ignore_files and not self.caches:
            return None
        return Layer(self, tuple(levels), len(first.rules.rules) > 0, 0)

    @property
    def recorded(self) -> list[str]:
        """The rules as a point lists them, the weakest first."""
        found: list[str] = []
        for rules in reversed(self._lists[1:]):
            found += [f"# {source}" for source in dict.fromkeys(rule.source for rule in rules.rules)]
            found += [rule.text for rule in rules.rules]
        found += [os.fsencode(pattern).decode(errors="backslashreplace") for pattern in self._patterns]
        if self.ignore_files:
            found.append(f"# and rules in files named {self.ignore_files.decode(errors='backslashreplace')}")
        if self.caches:
            found.append("# and folders with a CACHEDIR.TAG")
        return [*found[:_RECORDED], f"# and {len(found) - _RECORDED:,} more"] if len(found) > _RECORDED else found


class Layer:
    """A folder, as all rules of a backup see it. `first` says whether the first level is that of --exclude."""

    __slots__ = ("_active", "_exclusions", "_first", "_levels")

    def __init__(self, exclusions: Exclusions, levels: tuple[Level, ...], first: bool, active: int) -> None:
        self._exclusions, self._levels, self._first, self._active = exclusions, levels, first, active

    def deciding(self, name: bytes, *, is_folder: bool) -> Rule | None:
        """The rule that decides about an entry of this folder; None if no rule fits it."""
        for level in self._levels:
            rule = level.match(name, is_folder=is_folder)
            if rule is not None:
                return rule
        return None

    def below(self, name: bytes) -> Layer:
        """The layer of a folder in this one."""
        levels = tuple(level.below(name) for level in self._levels)
        if all(a is b for a, b in zip(levels, self._levels, strict=True)):
            return self
        return Layer(self._exclusions, levels, self._first, self._active)

    def within(self, read: Read, path: Callable[[], bytes], say: Say) -> Layer:
        """This layer with the rules of the folder's own file of rules, if it has one."""
        name = self._exclusions.ignore_files
        data = read(name, _FILE_MAX + 1) if name else None
        if not data:
            return self
        shown = (b"/" + path() + b"/" + name).decode(errors="backslashreplace")
        fold = self._exclusions.ignore_case
        try:
            if len(data) > _FILE_MAX:
                raise TooLong(f"{shown} has more than {_FILE_MAX >> 10} KiB")
            rules = rules_in(data, shown, ignore_case=fold)
            if self._active + len(rules) > _ACTIVE_MAX:
                raise TooLong(f"folders in each other have more than {_ACTIVE_MAX:,} rules")
        except TooLong as e:
            say(f"its rules in {name.decode(errors='backslashreplace')} are not used: {e}")
            return self
        added = (Rules(rules, ignore_case=fold).top,)
        levels = self._levels[: self._first] + added + self._levels[self._first :]
        return Layer(self._exclusions, levels, self._first, self._active + len(rules))

    def is_cache(self, read: Read) -> bool:
        """Whether the folder is marked as a cache, and caches are left out."""
        return self._exclusions.caches and read(CACHE_TAG, len(_SIGNATURE)) == _SIGNATURE


def _rules_of_file(path: Path, ignore_case: bool) -> list[Rule]:
    try:
        with path.open("rb") as file:
            data = file.read(_LIST_MAX + 1)
    except OSError as e:
        raise LocalError(f"the rules in {path} can't be read: {e.strerror}", "check --exclude-file") from e
    if len(data) > _LIST_MAX:
        raise UsageError(f"{path} has more than {_LIST_MAX >> 20} MiB of rules", "use fewer, more general rules")
    try:
        return rules_in(data, str(path), ignore_case=ignore_case)
    except TooLong as e:
        raise UsageError(str(e), "use fewer, more general rules") from e
