"""Snapshots of logical volumes, thick and thin, by the tools of LVM.

A thick snapshot has a size of its own and is void once as much of the volume has changed; a thin one takes room
from its pool. Both are writable, so that the file system's journal is replayed into the snapshot when it is opened.
A snapshot carries the job's mark in its name and as a tag, and is only removed by both together. Several volumes
are snapshot one after the other: LVM knows no single instant for them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from backup.snapshot import block, tool
from backup.snapshot.base import OTHER, Found, Mark, Options, Snapshot, Volume, tag_in
from backup.snapshot.lvs import (
    SECONDS,
    LogicalVolume,
    behind,
    by_id,
    device,
    groups,
    is_in_use,
    is_name,
    volumes,
    with_tag,
)
from backup.snapshot.tool import Run, read_small
from catalog.errors import SnapshotFailed, SnapshotLost
from catalog.screen.text import safe_text, size_text

TOOLS = ("lvs", "vgs", "lvcreate", "lvremove")
POOL_FULL = 80.0  # percent of a thin pool, above which no snapshot is made
POOL_LOST = 95.0  # percent, above which one is given up: a full pool stops the live file systems
SMALLEST = 64 << 20  # bytes of a thick snapshot whose size is a share of its volume
LEAST = 10  # a thick snapshot gets at least 1/10 of the room that it should have, or is refused
BUSY = 20.0  # seconds that a removal is tried again while something, e.g. udev, has the snapshot open
SUSPENDED = 5.0  # seconds; LVM itself freezes a volume for moments only
_PAUSE = 0.5
# Of a cached volume in use, lvcreate was seen to fail with "Manual intervention required": not to be risked.
_REFUSED = {
    "cache": "a cached volume",
    "writecache": "a cached volume",
    "vdo": "a VDO volume",
    "mirror": "a mirror of the old kind",
    "unknown": "of a kind that LVM doesn't know",
}

Open = Callable[[Path, Volume], int]  # a descriptor of what was at the volume's place


class Lvm:
    """The Provider of logical volumes. `sys` and `dev` are /sys and /dev."""

    name = "lvm"

    def __init__(
        self,
        options: Options,
        open_block: Open = block.opened,
        run: Run = tool.run,
        sys: Path = Path("/sys"),
        dev: Path = Path("/dev"),
    ) -> None:
        self._numbers = count()  # of the snapshots of one job
        self._options = options
        self._open = open_block
        self._run = run
        self._sys = sys
        self._dev = dev

    def takes(self, volume: Volume) -> str:
        number = _number(volume)
        ids = behind(number, self._sys)
        if ids is None:
            return self._not_ours(number)
        if absent := tool.missing(*TOOLS):
            return f"{' and '.join(absent)} can't be found: install lvm2"
        if os.geteuid() != 0:
            return "only root can make a snapshot of a logical volume"
        try:
            origin, pool = self._look(ids)
            return _refusal(origin, pool) or ("" if pool else _room(origin, self._options, origin.free)[1])
        except SnapshotFailed as e:
            return str(e)

    def _not_ours(self, number: str) -> str:
        uuid = read_small(self._sys / "dev/block" / number / "dm/uuid")
        if uuid.startswith("CRYPT-"):
            return "it is on an encrypted device; only a file system directly on a logical volume has snapshots"
        return OTHER

    def within(self, volume: Volume) -> list[Volume]:
        return []

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        end = time.monotonic() + self._options.timeout
        made: dict[str, _Made] = {}  # by the number of the origin's device: it may be mounted at several places
        free: dict[str, int] = {}  # extents, by group
        try:
            for volume in volumes:
                number = _number(volume)
                if number not in made:
                    made[number] = self._make_one(volume, mark, free, end)
        except BaseException:
            for each in made.values():
                _remove_quietly(each)
            raise
        return [LvmSnapshot(volume, made[_number(volume)], self._open) for volume in volumes]

    def _make_one(self, volume: Volume, mark: Mark, free: dict[str, int], end: float) -> _Made:
        number = _number(volume)
        ids = behind(number, self._sys)
        if ids is None:
            raise SnapshotFailed(f"{os.fsdecode(volume.place)} is not on a logical volume of LVM")
        origin, pool = self._look(ids)
        reason = _refusal(origin, pool)
        size: list[str] = []
        if not pool and not reason:
            extents, reason = _room(origin, self._options, free.setdefault(origin.group_id, origin.free))
            free[origin.group_id] -= extents
            size = ["--extents", str(extents)]
        if reason:
            raise SnapshotFailed(reason)
        # A thin snapshot that a power cut leaves behind is not activated at the next boot: no second device has the
        # file system's UUID. (A thick one is active whenever its origin is.)
        kind = ["--setactivationskip", "y", "--ignoreactivationskip"] if pool else size
        name = f"{mark.tag}-{next(self._numbers)}"
        mark.note(Lvm.name, f"{origin.group}/{name}")
        made = _Made(self._run, mark, origin.group, name, origin, self._sys, self._dev, time.time_ns())
        try:
            ended = self._run(
                "lvcreate", "--snapshot", *kind, "--name", name, "--addtag", mark.tag, origin.path,
                seconds=max(end - time.monotonic(), 1.0), changes=True,
            )  # fmt: skip
            if ended.code:
                told = ended.said or f"exit code {ended.code}"
                raise SnapshotFailed(f"lvcreate could make no snapshot of {origin.path}: {told}")
            made.find()
        except tool.StillRuns:
            raise  # it may yet make the snapshot: the mark keeps its name, and the next start removes it
        except BaseException:
            self._thaw(origin)
            _remove_quietly(made)
            raise
        return made

    def _look(self, ids: tuple[str, str]) -> tuple[LogicalVolume, LogicalVolume | None]:
        """The volume with these ids (group, volume), and its thin pool. Raises SnapshotFailed."""
        origin = by_id(self._run, ids[1]).get(ids[1])
        if origin is None or origin.group_id != ids[0]:
            raise SnapshotFailed("lvs doesn't show its logical volume")
        if not origin.pool_id or "thin" not in origin.layout:
            return origin, None
        pool = by_id(self._run, origin.pool_id).get(origin.pool_id)
        if pool is None:
            raise SnapshotFailed(f"lvs doesn't show the thin pool of {origin.path}")
        return origin, pool

    def _thaw(self, origin: LogicalVolume) -> None:
        """Let a volume go on that a failed lvcreate has left suspended: everything that writes to it would hang."""
        state = self._sys / "dev/block" / origin.number / "dm/suspended"
        end = time.monotonic() + SUSPENDED
        while read_small(state) == "1":
            if time.monotonic() > end:
                path = device(origin, self._sys, self._dev)
                if path is not None:
                    with suppress(SnapshotFailed):  # what failed before is the error to report
                        self._run("dmsetup", "resume", str(path), seconds=SECONDS, changes=True)
                return
            time.sleep(_PAUSE)

    def found(self) -> list[Found]:
        if tool.missing("lvs"):
            return []  # without its tools, nothing of LVM is active here
        shown = []
        # By name, not by role: an lvcreate that failed may have left a volume that is no snapshot yet.
        for volume in volumes(self._run, 'lv_name=~"^rpdrive-"'):
            tag = next((t for t in volume.tags if is_ours(volume.name, t)), "")
            if tag:
                room = 0 if volume.pool_id else volume.size
                source = f"{volume.group}/{volume.origin}" if volume.origin else ""
                shown.append(Found(Lvm.name, volume.path, tag, source, volume.time, room))
        return shown

    def reaches(self, name: str) -> bool:
        return not tool.missing("vgs") and name.partition("/")[0] in groups(self._run)

    def remove(self, found: Found) -> None:
        group, _, name = found.name.partition("/")
        if is_name(group) and is_ours(name, found.tag):
            _remove(self._run, group, name, found.tag)


def is_ours(name: str, tag: str) -> bool:
    """Whether a volume's name is one that a job with this mark gives."""
    return tag != "" and tag_in(tag) == tag and re.fullmatch(re.escape(tag) + "-[0-9]{1,6}", name) is not None


