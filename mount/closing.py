"""Runs `rpdrive unmount`: closes a drive, and removes the unit or task that opens it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from catalog.access.session import Session
from catalog.screen.text import safe_text
from mount.place.this import PLACES
from mount.process.control.this import CONTROL
from mount.process.registry import Registry
from mount.process.this import PROCESSES


def close(session: Session, mount_point: Path, *, lazy: bool) -> None:
    """Close the drive at a mount point; with `lazy`, even if files on it are open. Raises MountFailed."""
    CONTROL.close(_registry(session), PLACES.absolute(mount_point), lazy=lazy)


def close_for_good(
    session: Session, mount_point: Path, *, at_login: bool, service: bool, lazy: bool
) -> Iterator[str]:
    """Remove the unit or task that opens the drive, and close the drive; yields a line for each step.

    Raises UsageError, MountFailed or LocalError.
    """
    from mount.login.base import of_system
    from mount.login.this import LOGIN

    system = of_system(at_login=at_login, service=service)
    place = PLACES.absolute(mount_point)
    yield safe_text(LOGIN.remove(place, system=system))
    if CONTROL.is_open(_registry(session), place):  # systemd usually has closed it by now
        CONTROL.close(_registry(session), place, lazy=lazy)


def _registry(session: Session) -> Registry:
    return Registry(session.settings, PROCESSES)
