"""The disks of this machine that a rebuild is to write to, as sysfs and the mount table show them."""

from __future__ import annotations

import os
from pathlib import Path

from catalog.errors import LocalError, UsageError
from catalog.mountinfo import mounts
from mount.rebuild.names import Target

_LOOKED_AT = 1 << 20  # bytes at the start and the end of a disk: where tables and signatures are
_BLOCK = Path("/sys/class/block")


def target(path: str) -> Target:
    """What a disk of this machine is. Raises UsageError if it is none, LocalError if it can't be read."""
    try:
        name = Path(path).resolve(strict=True).name
    except OSError as e:
        raise UsageError(f"{path}: no such device") from e
    sys = _BLOCK / name
    if not path.startswith("/dev/") or not sys.exists():
        raise UsageError(f"{path} is not a block device")
    if (sys / "partition").exists():
        raise UsageError(f"{path} is a partition: name a whole disk")
    try:
        size = int((sys / "size").read_text()) * 512
        sector = int((sys / "queue" / "logical_block_size").read_text())
        in_use = _in_use(sys, name)
        return Target(path, size, sector, in_use, "" if in_use else _holds(path, sys, name, size))
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else e
        raise LocalError(f"{path} can't be looked at: {reason}", "run it as root") from e


def _in_use(sys: Path, name: str) -> str:
    """By what a disk or one of its partitions is in use; "" if by nothing."""
    numbers = {(one / "dev").read_text().strip(): one.name for one in (sys, *_partitions(sys, name))}
    for mount in mounts():
        if mount.device in numbers or _number(mount.source) in numbers:
            return f"{os.fsdecode(mount.source)} is mounted on {os.fsdecode(mount.place)}"
    for one in (sys, *_partitions(sys, name)):
        if holders := sorted(path.name for path in (one / "holders").glob("*")):
            return f"{one.name} is a part of {', '.join(holders)}"
    for line in Path("/proc/swaps").read_text().splitlines()[1:]:
        if _number(line.split()[0].encode()) in numbers:
            return f"{line.split()[0]} is swapped to"
    return ""


def _number(device: bytes) -> str:
    """The number of a device node, as sysfs writes it; "" if it is none."""
    try:
        number = Path(os.fsdecode(device)).stat().st_rdev if device.startswith(b"/dev/") else 0
    except OSError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}" if number else ""


def _partitions(sys: Path, name: str) -> list[Path]:
    return sorted(path for path in sys.glob(f"{name}*") if (path / "partition").exists())


def _holds(path: str, sys: Path, name: str, size: int) -> str:
    """What is on a disk; "" if its start and its end are zeros and it has no partitions."""
    if partitions := _partitions(sys, name):
        return f"{len(partitions)} partitions"
    with Path(path).open("rb", buffering=0) as disk:
        for offset in (0, max(0, size - _LOOKED_AT)):
            disk.seek(offset)
            if disk.read(_LOOKED_AT).strip(b"\0"):
                return "data at its start" if offset == 0 else "data at its end"
    return ""
