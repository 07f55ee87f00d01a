"""The output of a complete backup: lines, or JSON."""

from __future__ import annotations

from backup.run import Result
from catalog.format.records import Item, Machine, Point
from catalog.screen.text import counted, iso_time, local_time, safe_text, size_text, text_json
from catalog.store.metered import Traffic

_SHOWN = 8  # mounts in a line


def summary(result: Result, item: str, job: str | None) -> list[str]:
    """The result of a backup, in a few lines. `job` is the id in `rpdrive jobs`."""
    item = safe_text(item)
    p, totals = result.progress, result.totals
    what = f"{p.new:,} new, {p.changed:,} changed, {p.removed:,} removed, {p.unchanged:,} unchanged"
    if result.point is None:
        lines = [
            f"Dry run of {item}: nothing was stored",
            f"  {counted(totals.files, 'file')}, {size_text(totals.bytes)}: {what}",
            f"  {size_text(p.read_bytes)} would be read",
        ]
        return lines + ([f"  {counted(result.problem_count, 'problem')}"] if result.problem_count else [])
    stored = p.sent.data_bytes + p.sent.tree_bytes + result.record_bytes
    lines = [
        f"Recovery point {result.point.id.hex()[:8]} of {item}, {local_time(result.point.time)}",
        f"  {counted(totals.files, 'file')}, {size_text(totals.bytes)}: {what}",
        f"  {size_text(p.read_bytes)} read, {size_text(p.sent.new_bytes)} of it new, "
        f"{size_text(stored)} stored, {result.seconds:.1f} s",
    ]
    lines += [f"  {line}" for line in (*_read_from(result.point), *map(safe_text, result.notes))]
    if result.problem_count:
        things = counted(result.problem_count, "problem")
        lines.append(f"  {things}" + (f": see above, or `rpdrive jobs {job[:8]}`" if job else ""))
    return lines


def _read_from(point: Point) -> list[str]:
    """Which file systems were read from snapshots, and which live, if some were read from snapshots."""
    kinds = sorted({volume.snapshot for volume in point.volumes if volume.snapshot})
    if not kinds:
        return []
    lines = [f"from snapshots ({kind}): {_places(point, kind)}" for kind in kinds]
    live = _places(point, "")
    return [*lines, f"from live files: {live}"] if live else lines


def _places(point: Point, kind: str) -> str:
    places = [safe_text(v.place.decode(errors="replace")) for v in point.volumes if v.snapshot == kind]
    return ", ".join(places[:_SHOWN]) + (f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else "")


def result_json(
    result: Result, machine: Machine, item: Item, job: str | None, traffic: Traffic | None
) -> dict[str, object]:
    """The result for `--json`. `job` is the id in `rpdrive jobs`."""
    point, p = result.point, result.progress
    return {
        "point": point.id.hex() if point else None,
        "job": job,
        "time": iso_time(point.time) if point else None,
        "sequence": point.sequence if point else None,
        "previous": point.previous.hex() if point and point.previous else None,
        "machine": machine.name,
        "item": item.name,
        "kind": point.kind if point else item.kind,
        "files": result.totals.files,
        "entries": result.totals.entries,
        "bytes": result.totals.bytes,
        "new": p.new,
        "changed": p.changed,
        "unchanged": p.unchanged,
        "removed": p.removed,
        "read_bytes": p.read_bytes,
        "new_bytes": p.sent.new_bytes,
        "data_bytes": p.sent.data_bytes,
        "tree_bytes": p.sent.tree_bytes,
        "record_bytes": result.record_bytes,
        "requests": traffic.requests if traffic else None,
        "seconds": round(result.seconds, 3),
        "snapshots": [
            {**text_json("place", v.place), "kind": v.snapshot, "time": iso_time(v.time)}
            for v in (point.volumes if point else [])
            if v.snapshot
        ],
        "notes": result.notes,
        "problem_count": result.problem_count,
        "problems": [{**text_json("path", q.path), "reason": q.reason} for q in result.problems],
    }
