"""What differs between two thin snapshots of one volume, from the pool's metadata: no data is read.

The pool is asked to keep its metadata as they are (`reserve_metadata_snap`; a pool keeps one such copy), thin_delta
compares the two volumes in it, and the pool is told to let go of it. The answer is exact if both volumes still are
what they were when they were read: a snapshot whose journal is replayed afterwards has changed.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol
from xml.parsers import expat

from backup.snapshot import tool
from backup.snapshot.lvs import SECONDS, LogicalVolume, by_id
from backup.snapshot.tool import Run, read_small
from catalog.errors import SnapshotFailed

TOOLS = ("lvs", "dmsetup", "thin_delta")
COMPARING = 1800.0  # seconds for thin_delta, which reads the mappings of both volumes
MOST = 4_000_000  # ranges; more of them are no help, and take memory
_SECTOR = 512
_LARGEST = 1 << 60  # bytes
_DIFFERENT = frozenset({"different", "left_only", "right_only"})
_KNOWN = _DIFFERENT | {"same", "diff", "superblock"}


class Range(NamedTuple):
    """A range of a volume, in bytes."""

    offset: int
    length: int


class Held(Protocol):
    """Remembers, through a crash, that a pool's copy of its metadata is ours. The text is what `note` was given."""

    def note(self, text: str) -> None: ...

    def noted(self) -> str: ...

    def forget(self) -> None: ...


class _Pool(NamedTuple):
    target: str  # device-mapper name of the pool itself
    metadata: Path  # the device that its metadata are on


def changed(
    before: str,
    after: str,
    held: Held,
    grain: int = 1,
    run: Run = tool.run,
    sys: Path = Path("/sys"),
    dev: Path = Path("/dev"),
) -> list[Range]:
    """The ranges in which two thin volumes differ, ascending, not touching, and within the size of `after`.

    `before` and `after` are ids of LVM (32 letters and digits). Borders are rounded outwards to multiples of
    `grain` bytes. What is beyond the end of `before` is different. Raises SnapshotFailed if the ranges can't be
    known: read everything then.
    """
    if absent := tool.missing(*TOOLS):
        raise SnapshotFailed(f"{' and '.join(absent)} can't be found: install lvm2 and thin-provisioning-tools")
    old, new = _volumes(run, before, after)
    pool = _pool(run, new, sys, dev)
    _reserve(run, pool, held)
    try:
        pieces = compare(
            "--metadata-snap", "--thin1", str(old.thin_id), "--thin2", str(new.thin_id), str(pool.metadata),
            seconds=COMPARING,
        )  # fmt: skip
        ranges = list(parse(pieces))
    finally:
        _release(run, pool, held)
    if old.size < new.size:
        ranges.append(Range(old.size, new.size - old.size))
    return rounded(ranges, grain, new.size)


