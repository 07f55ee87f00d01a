"""The interface to what a backup reads. choice.py chooses a Source by the kind of the item."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from backup.systems.places import Place
from catalog.format.records import ItemKind, Volume


class Begun(msgspec.Struct):
    """What a run reads from, once it has begun.

    `top` says which folders stand for others. `skip` are more folders to leave out, as (st_dev, st_ino): those of
    rpdrive as they are in snapshots. `time` is just before the first snapshot (ns, UTC), 0 without one. `frozen`
    are the st_dev of snapshots: no file of theirs can change. `holds`: all is as it was at one instant, so that
    hooks may let databases go on. `problems` are told with those of the run: why files are read live, for example.
    `notes` are lines of its summary, and no more.
    """

    top: Place[Any] = msgspec.field(default_factory=Place[Any])
    volumes: list[Volume] = []
    skip: set[tuple[int, int]] = set()
    time: int = 0
    frozen: set[int] = set()
    holds: bool = False
    problems: list[str] = []
    notes: list[str] = []


class Source(Protocol):
    """What one backup reads. Whoever made it closes it."""

    kind: ItemKind

    def begin(self) -> Begun:
        """Make ready what the walk reads, e.g. snapshots. Later calls return the same.

        Called before an attempt reads files. Raises LocalError.
        """

    def check(self, *, final: bool = False) -> None:
        """Raise LocalError if what was read can't be relied on.

        Called now and then, and with `final` before each point is written.
        """

    def close(self) -> None:
        """Remove what `begin` made. No effect if there is nothing. Raises nothing."""


class LiveFiles:
    """Files and folders as they are while they are read."""

    kind = ItemKind.FILES

    def begin(self) -> Begun:
        return Begun()

    def check(self, *, final: bool = False) -> None:
        pass

    def close(self) -> None:
        pass