class _Made:
    """A snapshot volume of ours. `instant`: ns, UTC, from before it was made."""

    def __init__(
        self, run: Run, mark: Mark, group: str, name: str, origin: LogicalVolume, sys: Path, dev: Path, instant: int
    ) -> None:
        self.instant = instant
        self.origin = origin
        self.name = f"{group}/{name}"
        self.device: Path | None = None
        self._run = run
        self._mark = mark
        self.tag = mark.tag
        self._select = with_tag(group, name, mark.tag)
        self.id = ""
        self._sys = sys
        self._dev = dev
        self._is_gone = False

    def find(self) -> None:
        """Look at what lvcreate made. Raises SnapshotFailed if it isn't an active snapshot of the origin."""
        shown = volumes(self._run, self._select)
        if len(shown) != 1 or shown[0].origin_id != self.origin.id or not shown[0].is_snapshot:
            raise SnapshotFailed(f"lvs doesn't show {self.name} as a snapshot of {self.origin.path}")
        self.id = shown[0].id
        self.device = device(shown[0], self._sys, self._dev)
        if self.device is None:
            raise SnapshotFailed(f"the snapshot {self.name} is not active: look at activation/ in lvm.conf")

    def check(self) -> None:
        """Raises SnapshotLost if it is gone, has filled up, or its pool nears its end."""
        ids = [self.id, *([self.origin.pool_id] if self.origin.pool_id else [])]
        shown = by_id(self._run, *ids)
        mine = shown.get(self.id)
        if mine is None:
            raise SnapshotLost(f"the snapshot {self.name} was removed while it was read")
        if mine.invalid or (not mine.pool_id and (mine.data or 0.0) >= 100.0):
            raise SnapshotLost(
                f"the snapshot {self.name} of {self.origin.path} is full: more than {size_text(mine.size)} changed"
                " while it was read",
                "no recovery point was made; give it more room (--snapshot-size), or run it when less is written",
            )
        if self.device is None or device(mine, self._sys, self._dev) != self.device:
            raise SnapshotLost(f"the snapshot {self.name} was deactivated while it was read")
        if self.origin.pool_id:
            _check_pool(shown.get(self.origin.pool_id), self.origin)

    def remove(self) -> None:
        if not self._is_gone:
            group, _, name = self.name.partition("/")
            _remove(self._run, group, name, self.tag)
            self.hand_over()

    def hand_over(self) -> None:
        """It is gone, or no longer ours."""
        self._mark.forget(Lvm.name, self.name)
        self._is_gone = True


