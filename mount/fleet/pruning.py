"""`rpdrive fleet prune`: each series of packs is a piece, and is pruned as `rpdrive prune` does it.

Its rules hold for any number of machines that prune at once, so also for two workers that have the same piece: the
second one finds the record of the first, and begins again (docs/prune-design.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Annotated, NamedTuple

import msgspec

from catalog.access.session import Session
from catalog.errors import RpdriveError
from catalog.format.packs import SERIES_BYTES
from catalog.points.seen import Seen
from catalog.prune.job import (
    Request,
    SeriesResult,
    context_of,
    name_of,
    nameless,
    no_time,
    note_pruned,
    notes_of,
    prune_one,
    read_seeds_now,
    wanted,
)
from catalog.prune.listing import outlook_lines, results_json
from catalog.prune.run import Done, Refused, TimeIsUp
from catalog.prune.scope import Scope, Series
from catalog.prune.show import show
from catalog.screen.phases import NoFollower, Phase, PhaseScreen
from catalog.seeds.record import Seeds
from catalog.vault import Vault
from mount.fleet.engine import Fleet
from mount.fleet.here import Here
from mount.fleet.listing import counts_json, tell_counts
from mount.fleet.pieces import Failure, Piece, decode_result, encode_result

_OWN = {error.__name__: error for error in (Refused, TimeIsUp)}


class _Body(msgspec.Struct, frozen=True, array_like=True):
    """A series to prune. `highest`: sequence numbers that the command's machine has seen, of machines and items."""

    series: Annotated[bytes, msgspec.Meta(min_length=SERIES_BYTES, max_length=SERIES_BYTES)]
    dry: bool
    seconds: float | None
    yes: bool
    highest: list[tuple[bytes, bytes, int]]


class _Result(msgspec.Struct, frozen=True, array_like=True):
    name: str
    series: Series
    done: Done | None
    failure: Failure | None
    travels: str


class _Known(NamedTuple):
    """What the pieces of a run share on a worker, as the series of a single run do."""

    scope: Scope
    seeds: Seeds


# --- on a worker --------------------------------------------------------------------------------------------


def prune_piece(here: Here, data: bytes) -> bytes:
    """Prune a series."""
    body = msgspec.msgpack.decode(data, type=_Body)
    session, vault = here.session, here.vault
    known = here.kept.get("prune")
    if not isinstance(known, _Known):
        seeds = read_seeds_now(vault, dry=body.dry)  # before points are listed
        known = here.kept["prune"] = _Known(Scope.of(vault), seeds)
    series = next((one for one in known.scope.all_series() if one.id == body.series), None)
    if series is None:
        raise RpdriveError(f"there is no machine with packs of series {body.series.hex()}")
    request = Request(None, body.dry, body.seconds, body.yes)
    notes = notes_of(session, vault)
    try:
        context = context_of(session, vault, known.scope, notes, request, here.follow)
        highest = dict(context.highest)
        for machine, item, number in body.highest:
            highest[machine, item] = max(number, highest.get((machine, item), 0))
        result = prune_one(context._replace(highest=highest), series, known.seeds, session)
    finally:
        notes.close()
    error, done = result.error, result.done
    if done is not None:
        done = done._replace(outlook=done.outlook._replace(expiries=()))
    failure = None if error is None else Failure(error.kind, str(error), error.advice)
    return encode_result(_Result(result.name, series, done, failure, result.travels))


# --- in the command -----------------------------------------------------------------------------------------


class _Pruning:
    def __init__(self, session: Session, vault: Vault, request: Request) -> None:
        self._request = request
        self._notes = notes_of(session, vault)
        try:
            self.scope = Scope.of(vault)
            self.series = wanted(self.scope, request, self._notes)
        except BaseException:
            self._notes.close()
            raise
        self._highest = Seen(session.settings.state, vault).highest()
        self._began = time.time_ns()
        self._until = None if request.seconds is None else time.monotonic() + request.seconds
        self.found: dict[bytes, SeriesResult] = {}

    def pieces(self) -> Iterator[Piece]:
        request = self._request
        for series in self.series:
            left = None if self._until is None else self._until - time.monotonic()
            name = name_of(self.scope, series)
            if left is not None and left <= 0:
                self.found[series.id] = no_time(name, series)
                continue
            own = set(series.machines)
            highest = [(m, item, number) for (m, item), number in self._highest.items() if m in own]
            body = _Body(series.id, request.dry, left, request.yes, highest)
            yield Piece("prune", f"prune {series.id.hex()}", encode_result(body), f"pruning {name}")

    def take(self, series: Series, result: bytes | None, error: RpdriveError | None) -> SeriesResult:
        """Keep what became of a series."""
        name = name_of(self.scope, series)
        found = SeriesResult(name, series, None, error)
        if result is not None:
            try:
                found = _result_of(result, series)
            except RpdriveError as e:
                found = found._replace(error=e)
        if found.done is not None:
            note_pruned(self._notes, series, self._began)
        self.found[series.id] = found
        return found

    def results(self) -> list[SeriesResult]:
        """What became of all series, in the order of a single run."""
        return [self.found[one.id] for one in self.series if one.id in self.found]

    def close(self) -> None:
        self._notes.close()


def _result_of(data: bytes, series: Series) -> SeriesResult:
    row = decode_result(data, _Result)
    error: RpdriveError | None = None
    if row.failure is not None:
        own = _OWN.get(row.failure.kind)
        error = row.failure.error() if own is None else own(row.failure.message, row.failure.advice)
    return SeriesResult(row.name, series, row.done, error, row.travels)


def prune_fleet(session: Session, vault: Vault, fleet: Fleet, request: Request, *, as_json: bool) -> int:
    """Prune by a fleet, and print what became of it.

    Returns the exit code. Raises what `prune` does, and FleetFailed.
    """
    work = _Pruning(session, vault, request)
    by_id = {f"prune {series.id.hex()}": series for series in work.series}
    try:
        with nullcontext() if as_json else PhaseScreen() as screen:
            follow = screen or NoFollower()
            for outcome in fleet.run(work.pieces()):
                found = work.take(by_id[outcome.piece.id], outcome.result, outcome.error)
                follow.phase(Phase("pruning", len(work.found), len(by_id), unit="series"))
                if found.done is not None and not as_json:
                    print("\n".join(outlook_lines(found.done.outlook)), flush=True)
    finally:
        work.close()
    results = work.results()
    if request.machine is None:
        results += nameless(work.scope)
    if not request.dry:
        vault.store.keep_room()
    row = results_json(results, dry=request.dry, traffic=None)
    own = session.meter.snapshot() if session.meter is not None else None
    counts = fleet.counts
    row |= {
        "requests": counts.requests + (own.requests if own else 0),
        "received_bytes": counts.received + (own.received if own else 0),
        "sent_bytes": counts.sent + (own.sent if own else 0),
        "fleet": counts_json(counts),
    }
    code = show(vault, request, results, row, as_json=as_json)
    tell_counts(fleet, vault, as_json=as_json)
    return code
