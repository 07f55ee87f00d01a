"""What a fleet's run came to, as text and JSON."""

from __future__ import annotations

from catalog.screen.output import say
from catalog.screen.text import counted, duration_text
from catalog.vault import Vault
from mount.fleet.engine import Counts, Fleet


def tell_counts(fleet: Fleet, vault: Vault, *, as_json: bool) -> None:
    """Say what the run came to; what workers have passed over is said when the command ends, as its own."""
    for note in fleet.notes.values():
        vault.passed_over.note(note.object, note.failure.error(), lost=note.lost)
    if not as_json:
        say(counts_line(fleet.counts))


def counts_line(c: Counts) -> str:
    """The line at the end of a command, for people."""
    line = f"{counted(c.pieces, 'piece')} in {counted(c.tasks, 'task')} on {counted(c.workers, 'worker')}"
    line += f", {_time(c.seconds)}: {c.speed_up:.1f} times as fast as one; "
    line += f"workers were idle {_time(c.idle)} of {_time(c.present)}"
    trouble = [
        f"{counted(number, noun)} {what}"
        for number, noun, what in (
            (c.failed, "piece", "failed"), (c.again, "piece", "tried again"), (c.gone, "worker", "lost"),
            (c.refused, "worker", "refused"),
        )
        if number
    ]  # fmt: skip
    return line + ("" if not trouble else f"; {', '.join(trouble)}")


def counts_json(c: Counts) -> dict[str, object]:
    return {
        "pieces": c.pieces,
        "tasks": c.tasks,
        "failed": c.failed,
        "again": c.again,
        "orphaned": c.lost,
        "workers": c.workers,
        "workers_lost": c.gone,
        "workers_refused": c.refused,
        "seconds": round(c.seconds, 3),
        "busy_seconds": round(c.busy, 3),
        "idle_seconds": round(c.idle, 3),
        "speed_up": round(c.speed_up, 2),
        "requests": c.requests,
        "received_bytes": c.received,
        "sent_bytes": c.sent,
    }


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else duration_text(seconds)
