"""rpdrive with shorter times: `python -m tests.kit.hasty SECONDS ARGUMENT…`.

What is hidden is deleted after SECONDS instead of 7 days, and all times of the protocol that follow from these are
as much shorter (docs/prune-design.md). All programs that use a vault must be as hasty as each other, but readers.
"""

from __future__ import annotations

import sys

from backup import attempt, evidence, lineage
from catalog.mark import last
from catalog.prune import plan, run
from catalog.repair import state


def hurry(seconds: float) -> None:
    """Let G be `seconds`."""
    ns = int(seconds * 1e9)
    for module in (evidence, lineage, attempt):
        module.AGE = ns // 4  # type: ignore[attr-defined]
    evidence.HIDING = ns
    for deleting in (plan, run):
        deleting.G = ns  # type: ignore[attr-defined]
        deleting.DELETING = seconds / 8  # type: ignore[attr-defined]
        deleting.WAIT = ns * 3 // 7  # type: ignore[attr-defined]
    last.WEEK = state.G = ns


def main() -> None:
    hurry(float(sys.argv.pop(1)))
    import rpdrive

    sys.argv[0] = "rpdrive"
    rpdrive.main()


if __name__ == "__main__":
    main()
