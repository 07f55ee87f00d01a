"""A backup as the user asked for it: finds machine and item, locks, opens mirror and cache, runs, closes."""

from __future__ import annotations

import errno
import hashlib
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from backup.census import Census
from backup.engine import perform
from backup.mirror import Mirror
from backup.record import Record
from backup.request import Request, own_disks, own_folders
from backup.run import Result, Run
from backup.sources.choice import prepared
from backup.systems.base import File, Folder, Stat, System
from cache.reader import Reader
from catalog.access.session import Session
from catalog.errors import LocalError
from catalog.format.records import Machine, Outcome, Problem
from catalog.hooks.around import Around, job_facts, terminated
from catalog.hooks.config import Hooks, Stage, read_hooks
from catalog.machines.items import item_name, this_item
from catalog.machines.registry import this_machine
from catalog.points.seen import Seen
from catalog.screen.progress import JobProgress, Observer, Reporting
from catalog.screen.text import parse_size
from catalog.seeds.routing import Route, routed
from catalog.vault import Vault

if TYPE_CHECKING:
    from cache.disk import DiskCache

_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # what `lock` says if another process holds the lock
_READER_MEMORY = 48 << 20  # bytes; for the previous point's tree only


class Job(Generic[Folder, File, Stat]):
    """One backup into an open vault, ready to run. `id` is that of `rpdrive jobs`, which lists no dry run."""

    def __init__(
        self,
        prepared: Run[Folder, File, Stat],
        record: Record,
        *,
        dry: bool,
        hooks: Callable[[], Hooks] | None = None,
    ) -> None:
        self._run, self._record, self._dry, self._hooks = prepared, record, dry, hooks
        self.id = None if dry else record.id
        self.machine, self.item = prepared.machine, prepared.item

    def run(self, observer: Observer | None = None) -> Result:
        """Run the backup, followed by `observer`, and record how it ended. Raises what `perform` does."""

        def problem(problem: Problem) -> None:
            self._record.problem(problem)
            if observer is not None:
                observer.problem(problem.path, problem.reason)

        self._run.problems.on_problem = problem
        if self._dry:
            return self._followed(observer)
        self._record.begin()
        try:
            result = self._hooked(observer)
        except BaseException as e:
            self._record.ended(e, self._run.progress)
            raise
        result.record_bytes += self._record.completed(result)
        return result

    def _hooked(self, observer: Observer | None) -> Result:
        """The backup between its hooks. What they have to say is a problem of the run."""
        run = self._run
        hooks = None if self._hooks is None else self._hooks()
        if hooks is None or not hooks.rows:
            return self._followed(observer)
        facts = job_facts(kind="backup", item=run.item.name, machine=run.machine.name, job=self._record.id)
        around = Around(hooks, run.item.name, facts, lambda text: run.problems.add(b"", text))
        run.guard = around
        with around.job(Stage.BEFORE, Stage.AFTER, Stage.ON_FAILURE):
            result = self._followed(observer)
            outcome = Outcome.WITH_WARNINGS if result.problem_count else Outcome.COMPLETED
            facts |= job_facts(outcome=outcome, point=result.point.id.hex() if result.point else "")
        result.problem_count = run.problems.count  # the last hooks ran after it was counted
        return result

    def _followed(self, observer: Observer | None) -> Result:
        census = Census(self._run.selection)
        counting = observer is not None and observer.live and self._run.system.paths_are_native

        def sample(seconds: float) -> JobProgress:
            return self._run.progress.report(seconds, census.total)

        if counting:
            census.start()
        try:
            with Reporting(sample, observer):
                result = perform(self._run, dry=self._dry)
            result.notes = self._run.reads.notes
            return result
        finally:
            if counting:
                census.stop()


@contextmanager
def opened(
    session: Session, vault: Vault, request: Request, system: System[Folder, File, Stat]
) -> Iterator[Job[Folder, File, Stat]]:
    """Open all that a backup needs; leaving closes it.

    Raises LocalError if there is nothing to save, or another backup into this vault is running on this machine;
    AmbiguousName, StoreError.
    """
    settings = session.settings
    limit = None if request.cache_size is None else parse_size(request.cache_size)
    with ExitStack() as stack:
        chosen = stack.enter_context(prepared(session, request, system))
        if chosen.is_made:
            stack.enter_context(terminated())
        selection, system, paths = chosen.selection, chosen.system, chosen.selection.paths
        state = settings.state
        stack.enter_context(_locked(system.lock, state / f"backup-{vault.id.hex()}.lock"))
        machine = this_machine(vault, state, request.machine, dry=request.dry)
        if not request.dry:
            # No other backup of this machine runs now: what killed ones left in the vault's folder may go.
            vault.store.sweep(_mark(machine))
            settings.remove_unfinished()
        if session.gate is not None:
            session.gate.of_item(request.item or item_name(paths, request.kind))
        name = request.item or item_name(paths, request.kind)
        item = this_item(vault, state, machine, name, paths, kind=request.kind, dry=request.dry)
        route = Route(vault, state, state / f"index-{vault.state_id}-{machine.id.hex()}.sqlite")
        if not request.dry:
            say = session.say
            route = stack.enter_context(routed(state, vault, machine.id, item, route.mirror, say))
            if route.vault is not vault:
                route.vault.store.sweep(_mark(machine))
        vault = route.vault
        mirror = Mirror(route.mirror, vault.keys)
        stack.callback(mirror.close)
        disk = None if session.is_local else _disk_cache(settings.cache, limit)
        if disk is not None:
            stack.callback(disk.close)
        reader = Reader(vault, memory=_READER_MEMORY, disk=disk, parallel=4)
        stack.callback(reader.close)
        selection.skip = own_folders(session, system) | own_disks(route.folders, system)
        seen, damaged = Seen(route.state, vault), session.damaged_packs(vault.state_id)
        run = Run(
            vault, reader, mirror, machine, item, selection, system, seen, damaged, source=chosen.source,
            is_own_index=route.is_own_index,
        )  # fmt: skip
        record = Record(vault, state, machine, item)
        yield Job(run, record, dry=request.dry, hooks=lambda: read_hooks(settings))


@contextmanager
def _locked(lock: Callable[[int], None], path: Path) -> Iterator[None]:
    """Allow one backup into a vault at a time on this machine, until the process ends. Raises LocalError."""
    try:
        file = path.open("a")
    except OSError as e:
        raise LocalError(
            f"the state file {path} can't be written: {e.strerror}",
            "check the permissions of its folder and the free space there",
        ) from e
    with file:
        try:
            lock(file.fileno())
        except OSError as e:
            if e.errno not in _HELD:
                raise LocalError(f"the state file {path} can't be locked: {e.strerror}") from e
            raise LocalError(
                "another backup into this vault is running on this machine", "wait until it ends, then try again"
            ) from e
        yield


def _mark(machine: Machine) -> str:
    """A mark for this machine's unfinished objects; a copy of it on another host has another one."""
    return hashlib.blake2b(machine.id + platform.node().encode(), digest_size=8).hexdigest()


def _disk_cache(folder: Path, limit: int | None) -> DiskCache | None:
    from cache.disk import LIMIT, DiskCache  # a vault on a local disk needs none

    try:
        return DiskCache(folder, limit=LIMIT if limit is None else limit)
    except LocalError:
        return None  # slower, but as correct
