"""What a run of `rpdrive vault copy` did, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from catalog.copies.plan import KINDS, OTHER, Count
from catalog.copies.run import Copied
from catalog.screen.text import counted, safe_text, size_text

_SHOWN = 10  # faults of a kind in the text
_ORDER = (*KINDS, OTHER)


def copied_json(found: Copied, source: str) -> dict[str, Any]:
    """A run for --json. Bytes are those of objects as they are stored."""
    done, look, gone = found.done, found.look, found.gone
    total = done.copied
    return {
        "vault": source,
        "copy": found.address,
        "dry_run": found.request.dry,
        "new": found.new,
        "vault_json": found.file,
        "copied_objects": total.objects,
        "copied_bytes": total.bytes,
        "copied": _counts(done.by_kind),
        "present": _counts(done.present or {}),
        "points": look.points,
        "rounds": done.rounds,
        "stopped": found.is_stopped,
        "waiting": list(found.waiting),
        "vanished": list(found.vanished),
        "held_points": done.held_points,
        "held_places": done.held_places,
        "conflicts": [
            {"name": c.name, "size": c.size, "size_in_copy": c.there, "reason": c.reason}
            for c in done.outcome.conflicts
        ],
        "conflict_count": done.outcome.conflict_count,
        "damaged": [{"name": f.name, "size": f.size, "reason": f.reason} for f in done.outcome.damaged],
        "damaged_count": done.outcome.damaged_count,
        "unexplained_points": [str(name) for name in done.unexplained],
        "unexplained_count": done.unexplained_count,
        "deleted": _counts(gone.by_kind) if gone is not None else {},
        "deleted_objects": _sum(gone.by_kind).objects if gone is not None else 0,
        "deleted_bytes": _sum(gone.by_kind).bytes if gone is not None else 0,
        "refused_objects": gone.refused if gone is not None else 0,
        "kept": dict(sorted(gone.stays.items())) if gone is not None else {},
        "needed_packs": gone.needed if gone is not None else 0,
        "problems": problems(found),
    }


def _counts(counts: Mapping[str, Count]) -> dict[str, dict[str, int]]:
    return {kind: {"objects": c.objects, "bytes": c.bytes} for kind, c in sorted(counts.items(), key=_place)}


def _place(item: tuple[str, Count]) -> int:
    return _ORDER.index(item[0])


def _sum(counts: Mapping[str, Count]) -> Count:
    return Count(sum(c.objects for c in counts.values()), sum(c.bytes for c in counts.values()))


def copied_lines(found: Copied) -> list[str]:
    """A run as text, without what a person should look at (see `problems`)."""
    dry, done = found.request.dry, found.done
    lines = []
    if found.new:
        lines.append(f"{'Would begin' if dry else 'Began'} a copy at {found.address}")
    elif found.file:
        lines.append(f"{'Would bring' if dry else 'Brought'} vault.json up to date")
    total = done.copied
    if total.objects:
        what = f"{counted(total.objects, 'object')}, {size_text(total.bytes)}"
        lines.append(f"{'Would copy' if dry else 'Copied'} {what}: {_text(done.by_kind)}")
    elif not done.stopped and not found.new:
        lines.append(f"Nothing is missing in the copy at {found.address}")
    if found.gone is not None and found.gone.by_kind:
        gone = _sum(found.gone.by_kind)
        what = f"{counted(gone.objects, 'object')}, {size_text(gone.bytes)}"
        lines.append(f"{'Would let go' if dry else 'Let go'} {what}: {_text(found.gone.by_kind)}")
    if found.gone is not None and (stays := sum(found.gone.stays.values())):
        kinds = ", ".join(f"{number:,} in {kind}/" for kind, number in sorted(found.gone.stays.items()))
        what = counted(stays, "object")
        lines.append(f"Kept {what} that the source no longer has, as no record says why: {kinds}")
    if found.is_stopped:
        lines.append("The time allowed is over; the next run goes on from here")
    if dry:
        lines.append("Dry run: nothing was changed")
    return lines


def _text(counts: Mapping[str, Count]) -> str:
    return ", ".join(f"{c.objects:,} in {kind}/" for kind, c in sorted(counts.items(), key=_place))


def problems(found: Copied) -> list[str]:
    """What a person should look at, a line each."""
    done, gone = found.done, found.gone
    lines = [*_faults(found)]
    if done.held_places:
        what = counted(done.held_places, "record")
        lines.append(f"{what} of places stayed out, with what refers to them, until the above is settled")
    if done.held_points:
        what = counted(done.held_points, "recovery point")
        lines.append(f"{what} stayed out of the copy: something is missing that they may need")
    if done.unexplained_count:
        what = counted(done.unexplained_count, "recovery point")
        first = safe_text(str(done.unexplained[0]))
        lines.append(
            f"{what} of the copy vanished from the source, and no record says why, e.g. {first}: nothing of it is "
            "let go; find out who deleted it"
        )
    if gone is not None and gone.needed:
        lines.append(
            f"the source has lost {counted(gone.needed, 'pack')} that recovery points need and the copy has: "
            "run `rpdrive check` there (docs/copies.md)"
        )
    if gone is not None:
        lines += gone.why
    if found.behind:
        lines.append(found.behind)
    if found.vanished:
        lines.append(
            f"the source lists {safe_text(found.vanished[0])}, and did not have it when it was to be copied: new "
            "recovery points stay out, and nothing is let go; run the command again"
        )
    if found.waiting:
        points = sum(1 for name in found.waiting if name.startswith("points/"))
        lines.append(f"{counted(points, 'recovery point')} came meanwhile; run the command again")
    return lines


def _faults(found: Copied) -> Iterable[str]:
    outcome = found.done.outcome
    for conflict in outcome.conflicts[:_SHOWN]:
        yield (
            f"{safe_text(conflict.name)} is not the same object in the copy: {conflict.reason}; it was left alone "
            "(docs/copies.md)"
        )
    for fault in outcome.damaged[:_SHOWN]:
        yield f"{safe_text(fault.name)} could not be copied: {safe_text(fault.reason)}"
    more = outcome.conflict_count + outcome.damaged_count
    more -= min(_SHOWN, len(outcome.conflicts)) + min(_SHOWN, len(outcome.damaged))
    if more:
        yield f"and {counted(more, 'object')} more"