def release_left(held: Held, run: Run = tool.run, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> None:
    """Let go of a copy of metadata that a killed run of ours has left in its pool. Raises SnapshotFailed."""
    target, _, root = held.noted().partition(" ")
    if not root.isdecimal() or not _is_target(target):
        held.forget()  # nothing was held for certain: another program's copy must not be released
        return
    if _held_root(run, target) == root:
        _tell(run, target, "release_metadata_snap")
    held.forget()


def parse(pieces: Iterator[bytes]) -> Iterator[Range]:
    """The ranges that thin_delta's XML calls different, in bytes. Raises SnapshotFailed if it is anything else."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = _no_doctype
    try:
        for piece in pieces:
            parser.Parse(piece, False)
            yield from reader.taken()
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError) as e:
        raise SnapshotFailed(f"thin_delta printed what can't be read: {e}") from e
    if not reader.is_complete:
        raise SnapshotFailed("thin_delta printed no comparison of two volumes")
    yield from reader.taken()


def rounded(ranges: list[Range], grain: int, size: int) -> list[Range]:
    """Ranges with their borders at multiples of `grain`, joined where they touch, within `size` bytes."""
    joined: list[Range] = []
    for offset, length in sorted(ranges):
        start, end = offset // grain * grain, min(-(-(offset + length) // grain) * grain, size)
        if start >= end:
            continue
        if joined and start <= (last := joined[-1]).offset + last.length:
            joined[-1] = Range(last.offset, max(end, last.offset + last.length) - last.offset)
        else:
            joined.append(Range(start, end - start))
    return joined


class _Reader:
    """Collects the ranges while the XML is parsed. Its methods raise ValueError."""

    def __init__(self) -> None:
        self.is_complete = False
        self._block = 0  # bytes
        self._depth = 0
        self._number = 0
        self._ranges: list[Range] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if name not in _KNOWN or self._depth > 3:
            raise ValueError(f"an element {name[:40]!r}")
        if name == "superblock":
            self._block = _whole(attributes.get("data_block_size", "")) * _SECTOR
            if not 0 < self._block <= 1 << 30:
                raise ValueError("the size of its blocks")
        elif name in _DIFFERENT:
            offset = _whole(attributes.get("begin", "")) * self._block
            length = _whole(attributes.get("length", "")) * self._block
            self._number += 1
            if not length or offset + length > _LARGEST or self._number > MOST:
                raise ValueError(f"range {self._number:,}")
            self._ranges.append(Range(offset, length))

    def end(self, name: str) -> None:
        self._depth -= 1
        if name == "diff":
            self.is_complete = True

    def taken(self) -> list[Range]:
        ranges, self._ranges = self._ranges, []
        return ranges


def _no_doctype(*_: object) -> None:
    raise ValueError("a document type")


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise ValueError(f"the number {text[:40]!r}")
    return int(text)


def compare(*arguments: str, seconds: float) -> Iterator[bytes]:
    """Run thin_delta: its output in pieces. Raises SnapshotFailed if it fails or takes too long."""
    program = tool.find("thin_delta") or "thin_delta"
    with tool.Memory("thin_delta") as messages:
        try:
            process = subprocess.Popen(
                [program, *arguments], env=tool.environment(), cwd="/", close_fds=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=messages.number,
            )  # fmt: skip
        except OSError as e:
            raise SnapshotFailed(f"thin_delta can't be started: {e}") from e
        alarm = threading.Timer(seconds, process.kill)
        alarm.start()
        assert process.stdout is not None
        try:
            with process.stdout as output:
                while piece := output.read(1 << 16):
                    yield piece
            code = process.wait()
        finally:
            alarm.cancel()
            process.kill()
            process.wait()
        if code:
            first = messages.read(4096).strip().partition(b"\n")[0]
            raise SnapshotFailed(f"thin_delta failed: {tool.message(first) or f'exit code {code}'}")


def _volumes(run: Run, before: str, after: str) -> tuple[LogicalVolume, LogicalVolume]:
    shown = by_id(run, before, after)
    old, new = shown.get(before), shown.get(after)
    if old is None or new is None:
        raise SnapshotFailed("one of the two thin snapshots to compare is gone")
    if old.thin_id is None or new.thin_id is None or old.pool_id != new.pool_id or not new.pool_id:
        raise SnapshotFailed(f"{old.path} and {new.path} are not thin volumes of one pool")
    return old, new


def _pool(run: Run, volume: LogicalVolume, sys: Path, dev: Path) -> _Pool:
    """The devices of a volume's pool, by their ids in /sys."""
    pool = by_id(run, volume.pool_id).get(volume.pool_id)
    if pool is None or not pool.metadata_id:
        raise SnapshotFailed(f"lvs doesn't show the thin pool of {volume.path}")
    target = _by_uuid(sys, f"LVM-{pool.group_id}{pool.id}-tpool")
    metadata = _by_uuid(sys, f"LVM-{pool.group_id}{pool.metadata_id}-tmeta")
    name = read_small(sys / "block" / target / "dm/name") if target else ""
    if not metadata or not _is_target(name):
        raise SnapshotFailed(f"the thin pool {pool.path} is not active")
    return _Pool(name, dev / metadata)


def _by_uuid(sys: Path, uuid: str) -> str:
    """The name of the device with an id of device-mapper, e.g. dm-3; empty if there is none."""
    for place in sorted((sys / "block").glob("dm-*")):
        if read_small(place / "dm/uuid") == uuid and re.fullmatch(r"dm-[0-9]{1,7}", place.name):
            return place.name
    return ""


def _is_target(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_+.][A-Za-z0-9_+.\-]{0,126}", name) is not None


def _reserve(run: Run, pool: _Pool, held: Held) -> None:
    if root := _held_root(run, pool.target):
        if held.noted() != f"{pool.target} {root}":
            raise SnapshotFailed(
                f"another program keeps a copy of the metadata of {pool.target}",
                f"if none does: dmsetup message {pool.target} 0 release_metadata_snap",
            )
        _tell(run, pool.target, "release_metadata_snap")  # left by a killed run of ours
    held.note(f"{pool.target} ?")
    _tell(run, pool.target, "reserve_metadata_snap")
    held.note(f"{pool.target} {_held_root(run, pool.target)}")


def _release(run: Run, pool: _Pool, held: Held) -> None:
    _tell(run, pool.target, "release_metadata_snap")
    held.forget()


def _held_root(run: Run, target: str) -> str:
    """Where a pool's copy of its metadata is; empty if it has none. Raises SnapshotFailed."""
    ended = run("dmsetup", "status", "--target", "thin-pool", target, seconds=SECONDS)
    # 0 262144 thin-pool <transaction> <metadata used/all> <data used/all> <root or -> …
    words = ended.output.decode(errors="replace").split()
    if ended.code or len(words) < 7 or words[2] != "thin-pool":
        raise SnapshotFailed(f"dmsetup doesn't show the thin pool {target}: {ended.said}")
    return words[6] if words[6].isdecimal() else ""


def _tell(run: Run, target: str, message: str) -> None:
    ended = run("dmsetup", "message", target, "0", message, seconds=SECONDS, changes=True)
    if ended.code:
        raise SnapshotFailed(f"dmsetup: {message} of {target} failed: {ended.said or f'exit code {ended.code}'}")