class LvmSnapshot:
    """The Snapshot of a volume; those of one logical volume share what was made."""

    def __init__(self, volume: Volume, made: _Made, open_block: Open) -> None:
        self.volume = volume
        self.name = made.name
        self.time = made.instant
        self._made = made
        self._open = open_block
        self._device = 0

    @property
    def device(self) -> int:
        return self._device

    def open(self) -> int:
        path = self.block_device()
        if path is None:
            raise SnapshotFailed(f"the snapshot {self.name} has no device")
        descriptor = self._open(path, self.volume)
        self._device = os.fstat(descriptor).st_dev
        return descriptor

    def block_device(self) -> Path | None:
        return self._made.device

    def check(self) -> None:
        self._made.check()

    def remove(self) -> None:
        self._made.remove()

    # For kept.py.

    @property
    def is_thin(self) -> bool:
        return bool(self._made.origin.pool_id)

    @property
    def volume_id(self) -> str:
        """LVM's id of the snapshot: 32 letters and digits."""
        return self._made.id

    @property
    def tag(self) -> str:
        return self._made.tag

    def hand_over(self) -> None:
        """Leave the snapshot to somebody else: `remove` has no effect any more."""
        self._made.hand_over()


def _number(volume: Volume) -> str:
    """The number of a volume's block device."""
    return volume.number or f"{os.major(volume.device)}:{os.minor(volume.device)}"


