"""Notes in the vault what a check has found, for `rpdrive points`, `rpdrive jobs` and the next check."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from catalog.check import records
from catalog.check.finding import Finding, What
from catalog.check.level2 import Member, Result
from catalog.errors import AccessDenied, RpdriveError, StoreFull, StoreUnreachable
from catalog.format.checks import BadRow, ChecksRecord
from catalog.format.packs import SERIES_BYTES
from catalog.format.records import Job, Machine, Outcome, PointName, Problem
from catalog.interruption import was_stopped
from catalog.mark.faults import Harmed
from catalog.schedule.noted import Running
from catalog.screen.text import counted
from catalog.vault import Vault

_PROBLEMS = 100  # in a record of a job
_TREES = (0, 1)  # levels that every reading of the trees is of


def note(
    members: Sequence[Member],
    known: Mapping[bytes, ChecksRecord],
    whole: Sequence[BadRow],
    findings: Iterable[Finding],
    harmed: Mapping[PointName, Harmed],
    result: Result | None,
    by: bytes,
) -> RpdriveError | None:
    """Write the next record of each series of which there is something to say, or was.

    `known` are the records before, `whole` rows of them that are no longer bad. Returns why the records can't be
    written, if this access may only read or the store is full. Raises another StoreError.
    """
    vault = members[0].ground.vault
    began = min(member.ground.began for member in members)
    shallow = [f for f in findings if f.level in _TREES and f.what is not What.TREE]
    more = result.more if result is not None else []
    for series in sorted({member.ground.machine[:SERIES_BYTES] for member in members}):
        news = records.News(
            levels=_TREES,
            bad=_of(series, records.bad_rows(shallow, began)),
            more=_of(series, records.bad_rows(more, began)),
            whole=_of(series, whole),
            damaged=[
                records.damaged_row(name.machine, name.item, name.id, harm.files, harm.paths)
                for name, harm in harmed.items()
                if name.machine[:SERIES_BYTES] == series and not name.partial
            ],
        )
        before = known.get(series)
        had = before is not None and bool(before.bad or before.damaged)
        if not (had or news.bad or news.more or news.damaged):
            continue
        try:
            records.add(vault, series, by, vault.store.now(), news)
        except (AccessDenied, StoreFull) as e:
            return e
    return None


class CheckJob:
    """The record of the check of a machine, for people. No error here stops it.

    `began` is the time by this machine's clock (ns).
    """

    def __init__(
        self,
        vault: Vault,
        machine: bytes,
        machines: Mapping[bytes, Machine],
        state: Path,
        level: int,
        began: int,
    ) -> None:
        self._vault, self._level = vault, level
        self._job = Job(
            id=os.urandom(16), machine=machine, kind="check", outcome=Outcome.FAILED,
            machine_name=machines[machine].name if machine in machines else machine.hex()[:8],
            hostname=platform.node(), time=began, finished=0, level=level,
        )  # fmt: skip
        self._running = Running(vault, state, self._job, level=level)

    def concerns(self, finding: Finding) -> bool:
        """Whether a finding of a record is about this machine."""
        machine = self._job.machine.hex()
        names = (f"/{machine}", f"places/{machine[:8]}", f"checks/{machine[:8]}/")
        return any(name in finding.object for name in names)

    def completed(self, entries: int, size: int, findings: int, harmed: Mapping[PointName, Harmed]) -> None:
        """Keep the record of a check that saw so many entries of trees, and read `size` bytes of packs."""
        job, paths = self._job, dict[bytes, int]()
        for name, harm in harmed.items():
            if name.machine == job.machine:
                for path in harm.paths:
                    paths[path] = paths.get(path, 0) + 1
        job.outcome = Outcome.WITH_WARNINGS if findings else Outcome.COMPLETED
        job.entries, job.read_bytes, job.bytes = entries, size, size
        if findings:
            job.error = f"level {self._level} found {findings:,} damaged or missing objects or blocks"
        job.problems = [
            Problem(path, f"can't be given back from {counted(points, 'point')}")
            for path, points in list(paths.items())[:_PROBLEMS]
        ]
        job.problem_count = len(paths)
        self._keep()

    def failed(self, error: BaseException) -> None:
        """Keep the record of a check that did not come to its end."""
        job = self._job
        if was_stopped(error):
            job.outcome = Outcome.INTERRUPTED
        else:
            job.error_kind, job.error = type(error).__name__, str(error)[:4096]
        self._keep(in_vault=not isinstance(error, StoreUnreachable | AccessDenied))

    def _keep(self, *, in_vault: bool = True) -> None:
        self._job.finished = time.time_ns()
        self._running.ended(self._job)
        if in_vault:
            with suppress(RpdriveError):
                self._vault.add_job(self._job)


def _of(series: bytes, rows: Iterable[BadRow]) -> list[BadRow]:
    return [row for row in rows if row.pack[:SERIES_BYTES] == series]
