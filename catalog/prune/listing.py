"""What pruning is about to do, and what it did, as text and JSON."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.prune.job import SeriesResult
from catalog.prune.run import Done, Outlook
from catalog.screen.text import counted, iso_time, safe_text, size_text
from catalog.store.metered import Traffic


def outlook_lines(o: Outlook) -> list[str]:
    """What a run is about to do, and what that costs."""
    t = o.totals
    lines = [
        f"{safe_text(o.name)}: {size_text(t.stored)} in {counted(t.objects, 'object')}, "
        f"{size_text(t.live)} in use, {size_text(t.hidden)} hidden"
    ]
    work = []
    if o.objects:
        work.append(f"frees {size_text(o.freed)} in {counted(o.objects, 'object')}")
    if o.carriers:
        work.append(
            f"moves {counted(o.moves, 'pack')} with {size_text(o.moved)} to {counted(o.carriers, 'carrier')}"
        )
    if o.going:
        work.append(f"lets {counted(len(o.going), 'recovery point')} go")
    if o.partials:
        work.append(f"lets {counted(len(o.partials), 'partial point')} go")
    if work:
        cost = f"about {counted(o.requests, 'request')}"
        if o.carriers:
            cost += f", {size_text(o.read)} through this machine"
        lines.append(f"  {', '.join(work)}: {cost}")
    elif not o.changed:
        lines.append("  nothing to do")
    return lines


def result_lines(r: SeriesResult) -> list[str]:
    """What was done, after `outlook_lines`."""
    name, done = safe_text(r.name), r.done
    if done is None:
        return []
    parts = []
    if done.freed:
        parts.append(f"{size_text(done.freed)} freed")
    if done.points:
        parts.append(f"{counted(done.points, 'recovery point')} gone")
    if done.partials:
        parts.append(f"{counted(done.partials, 'partial point')} gone")
    if done.carriers:
        parts.append(f"{size_text(done.moved)} moved to {counted(done.carriers, 'carrier')}")
    if done.refused:
        parts.append(f"{counted(done.refused, 'deletion')} refused by the store")
    if done.stopped:
        parts.append("stopped at the time limit; the next run goes on")
    if not parts and not done.record:
        return []
    if not parts:
        parts.append("noted what is hidden")
    lines = [f"{name}: {', '.join(parts)}"]
    if done.record and done.outlook.totals.hidden and not done.deleted:
        lines.append("  what is hidden can be deleted in 7 days at the earliest")
    return lines


def results_json(results: Sequence[SeriesResult], *, dry: bool, traffic: Traffic | None) -> dict[str, object]:
    return {
        "dry_run": dry,
        "machines": [_row(r) for r in results],
        "requests": traffic.requests if traffic else None,
        "received_bytes": traffic.received if traffic else None,
        "sent_bytes": traffic.sent if traffic else None,
    }


def _row(r: SeriesResult) -> dict[str, object]:
    row: dict[str, object] = {"machine": r.name, "machines": [one.hex() for one in r.series.own]}
    if r.done is not None:
        row |= _done(r.done)
    if r.travels:
        row["travels"] = r.travels
    if r.error is not None:
        row["error"] = {"kind": r.error.kind, "message": str(r.error), "advice": r.error.advice}
    return row


def _done(d: Done) -> dict[str, object]:
    o, t = d.outlook, d.outlook.totals
    return {
        "objects": t.objects,
        "stored_bytes": t.stored,
        "live_bytes": t.live,
        "hidden_bytes": t.hidden,
        "planned": {
            "delete_objects": o.objects,
            "free_bytes": o.freed,
            "move_packs": o.moves,
            "move_bytes": o.moved,
            "carriers": o.carriers,
            "points": [
                {"point": n.id.hex(), "item": n.item.hex(), "sequence": n.sequence, "time": iso_time(n.time)}
                for n in o.going
            ],
            "partial_points": [n.id.hex() for n in o.partials],
            "requests": o.requests,
        },
        "record": d.record,
        "deleted_objects": d.deleted,
        "freed_bytes": d.freed,
        "moved_bytes": d.moved,
        "carriers": d.carriers,
        "points": d.points,
        "partial_points": d.partials,
        "refused": d.refused,
        "stopped": d.stopped,
        "problems": list(d.problems),
    }
