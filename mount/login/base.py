"""The interface to the operating system for drives that it opens at a user's login or the machine's start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from catalog.errors import UsageError


class Entry(NamedTuple):
    """A drive to be opened at every login, or at every start of the machine (`system`)."""

    place: Path
    arguments: Sequence[str]  # of `rpdrive mount`, except the place
    system: bool
    vault: Path | None = None  # the vault's folder, if it is one


class Login(Protocol):
    """The units or tasks by which one operating system opens drives."""

    def add(self, entry: Entry, *, now: bool) -> Iterator[str]:
        """Create an entry and, if `now`, open its drive; yields a line for each step.

        Raises LocalError and MountFailed.
        """
        ...

    def remove(self, place: Path, *, system: bool) -> str:
        """Remove the entry of a place. Returns a line for the user.

        Raises MountFailed if there is none, LocalError if it can't be removed.
        """
        ...

    def readdress(self, old: str, new: str) -> list[str]:
        """Let entries that open a drive of the vault at one address open it at another. Returns a line for each.

        A drive that is open stays as it is until it is opened again. Raises LocalError.
        """
        ...

    def report_ready(self) -> None:
        """Notify the service manager that started this process, if one did, that the drive is open."""
        ...


def of_system(*, at_login: bool, service: bool) -> bool:
    """Whether the options mean an entry for the whole machine, not for the user. Raises UsageError for both."""
    if at_login and service:
        raise UsageError("--at-login and --service can't be used together", "use one of them")
    return service
