"""A backup from what the user said: finds machine and item, locks, opens mirror and cache, runs, closes."""

from __future__ import annotations

import gc
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from backup.census import Census
from backup.identity import item_name, this_item, this_machine
from backup.mirror import Mirror
from backup.record import Record
from backup.run import Backup, Result
from backup.selection import Selection
from backup.systems.base import System
from backup.systems.this import this_system
from cache.disk import LIMIT, DiskCache
from cache.reader import Reader
from catalog.access.session import Session
from catalog.errors import LocalError
from catalog.format.records import Item, Machine, Problem
from catalog.screen.progress import JobProgress, Observer, Reporting
from catalog.vault import Vault

_READER_MEMORY = 48 << 20  # bytes; for the previous point's tree only


class Job:
    """One backup into an open vault. A context manager: entering opens all it needs, leaving closes it.

    LocalError, AmbiguousName, StoreError.
    """

    machine: Machine
    item: Item
    id: str | None = None  # in `rpdrive jobs`; a dry run is not listed there

    def __init__(
        self,
        session: Session,
        vault: Vault,
        paths: list[Path],
        *,
        item: str | None = None,
        machine: str | None = None,
        excludes: list[str],
        one_file_system: bool = False,
        fetch: bool = False,
        cache_size: int | None = None,
        dry: bool = False,
    ) -> None:
        self._session, self.vault = session, vault
        self._item_name, self._machine_name = item, machine
        self._cache_size = cache_size
        self._dry = dry
        self._system = this_system(fetch=fetch)
        found = [_resolved(p) for p in paths]
        if not any(os.path.lexists(p) for p in found):
            names = ", ".join(str(p) for p in paths)
            raise LocalError(
                f"nothing to save: {names} does not exist", "check the paths, and that the disk is there"
            )
        wanted = {self._system.point_path(p) for p in found}
        self.selection = Selection(sorted(wanted), excludes, one_file_system, fetch=fetch)
        self._stack = ExitStack()

    def __enter__(self) -> Job:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _open(self) -> None:
        session, settings = self._session, self._session.settings
        state = settings.state
        self._stack.enter_context(_lock(self._system, state / f"backup-{self.vault.id.hex()}.lock"))
        self.machine = this_machine(self.vault, state, self._machine_name, dry=self._dry)
        name = self._item_name or item_name(self.selection.paths)
        self.item = this_item(self.vault, state, self.machine, name, self.selection.paths, dry=self._dry)
        mirror = Mirror(state / f"index-{self.vault.id.hex()}-{self.machine.id.hex()}.sqlite")
        self._stack.callback(mirror.close)
        disk = None if session.is_local else self._disk(settings.cache)
        reader = Reader(self.vault, memory=_READER_MEMORY, disk=disk, parallel=4)
        self._stack.callback(reader.close)
        own = [folder.path for folder in session.own_folders(config=False)]
        self.selection.skip = {i for p in own if (i := self._system.identity(p)) is not None}
        self._backup = Backup(
            self.vault,
            reader,
            mirror,
            self.machine,
            self.item,
            self.selection,
            system=self._system,
        )

    def _disk(self, folder: Path) -> DiskCache | None:
        try:
            disk = DiskCache(folder, limit=LIMIT if self._cache_size is None else self._cache_size)
        except LocalError:
            return None  # slower, and no less right
        self._stack.callback(disk.close)
        return disk

    def run(self, observer: Observer | None = None) -> Result:
        """Run it, followed by `observer`. As Backup.run."""
        record = Record(self.vault, self._session.settings.state, self.machine, self.item)

        def problem(problem: Problem) -> None:
            record.problem(problem)
            if observer is not None:
                observer.problem(problem.path, problem.reason)

        self._backup.on_problem = problem
        # A run makes many long-lived objects and no cycles: the default thresholds cost one part in twenty.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        if self._dry:
            return self._followed(observer)
        self.id = record.id
        try:
            result = self._followed(observer)
        except BaseException as e:
            record.ended(e, self._backup.progress)
            raise
        result.record_bytes += record.completed(result)
        return result

    def _followed(self, observer: Observer | None) -> Result:
        census = Census(self.selection)
        # It finds its files itself, by POSIX paths.
        counting = observer is not None and observer.live and os.name == "posix"

        def sample(seconds: float) -> JobProgress:
            return self._backup.progress.report(seconds, census.total)

        if counting:
            census.start()
        try:
            with Reporting(sample, observer):
                return self._backup.run(dry=self._dry)
        finally:
            if counting:
                census.stop()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as e:  # the current folder is gone; symlinks that lead to each other
        raise LocalError(f"{path} can't be found: {e}", "give the path of what is to be saved") from e


def _lock(system: System, path: Path) -> ExitStack:
    """One backup into a vault at a time on this machine; the lock goes with the process, however it ends."""
    stack = ExitStack()
    file = stack.enter_context(path.open("a"))
    try:
        system.lock(file.fileno())
    except OSError as e:
        stack.close()
        raise LocalError(
            "another backup into this vault is running on this machine", "wait until it is done, then try again"
        ) from e
    return stack
