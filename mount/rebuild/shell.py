"""A shell script as it is put together: the only place where values become shell text.

A `str` is a value and is always quoted; `Raw` is text of our own, such as `"$target"`. So a value from a recovery
point can never end a word, start a command, or leave a comment.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from catalog.screen.text import safe_text

_WIDTH = 110  # of comments


class Raw(str):
    """Shell text that this program wrote itself, to stand as it is."""


Word: TypeAlias = "str | Raw"


def word(value: Word) -> str:
    """One word of a command."""
    if isinstance(value, Raw):
        return value
    return shlex.quote(value.replace("\0", ""))


def words(*values: Word) -> Raw:
    return Raw(" ".join(word(value) for value in values))


def joined(*values: Word) -> Raw:
    """Values and shell text written together as one word: `joined("uuid=", uuid)`."""
    return Raw("".join(word(value) for value in values))


def in_target(place: str) -> Raw:
    """A path of the old system, below the folder that the new one is mounted on."""
    return Raw('"$target"') if place == "/" else joined(Raw('"$target"'), place)


def one_line(text: str) -> str:
    """Text for a comment: one line, without what acts on a terminal."""
    return " ".join(safe_text(text).split())[:2000]


class Script:
    """Lines of a script, with indentation."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def code(self, text: str) -> None:
        """Text of our own, as it is. A value may be in it only by `word` and its like."""
        for line in text.strip("\n").split("\n"):
            self._add(line)

    def run(self, *values: Word) -> None:
        """A command."""
        self._add(words(*values))

    def note(self, text: str) -> None:
        """A comment; long ones are wrapped."""
        line = ""
        for part in one_line(text).split(" "):
            if line and len(line) + len(part) > _WIDTH:
                self._add(f"# {line}")
                line = ""
            line += f" {part}" if line else part
        self._add(f"# {line}".rstrip())

    def say(self, text: str) -> None:
        self.run("say", text)

    def blank(self) -> None:
        self._lines.append("")

    @contextmanager
    def block(self, first: str, last: str = "}") -> Iterator[None]:
        """`first` … `last` around lines that are indented: a function, an if."""
        self._add(first)
        self._depth += 1
        yield
        self._depth -= 1
        self._add(last)

    @contextmanager
    def function(self, name: str) -> Iterator[None]:
        before = len(self._lines)
        with self.block(f"{name}() {{"):
            yield
            if all(line.lstrip().startswith("#") for line in self._lines[before + 1 :] if line):
                self._add(":")  # a body of comments alone is none to a shell

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def _add(self, line: str) -> None:
        self._lines.append("    " * self._depth + line if line else "")
