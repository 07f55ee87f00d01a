"""The work of the command `prune`: run it, say what it is about to do, and what it did."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from catalog.access.session import Session
from catalog.cost.before import Before
from catalog.cost.use import Use
from catalog.errors import WITH_PROBLEMS
from catalog.protect.space import kept_after_deleting
from catalog.prune.job import Request, SeriesResult, prune
from catalog.prune.listing import outlook_lines, result_lines, results_json
from catalog.prune.run import Outlook, TimeIsUp
from catalog.screen.output import print_json
from catalog.screen.phases import NoFollower, PhaseScreen
from catalog.screen.stderr import warn
from catalog.screen.text import safe_text
from catalog.vault import Vault


def prune_vault(session: Session, vault: Vault, request: Request, *, as_json: bool) -> int:
    """Prune as a command. Returns the exit code. Raises what `prune` does."""

    before, use = Before(session), Use()

    def tell(outlook: Outlook) -> None:
        nonlocal use
        if as_json:
            return
        print("\n".join(outlook_lines(outlook)), flush=True)
        use += Use(write=outlook.requests, received=outlook.read, copied=outlook.moved)
        line = before.line("this prune", use)
        if line:
            print(f"  {line}", flush=True)

    with nullcontext() if as_json else PhaseScreen() as screen:
        results = prune(session, vault, request, screen or NoFollower(), tell)
    row = results_json(results, dry=request.dry, traffic=session.meter.snapshot() if session.meter else None)
    return show(vault, request, results, row, as_json=as_json)


def show(
    vault: Vault, request: Request, results: Sequence[SeriesResult], row: dict[str, object], *, as_json: bool
) -> int:
    """Say what was done, or print `row`, which says it as JSON. Returns the exit code."""
    freed = any(r.done is not None and (r.done.freed or r.done.outlook.freed) for r in results)
    note = kept_after_deleting(vault.store) if freed else ""
    if as_json:
        print_json({**row, "note": note} if note else row)
    else:
        for result in results:
            if not request.dry:
                for line in result_lines(result):
                    print(line)
            if result.travels:
                print(safe_text(result.travels))
            if result.done is not None:
                for problem in result.done.problems:
                    warn(problem)
            if result.error is not None:
                warn(f"{result.error}; {result.error.advice}" if result.error.advice else str(result.error))
        if note:
            print(f"Note: {note}")
        if request.dry:
            print("Dry run: nothing was changed")
    failed = any(
        (r.error is not None and not isinstance(r.error, TimeIsUp)) or (r.done is not None and r.done.problems)
        for r in results
    )
    return WITH_PROBLEMS if failed else 0
