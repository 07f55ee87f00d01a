"""Files and folders of a POSIX machine, read from snapshots of their file systems as far as there can be any."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from backup.exclusions import Exclusions
from backup.selection import Selection
from backup.snapshot.base import Provider
from backup.snapshot.chosen import Chosen, choose
from backup.snapshot.marks import JobMark, clean, has_left
from backup.snapshot.plan import How, Mounts, planned
from backup.sources.base import Begun
from backup.sources.wish import ALWAYS, NEVER, Wish
from catalog.errors import LocalError, SnapshotFailed
from catalog.format.records import ItemKind
from catalog.mountinfo import Mount, is_within, mounts

if TYPE_CHECKING:
    from backup.snapshot.taking import Taking  # most machines need none of it

# Those that could make snapshots of some mounts; of None: all.
Makers: TypeAlias = "Callable[[Sequence[Mount] | None], Sequence[Provider]]"

_LOOK = 5.0  # seconds between looks at whether the snapshots are still there
_log = logging.getLogger("rpdrive.snapshot")


class SnapshotFiles:
    """A Source. Plans at once, and makes the snapshots when the backup begins.

    Raises SnapshotFailed if there must be snapshots (always) and there can't be one of each file system.
    """

    def __init__(
        self,
        wish: Wish,
        selection: Selection,
        makers: Makers,
        state: Path,
        own: set[tuple[int, int]],
        *,
        barred: str = "",
        kind: ItemKind = ItemKind.FILES,
        dry: bool = False,
    ) -> None:
        self.kind = kind
        self._looked = time.monotonic()
        self._wish, self._selection, self._makers = wish, selection, makers
        self._state, self._own, self._dry = state, own, dry
        self._begun: Begun | None = None
        self._taking: Taking | None = None
        self._mark = JobMark(state)
        self._table = Mounts(_table())
        areas = planned(
            self._table,
            selection.paths if wish.mode != NEVER else [],
            stay=selection.one_file_system,
            excluded=wish.live,
            skipped=lambda path: not self._saves(path),
        )
        areas = [area for area in areas if area.how is not How.SNAPSHOT or not os.path.isfile(area.mount.place)]
        wanted = [area.mount for area in areas if area.how is How.SNAPSHOT]
        self._chosen = choose(areas, makers(wanted) if wanted else [], barred)
        if wish.mode == ALWAYS:
            self._insist(barred)

    def _insist(self, barred: str) -> None:
        """Raise SnapshotFailed unless there can be a snapshot of all that is to be read."""
        said = [_no_snapshot(one) for one in self._chosen if one.provider is None and one.reason] + self._unknown()
        if said:
            what = "name what may be read live by --snapshot-exclude, or leave it out of the backup"
            raise SnapshotFailed("; ".join(said), "run the command as root" if barred else what)

    def _unknown(self) -> list[str]:
        """A line for each path of which no table says where it is mounted, e.g. without /proc."""
        paths = self._selection.paths if self._wish.mode != NEVER else []
        return [
            f"no snapshot of {os.fsdecode(path)}: this system doesn't say where it is mounted"
            for path in paths
            if self._table.of(path) is None
        ]

    def _saves(self, path: bytes) -> bool:
        """Whether a folder is saved, or leads to what is, as far as rules say that are known before the walk."""
        paths = self._selection.paths
        if not any(is_within(path, given) or is_within(given, path) for given in paths):
            return False
        return not leaves_out(self._selection.exclusions, path)

    def begin(self) -> Begun:
        if self._begun is None:
            self._begun = self._begin()
        return self._begun

    def _begin(self) -> Begun:
        problems: list[str] = []
        if not self._dry and has_left(self._state):
            problems += clean(self._state, self._makers(None))
        if self._dry or not any(one.provider for one in self._chosen):
            return Begun(problems=problems + self._missed())
        always = self._wish.mode == ALWAYS
        within = self._wish.subvolumes or not self._selection.one_file_system
        from backup.snapshot.taking import Taking

        self._taking = Taking(self._table, self._mark, self._saves, self._wish.live)
        try:
            taken = self._taking.take(self._chosen, self._own, within=within, all_or_none=always)
        except BaseException:
            self._remove()
            raise
        problems += [
            f"{os.fsdecode(place)} can't be opened, and its files are not saved: {reason}"
            for place, reason in taken.unread.items()
        ]
        if not taken.time:
            self._remove()
            return Begun(problems=problems + self._missed(), notes=self._notes())
        still = (one.provider is not None or one.area.how is How.STILL for one in self._chosen)
        holds = self._taking.is_all and all(still)
        return Begun(
            taken.top, taken.volumes, taken.skip, taken.time, taken.frozen, holds,
            problems + self._missed(), self._notes(),
        )  # fmt: skip

    def _missed(self) -> list[str]:
        """The reasons for live files that are problems: those of disks, if the user asked for snapshots."""
        if not self._wish.is_asked or self._dry:
            return []
        missing = [one for one in self._chosen if one.provider is None and one.reason]
        if any(one.provider for one in self._chosen):
            missing = [one for one in missing if one.area.how is How.SNAPSHOT]
        said = [_no_snapshot(one) for one in missing] + self._unknown()
        return [f"{line}; its files were read while they are in use" for line in said]

    def _notes(self) -> list[str]:
        """The reasons for live files where a snapshot failed, if nobody asked for one."""
        if self._wish.is_asked:
            return []
        return [_no_snapshot(one) for one in self._chosen if one.has_failed]

    @property
    def live(self) -> list[str]:
        """What is read live although it may change, and why: a line each."""
        return [_no_snapshot(one) for one in self._chosen if one.provider is None and one.reason]

    def check(self, *, final: bool = False) -> None:
        if self._taking is not None and (final or time.monotonic() > self._looked + _LOOK):
            self._taking.check()
            self._looked = time.monotonic()

    def close(self) -> None:
        self._remove()
        self._mark.close()

    def _remove(self) -> None:
        if self._taking is not None:
            with suppress(LocalError):
                for text in self._taking.close():
                    _log.warning("%s; the next backup tries again", text)
            self._taking = None


def _no_snapshot(one: Chosen) -> str:
    return f"no snapshot of {os.fsdecode(one.place)}: {one.reason}"


def _table() -> Iterable[Mount]:
    try:
        return mounts()
    except OSError:
        return []


def leaves_out(exclusions: Exclusions, path: bytes) -> bool:
    """Whether rules leave a folder out, wherever the walk begins. No, if files in folders can say otherwise."""
    layer = exclusions.top
    if exclusions.ignore_files:
        return False
    for name in path.split(b"/"):
        if name and layer is not None:
            rule = layer.deciding(name, is_folder=True)
            if rule is not None and not rule.negated:
                return True
            layer = layer.below(name)
    return False
