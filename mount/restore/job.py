"""A restore as a job: checks the options, runs the restore, keeps a record of it."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from catalog.access.session import Session
from catalog.cost.counts import RANGE
from catalog.errors import Damaged, LocalError, NotFound, RpdriveError, UsageError
from catalog.format.records import ItemKind, Outcome
from catalog.hooks.around import Around, job_facts
from catalog.hooks.config import Hooks, Stage, read_hooks
from catalog.interruption import was_stopped
from catalog.jobs.local import LocalJob, LocalJobs, new_job_id
from catalog.machines.registry import id_here
from catalog.names import IGNORE_CASE
from catalog.program import user_path
from catalog.schedule.history import Ran
from catalog.schedule.noted import begin, end
from catalog.screen.progress import Observer, Reporting
from catalog.screen.text import counted
from catalog.vault import Vault
from mount.restore.conflict import Policy
from mount.restore.options import Options
from mount.restore.report import Report
from mount.restore.selection import Selection
from mount.restore.source import PointPath, Source, read_arguments, resolve
from mount.restore.windows_state import WindowsState

if TYPE_CHECKING:
    from cache.disk import DiskCache
    from cache.reader import Reader
    from mount.restore.run import Restore
    from mount.restore.volume.surplus import Surplus
    from mount.restore.volume.whole import Whole

    Restorer: TypeAlias = Callable[[Vault, Reader, Options], Restore]
    Ask: TypeAlias = Callable[[Surplus], bool | None]

_LISTED = 100  # warnings kept in the record
MIB = 1 << 20
TREES = 32 * MIB  # of tree blocks in memory, and read ahead
PAGES = 8 * MIB  # of decoded pages: a walk needs each once


class Job:
    """One restore. Raises UsageError for options that don't fit together, before any work.

    `ignore_case` in patterns is None for what is usual on this system. `controller`: print the steps of a domain
    controller, if it is the system state of a Windows server.

    Needs no key until `run`, so bad options are refused before the passphrase prompt.
    """

    def __init__(
        self,
        session: Session,
        places: Sequence[str | PointPath],
        *,
        to: str | None,
        in_place: bool,
        on_conflict: str | None = None,
        exact: bool = False,
        yes: bool = False,
        force: bool = False,
        permissions: bool = True,
        owner_by: str = "id",
        trust_modes: bool = False,
        include: list[str],
        exclude: list[str],
        ignore_case: bool | None = None,
        dry_run: bool = False,
        verify: bool = False,
        controller: bool = False,
    ) -> None:
        if (to is None) != in_place:
            raise UsageError(
                "a restore needs either --to or --in-place",
                "--to DIR restores into a folder, --in-place to the original paths",
            )
        if exact:
            if on_conflict not in (None, Policy.OVERWRITE):
                raise UsageError("--exact makes files as the point has them", "leave --on-conflict out")
            if include or exclude:
                raise UsageError("--exact is for a whole volume", "leave --include and --exclude out")
            on_conflict = Policy.OVERWRITE
        on_conflict = on_conflict or Policy.COPY
        if on_conflict not in tuple(Policy):
            raise UsageError(f"--on-conflict does not take {on_conflict!r}", "use copy, overwrite, skip or newer")
        if owner_by not in ("id", "name"):
            raise UsageError(f"--owner-by does not take {owner_by!r}", "use id or name")
        fold = platform.system() in IGNORE_CASE if ignore_case is None else ignore_case
        self.session = session
        target = b"/" if to is None else os.path.abspath(os.fsencode(user_path(to)))
        self._options = Options(
            target, in_place, Policy(on_conflict), permissions, owner_by == "name",
            Selection(include, exclude, ignore_case=fold), dry_run, verify, trust_modes=trust_modes,
            state=session.settings.where("state"), exact=exact,
        )  # fmt: skip
        self._controller, self._yes, self._force = controller, yes, force
        self._arguments = read_arguments(session, places)
        _check_target(session, target)
        self.record = LocalJob(
            id=new_job_id(), kind="restore", point="", machine="", item="", target=_text(target),
            started=time.time_ns(), finished=0, bytes=0, files=0, warnings=[], warning_count=0,
            outcome=Outcome.FAILED,
        )  # fmt: skip
        self._noted: Ran | None = None
        self.report: Report | None = None  # once it runs, for another thread
        self.restorer: Restorer | None = None  # restores in another way than this process by itself

    @property
    def dry_run(self) -> bool:
        return self._options.dry_run

    @property
    def target(self) -> bytes:
        """The folder that it restores into; `/` in place."""
        return self._options.target

    def run(
        self,
        vault: Vault,
        machine: str | None,
        item: str | None,
        observer: Observer | None = None,
        ask: Ask | None = None,
        fetches: Callable[[int, int], None] | None = None,
    ) -> Report:
        """Restore, followed by `observer`. `ask` says whether what a roll-back found may be removed. `fetches` gets
        what is about to be fetched from a store that is not near: requests and bytes (before compression, if there
        is a `restorer`).

        Raises Damaged if no file could be restored because of damage; Unsuitable if a volume can't be restored to
        the target; UsageError if a roll-back is not confirmed.
        """
        from cache.reader import Reader  # loaded while the keys are derived (see the command)
        from mount.restore.run import Restore
        from mount.restore.volume.whole import whole_volume

        r = self.record
        r.vault = vault.id.hex()
        if not self.dry_run:
            ran = Ran(id=r.id, vault=r.vault, kind=r.kind, started=r.started)
            self._noted = begin(self.session.settings.where("state"), ran)
        own = self._options.own = id_here(self.session.settings, vault)
        only = own or b"" if self._options.in_place and machine is None else None
        near = self._options.near = self.session.is_local
        disk = None if near else _disk(self.session)
        reader = Reader(vault, memory=TREES, page_memory=PAGES, disk=disk, disk_data=False)
        fetches = None if near else fetches
        restore = (
            Restore(vault, reader, self._options, fetches=fetches)
            if self.restorer is None
            else self.restorer(vault, reader, self._options)
        )
        report = self.report = restore.report
        try:
            with without_collection():
                sources = resolve(vault, reader, self._arguments, machine, item, only)
                self._name(sources)
                if self._options.in_place and any(s.point.kind == ItemKind.IMAGE for s in sources):
                    raise UsageError(
                        "an image has no place among the files of this machine",
                        "--to-device DEVICE writes it over a device, --to DIR restores it as a file",
                    )
                whole = whole_volume(reader, sources, self._options)
                if whole is not None and self.restorer is not None:
                    raise UsageError(
                        "a whole volume is restored by one process, since its target is looked at first",
                        "use `rpdrive restore`, or name a folder in it",
                    )
                if whole is not None:
                    self._volume(vault, reader, whole, report, observer, ask, fetches)
                else:
                    state = WindowsState(reader, sources, self._options, controller=self._controller)
                    if self.restorer is not None and fetches is not None:
                        size = sum(source.size for source in state.sources)
                        fetches(size // RANGE + 1, size)
                    with Reporting(report.progress, observer):
                        self._hooked(report, state.sources, lambda: restore.run(state.sources))
                    state.finish(report, time.time_ns())
            self.record.outcome = Outcome.WITH_WARNINGS if report.problem_count else Outcome.COMPLETED
            return report
        except (KeyboardInterrupt, RpdriveError) as e:
            if was_stopped(e):
                self.record.outcome = Outcome.INTERRUPTED
            else:
                self.record.error = _plain(str(e))
            raise
        finally:
            reader.close()
            if disk is not None:
                disk.close()
            self._keep(report)

    def _volume(
        self, vault: Vault, reader: Reader, whole: Whole, report: Report, observer: Observer | None,
        ask: Ask | None, fetches: Callable[[int, int], None] | None,
    ) -> None:  # fmt: skip
        """Restore a whole volume: look, refuse or ask, and write."""
        from mount.restore.volume.whole import WholeRestore, check, native

        o = self._options
        home, o.in_place, o.into = o.in_place, False, True
        if home:
            o.target = native(whole.volume.place, o.system)
            self.record.target = _text(o.target)
            _check_target(self.session, o.target)
        work = WholeRestore(vault, reader, o, whole, home=home, spared=_spared(self.session), fetches=fetches)
        looked = report if self.dry_run else Report()
        with Reporting(looked.progress, observer):
            before = work.look(looked)
        if self.dry_run:
            report.refusals = [refusal.reason for refusal in before.refusals]
            for reason in report.refusals:
                report.problem(b"", f"the volume would not be restored: {reason}")
            return
        check(before, force=self._force)
        if before.surplus is not None and before.surplus.count and not self._yes:
            _confirm(before.surplus, ask)
        with Reporting(report.progress, observer):
            self._hooked(report, [whole.source], lambda: work.run(report, before.surplus))

    def _hooked(self, report: Report, sources: list[Source], work: Callable[[], object]) -> None:
        """The restore between its hooks; those of items run if one of the sources is of such an item."""
        r = self.record
        hooks = Hooks(Path(), []) if self.dry_run else read_hooks(self.session.settings)
        facts = job_facts(kind=r.kind, item=r.item, machine=r.machine, job=r.id, point=r.point, target=r.target)
        names = {source.point.item_name for source in sources}
        around = Around(hooks.of_items(names), "", facts, lambda text: report.problem(b"", text))
        with around.job(Stage.BEFORE_RESTORE, Stage.AFTER_RESTORE):
            work()
            _check_all_damaged(report)
            selection = self._options.selection
            if selection.chooses and not selection.found and not report.problem_count:
                raise NotFound("nothing matches --include", "patterns with a slash begin at / (docs/exclude.md)")
            facts |= job_facts(outcome=Outcome.WITH_WARNINGS if report.problem_count else Outcome.COMPLETED)

    def _name(self, sources: list[Source]) -> None:
        points = list({s.point.id: s.point for s in sources}.values())
        self.record.point = ", ".join(p.id.hex() for p in points)
        self.record.machine = ", ".join(dict.fromkeys(p.machine_name for p in points))
        self.record.item = ", ".join(dict.fromkeys(p.item_name for p in points))

    def _keep(self, report: Report) -> None:
        r = self.record
        r.finished = time.time_ns()
        r.bytes, r.files = report.written_bytes, report.written
        r.warning_count = report.problem_count
        r.warnings = [f"{_text(p.path)}: {_plain(p.reason)}" for p in report.problems[:_LISTED]]
        if self._options.dry_run:
            return
        if self._noted is not None:
            problems = (p.path or _plain(p.reason).encode() for p in report.problems)
            end(
                self.session.settings.where("state"), self._noted, problems, item_name=r.item,
                finished=r.finished, outcome=str(r.outcome), error=r.error, point=r.point, bytes=r.bytes,
                files=r.files, problem_count=r.warning_count,
            )  # fmt: skip
        try:
            LocalJobs(self.session.settings.state).add(r)
        except LocalError:
            pass  # the restore itself succeeded


@contextmanager
def without_collection() -> Iterator[None]:
    """Switch garbage collection off: a plan has many tuples and no cycles; searching them is 25 % of planning."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _disk(session: Session) -> DiskCache | None:
    from cache.disk import DiskCache

    try:
        return DiskCache(session.settings.cache)
    except LocalError:
        return None


