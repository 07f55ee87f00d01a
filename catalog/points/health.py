"""What checks have found out about recovery points: which are damaged, and which were read back and found whole."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from catalog.check.records import newest_of_all
from catalog.format.checks import SLICES, ChecksRecord, DamagedRow
from catalog.format.packs import SERIES_BYTES
from catalog.format.records import Machine, Point, PointName
from catalog.screen.text import counted, short_ids, text_json
from catalog.vault import Vault

_NAMED = 3  # paths in a line
_AHEAD = 36 * 3600 * 10**9  # ns by which the store's clock may be ahead of this machine's


class Health:
    """The newest records of checks. They are information: whoever makes backups can write them."""

    def __init__(self, records: Iterable[ChecksRecord], machines: Mapping[bytes, Machine]) -> None:
        self._records = {record.series: record for record in records}
        self._machines = machines
        self._damaged = {(row.machine, row.point): row for r in self._records.values() for row in r.damaged}
        now = time.time_ns() + _AHEAD
        self._read = {series: _read_after(record, now) for series, record in self._records.items()}

    @classmethod
    def of(cls, vault: Vault, of: Iterable[bytes], machines: Mapping[bytes, Machine]) -> Health:
        """What is known of the points of these machines (ids). One listing, and a request for each series.

        Raises StoreError.
        """
        wanted = {series for machine in of for series in _series(machine, machines)}
        return cls(newest_of_all(vault, wanted), machines)

    def damaged(self, point: Point | PointName) -> DamagedRow | None:
        """The files that a point can't give back, by the last check; None if none are known."""
        return self._damaged.get((point.machine, point.id))

    def bad_packs(self) -> set[tuple[int, bytes]]:
        """The packs (kind and id) of which blocks were found bad."""
        return {(row.kind, row.pack) for record in self._records.values() for row in record.bad}

    def verified_ids(self, stored: Mapping[PointName, int]) -> set[bytes]:
        """The ids of the points that `verified` holds for; given with the times when they were stored."""
        return {name.id for name, when in stored.items() if self.verified(name, when)}

    def verified(self, point: Point | PointName, stored: int) -> bool:
        """Whether all that a point refers to was read after it was stored (ns, store's time), and found whole.

        Each slice of its series was read by a run that listed the points later; so its blocks were among those
        that were read. What was bad is a bad row, and a point that needs it is damaged.
        """
        for series in _series(point.machine, self._machines):
            record = self._records.get(series)
            if record is None or self._read[series] <= stored or _is_unnamed(record):
                return False
        return self.damaged(point) is None


def _series(machine: bytes, machines: Mapping[bytes, Machine]) -> list[bytes]:
    """The series of packs to which the points of a machine may refer."""
    known = machines.get(machine)
    return [one[:SERIES_BYTES] for one in (machine, *(known.shares if known is not None else ()))]


def _read_after(record: ChecksRecord, now: int) -> int:
    """The time (ns) after which every slice was read; 0 if some slice never was, or only in the future."""
    read = [row.read for row in record.slices if row.read <= now]
    return min(read) if len(read) == SLICES else 0


def _is_unnamed(record: ChecksRecord) -> bool:
    """Whether bad rows are there whose points were not looked for, or not all listed."""
    return (record.bad_count > 0 and record.damaged_count == 0) or record.damaged_count > len(record.damaged)


def damage_cell(row: DamagedRow | None) -> str:
    return "" if row is None else counted(row.files, "file")


def damage_lines(points: Sequence[Point], health: Health) -> list[str]:
    """A line for each damaged point, with the first paths."""
    lines = []
    for point, name in zip(points, short_ids([p.id.hex() for p in points]), strict=True):
        row = health.damaged(point)
        if row is not None:
            paths = ", ".join("/" + path.decode(errors="replace") for path in row.paths[:_NAMED])
            more = " …" if len(row.paths) > _NAMED or row.files > _NAMED else ""
            lines.append(f"{name} is damaged: {counted(row.files, 'file')} can't be given back: {paths}{more}")
    if lines:
        lines.append("What to do about damage: docs/repair.md")
    return lines


def health_json(point: Point, stored: int, health: Health) -> dict[str, Any]:
    """Fields for --json. `verified`: all of it was read back after it was stored, and found whole."""
    row = health.damaged(point)
    return {
        "verified": health.verified(point, stored),
        "damaged_files": row.files if row is not None else 0,
        "damaged_paths": [text_json("path", b"/" + path) for path in row.paths] if row is not None else [],
    }
