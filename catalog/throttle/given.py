"""The limits that a user gives as options of a command."""

from __future__ import annotations

from typing import NamedTuple

from catalog.errors import UsageError
from catalog.screen.text import parse_size
from catalog.throttle.rates import LEAST, Limits

_OFF = ("off", "none")


class Given(NamedTuple):
    """The options `--limit`, `--limit-up` and `--limit-down`, as the user wrote them."""

    both: str | None = None
    up: str | None = None
    down: str | None = None

    def limits(self) -> Limits | None:
        """The limits that they say; None if none was given. Raises UsageError."""
        if self == Given():
            return None
        both = None if self.both is None else _parsed(self.both)
        return Limits(
            both if self.up is None else _parsed(self.up), both if self.down is None else _parsed(self.down)
        )


def _parsed(text: str) -> int | None:
    if text.strip().lower() in _OFF:
        return None
    size = parse_size(text.strip().removesuffix("/s"))
    if size < LEAST:
        raise UsageError(f"a limit of {text} is too low", "use 16K (bytes a second) or more, or `off`")
    return size
