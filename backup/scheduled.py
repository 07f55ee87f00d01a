"""Runs what is due: opens each vault once, looks at its plans again, and runs the jobs one after the other.

`rpdrive tick` starts this as a process of its own, which ends when nothing is due any more. Jobs run by the code of
the commands `backup`, `prune` and `check`; a restore test is a process of its own. Each job leaves a row in this
machine's history, so that a failed one is tried again ever later, and never at once.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import msgspec

from backup.foreground import back_up
from backup.request import Request
from backup.systems.this import this_system
from catalog import held
from catalog.access.session import Session
from catalog.alerts.watching import look_daily
from catalog.check.options import Options
from catalog.check.show import run_check
from catalog.errors import (
    WITH_PROBLEMS,
    AccessDenied,
    ItemTravels,
    LocalError,
    Locked,
    RpdriveError,
    StoreUnreachable,
)
from catalog.format.records import ItemKind, Outcome
from catalog.format.windows import name_text
from catalog.notify.notifier import Notifier
from catalog.plans.local import LocalPlans
from catalog.plans.records import refresh
from catalog.program import main_command
from catalog.prune.job import Request as PruneRequest
from catalog.prune.show import prune_vault
from catalog.schedule.agenda import REFRESH, Work, agenda
from catalog.schedule.conditions import Facts, here
from catalog.schedule.due import NO_ROLE, TRAVELS
from catalog.schedule.history import History, Ran
from catalog.schedule.marks import Marks, beat, single
from catalog.schedule.noted import SERVES
from catalog.screen.stderr import warn
from catalog.seeds.routing import has_only_left
from catalog.store.roles import Role
from catalog.throttle.given import Given
from catalog.throttle.limiting import limit_traffic
from catalog.vault import Vault

WAITS = (15.0, 30.0, 60.0, 120.0, 240.0)  # s between attempts to reach a vault: after waking, a network is late
HUNG = 24 * 3600.0  # s after which a restore test is stopped
LONGEST = 3600.0  # s after which no further job begins: the next tick reads the plans in the vault again
_BEAT = 60.0  # s between looks at whether a job gets on
_READ_AGAIN = 3600.0  # s for which a limit holds a job back until the plans are read again
_log = logging.getLogger("rpdrive.schedule")


class Edge(NamedTuple):
    """The outside: the clock (ns), how to wait (s), what the machine tells of itself."""

    now: Callable[[], int] = time.time_ns
    wait: Callable[[float], None] = time.sleep
    facts: Facts = here()
    read_again: float = _READ_AGAIN
    beat: float = _BEAT


class _Opened(NamedTuple):
    session: Session
    vault: Vault


def run_due(session: Session, edge: Edge | None = None) -> int:
    """Run what is due. Returns how many jobs ran. Raises LocalError if this machine's own files can't be used.

    Does nothing if another process does it already.
    """
    state = session.settings.state
    with single(state / "due.lock") as is_alone:
        if not is_alone:
            return 0
        runner = _Runner(session, state, edge or Edge())
        stop = threading.Event()
        beating = threading.Thread(target=runner.beat, args=(stop,), name="beat", daemon=True)
        beating.start()
        try:
            return runner.run()
        finally:
            stop.set()
            runner.close()


class _Runner:
    def __init__(self, session: Session, state: Path, edge: Edge) -> None:
        self._session, self._state, self._edge = session, state, edge
        self._history = History(state)
        self._opened: dict[str, _Opened | RpdriveError] = {}
        self._sessions: list[Session] = []

    def run(self) -> int:
        done = set[tuple[str, str, str, int, int]]()
        until = time.monotonic() + LONGEST
        while True:
            now = self._edge.now()
            runs = self._history.settle(now)
            found = agenda(
                LocalPlans(self._state).all().vaults, runs, now, Marks.read(self._state).resumed, self._edge.facts
            )
            self._history.note(found.rows)
            work = next((work for work in found.work if work.key not in done), None)
            if work is None or (done and time.monotonic() > until):
                self._look()
                return len(done)
            vault = work.vault.vault
            if vault not in self._opened:
                self._opened[vault] = self._open(work)
                if isinstance(self._opened[vault], _Opened):
                    continue  # the plans may have changed
            done.add(work.key)
            self._do(work, runs)

    def _look(self) -> None:
        """Look at what the vaults have of this machine. Nothing that goes wrong here costs a job."""
        for opened in self._opened.values():
            if isinstance(opened, _Opened):
                notifier = Notifier(opened.session.settings.where("config"), self._state)
                try:
                    look_daily(*opened, notifier)
                except Exception as e:  # noqa: BLE001 - as above
                    _log.warning("the alerts of %s: %s", opened.session.address, e)

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def beat(self, stop: threading.Event) -> None:
        """Mark that the jobs get on, while requests are made or held back by a limit, or the processor is used.

        A limit that holds them back for long may have been taken back in the vault: then the plans are read again.
        """
        before: object = None
        read = 0.0
        while True:
            if held.seconds() >= read + self._edge.read_again:
                read = held.seconds()
                self._refresh()
            used = int(time.process_time())
            now = (
                used,
                int(held.seconds()),
                [str(s.meter.snapshot()) for s in self._sessions if s.meter is not None],
            )
            if now != before:
                beat(self._state)
            before = now
            if stop.wait(self._edge.beat):
                return

    # --- a vault ------------------------------------------------------------------------------------------

    def _open(self, work: Work) -> _Opened | RpdriveError:
        """Open a vault and refresh its plans, waiting for the network; or why not."""
        session = self._session.another(work.vault.address)
        self._sessions.append(session)
        gate = limit_traffic(session, Given())
        # A pause that never ends must not keep this machine from learning that it was taken back.
        with nullcontext() if gate is None else gate.open():
            return self._read(work, session)

    def _read(self, work: Work, session: Session) -> _Opened | RpdriveError:
        for wait in (*WAITS, None):
            try:
                opened = _Opened(session, session.open_vault())
                break
            except StoreUnreachable as e:
                if wait is None:
                    return e
                _log.info("%s; trying again in %d s", e, wait)
                beat(self._state)
                self._edge.wait(wait)
            except RpdriveError as e:
                return e
        try:
            refresh(opened.vault, session.address, session.settings)
        except RpdriveError as e:
            warn(f"the plans in {session.address} can't be read: {e}; going on with the last copy")
            if work.duty == REFRESH:
                return e
        return opened

    def _refresh(self) -> None:
        """Read the plans of the vaults again beside a job, by sessions of their own that nothing holds back."""
        for opened in list(self._opened.values()):
            if isinstance(opened, _Opened):
                session = self._session.another(opened.session.address)
                try:
                    refresh(session.open_vault(), session.address, session.settings)
                except Exception as e:  # noqa: BLE001 - the job goes on, by the copy that is there
                    _log.warning("the plans in %s can't be read: %s", session.address, e)
                finally:
                    session.close()

    # --- a job --------------------------------------------------------------------------------------------

    def _do(self, work: Work, runs: list[Ran]) -> None:
        before = {ran.id for ran in runs}
        began = self._edge.now()
        opened = self._opened[work.vault.vault]
        error: BaseException | None = opened if isinstance(opened, RpdriveError) else None
        code = 0
        if isinstance(opened, _Opened):
            os.environ[SERVES] = f"{work.slot}/{work.missed}/1"
            try:
                code = self._job(work, opened)
            except Exception as e:  # noqa: BLE001 - one job that fails costs only itself
                error = e
            finally:
                os.environ.pop(SERVES, None)
        if error is not None:
            warn(f"{_title(work)}: {error}")
        if not any(_is_of(ran, work) for ran in self._history.all() if ran.id not in before):
            self._note(work, runs, began, code, error)

    def _note(self, work: Work, runs: list[Ran], began: int, code: int, error: BaseException | None) -> None:
        """Note a job that noted nothing itself, as it could not begin, or as there was nothing to do."""
        if error is None:
            outcome = Outcome.WITH_WARNINGS if code else Outcome.COMPLETED
            if work.duty != REFRESH:
                self._history.add(work.row(began, outcome, finished=self._edge.now()))
            return
        is_open = isinstance(self._opened[work.vault.vault], _Opened)
        if work.duty.kind == "prune" and is_open and isinstance(error, AccessDenied | Locked):
            self._history.add(work.row(began, Outcome.SKIPPED, reason=NO_ROLE, error=str(error)))
            return
        if isinstance(error, ItemTravels):
            self._history.add(work.row(began, Outcome.SKIPPED, reason=TRAVELS, error=str(error)))
            return
        row = work.row(
            began, Outcome.FAILED, finished=self._edge.now(), cause=type(error).__name__, error=str(error)
        )
        earlier = next((ran for ran in runs if ran.id == row.id), None)
        if earlier is not None:  # one row for all attempts of a slot
            row = msgspec.structs.replace(row, started=earlier.started, tries=earlier.tries + 1)
        self._history.add(row)

    def _job(self, work: Work, opened: _Opened) -> int:
        """Run a job by the code of its command. Returns its exit code. Raises what the command does."""
        session, vault = opened
        if session.gate is not None:
            session.gate.of_item(work.item.name if work.item is not None else "")
        match work.duty.kind:
            case "refresh":
                return 0
            case "backup":
                session.require(Role.BACKUP)
                return back_up(session, vault, backup_of(work), as_json=False)
            case "prune":
                session.require(Role.MAINTAIN)
                budget = work.vault.plan.prune.budget
                seconds = budget * 60.0 if budget else None
                return prune_vault(session, vault, PruneRequest(seconds=seconds), as_json=False)
            case "check":
                return run_check(session, vault, None, None, _check(work), as_json=False)
            case _:
                return self._restore_test(work, session, vault)

    def _restore_test(self, work: Work, session: Session, vault: Vault) -> int:
        """Test one item of this machine, another one each time, as a command of its own."""
        care = work.vault.plan.restore_test
        state, machine = session.settings.state, bytes.fromhex(work.vault.machine)
        items = [
            one.name for one in work.vault.items if not has_only_left(state, vault, machine, bytes.fromhex(one.id))
        ]
        if work.vault.items and not items:
            raise ItemTravels("the first backups of all items travel on disks: there is nothing to restore yet")
        chosen = items[work.slot // (care.every * 3600 * 10**9) % len(items)] if items else None
        command = [
            *main_command("rpdrive"), "--vault", session.address, "test-restore", "latest",
            "--machine", work.vault.machine_name,
            *(["--item", chosen] if chosen else []),
            *(["--percent", f"{care.percent:g}"] if care.percent else []),
            *(["--mount"] if os.access("/dev/fuse", os.R_OK | os.W_OK) else []),
        ]  # fmt: skip
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        try:
            done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, check=False, timeout=HUNG)
        except (OSError, subprocess.TimeoutExpired) as e:
            raise LocalError(f"the restore test did not end: {e}", "run `rpdrive test-restore` to see why") from e
        if done.returncode not in (0, WITH_PROBLEMS):
            raise LocalError(f"the restore test ended with exit code {done.returncode}", "see `rpdrive jobs`")
        return done.returncode


def _is_of(ran: Ran, work: Work) -> bool:
    item = work.item.id if work.item is not None else None
    is_kind = (ran.vault, ran.kind, ran.level) == (work.vault.vault, work.duty.kind, work.duty.level)
    return is_kind and (item is None or ran.item == item) and ran.slot == work.slot


def _title(work: Work) -> str:
    what = f"{work.duty.kind} {work.duty.level}" if work.duty.level else work.duty.kind
    return f"{what} of {work.item.name}" if work.item is not None else f"{what} of {work.vault.address}"


def backup_of(work: Work) -> Request:
    """The backup that a plan means."""
    plan = work.plan
    return Request(
        [_path(raw) for raw in plan.paths],
        item=work.item.name if work.item is not None else None,
        excludes=list(plan.exclude),
        ignore_files=plan.ignore_files,
        exclude_caches=plan.exclude_caches,
        ignore_case=plan.ignore_case,
        one_file_system=plan.one_file_system,
        fetch=plan.cloud_files,
        kind=ItemKind(plan.what),
        snapshot=plan.snapshot,
    )


def _path(raw: bytes) -> Path:
    """The path of this system for one of a plan."""
    if this_system().paths_are_native:
        return Path(os.fsdecode(raw))
    drive, *names = map(name_text, raw.strip(b"/").split(b"/"))
    return Path(f"{drive}:\\" + "\\".join(names))


def _check(work: Work) -> Options:
    care = {1: work.vault.plan.check_1, 2: work.vault.plan.check_2}.get(work.duty.level, work.vault.plan.check_3)
    reads = work.duty.level > 1
    return Options(
        work.duty.level,
        care.percent or None if work.duty.level == 2 else None,
        f"{care.budget}m" if care.budget and reads else None,
    )
