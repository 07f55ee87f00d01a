"""Runs `rpdrive fleet restore`, and prints progress and result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial

from catalog.access.session import Session
from catalog.screen.output import print_json
from catalog.screen.stderr import Screen
from catalog.vault import Vault
from mount.fleet.engine import Fleet
from mount.fleet.listing import counts_json, counts_line
from mount.fleet.opening import open_fleet
from mount.fleet.pieces import Piece
from mount.fleet.restoring.together import Ended, TogetherRestore
from mount.restore.display import report_json, summary
from mount.restore.job import Job
from mount.restore.show import told


def run_and_show(
    session: Session, vault: Vault, job: Job, on: str, machine: str | None, item: str | None, *, as_json: bool
) -> bool:
    """Run a job on a fleet, with its progress on stderr and its result on stdout. False if it had problems.

    Raises FleetFailed, StoreError and LocalError.
    """
    with open_fleet(session, vault, on, needs="restore") as fleet:
        job.restorer = lambda vault, reader, options: TogetherRestore(vault, reader, options, partial(_do, fleet))
        with nullcontext() if as_json else Screen() as screen:
            what = "this restore, if nothing compresses,"
            tell = None if screen is None else told(screen, job, what)
            report = job.run(vault, machine, item, screen, fetches=tell)
        if as_json:
            print_json(report_json(report, job.record, dry=False) | {"fleet": counts_json(fleet.counts)})
        else:
            for line in [*summary(report, job.record), counts_line(fleet.counts)]:
                print(line)
    return not report.problem_count


def _do(fleet: Fleet, asks: bytes, parts: Iterable[tuple[int, bytes]]) -> Iterator[Ended]:
    """Have parts done by the workers that see the target."""
    fleet.question = Piece("restore-look", "", asks, "")
    pieces = (Piece("restore", str(number), body, f"part {number + 1} of the restore") for number, body in parts)
    for outcome in fleet.run(pieces):
        yield Ended(int(outcome.piece.id), outcome.error)
