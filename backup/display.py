"""What a backup prints when it is complete."""

from __future__ import annotations

from backup.run import Result
from catalog.screen.text import counted, local_time, size_text


def summary(result: Result, item: str, job: str | None) -> list[str]:
    """What was done, in a few lines. `job` is its id in `rpdrive jobs`."""
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
    if result.problem_count:
        things = counted(result.problem_count, "problem")
        lines.append(f"  {things}" + (f": see above, or `rpdrive jobs {job[:8]}`" if job else ""))
    return lines
