"""Restores: a plan, made by a dry run; then the restore, by a process of its own that needs the page no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import msgspec

from catalog.errors import AccessDenied, NotFound, UsageError
from catalog.jobs.local import new_job_id
from mount.browse.resources.local_folders import local_path
from mount.browse.resources.opened import Opened
from mount.browse.resources.shell_words import line
from mount.browse.resources.watching import watch_of
from mount.browse.resources.wire import id_of, path64, path_of, when
from mount.browse.running.files import RestoreFiles, is_alive
from mount.browse.running.status import ACTIVE, Failure, Place, Plan, Progress, Request, State, Status, Trouble

MOST_PLACES = 2_000
MOST_ACTIVE = 8  # processes at once
_DROPPED = 5.0  # seconds to wait for the process of a plan that is dropped

# --- what the page sends, and gets ------------------------------------------------------------------------------


class WishedPlace(msgspec.Struct, forbid_unknown_fields=True):
    """A path in a point: `at` is its path64."""

    point: str
    at: str


class RestoreWish(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be restored: into the folder `to` (a path64), or in place.

    `machine`, a name or id, confirms that a point of another machine is to be restored in place.
    """

    places: list[WishedPlace]
    to: str | None = None
    in_place: bool = False
    on_conflict: Literal["copy", "overwrite", "skip", "newer"] = "copy"
    verify: bool = False
    permissions: bool = True
    machine: str | None = None


class RestoreMade(msgspec.Struct):
    id: str


class PlaceRow(msgspec.Struct):
    point: str
    path: str
    path64: str


class PlannedRow(msgspec.Struct):
    """What would happen at a path: `what` is new, overwrite, copy, skip, same, attributes, refuse or remove."""

    path: str
    what: str
    size: int


class ProblemRow(msgspec.Struct):
    """Why something was not restored as it was saved; an empty path: it concerns all."""

    path: str
    reason: str


class RoomRow(msgspec.Struct):
    """Bytes free on the file system of a place, and those that the restore may need: files with holes need less."""

    path: str
    free: int
    needed: int
    enough: bool


class PlanRow(msgspec.Struct, kw_only=True):
    """What a dry run found. `files` are entries that are no folders; `bytes` those that would be written."""

    files: int
    folders: int
    bytes: int
    new: int
    overwritten: int
    copies: int
    skipped: int
    same: int
    attributes: int
    refused: int
    first: list[PlannedRow]
    refusals: list[str]
    problems: list[ProblemRow]
    problem_count: int
    room: list[RoomRow]


class ProgressRow(msgspec.Struct, kw_only=True):
    """How far it is. `phase` is planning, checking (the target, against the plan) or restoring."""

    phase: str
    files: int
    files_total: int | None
    bytes: int
    bytes_total: int | None
    current: str
    seconds: float


class ResultRow(msgspec.Struct, kw_only=True):
    """What it did; `lines` say so in words."""

    files: int
    bytes: int
    new: int
    overwritten: int
    copies: int
    skipped: int
    same: int
    attributes: int
    verified: int
    renamed: int
    lost: int
    lines: list[str]


class ErrorRow(msgspec.Struct):
    kind: str
    message: str
    advice: str


class Restore(msgspec.Struct, kw_only=True):
    """A restore. `changed` says why one that was started is only planned again. `command` does the same."""

    id: str
    state: State
    places: list[PlaceRow]
    to: str | None
    to64: str | None
    in_place: bool
    on_conflict: str
    verify: bool
    permissions: bool
    machine: str | None
    plan: PlanRow | None
    progress: ProgressRow | None
    problems: list[ProblemRow]
    problem_count: int
    result: ResultRow | None
    error: ErrorRow | None
    changed: str | None
    made: str | None
    started: str | None
    finished: str | None
    session: str
    command: str


class Restores(msgspec.Struct):
    restores: list[Restore]


# --- what can be done ---------------------------------------------------------------------------------------------


