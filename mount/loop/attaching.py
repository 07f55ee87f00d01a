"""Opens an image as a loop device, and detaches it: always read-only, and nothing is left if this is killed."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

from catalog.disks import loops
from catalog.disks.geometry import BESIDE, MOST, SUFFIX, Slot, decode, look
from catalog.disks.probe import Contents
from catalog.disks.tables import Table
from catalog.errors import LocalError, MountFailed, NotFound, UsageError
from catalog.screen.text import safe_text, size_text
from mount.loop import mounting
from mount.loop.options import ways
from mount.place.this import PLACES

_DIRTY = (errno.EROFS, errno.EUCLEAN, errno.ENODATA)  # what kernels say of a journal that can't be replayed
_GOES = 5.0  # s until a loop device without users is gone
_REPAIR = (
    "restore the image to a device or a file and mount that, or boot it with a private overlay (docs/images.md);"
    " --without-journal shows it as it lies there: files saved shortly before it was taken may be missing or old"
)


class Attached(NamedTuple):
    """An image that was opened: its loop device, where it is mounted (None: it isn't), and what to know of it."""

    device: Path
    place: Path | None
    contents: Contents
    slots: list[Slot]
    notes: list[str]


class _Chosen(NamedTuple):
    """The part of an image to mount: its bytes from `start`, `size` of them."""

    start: int
    size: int
    contents: Contents
    name: str


def attach(image: Path, to: Path | None, partition: int | None, *, without_journal: bool) -> Attached:
    """Open an image; with `to`, mount its file system, or one of a partition. Raises UsageError, LocalError,
    MountFailed.
    """
    fd = _opened(image)
    try:
        size = os.fstat(fd).st_size
        contents, table, slots = _looked(image, fd, size)
        sector = _sector(image, table)
        if to is None:
            if partition is not None:
                raise UsageError("--partition chooses what is mounted", "add --to DIR")
            path, loop = loops.attach(fd, sector=sector, partitions=bool(table.kind), keep=True)
            for slot in slots:
                part = slot.partition
                loops.add_partition(loop, part.number, part.start, min(part.size, max(size - part.start, 0)))
            os.close(loop)
            return Attached(path, None, contents, slots, [])
        chosen = _choose(image, size, contents, slots, partition)
        place = PLACES.prepare(to, [])
        path, loop = loops.attach(fd, offset=chosen.start, size=chosen.size, sector=sector)
        try:
            notes = _mount(path, place, chosen, without_journal=without_journal)
        finally:
            os.close(loop)  # from here on, the mount alone keeps it
        return Attached(path, place, chosen.contents, slots, notes)
    finally:
        os.close(fd)


def _opened(image: Path) -> int:
    try:
        fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        advice = "name a file `….img` in an open drive (`rpdrive mounts`)"
        if e.errno == errno.EACCES:
            advice = "run this as the user who opened the drive, or open it with --allow-other"
        raise LocalError(f"{image} can't be opened: {e.strerror}", advice) from e
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{image} is no file", "name an image; a device needs no loop device")
    return fd


def _looked(image: Path, fd: int, size: int) -> tuple[Contents, Table, list[Slot]]:
    try:
        return look(lambda offset, length: os.pread(fd, length, offset), size)
    except OSError as e:
        raise LocalError(f"{image} can't be read: {e.strerror}", "see the drive's log: `rpdrive mounts`") from e


def _sector(image: Path, table: Table) -> int:
    """The sectors of the device that the image is of, which its partition table counts in."""
    if table.kind:
        return table.sector
    raw = os.fsencode(image)
    if raw.endswith(SUFFIX):
        try:
            beside = os.open(
                raw.removesuffix(SUFFIX) + BESIDE, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            )  # no pipe waits
            with open(beside, "rb") as file:  # noqa: PTH123 - a descriptor
                geometry = decode(file.read(MOST + 1))
        except OSError:
            return 512
        if geometry is not None and geometry.logical_sector == 4096 and geometry.size % 4096 == 0:
            return 4096
    return 512


def _choose(image: Path, size: int, contents: Contents, slots: list[Slot], number: int | None) -> _Chosen:
    """What to mount. Raises UsageError if that isn't clear, or can't be mounted."""
    shown = safe_text(str(image))
    if not slots:
        if number is not None:
            raise UsageError(f"{shown} has no partitions", "leave out --partition")
        chosen = _Chosen(0, 0, contents, shown)
    else:
        found = [s for s in slots if s.partition.number == number]
        if number is None:
            found = [s for s in slots if s.contents.is_file_system]
        if len(found) != 1:
            rows = ", ".join(
                f"{s.partition.number}: {size_text(s.partition.size)} {s.contents.kind or '?'}" for s in slots[:20]
            )
            raise UsageError(f"{shown} has partitions ({rows})", "choose one with --partition NUMBER")
        (slot,) = found
        start = slot.partition.start
        length = min(slot.partition.size, size - start)
        chosen = _Chosen(start, length, slot.contents, f"partition {slot.partition.number} of {shown}")
    kind = chosen.contents.kind
    if not chosen.contents.is_file_system:
        advice = "attach it without --to, and go on with the loop device (docs/images.md)"
        raise UsageError(f"{chosen.name} is no file system: it is {kind or 'nothing that is known'}", advice)
    return chosen


def _mount(device: Path, place: Path, chosen: _Chosen, *, without_journal: bool) -> list[str]:
    """Mount in the best way there is. Returns what to know of it. Raises MountFailed."""
    tried = ways(chosen.contents, without_journal=without_journal)
    if not tried and chosen.contents.state != "dirty":
        raise MountFailed(
            f"{chosen.name} can't be mounted: it is {chosen.contents.kind}",
            "attach it without --to, and mount the loop device yourself",
        )
    number = errno.EROFS
    for way in tried:
        number = mounting.mount(device, place, way.type, way.options)
        if not number:
            return ["its journal was not replayed: files may be missing or old"] if way.skips_journal else []
        if number not in _DIRTY:
            break
    if number in _DIRTY:
        raise MountFailed(
            f"{chosen.name} was taken while its file system was in use: its journal must be replayed, and"
            " nothing is written to an image",
            _REPAIR,
        )
    if number == errno.ENODEV:
        raise MountFailed(
            f"this kernel can't mount {chosen.contents.kind}", f"load its module: `modprobe {tried[0].type}`"
        )
    if number == errno.EPERM:
        raise MountFailed("only root may mount an image", "run this as root")
    if number == errno.EEXIST or (number == errno.EBUSY and chosen.contents.kind == "btrfs"):
        raise MountFailed(
            f"{chosen.name} can't be mounted: this kernel has a file system of the same UUID in use",
            "unmount that one, use Linux 6.7 or later, or open the image on another machine",
        )
    raise MountFailed(
        f"{chosen.name} can't be mounted: {os.strerror(number)}", "see what the kernel says: `dmesg | tail`"
    )


# --- detaching, listing -----------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A loop device of ours, its image, and where it is mounted."""

    loop: loops.Loop
    places: list[str]


def rows() -> list[Row]:
    """The loop devices of ours."""
    return [
        Row(loop, [os.fsdecode(m.place) for m in mounting.of_device(loop.path)])
        for loop in loops.loops()
        if loops.is_ours(loop.path)
    ]


def detach(what: Path) -> list[Row]:
    """Unmount and detach what a mount point, a loop device or an image names. Returns what was detached.

    Raises NotFound if it is none of ours, MountFailed if it is in use.
    """
    path = Path(os.path.realpath(what))
    raw, text = os.fsencode(path), str(path)
    found = [row for row in rows() if row.loop.path == path or row.loop.file == raw or text in row.places]
    if not found:
        raise NotFound(f"{what} is no loop device of rpdrive, nor on one", "see `rpdrive loop list`")
    for row in found:
        for mounted in mounting.of_device(row.loop.path):
            mounting.unmount(mounted.place)
        _let_go(row.loop)
    return found


def _let_go(loop: loops.Loop) -> None:
    """Detach a loop device that nothing uses, and wait until it is. Raises LocalError."""
    until = time.monotonic() + _GOES
    while any(other.path == loop.path and other.file == loop.file for other in loops.loops()):
        loops.detach(loop.path)
        if time.monotonic() > until:
            raise LocalError(f"{loop.path} is still in use", "it is detached once nothing has it open")
        time.sleep(0.02)
