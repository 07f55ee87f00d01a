"""A vault with everybody who uses it: real backups, upkeep and admins, whose calls happen in a chosen order.

What each point must hold is known: the source as it was when its backup ran. `check` compares.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from backup import files, pipeline
from backup.evidence import AGE
from catalog import places
from catalog.errors import AccessDenied, RpdriveError
from catalog.format.admins import open_admin
from catalog.format.blocks import PackKind
from catalog.format.ledger import ForgottenRow, HeldRow, How
from catalog.format.packs import series_folder
from catalog.format.records import PointName
from catalog.ledger.records import Ledger, Ledgers
from catalog.mark.roots import find_roots
from catalog.mark.run import mark
from catalog.policies.records import Policies
from catalog.prune.notes import Notes
from catalog.prune.plan import Limits
from catalog.prune.run import Context, Done, Refused, prune_series
from catalog.prune.scope import Scope
from catalog.store import deadline
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import Request, StoreWrapper
from catalog.vault import Vault
from tests.kit.mover import with_admin
from tests.kit.protected import Protected, vault_on
from tests.kit.recorded import PointReader, Snapshot, of_source
from tests.kit.stores import Scheduler, StepStore

HOUR = 3600 * 10**9  # ns
BEGIN = 1_800_000_000 * 10**9
WEEK = 7 * 24 * HOUR
SOFT = 14 * 24 * HOUR
QUIET = 5  # runs in which no point goes, after which there is no garbage left
EAGER = Limits(share=0.0, waste=1, small=40_000, most=3, target=40_000)  # cuts and merges whatever it can
LAZY = Limits(share=2.0, small=0)  # deletes whole packs only


class Clock:
    """The store's clock, and that of all deadlines (ns)."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> int:
        return self.now


class Disk(MemoryStore):
    """Keeps what was deleted, as a store with soft delete does. May refuse deletes.

    `changes` counts what could make a point unreadable.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.refuses = False
        self.trash: dict[str, tuple[bytes, int]] = {}
        self.changes = 0

    def create(self, name: str, parts: object, **more: object) -> int:
        self.changes += name.startswith(("places/", "ledger/"))
        return super().create(name, parts, **more)  # type: ignore[arg-type]

    def delete(self, name: str) -> None:
        if self.refuses:
            raise AccessDenied(f"delete {name}: refused")
        if name in self.objects:
            self.trash[name] = self.objects[name], self._modified[name]
            self.changes += 1
        super().delete(name)

    def undelete(self) -> None:
        """The store's own undelete: all comes back, as old as it was."""
        for name, (data, modified) in self.trash.items():
            if name not in self.objects:
                self.objects[name], self._modified[name] = data, modified
        self.trash.clear()


class Writer(Protected):
    """A machine whose vault has an admin."""

    @property
    def vault(self) -> Vault:
        return with_admin(vault_on(self.store))


class Late(StoreWrapper):
    """Carries out requests however late they come: they hung inside the store."""

    def create(self, name: str, parts: object, **_more: object) -> int:
        return self._pass_on(Request("create", name), lambda: self.inner.create(name, parts))  # type: ignore[arg-type]