def plan(opened: Opened, wish: RestoreWish, session: str) -> RestoreMade:
    """Begin to plan a restore, in a process of its own. `session` is that of the page.

    Raises AccessDenied on a page that is read-only, UsageError (e.g. a target in the vault), NotFound, LocalError.
    """
    refuse_read_only(opened)
    request = _request(opened, wish)
    from mount.browse.running.job import job_of
    from mount.browse.running.starting import start as start_process

    job_of(opened.session, request, dry_run=True)  # refuses what can't be done, e.g. a target in the vault
    files = RestoreFiles(opened.session.settings)
    _check_active(files, opened)
    status = Status(
        id=new_job_id(), vault=opened.vault.id.hex(), request=request, session=session, made=time.time_ns(),
        progress=Progress(phase="planning"),
    )  # fmt: skip
    start_process(opened.session, opened.vault, status, plan=True, told=_told(opened, status.id))
    _watch(opened)
    return RestoreMade(status.id)


def start(opened: Opened, one: str) -> Restore:
    """Start a restore that is planned. Raises UsageError if it is not, or can't be; and as `plan`."""
    refuse_read_only(opened)
    files = RestoreFiles(opened.session.settings)
    from mount.browse.running.starting import start as start_process

    with files.locked(_known(files, opened, one).id):
        status = _known(files, opened, one)
        if status.state != "planned" or status.plan is None:
            raise UsageError(f"this restore is {status.state}", "only a restore that is planned can be started")
        if status.plan.refusals:
            raise UsageError(
                f"this can't be restored: {status.plan.refusals[0]}", "choose another folder, and make a new plan"
            )
        _check_active(files, opened)
        status.state, status.started, status.finished, status.changed = "running", time.time_ns(), 0, ""
        status.failure, status.progress = None, Progress(phase="checking")
        start_process(opened.session, opened.vault, status, plan=False, told=_told(opened, one))
    _watch(opened)
    return restore_row(opened, status)


def stop(opened: Opened, one: str) -> Restore | None:
    """Stop a restore that runs: it ends in order, and a later one continues it. Others are dropped: None."""
    refuse_read_only(opened)
    from mount.browse.running.starting import stop as stop_process

    files = RestoreFiles(opened.session.settings)
    status = _known(files, opened, one)
    stopping = stop_process(status)
    if stopping and status.state == "running":
        _watch(opened)
        return restore_row(opened, status)
    end = time.monotonic() + _DROPPED
    while stopping and is_alive(status) and time.monotonic() < end:
        time.sleep(0.02)
    with files.locked(one):
        files.remove(one)
    _tell(opened)(one)
    return None


def restores(opened: Opened) -> Restores:
    """The restores of this vault by this user, newest first, whoever began them; without lists of problems."""
    _watch(opened)
    rows = []
    for status in RestoreFiles(opened.session.settings).all(opened.vault.id.hex()):
        row = restore_row(opened, status)
        row.problems = []
        if row.plan is not None:
            row.plan.first, row.plan.problems = [], []
        rows.append(row)
    return Restores(rows)


def is_restoring(opened: Opened) -> bool:
    """Whether a restore of this vault runs, or is being planned. A plan that waits for its start is no job."""
    every = RestoreFiles(opened.session.settings).all(opened.vault.id.hex())
    return any(status.state in ("planning", "running") and is_alive(status) for status in every)


def restore(opened: Opened, one: str) -> Restore:
    """One restore as it is now. Raises NotFound."""
    status = _known(RestoreFiles(opened.session.settings), opened, one)
    if status.state in ACTIVE:
        _watch(opened)
    return restore_row(opened, status)


def refuse_read_only(opened: Opened) -> None:
    """Raise AccessDenied if nothing of this machine may be changed."""
    if opened.read_only:
        raise AccessDenied(
            "this page only shows and downloads", "run `rpdrive browse` without --read-only on the machine itself"
        )


# --- parts ----------------------------------------------------------------------------------------------------


