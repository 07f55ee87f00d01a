"""Pruning as a command asks for it: one machine's series or all of them, each with a record of what was done."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from catalog.access.session import Session
from catalog.errors import AccessDenied, NotFound, RpdriveError, StoreFull, StoreUnreachable
from catalog.format.records import Job, Outcome, Problem
from catalog.interruption import was_stopped
from catalog.machines.registry import find_machine, id_here, machine_names
from catalog.points.seen import Seen
from catalog.policies.records import Policies
from catalog.prune.notes import Notes
from catalog.prune.run import Context, Done, Outlook, Refused, TimeIsUp, prune_series
from catalog.prune.scope import Scope, Series
from catalog.schedule.noted import Running
from catalog.screen.phases import Follower
from catalog.screen.text import local_time
from catalog.seeds.record import Seeds, read_seeds
from catalog.signing import signing_key
from catalog.store.deadline import steady
from catalog.store.reading import time_to_read
from catalog.vault import Vault

_HOPELESS = (StoreUnreachable, AccessDenied, StoreFull)  # the store itself: the other series would fail, too
_PROBLEMS = 100  # in a record
_DOUBT = "bring it back from a copy of the vault; if it is junk, delete it, or confirm that with --yes"


class Request(NamedTuple):
    """What is asked for. `machine` is a name or id, None for all; `seconds` the time allowed, None: no limit."""

    machine: str | None = None
    dry: bool = False
    seconds: float | None = None
    yes: bool = False


class SeriesResult(NamedTuple):
    """What became of a series: of what machines (names), what was done, or why not."""

    name: str
    series: Series
    done: Done | None
    error: RpdriveError | None
    travels: str = ""  # why nothing was done, which is no error: backups of its machines are on their way


def prune(
    session: Session,
    vault: Vault,
    request: Request,
    follow: Follower,
    tell: Callable[[Outlook], None] = lambda outlook: None,
) -> list[SeriesResult]:
    """Prune. `tell` gets what a run is about to do, before it does.

    What is wrong with one series costs that series. Raises NotFound, AmbiguousName, Locked, or StoreError if the
    store itself fails.
    """
    notes = notes_of(session, vault)
    try:
        seeds = read_seeds_now(vault, dry=request.dry)  # before points are listed
        scope = Scope.of(vault)
        context = context_of(session, vault, scope, notes, request, follow)._replace(tell=tell)
        found = [prune_one(context, series, seeds, session) for series in wanted(scope, request, notes)]
        if request.machine is None:
            found += nameless(scope)
    finally:
        notes.close()
    if not request.dry:
        vault.store.keep_room()
    return found


def context_of(
    session: Session, vault: Vault, scope: Scope, notes: Notes, request: Request, follow: Follower
) -> Context:
    """What the runs of a request share, from now on. Raises Locked or StoreError."""
    state = session.settings.state
    seen = Seen(state, vault)
    return Context(
        vault=vault,
        scope=scope,
        policies=Policies(vault),
        notes=notes,
        signer=None if request.dry else signing_key(vault),
        deleting=session.open_store(patience=0.0),
        by=id_here(session.settings, vault) or bytes(16),
        highest=seen.highest(),
        saw=seen.check,
        state=state,
        until=None if request.seconds is None else steady() + request.seconds,
        yes=request.yes,
        follow=follow,
    )


def prune_one(context: Context, series: Series, seeds: Seeds, session: Session) -> SeriesResult:
    """Prune a series, unless something of it is on its way. Raises StoreError if the store itself fails."""
    return _travelling(context, series, seeds, yes=context.yes) or _one(context, series, session)


def notes_of(session: Session, vault: Vault) -> Notes:
    """What this machine notes about pruning this vault. To be closed."""
    return Notes(_path(session.settings.state, vault))


def read_seeds_now(vault: Vault, *, dry: bool) -> Seeds:
    """The backups that are on their way. One listing."""
    return read_seeds(vault, time_to_read(vault.store) if dry else vault.store.now())


def _travelling(context: Context, series: Series, seeds: Seeds, *, yes: bool) -> SeriesResult | None:
    """The result for a series that is left alone: points that are on their way may refer to any of its packs.

    So may points of a seed whose record does not open, unless a person has confirmed (`yes`) that it is none.
    """
    scope = context.scope
    for one in sorted(seeds.open, key=lambda one: -one.until):
        machine = one.record.machine
        if machine in series.machines or machine not in scope.machines:
            names = machine_names(scope.machines)
            name = ", ".join(names.get(own, own.hex()[:8]) for own in series.own)
            whose = names.get(machine, machine.hex()[:8])
            word = (
                f"nothing of {name} was pruned: first backups of {whose} travel on disks since "
                f"{local_time(one.stored)[:10]}; that counts until they have arrived, or until "
                f"{local_time(one.until)[:10]}"
            )
            return SeriesResult(name, series, None, None, word)
    if seeds.doubts and not yes:
        name = ", ".join(scope.machines[one].name if one in scope.machines else one.hex()[:8] for one in series.own)
        what = f"{seeds.doubts[0]} does not open, and may be the record of backups that are on their way"
        return SeriesResult(name, series, None, Refused(f"nothing of {name} was pruned: {what}", _DOUBT))
    return None


def _path(state: Path, vault: Vault) -> Path:
    return state / f"prune-{vault.state_id}.sqlite"


def wanted(scope: Scope, request: Request, notes: Notes) -> list[Series]:
    """The series to prune: those that were pruned longest ago first, as the time may not suffice for all."""
    if request.machine is not None:
        machine = find_machine(scope.machines, request.machine)
        if machine is None:
            raise NotFound(
                f"there is no machine {request.machine} in this vault", "see `rpdrive machine list` for their names"
            )
        return [scope.series(machine.id)]
    return sorted(scope.all_series(), key=lambda series: (int(notes.get(_note(series)) or 0), series.id))


def note_pruned(notes: Notes, series: Series, began: int) -> None:
    """Note that a series was pruned (ns, by this machine's clock): the others come first the next time."""
    notes.set(_note(series), str(began // 10**9))


def nameless(scope: Scope) -> list[SeriesResult]:
    """Machines whose packs nobody prunes, as no record says what they are."""
    pruned = {series.id for series in scope.all_series()}
    alone = [series for series in map(scope.series, scope.nameless) if series.id not in pruned]
    return [
        SeriesResult(
            series.id.hex(),
            series,
            None,
            Refused(
                f"nothing of machine {series.id.hex()} was pruned: it has points, and no record that can be read",
                "run `rpdrive repair`, which makes a new one",
            ),
        )
        for series in {series.id: series for series in alone}.values()
    ]


def _note(series: Series) -> str:
    return f"pruned {series.id.hex()}"


def name_of(scope: Scope, series: Series) -> str:
    """The machines of a series, for people."""
    names = machine_names(scope.machines)
    return ", ".join(names.get(one, one.hex()[:8]) for one in series.own)


def _one(context: Context, series: Series, session: Session) -> SeriesResult:
    name = name_of(context.scope, series)
    began = time.time_ns()
    if context.until is not None and steady() > context.until:
        return no_time(name, series)
    record = None if context.signer is None else _Record(context, series, name, began)
    try:
        done = prune_series(context, series)
    except BaseException as e:
        if record is not None:
            record.failed(e)
        if isinstance(e, RpdriveError) and not isinstance(e, _HOPELESS):
            return SeriesResult(name, series, None, e)
        raise
    note_pruned(context.notes, series, began)
    if record is not None:
        record.completed(done)
    return SeriesResult(name, series, done, None)


def no_time(name: str, series: Series) -> SeriesResult:
    """The result of a series whose turn did not come in time."""
    error = TimeIsUp(f"there was no time left for {name}", "run the command again")
    return SeriesResult(name, series, None, error)


class _Record:
    """The record of a run, for people. No error here makes it fail."""

    def __init__(self, context: Context, series: Series, name: str, began: int) -> None:
        self._vault = context.vault
        self._job = Job(
            id=os.urandom(16), machine=series.own[0], kind="prune", outcome=Outcome.FAILED, machine_name=name,
            hostname=platform.node(), time=began, finished=0,
        )  # fmt: skip
        self._running = None if context.state is None else Running(context.vault, context.state, self._job)

    def failed(self, error: BaseException) -> None:
        job = self._job
        if was_stopped(error):
            job.outcome = Outcome.INTERRUPTED
        else:
            job.error_kind, job.error = type(error).__name__, str(error)[:4096]
        self._keep(in_vault=not isinstance(error, _HOPELESS))

    def completed(self, done: Done) -> None:
        job, totals = self._job, done.outlook.totals
        job.outcome = Outcome.WITH_WARNINGS if done.problems else Outcome.COMPLETED
        job.live_bytes, job.hidden_bytes, job.freed_bytes = totals.live, totals.hidden, done.freed
        job.bytes, job.stored_bytes, job.removed = totals.stored, done.moved, done.points
        job.problems = [Problem(b"", text) for text in done.problems[:_PROBLEMS]]
        job.problem_count = len(done.problems)
        self._keep(in_vault=True)

    def _keep(self, *, in_vault: bool) -> None:
        self._job.finished = time.time_ns()
        if self._running is not None:
            self._running.ended(self._job)
        if in_vault:
            with suppress(RpdriveError):
                self._vault.add_job(self._job)