def _confirm(surplus: Surplus, ask: Ask | None) -> None:
    """Raise UsageError unless a person says that what the point has not may be removed."""
    answer = None if ask is None else ask(surplus)
    if answer:
        return
    found = counted(surplus.count, "entry that is", "entries that are")
    raise UsageError(
        f"nothing was changed: {found} not in the recovery point would be removed"
        if answer is None
        else "nothing was changed",
        "look at them with --dry-run, and confirm with --yes",
    )


def _spared(session: Session) -> set[tuple[int, int]]:
    """The folders of rpdrive and of its vault that exist, by device and inode."""
    found = set()
    for folder in session.own_folders():
        with suppress(OSError):
            st = folder.path.stat()
            found.add((st.st_dev, st.st_ino))
    return found


def _check_all_damaged(report: Report) -> None:
    if report.damaged and not (report.written or report.same or report.corrected or report.kept):
        raise Damaged(f"nothing could be restored: {report.problems[0].reason}")


def _check_target(session: Session, target: bytes) -> None:
    """Refuse a target in the vault or in a folder of rpdrive itself. Raises UsageError."""
    real = Path(os.path.realpath(os.fsdecode(target)))
    for what, folder in session.own_folders():
        if real.is_relative_to(os.path.realpath(folder)):
            raise UsageError(f"{os.fsdecode(target)} is in {what}", "restore to another folder")


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")


def _plain(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
