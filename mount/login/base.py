"""What differs between systems for drives that open by themselves: at a user's login, or at the machine's start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from catalog.errors import UsageError


class Entry(NamedTuple):
    """A drive to be opened at every login, or at every start of the machine (`system`)."""

    place: Path
    arguments: Sequence[str]  # of `rpdrive mount`, but for the place
    system: bool
    vault: Path | None = None  # the vault's folder, if it is one


class Login(Protocol):
    """What opens drives by itself on one system."""

    def add(self, entry: Entry, *, now: bool) -> Iterator[str]:
        """Create an entry, and open its drive `now`; report each step in a line. Raises LocalError, MountFailed."""
        ...

    def remove(self, place: Path, *, system: bool) -> str:
        """Remove the entry of a place; a line about it.

        Raises MountFailed if there is none, LocalError if it can't be removed.
        """
        ...

    def report_ready(self) -> None:
        """Report that the drive of this process is open to the service manager that started it, if one did."""
        ...


def of_system(*, at_login: bool, service: bool) -> bool:
    """Whether an entry of the machine is meant, and not one of the user. Raises UsageError."""
    if at_login and service:
        raise UsageError("--at-login and --service can't be used together", "use one of them")
    return service
