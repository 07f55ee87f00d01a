"""What hides what is live, and what to do about it: until then nothing may be deleted."""

from __future__ import annotations

from catalog.mark.faults import Fault, FaultKind
from catalog.mark.run import Marked

REPAIR = "see `rpdrive check`; what can't be brought back is acknowledged with `rpdrive repair` (docs/repair.md)"
_NAMED = 3  # faults


def reason_of(marked: Marked) -> tuple[str, str]:
    """Why a mark does not know all that is live, and what to do."""
    faults = marked.damaged
    points = [fault.points[0].id.hex()[:8] for fault in faults if fault.kind is FaultKind.POINT]
    advice = REPAIR
    if len(points) == len(faults):
        advice = (
            "bring back what was there from a copy of the vault; if there is none, accept the loss with "
            f"`rpdrive forget --damaged {' '.join(points[:_NAMED])}`"
        )
    more = f" (and {len(faults) - _NAMED} more)" if len(faults) > _NAMED else ""
    return "; ".join(map(_text, faults[:_NAMED])) + more, advice


def _text(fault: Fault) -> str:
    if fault.object and fault.reason.startswith(fault.object):
        return fault.reason
    return f"{fault.object or fault.path.decode(errors='replace')}: {fault.reason}"