def _refusal(origin: LogicalVolume, pool: LogicalVolume | None) -> str:
    """Why there can be no snapshot of a logical volume; empty if there can."""
    group = origin.group
    if origin.faults & {"clustered", "shared"}:
        return f"the volume group {group} is shared by several machines; LVM makes no snapshots there"
    if "exported" in origin.faults:
        return f"the volume group {group} is exported (vgimport)"
    if "partial" in origin.faults:
        return f"a disk of the volume group {group} is missing (pvs)"
    if origin.is_merging:
        return f"a snapshot is being merged into {origin.path}; try again when lvs no longer shows it"
    if "thicksnapshot" in origin.role:
        return f"{origin.path} is itself a snapshot, and LVM makes none of a snapshot; back up its origin instead"
    for layout, words in _REFUSED.items():
        if layout in origin.layout:
            return f"{origin.path} is {words}; rpdrive makes no snapshots of such"
    if pool is not None:
        return _pool_refusal(pool)
    return ""


def _pool_refusal(pool: LogicalVolume) -> str:
    if pool.health:
        return f"the thin pool {pool.path} is not in order: {safe_text(pool.health)} (lvs -o+lv_health_status)"
    if pool.data is None or pool.metadata is None:
        return f"lvs doesn't say how full the thin pool {pool.path} is"
    for what, percent in (("", pool.data), (" of metadata", pool.metadata)):
        if percent > POOL_FULL:
            return (
                f"the thin pool {pool.path} is {percent:g} % full{what}, and above {POOL_FULL:g} % a snapshot could"
                " fill it; extend it (lvextend) or free space in it (fstrim)"
            )
    return ""


def _check_pool(pool: LogicalVolume | None, origin: LogicalVolume) -> None:
    """Raises SnapshotLost if the pool of a thin snapshot is damaged, or so full that the snapshot has to go."""
    if pool is None:
        raise SnapshotLost(f"the thin pool of {origin.path} is no longer there")
    percent = max(pool.data or 0.0, pool.metadata or 0.0)
    if pool.health or percent > POOL_LOST:
        state = f"{percent:g} % full" if percent > POOL_LOST else safe_text(pool.health)
        raise SnapshotLost(
            f"the thin pool {pool.path} is {state}; the snapshot of {origin.path} is given up, so that the live"
            " file systems can go on",
            "no recovery point was made; extend the pool (lvextend) or free space in it (fstrim)",
        )


def _room(origin: LogicalVolume, options: Options, free: int) -> tuple[int, str]:
    """The extents for a thick snapshot, and why it can't have any. `free`: extents of the group."""
    extent = max(origin.extent, 1)
    wanted = -(-(options.size or max(int(options.share * origin.size), SMALLEST)) // extent)
    least = wanted if options.size else max(-(-wanted // LEAST), 1)
    if free >= least:
        return min(wanted, free), ""
    has = f"the volume group {origin.group} has only {size_text(free * extent)} free"
    needs = size_text(least * extent)
    advice = "make room in it (vgextend, lvreduce)"
    if options.size:
        return 0, f"{has}, and --snapshot-size asks for {needs}; {advice} or ask for less"
    return 0, f"{has}, and a snapshot of {origin.path} needs at least {needs}; {advice}"


def _remove(run: Run, group: str, name: str, tag: str) -> None:
    """Remove a volume, by name and tag at once; no effect if there is no such one. Raises SnapshotFailed."""
    end = time.monotonic() + BUSY
    while True:
        ended = run(
            "lvremove", "--yes", "--select", with_tag(group, name, tag), group, seconds=SECONDS, changes=True
        )
        if ended.code == 0:
            return
        if not is_in_use(ended.said) or time.monotonic() > end:
            break
        time.sleep(_PAUSE)
    raise SnapshotFailed(
        f"the snapshot {group}/{name} can't be removed: {ended.said or f'exit code {ended.code}'}",
        "see what uses it (lsblk, fuser), then run `rpdrive snapshots --remove`",
    )


def _remove_quietly(made: _Made) -> None:
    """Remove after a failure, which is the error to report: what stays is removed at the next start."""
    with suppress(SnapshotFailed):
        made.remove()
