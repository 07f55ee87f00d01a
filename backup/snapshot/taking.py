"""Makes the snapshots that a backup reads from, and says under which names: plan, make, open, and remove again.

A job has one Taking. What can have no snapshot is read live, with the reason why; whether that is an error, a
problem of the run or nothing at all is for the caller to say (sources/files.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress

import msgspec

from backup.snapshot import none
from backup.snapshot.base import Mark, Provider, Snapshot, Volume
from backup.snapshot.chosen import Chosen, volume_of
from backup.snapshot.plan import How, Mounts
from backup.systems.places import Place
from catalog.errors import SnapshotFailed
from catalog.format.records import Volume as PointVolume
from catalog.mountinfo import is_within

_ROUNDS = 3  # at taking snapshots of subvolumes that were made while others were taken
_log = logging.getLogger("rpdrive.snapshot")


class Taken(msgspec.Struct):
    """What was made: as in sources.base.Begun. `unread` are places whose live files can't be opened, and why."""

    top: Place[int]
    volumes: list[PointVolume]
    skip: set[tuple[int, int]]
    time: int
    frozen: set[int]
    unread: dict[bytes, str]


class Taking:
    """The snapshots of one job. `is_wanted` says of a folder whether it is to be saved at all.

    Of the file systems within others whose places are in `live`, none is made: they are read live.
    """

    def __init__(
        self, mounts: Mounts, mark: Mark, is_wanted: Callable[[bytes], bool], live: frozenset[bytes] = frozenset()
    ) -> None:
        self._mounts, self._mark, self._is_wanted, self._live = mounts, mark, is_wanted, live
        self._inner_live: dict[bytes, Volume] = {}
        self._made: list[tuple[Provider, Snapshot]] = []
        self._handles: list[int] = []

    @property
    def is_all(self) -> bool:
        """Whether nothing within what was taken is read live."""
        return not self._inner_live

    def take(self, chosen: list[Chosen], own: set[tuple[int, int]], *, within: bool, all_or_none: bool) -> Taken:
        """Make the snapshots, and open them. A mount whose snapshot fails gets its reason, and is read live.

        `own` are rpdrive's folders as live files have them, (st_dev, st_ino). `within`: also take the file systems
        within, e.g. subvolumes of btrfs. With `all_or_none`, the first failure is raised: SnapshotFailed.
        """
        top = Place[int]()
        taken = Taken(top, [], set(), 0, set(), {})
        by_provider: dict[str, list[Chosen]] = {}
        for one in chosen:
            if one.provider is not None:
                by_provider.setdefault(one.provider.name, []).append(one)
        for group in by_provider.values():
            self._take_group(group, within=within, all_or_none=all_or_none)
        for one in [one for one in chosen if one.provider is not None]:
            handles: list[int] = []
            try:
                for snapshot in self._of(one):
                    handles.append(snapshot.open())
            except SnapshotFailed as e:
                for handle in handles:
                    os.close(handle)
                if all_or_none:
                    raise
                self._drop(one)
                _fail(one, e)
                continue
            self._handles += handles
            for snapshot, handle in zip(self._of(one), handles, strict=True):
                top.at(snapshot.volume.place).handle = handle
                device = snapshot.device
                taken.frozen.add(device)
                taken.skip |= {(device, inode) for live, inode in own if live == snapshot.volume.device}
        taken.time = min((snapshot.time for _provider, snapshot in self._made), default=0)
        self._put_live(chosen, taken)
        taken.volumes = [self._told(one) for one in chosen]
        return taken

    def _of(self, one: Chosen) -> list[Snapshot]:
        """The snapshots of a mount: its own, and those of what is within."""
        return [s for _provider, s in self._made if self._mounts.of(s.volume.place) is one.area.mount]

    def _drop(self, one: Chosen) -> None:
        """Remove the snapshots of a mount. What can't be removed now is tried again at the end."""
        for snapshot in self._of(one):
            with suppress(SnapshotFailed):
                snapshot.remove()
                self._made = [made for made in self._made if made[1] is not snapshot]

    def _take_group(self, group: list[Chosen], *, within: bool, all_or_none: bool) -> None:
        """Take the mounts of one provider: together, or if that fails each alone, so that one costs only itself."""
        try:
            self._take(group, within)
            return
        except SnapshotFailed as e:
            if all_or_none:
                raise
            if len(group) == 1:
                _fail(group[0], e)
                return
            _log.info("%s; trying each by itself", e)
        for one in group:
            try:
                self._take([one], within)
            except SnapshotFailed as e:
                _fail(one, e)

    def _take(self, group: list[Chosen], within: bool) -> None:
        provider = group[0].provider
        assert provider is not None
        wanted = []
        for one in group:
            try:
                folder = none.opened(one.area.mount)
            except OSError as e:
                raise SnapshotFailed(f"{os.fsdecode(one.place)} can't be opened: {e.strerror}") from e
            try:
                wanted.append(volume_of(one.area.mount, os.fstat(folder).st_dev))
            finally:
                os.close(folder)
        mine: list[Snapshot] = []
        try:
            for _round in range(_ROUNDS):
                known = {snapshot.volume.place for snapshot in mine}
                inner = [v for volume in wanted for v in self._within(provider, volume)] if within else []
                new = [v for v in [*wanted, *inner] if v.place not in known]
                if not new:
                    break
                try:
                    mine += provider.make(new, self._mark)
                except SnapshotFailed:
                    if not inner:
                        raise
                    self._each(provider, new, wanted, mine)
                if not within:
                    break
        except BaseException:
            for snapshot in mine:
                with suppress(SnapshotFailed):
                    snapshot.remove()
            raise
        self._made += [(provider, snapshot) for snapshot in mine]

    def _each(self, provider: Provider, volumes: list[Volume], wanted: list[Volume], mine: list[Snapshot]) -> None:
        """Make the snapshots one by one: a subvolume within that was removed or renamed meanwhile costs itself."""
        for volume in volumes:
            try:
                mine += provider.make([volume], self._mark)
            except SnapshotFailed:
                if volume in wanted or any(volume in self._within(provider, one) for one in wanted):
                    raise
                _log.info("%s is gone, and needs no snapshot", os.fsdecode(volume.place))

    def _within(self, provider: Provider, volume: Volume) -> list[Volume]:
        """The file systems within a volume that are to be saved from snapshots, and that no mount hides."""
        mount = self._mounts.of(volume.place)
        found = []
        for inner in provider.within(volume):
            if self._mounts.of(inner.place) is not mount or not self._is_wanted(inner.place):
                continue
            above = next((place for place in self._live if is_within(inner.place, place)), None)
            if above is None:
                found.append(inner)
            elif above == inner.place:  # those below it are reached from it
                self._inner_live[above] = inner
        return found

    def _put_live(self, chosen: list[Chosen], taken: Taken) -> None:
        """Have live mounts stand where a snapshot has the empty folder that they are mounted on."""
        for one in chosen:
            if one.provider is not None:
                continue
            above = [c for c in chosen if c is not one and is_within(one.place, c.place)]
            if not above or max(above, key=lambda c: len(c.place)).provider is None:
                continue  # the walk comes there by itself
            try:
                handle = none.opened(one.area.mount)
            except NotADirectoryError:
                continue  # a file: the one below it is saved
            except OSError as e:
                taken.unread[one.place] = e.strerror or str(e)
                continue
            self._handles.append(handle)
            taken.top.at(one.place).handle = handle
        for inner in self._inner_live.values():
            try:
                handle = none.opened_inside(inner)
            except OSError as e:
                taken.unread[inner.place] = e.strerror or str(e)
                continue
            self._handles.append(handle)
            taken.top.at(inner.place).handle = handle

    def _told(self, one: Chosen) -> PointVolume:
        """What the point says of a mount."""
        mount = one.area.mount
        ours = self._of(one)
        mine = [s for s in ours if s.volume.place == one.place]
        size = used = 0
        handle = _handle_at(one, mine)
        if handle is not None:
            with suppress(OSError):
                room = os.fstatvfs(handle)
                size, used = room.f_blocks * room.f_frsize, (room.f_blocks - room.f_bfree) * room.f_frsize
            os.close(handle)
        inner = [s.volume.place for s in ours if s.volume.place != one.place]
        return PointVolume(
            place=one.place,
            file_system=mount.file_system,
            source=mount.source.decode(errors="replace"),
            options=mount.options,
            size=size,
            used=used,
            subvolumes=sorted(place[len(one.place.rstrip(b"/")) + 1 :] for place in inner),
            snapshot=one.provider.name if one.provider is not None and mine else "",
            time=mine[0].time if mine else 0,
        )

    def check(self) -> None:
        """Raise SnapshotLost if what was read from a snapshot can't be trusted."""
        for _provider, snapshot in self._made:
            snapshot.check()

    def close(self) -> list[str]:
        """Remove what was made. Returns what could not be removed, a line each: the next start tries again."""
        while self._handles:
            os.close(self._handles.pop())
        said = []
        while self._made:
            try:
                self._made[-1][1].remove()  # first, so that one that is interrupted is tried again
            except SnapshotFailed as e:
                said.append(str(e))
            self._made.pop()
        return said


def _fail(one: Chosen, e: SnapshotFailed) -> None:
    one.provider, one.reason, one.has_failed = None, str(e), True


def _handle_at(one: Chosen, mine: list[Snapshot]) -> int | None:
    """A descriptor to ask for the room of a file system; None where that could hang, or has no sense."""
    with suppress(OSError, SnapshotFailed):
        if mine:
            return mine[0].open()
        if one.area.how is not How.LIVE:
            return none.opened(one.area.mount)
    return None