def _request(opened: Opened, wish: RestoreWish) -> Request:
    if not wish.places:
        raise UsageError("nothing was chosen to be restored", "mark files or folders first")
    if len(wish.places) > MOST_PLACES:
        raise UsageError(f"more than {MOST_PLACES:,} places were chosen", "choose the folders that they are in")
    if wish.in_place == (wish.to is not None):
        raise UsageError("a restore goes either into a folder or in place", "choose one of them")
    places = list(dict.fromkeys(Place(id_of(p.point).hex(), path_of(p.at)) for p in wish.places))
    for point in dict.fromkeys(place.point for place in places):
        opened.name(point)
    return Request(
        places=places, to=None if wish.to is None else local_path(wish.to), on_conflict=wish.on_conflict,
        verify=wish.verify, permissions=wish.permissions, machine=wish.machine or None,
    )  # fmt: skip


def _known(files: RestoreFiles, opened: Opened, one: str) -> Status:
    status = files.read(id_of(one, "restore").hex())
    if status.vault != opened.vault.id.hex():
        raise NotFound("this restore is of another vault", "see the list of restores")
    return status


def _check_active(files: RestoreFiles, opened: Opened) -> None:
    active = [status for status in files.all(opened.vault.id.hex()) if status.state in ACTIVE]
    if len(active) >= MOST_ACTIVE:
        raise UsageError(f"{len(active)} restores are at work already", "wait until one has ended, or stop one")


def _tell(opened: Opened) -> Callable[[str], object]:
    bus = opened.bus
    return lambda one: bus.publish("restore", one)


def _told(opened: Opened, one: str) -> Callable[[], object]:
    tell = _tell(opened)
    return lambda: tell(one)


def _watch(opened: Opened) -> None:
    watch_of(opened, _tell(opened)).begin()


# --- as the page shows it ---------------------------------------------------------------------------------------


def restore_row(opened: Opened, status: Status) -> Restore:
    request, progress = status.request, status.progress
    to = request.to
    return Restore(
        id=status.id, state=status.state,
        places=[PlaceRow(p.point, _text(p.path), path64(p.path)) for p in request.places],
        to=None if to is None else _text(to), to64=None if to is None else path64(to), in_place=to is None,
        on_conflict=request.on_conflict, verify=request.verify, permissions=request.permissions,
        machine=request.machine, plan=None if status.plan is None else _plan_row(status.plan),
        progress=None if progress is None or status.state not in ACTIVE else _progress_row(progress),
        problems=_problems(status.problems), problem_count=status.problem_count,
        result=None if status.result is None else ResultRow(**msgspec.structs.asdict(status.result)),
        error=_error(status.failure), changed=status.changed or None, made=when(status.made),
        started=when(status.started), finished=when(status.finished), session=status.session,
        command=command(opened.session.address, request),
    )  # fmt: skip


def command(address: str, request: Request) -> str:
    """The same restore as a line for a terminal."""
    words: list[str | bytes] = ["rpdrive", "restore"]
    words += [place.point.encode() + (b"" if place.path == b"/" else b":" + place.path) for place in request.places]
    words += ["--in-place"] if request.to is None else ["--to", request.to]
    words += ["--on-conflict", request.on_conflict]
    words += ["--verify"] if request.verify else []
    words += [] if request.permissions else ["--no-permissions"]
    words += ["--machine", request.machine] if request.machine else []
    return line([*words, "--vault", address])


def _plan_row(plan: Plan) -> PlanRow:
    fields = {name: getattr(plan, name) for name in PlanRow.__struct_fields__}
    fields["first"] = [PlannedRow(_text(row.path), row.what, row.size) for row in plan.first]
    fields["problems"] = _problems(plan.problems)
    fields["room"] = [RoomRow(_text(r.place), r.free, r.needed, r.needed <= r.free) for r in plan.room]
    return PlanRow(**fields)


def _progress_row(progress: Progress) -> ProgressRow:
    return ProgressRow(**msgspec.structs.asdict(progress) | {"current": _text(progress.current)})


def _problems(rows: list[Trouble]) -> list[ProblemRow]:
    return [ProblemRow(_text(row.path), row.reason) for row in rows]


def _error(failure: Failure | None) -> ErrorRow | None:
    return None if failure is None else ErrorRow(failure.kind, failure.message, failure.advice)


def _text(path: bytes) -> str:
    return path.decode(errors="replace")
