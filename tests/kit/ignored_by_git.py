"""Random rules as in .gitignore and random trees, and what git itself says of each entry.

All pairs lie in one repository, each in a folder of its own with its own .gitignore, and sometimes with more of
them further below; one `git check-ignore` answers for all. Rules and names are made of the same few letters, so
that they often meet.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

RULES = b".gitignore"

_NAMES = [
    b"a", b"b", b"ab", b"ba", b"aa", b"abc", b"A", b"aB", b"foo", b"bar", b"foobar", b"a.b", b"b.a", b"a b", b"a ",
    b" a", b"a\n", b"\n", b"a\nb", b"\\", b"a\\", b"\\a", b"*", b"**", b"?", b"[", b"]", b"[a]", b"a]", b"!", b"!a",
    b"#", b"#a", b"-", b"^", b":", b"a-b", b"\xff", b"a\xffb", b"\xc3\xa9", b"\xc3\x89", b"{a,b}", b"a,b", b"\t",
    b"a\t", b"a\r", b"5", b"a5", b".a", b"~", b"a" * 40, b"ab" * 20,
]  # fmt: skip
_PIECES = [
    *[b"a", b"b", b"ab", b"foo", b"bar", b"A", b"B", b"."] * 3, *[b"*"] * 12, *[b"**"] * 5, *[b"?"] * 4,
    *[b"/"] * 8, *[b"**/", b"/**", b"/**/", b"*/"] * 3, b"***", b"\\a", b"\\*", b"\\?", b"\\/", b"\\\\", b"\\",
    b"\\[", b"\\ ", b" ", b"\t", b"\xff", b"\xc3\xa9", b"\xc3", b"5", b"-", b"!", b"#", b"{", b",", b"}", b"^",
    b"~", b"+", b"(", b"|", b"$", b"\r",
]  # fmt: skip
_CLASSES = [
    b"[ab]", b"[!ab]", b"[^ab]", b"[a-z]", b"[A-Z]", b"[!a-z]", b"[z-a]", b"[]]", b"[!]]", b"[]-a]", b"[a-]",
    b"[-a]", b"[[:alpha:]]", b"[[:upper:]]", b"[[:lower:]]", b"[[:digit:]a]", b"[![:space:]]", b"[[:punct:]]",
    b"[[:alnum:]_]", b"[[:xdigit:]]", b"[[:cntrl:]]", b"[[:blank:]]", b"[[:graph:]]", b"[[:print:]]",
    b"[[:nothing:]]", b"[[:alpha:]",
    b"[[:upper:]-z]", b"[a", b"[", b"[a\\", b"[\\]]", b"[a\\-z]", b"[\\a-z]", b"[a-\\c]", b"[a/b]", b"[/]",
    b"[!/]",
    b"[[a]", b"[[:a]", b"[\x80-\xff]", b"[!\x80-\xff]", b"[*?]", b"[a-c-e]", b"[--a]", b"[!-]", b"[]",
]  # fmt: skip


class Answer(NamedTuple):
    """What git says of a path: the file of rules and the line that decided, and its text; or nothing of all."""

    source: bytes
    line: int
    rule: bytes

    @property
    def ignored(self) -> bool:
        return self.line > 0 and not self.rule.startswith(b"!")


class Pair(NamedTuple):
    """A tree, as paths of its entries and whether each is a folder; and its files of rules, by their folder."""

    entries: dict[bytes, bool]
    rules: dict[bytes, bytes]


def random_pair(rng: random.Random) -> Pair:
    entries: dict[bytes, bool] = {}
    folders = [b""]
    for _ in range(rng.randint(4, 14)):
        above = rng.choice(folders)
        path = above + b"/" + rng.choice(_NAMES) if above else rng.choice(_NAMES)
        if path in entries or path.count(b"/") > 4:
            continue
        entries[path] = rng.random() < 0.55
        if entries[path]:
            folders.append(path)
    rules = {b"": _file(rng, entries, b"")}
    for folder in folders[1:]:
        if rng.random() < 0.08:
            rules[folder] = _file(rng, entries, folder)
    return Pair(entries, rules)


def _file(rng: random.Random, entries: dict[bytes, bool], folder: bytes) -> bytes:
    lines = [_line(rng, entries, folder) for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 6)))]
    start = b"\xef\xbb\xbf" if rng.random() < 0.02 else b""
    return start + rng.choice((b"\n", b"\n", b"\n", b"\r\n")).join(lines) + rng.choice((b"\n", b"", b"\n\n"))


def _line(rng: random.Random, entries: dict[bytes, bool], folder: bytes) -> bytes:
    kind = rng.random()
    below = [p.removeprefix(folder + b"/") for p in entries if not folder or p.startswith(folder + b"/")]
    if kind < 0.55 and below:
        line = _from_path(rng, rng.choice(below))
    else:
        line = b"".join(rng.choice(_PIECES if rng.random() < 0.88 else _CLASSES) for _ in range(rng.randint(1, 6)))
    if rng.random() < 0.3:
        line = b"!" + line
    if rng.random() < 0.2:
        line += b"/"
    if rng.random() < 0.06:
        line += rng.choice((b" ", b"  ", b"\\ ", b"\\  ", b"\t", b"\\", b"\r", b"\x00a", b"//"))
    return line.replace(b"\n", b"?")


def _from_path(rng: random.Random, path: bytes) -> bytes:
    """A rule that fits a path, more or less."""
    parts = path.split(b"/")
    if rng.random() < 0.5:
        parts = parts[rng.randrange(len(parts)) :]
    made = []
    for part in parts:
        way = rng.random()
        if way < 0.1:
            made.append(b"**")
        elif way < 0.25:
            made.append(b"*")
        elif way < 0.7:
            at = rng.randrange(len(part) + 1)
            end = rng.randrange(at, len(part) + 1)
            middle = rng.choice(
                (b"*", b"*", b"?", b"**", b"*" * (end - at), b"?" * (end - at), rng.choice(_CLASSES))
            )
            made.append(part[:at] + middle + part[end:])
        elif way < 0.8:
            made.append(part.swapcase())
        else:
            made.append(part)
    line = b"/".join(made)
    return b"/" + line if rng.random() < 0.3 else line


def answers_of_git(folder: Path, pairs: Iterable[Pair], *, ignore_case: bool = False) -> list[dict[bytes, Answer]]:
    """Write the pairs below a folder, and ask git about each entry."""
    environ = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    git = ["git", "-c", f"core.ignorecase={str(ignore_case).lower()}", "-c", f"core.excludesFile={os.devnull}"]
    subprocess.run([*git, "init", "-q", "--template=", folder], check=True, env=environ)
    root, asked = os.fsencode(folder), list[bytes]()
    found: list[dict[bytes, Answer]] = []
    for number, pair in enumerate(pairs):
        found.append({})
        here = b"%d" % number
        os.mkdir(root + b"/" + here)
        for path, is_folder in pair.entries.items():
            whole = root + b"/" + here + b"/" + path
            os.mkdir(whole) if is_folder else os.close(os.open(whole, os.O_CREAT | os.O_WRONLY))
            asked.append(here + b"/" + path)
        for at, text in pair.rules.items():
            with open(b"/".join(filter(None, (root, here, at, RULES))), "wb") as file:  # noqa: PTH123 - bytes
                file.write(text)
    command = [*git, "check-ignore", "--stdin", "-z", "-v", "-n", "--no-index"]
    done = subprocess.run(
        command, cwd=folder, env=environ, input=b"".join(p + b"\0" for p in asked), capture_output=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    fields = done.stdout.split(b"\0")[:-1]
    assert len(fields) == 4 * len(asked)
    for source, line, rule, path in zip(*[iter(fields)] * 4, strict=True):
        number, _, inside = path.partition(b"/")
        answer = Answer(
            source.partition(b"/")[2].removesuffix(RULES).rstrip(b"/") if source else b"", int(line or 0), rule
        )
        found[int(number)][inside] = answer if source else Answer(b"", 0, b"")
    return found