class Life:
    """A vault, three writers and two hosts of upkeep. `patch` is undone by whoever made it.

    Writers 0 and 1 are one machine, twice; 2 saves another item of the same machine.
    """

    WRITERS, HOSTS = 3, 2

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        for name, value in (
            ("SMALL_FILE", 1 << 12),
            ("CUT_MIN", 1 << 10),
            ("CUT_AVERAGE", 1 << 11),
            ("CUT_MAX", 1 << 12),
        ):
            patch.setattr(files, name, value)
        patch.setattr(files, "_BUFFER", 1 << 13)
        patch.setattr(pipeline, "PACK_TARGET", 12_000)
        patch.setattr(pipeline, "BLOCK_RAW", 3_000)
        patch.setattr(places, "PATIENCE", 0.0)
        patch.setattr(places, "FRESH", 0.0)
        self.clock = Clock()
        patch.setattr(deadline, "steady", lambda: self.clock.now / 1e9)
        patch.setattr(deadline, "time", SimpleNamespace(time_ns=self.clock))
        self.folder = folder
        self.disk = Disk(self.clock)
        self.scheduler = Scheduler()
        self.expected: dict[bytes, Snapshot] = {}  # by point
        self.roots: dict[bytes, Path] = {}
        self.writers = [Writer(self.disk, folder / f"state{n}", "machine", f"item{n // 2}") for n in range(3)]
        self.sources = [folder / f"source{n}" for n in range(3)]
        self.busy: dict[str, Snapshot | None] = {}  # actors, and what they save
        self.results: list[Done] = []
        self.reader = PointReader(self.vault())  # was there from the beginning
        self._checked: tuple[int, int] = -1, -1
        self._known: set[str] = set()
        self._forgotten: set[bytes] = set()  # points that were ever forgotten
        for source in self.sources:
            source.mkdir(parents=True)
            self.edit(self.sources.index(source), 0, 0)
        self.run(self.start_backup(0))
        for n in (1, 2):
            shutil.copytree(self.writers[0].state, self.writers[n].state)
        self.run(self.start_backup(2))
        self.machine = next(iter(self.vault().machines()))

    def vault(self, store: Store | None = None) -> Vault:
        return with_admin(vault_on(self.disk if store is None else store))

    # --- actors -------------------------------------------------------------------------------------------

    def edit(self, writer: int, path: int, content: int) -> None:
        """Write one of a few contents to one of a few files; content 0 removes it. Not while it is saved."""
        if f"writer{writer}" in self.busy:
            return
        file = self.sources[writer] / f"d{path % 2}" / f"f{path}"
        file.parent.mkdir(exist_ok=True)
        if content:
            file.write_bytes(contents(content))
        elif file.exists():
            file.unlink()

    def start_backup(self, writer: int, *, partial: bool = False, hangs: bool = False) -> str:
        """Start a backup, which then waits before its first call. With `partial`, partial points are written."""
        actor = f"writer{writer}"
        if actor in self.busy:
            return actor
        machine, source = self.writers[writer], self.sources[writer]
        store: Store = StepStore(self.disk, self.scheduler, actor)
        machine.store = Late(store) if hangs else store
        machine.partial_seconds = 0.0 if partial else 1e9
        self.busy[actor] = of_source(source)
        self.scheduler.start(actor, lambda: machine.backup(source))
        self._after(actor)
        return actor

    def start_prune(self, host: int, limits: Limits = EAGER) -> str:
        actor = f"host{host}"
        if actor in self.busy:
            return actor
        store = StepStore(self.disk, self.scheduler, actor)
        self.busy[actor] = None
        self.scheduler.start(actor, lambda: self.results.append(self._prune(store, host, limits)))
        self._after(actor)
        return actor

    def _prune(self, store: Store, host: int, limits: Limits) -> Done:
        vault = self.vault(store)
        notes = Notes(self.folder / f"notes{host}")
        admin = vault.file.admins[0]
        try:
            context = Context(
                vault=vault, scope=Scope.of(vault), policies=Policies(vault), notes=notes,
                signer=(admin, open_admin(vault.keys, admin)), deleting=store, by=bytes(16), highest={},
                limits=limits, yes=True, clock=self.clock,
            )  # fmt: skip
            return prune_series(context, context.scope.series(self.machine))
        finally:
            notes.close()

    def step(self, actor: str, calls: int = 1) -> None:
        """Let an actor make some calls. What each leaves behind must be right."""
        for _ in range(calls):
            if actor not in self.busy:
                return
            self.scheduler.step(actor)
            self._after(actor)

    def go_to(self, actor: str, kind: str, prefix: str) -> None:
        """Let an actor make its calls until it is about to make one of a kind, below a prefix; or all of them."""
        while actor in self.busy:
            call = next((p.request for p in self.scheduler.pending() if p.actor == actor), None)
            if call is not None and call.kind == kind and call.name.startswith(prefix):
                return
            self.step(actor)

    def run(self, actor: str) -> None:
        """Let an actor make all its calls. Raises what its work raised."""
        while actor in self.busy:
            self.scheduler.step(actor)
            self._after(actor, raising=True)

    def kill(self, actor: str, *, after: bool) -> None:
        """End an actor before its next call, or after it, without the answer."""
        if actor in self.busy:
            self.scheduler.stop(actor, after=after)
            self._after(actor)

    def _after(self, actor: str, *, raising: bool = False) -> None:
        for name in [n for n in self.disk.objects if n.startswith("points/") and n not in self._known]:
            self._known.add(name)
            snapshot, point = self.busy[actor], PointName.parse(name)
            assert snapshot is not None and point is not None, actor
            self.expected[point.id] = snapshot
            self.roots[point.id] = self.sources[int(actor[-1])]
            if self.clock.now - self.vault().point(point).checked > AGE:  # too late: it may have the number of one
                self._forgotten.add(point.id)  # that is gone
        if self.scheduler.ended(actor):
            del self.busy[actor]
            error = self.scheduler.errors.pop(actor, None)
            if error is not None and (raising or not isinstance(error, RpdriveError)):
                raise error
            if error is not None:
                self.failed(actor, error)

    def failed(self, actor: str, error: RpdriveError) -> None:
        """An actor gave up. Upkeep refuses only if a point that is not sound lacks blocks."""
        if isinstance(error, Refused) and not self.lacking():
            try:
                self._prune(self.disk, 9, LAZY)
            except Refused as again:
                raise again from error

    # --- admins -------------------------------------------------------------------------------------------

    def names(self, *, partial: bool = False) -> list[PointName]:
        """The points that are listed."""
        found = (PointName.parse(name) for name in self.disk.objects if name.startswith("points/"))
        return sorted(n for n in found if n is not None and (partial or not n.partial))

    def change(self, name: PointName, change: Callable[[Ledger], Ledger]) -> None:
        vault = self.vault()
        admin = vault.file.admins[0]
        Ledgers(vault, name.machine, name.item).change(
            name.machine, name.item, change, (admin, open_admin(vault.keys, admin)), self.clock.now
        )

    def forget(self, name: PointName, soft: int = 0) -> None:
        now = self.clock.now
        self._forgotten.add(name.id)
        row = ForgottenRow(name.id, name.sequence, now, now + soft, How.BY_HAND, "", "")
        self.change(name, lambda ledger: ledger.forget([row]))

    def undelete(self, name: PointName) -> None:
        self.change(name, lambda ledger: ledger.undelete([name.id]))

    def hold(self, name: PointName) -> None:
        row = HeldRow(name.id, name.sequence, self.clock.now, None, "", "")
        self.change(name, lambda ledger: ledger.hold([row]))

    def release(self, name: PointName) -> None:
        self.change(name, lambda ledger: ledger.release([name.id]))

    # --- what must hold -----------------------------------------------------------------------------------

    def points(self) -> Iterator[tuple[PointName, bool]]:
        """The points that are listed and not gone, and whether each is sound."""
        vault = self.vault()
        ledgers = Ledgers(vault, self.machine)
        for name in self.names(partial=True):
            if not ledgers.of(name.machine, name.item).is_gone(name):
                point = vault.point(name)
                written = next(iter(self.disk.list(str(name)))).modified
                yield name, point.checked > 0 and written - point.checked <= AGE

    def check(self) -> None:
        """Each sound point equals its source, for a new reader and for one that has been there all along."""
        state = self.disk.changes, len(self._known)
        if state == self._checked:
            return
        self._checked = state
        points = dict(self.points())
        there = {name.id for name in points}
        lost = [name for name in map(PointName.parse, self._known) if name is not None and name.id not in there]
        assert [n for n in lost if not n.partial and n.id not in self._forgotten] == [], "nobody let them go"
        for name, is_sound in points.items():
            if is_sound:
                self.read(name, PointReader(self.vault()))
                self.read(name, self.reader)

    def read(self, name: PointName, reader: PointReader) -> None:
        root = self.roots[name.id]
        found = reader.snapshot(reader.vault.point(name), None if name.partial else root)
        if not name.partial:  # a partial one has what was walked by then; it must be readable
            assert found.entries == self.expected[name.id].entries, f"point {name.sequence} is not what was saved"

    def lacking(self) -> list[PointName]:
        """Points that are not sound, and can't be read."""
        found = []
        for name, is_sound in self.points():
            if not is_sound:
                try:
                    self.read(name, PointReader(self.vault()))
                except RpdriveError:
                    found.append(name)
        return found

    def converges(self) -> None:
        """All die; then a few runs of upkeep leave no garbage, and backups succeed."""
        for actor in [*self.busy]:
            self.kill(actor, after=False)
        self.disk.refuses = False
        if self.lacking():
            return  # upkeep says so, and waits
        quiet = 0
        while quiet < QUIET:
            self.clock.now += WEEK + HOUR
            before = len(self.names(partial=True))
            self.run(self.start_prune(0))
            quiet = quiet + 1 if len(self.names(partial=True)) == before else 0
            self.check()
        assert self.garbage() == []
        for n in (0, 2):
            self.edit(n, 1, 1)
            self.run(self.start_backup(n))
        self.check()

    def garbage(self) -> list[str]:
        """Objects of the series without a block that a point refers to."""
        vault = self.vault()
        ledgers = Ledgers(vault, self.machine)
        roots = find_roots(vault, [self.machine], lambda name: ledgers.of(name.machine, name.item).is_gone(name))
        records = vault.places.newest(self.machine)
        found = []
        with mark(vault, roots) as marked:
            for kind in (PackKind.DATA, PackKind.TREE):
                live = {pack for pack, spans in marked.live.spans(kind) if spans}
                moved = {row.pack: row for record in records for row in record.moved if row.kind == kind}
                used = {pack for pack in live if pack not in moved}
                for record in records:
                    for row in record.moved:
                        if row.kind == kind and row.pack in live:
                            used |= {record.carriers[run.carrier] for run in row.runs}
                names = [info.name for info in self.disk.list(series_folder(kind, self.machine))]
                found += [name for name in names if bytes.fromhex(name.rsplit("/", 1)[1]) not in used]
        return found


_CONTENTS = [
    random.Random(size).randbytes(size) for size in (0, 900, 1_500, 2_200, 2_900, 3_500, 9_000, 14_000, 20_000)
]


def contents(n: int) -> bytes:
    """One of eight contents that don't compress: six small ones, and two of several pieces."""
    return _CONTENTS[n % len(_CONTENTS)]
