"""The interface to the operating system for the users behind connections."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Ends(NamedTuple):
    """Both ends of a TCP connection of this machine with itself: addresses as text, and ports."""

    theirs: tuple[str, int]
    ours: tuple[str, int]


class Peers(Protocol):
    """Knows the users behind connections of one operating system."""

    def is_foreign(self, ends: Ends) -> bool:
        """Whether the other end belongs to another user, who may not use the page. False where nobody can tell."""
        ...
