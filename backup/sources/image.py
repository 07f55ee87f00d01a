"""A disk or a part of one, byte for byte, in a state that can be said: at rest, of one instant, or in use."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from backup.snapshot.base import Snapshot
from backup.sources.base import Begun
from backup.sources.freezing import Frozen
from backup.systems.image import Image, ImageSystem, names_of
from catalog.disks.devices import Device, Use, describe, is_claimed, is_device, number_of, open_device, uses_of
from catalog.disks.geometry import FORMAT, VERSION, Geometry, look
from catalog.errors import LocalError, SnapshotFailed, UsageError
from catalog.format.records import ItemKind, Volume
from catalog.mountinfo import mounts

ALWAYS, NEVER = "always", "never"
AT_REST, SNAPSHOT, FROZEN, IN_USE, FILE = "at rest", "snapshot", "frozen", "in use", "file"
_ENDINGS = (".img", ".raw", ".image", ".dd")
_LONGEST = 200  # characters of a name
Ranges: TypeAlias = Iterator[tuple[int, int]]
# Makes a snapshot of a mounted device; or says in a phrase why there can be none.
Take: TypeAlias = Callable[[Use], Snapshot | str]


def no_snapshot(use: Use) -> Snapshot | str:
    """A Take where nothing makes snapshots of devices."""
    return "nothing on this machine makes a snapshot of it"


def stem_of(path: Path) -> str:
    """The name of an image: the path of its device below /dev, or the name of its file."""
    text = str(path)
    for start in ("/dev/mapper/", "/dev/disk/by-id/", "/dev/"):
        if text.startswith(start):
            text = text.removeprefix(start).replace("/", "-")
            break
    else:
        text = path.name
        for ending in _ENDINGS:
            text = text.removesuffix(ending)
    text = text.encode(errors="replace").decode().strip(".") or "disk"
    return text[:_LONGEST]


def device_of(place: Path) -> Path:
    """The device that is mounted at a place. Raises UsageError if there is none."""
    real = os.fsencode(place.resolve())
    found = [mount for mount in mounts() if mount.place == real]
    if not found or not found[-1].source.startswith(b"/"):
        raise UsageError(f"no device is mounted at {place}", "name a mount point, or the device itself")
    return Path(os.fsdecode(found[-1].source))


class ImageSource:
    """A Source of one device or file. `snapshot` is auto, always or never.

    `crash_like`: take a device in use as it is, if no snapshot can be made. `changed` gives the ranges in which a
    snapshot differs from that of a time (ns), or None; `keep` keeps one for the next run, if it may. `freeze` (s):
    without a snapshot, what is mounted holds still until the image is read, for so long at most; never on `own`.
    `dry`: nothing is read, so that nothing need hold still.
    """

    kind = ItemKind.IMAGE

    def __init__(
        self,
        system: ImageSystem,
        path: Path,
        *,
        snapshot: str = "",
        crash_like: bool = False,
        keeps_unreadable: bool = False,
        take: Take = no_snapshot,
        changed: Callable[[Snapshot, int], Ranges | None] = lambda snapshot, since: None,
        keep: Callable[[Snapshot], bool] = lambda snapshot: False,
        freeze: int = 0,
        own: Iterable[int] = (),
        dry: bool = False,
    ) -> None:
        self._dry = dry
        self._system, self._path = system, path
        self._mode, self._crash_like, self._keeps_unreadable = snapshot, crash_like, keeps_unreadable
        self._take, self._changed, self._keep = take, changed, keep
        self._freeze, self._own = freeze, set(own)
        self._frozen: Frozen | None = None
        self._snapshot: Snapshot | None = None
        self._begun: Begun | None = None
        self._at_rest = ""  # the number of a device that nothing had in use

    def begin(self) -> Begun:
        """See Source. Raises LocalError if the device is in use and no snapshot of it can be made."""
        if self._begun is not None:
            return self._begun
        began = time.time_ns()
        if not is_device(self._path):
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise UsageError(f"{self._path} is neither a device nor a file", "name a disk, e.g. /dev/sda")
            self._start(self._path, FILE, began, "")
            self._begun = Begun(volumes=[self._volume("", 0)], holds=False)
            return self._begun
        number = number_of(self._path.stat().st_rdev)
        known = uses_of(number)
        uses = [use for use in known if not (use.place and use.is_read_only)]
        if not known and is_claimed(self._path):
            uses = [Use(f"{self._path} is part of something, also if this machine's tables don't say of what")]
        problems: list[str] = []
        consistency, taken, mounted = AT_REST, 0, ""
        self._at_rest = "" if uses else number
        if uses and not self._dry:
            mounted = os.fsdecode(uses[0].place)
            reason = self._make(number, uses)
            if self._snapshot is not None:
                consistency, taken = SNAPSHOT, self._snapshot.time
            elif self._freeze:
                self._frozen = self._made_frozen(number, uses)
                consistency, self._system.on_read = FROZEN, self._frozen.thaw
            else:
                problems.append(self._in_use(uses, reason))
                consistency = IN_USE
        device = self._snapshot.block_device() if self._snapshot is not None else None
        assert (device is None) is (self._snapshot is None), "a snapshot that is no device"
        self._start(device or self._path, consistency, taken or began, mounted)
        name = consistency if self._snapshot is not None else ""
        self._begun = Begun(
            volumes=[self._volume(name, taken)],
            time=taken or began,
            holds=self._snapshot is not None,
            problems=problems,
        )
        return self._begun

    def _make(self, number: str, uses: list[Use]) -> str:
        """Make a snapshot if one can be made. Returns why not. Raises SnapshotFailed with always."""
        reason = "snapshots are switched off"
        if self._mode != NEVER:
            reason = "a part of it is in use, not the whole, and snapshots are made of what is mounted"
            if all(use.device == number and use.place for use in uses):
                try:
                    made = self._take(uses[0])
                except SnapshotFailed as e:
                    if self._mode == ALWAYS:
                        raise
                    made = str(e)
                if not isinstance(made, str):
                    self._snapshot = made
                    return ""
                reason = made
        if self._mode == ALWAYS:
            what = f"no snapshot of {self._path}: {reason}"
            raise SnapshotFailed(what, "unmount it, or leave out --snapshot always")
        return reason

    def _made_frozen(self, number: str, uses: list[Use]) -> Frozen:
        """Freeze what is mounted. Raises SnapshotFailed."""
        if not all(use.device == number and use.place for use in uses):
            raise SnapshotFailed(
                f"{self._path} can't be frozen: only a part of it is mounted", "leave out --freeze"
            )
        return Frozen(uses[0].place, self._freeze, self._own)

    def _in_use(self, uses: list[Use], reason: str) -> str:
        """What to tell of a device that is read while it is in use. Raises LocalError unless that is asked for."""
        said = ", ".join(map(str, uses[:5]))
        if not self._crash_like:
            raise LocalError(
                f"{self._path} is in use ({said}), and no snapshot of it can be made: {reason}",
                "unmount it; or --crash-like takes it as it is, which may not be whole (docs/images.md)",
            )
        return f"{self._path} was read while it was in use ({said}): its parts are of different instants"

    def _start(self, path: Path, consistency: str, taken: int, mounted: str) -> None:
        """Find out what is on the device or file, and let the system read it."""
        fd = open_device(path)
        try:
            device = _described(path, fd)
            contents, table, slots = look(lambda offset, length: _peeked(fd, offset, length), device.size)
        finally:
            os.close(fd)
        geometry = Geometry(
            FORMAT,
            VERSION,
            image=os.fsdecode(names_of(stem_of(self._path))[0]),
            source=str(self._path),
            size=device.size,
            logical_sector=device.logical_sector,
            physical_sector=device.physical_sector,
            model=device.model,
            mounted_at=mounted,
            consistency=consistency,
            contents=contents,
            table=table,
            slots=slots,
        )
        self._geometry = geometry
        snapshot = self._snapshot

        def changed(since: int) -> Ranges | None:
            return None if snapshot is None else self._changed(snapshot, since)

        self._system.begin(Image(path, geometry, taken, changed, self._keeps_unreadable))

    def _volume(self, name: str, taken: int) -> Volume:
        g = self._geometry
        return Volume(
            place=b"/" + os.fsencode(g.image), file_system=g.contents.kind, uuid=g.contents.uuid,
            label=g.contents.label, source=g.source, size=g.size, snapshot=name, time=taken,
        )  # fmt: skip

    def check(self, *, final: bool = False) -> None:
        """See Source."""
        if final and self._at_rest:
            uses = [use for use in uses_of(self._at_rest) if not (use.place and use.is_read_only)]
            if uses:
                raise LocalError(
                    f"{self._path} came into use while it was read: {', '.join(map(str, uses[:5]))}",
                    "no recovery point is made of it; unmount it, and run the backup again",
                )
        if self._snapshot is not None:
            self._snapshot.check()
        if self._frozen is not None:
            self._frozen.check()

    def close(self) -> None:
        """See Source."""
        if self._frozen is not None:
            self._frozen.close()
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            try:
                if self._system.was_read and self._keep(snapshot):
                    return
                snapshot.remove()
            except LocalError:
                pass  # what is noted goes at the next start


def _described(path: Path, fd: int) -> Device:
    st = os.fstat(fd)
    if stat.S_ISREG(st.st_mode):
        return Device(path, "", st.st_size, 512, 512, "", False)
    return describe(path, fd)


def _peeked(fd: int, offset: int, length: int) -> bytes:
    """The bytes there; none where they can't be read: then nothing is recognised."""
    try:
        return os.pread(fd, length, offset)
    except OSError:
        return b""
