"""What the vault has of this machine, by listings of its own packs.

A writer may refer only to what the vault has, and not to what is about to be deleted. Its evidence is a listing of
the machine's packs, by name and size, which is as old as its beginning by the store's clock. It is made when a run
begins; what mirror and journal say beyond it is forgotten.

Before a point is written, the records of places are looked at: upkeep says there which blocks it hides, a week
before it deletes them, and where it moved others. If a record is new, or the evidence is older than AGE, the packs
are listed again, and whatever the point relies on must still be there. At the start, records of places are read if
there were any at the last run, or if something is missing: what a run does not know then, it sees at its end.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from backup.mirror import Origin
from backup.mirrorfile import Listed, Moved
from backup.run import Run
from backup.systems.base import File, Folder, Stat
from catalog.errors import Damaged, LocalError, NewerFormat, ObjectNotFound, RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, pack_name, pack_named, series_folder
from catalog.format.places import EVIDENCE, HIDDEN, PlacesRecord

AGE = EVIDENCE
HIDING = HIDDEN  # upkeep deletes, or cuts from a pack, what it has hidden for as long
SAMPLED = 0.01  # of the chunks found in a pack that this machine did not write are read back
_Spans: TypeAlias = tuple[tuple[int, int], ...]  # bytes of a pack, [from, to); none: all of it


class StartOver(RpdriveError):
    """What the point to come relies on is no longer there: the attempt must be repeated."""

    advice = "run the backup again"


class Fatal(RpdriveError):
    """An error that another attempt does not help against, though it may look like a damaged parent."""

    def __init__(self, error: RpdriveError) -> None:
        super().__init__(str(error))
        self.error = error


class Evidence:
    """The packs of one machine, for one run. `began` is when the last listing began, by the store's clock (ns)."""

    def __init__(self, run: Run[Folder, File, Stat]) -> None:
        self._vault, self._mirror, self._machine = run.vault, run.mirror, run.machine
        self._damaged, self._problem = run.damaged, run.problems.add
        self.began = 0
        self._state: str | None = None  # which records of places were read; None: not looked
        self._records: list[PlacesRecord] = []
        self._hidden: dict[bytes, _Spans] = {}
        self._runs: dict[bytes, _Spans] = {}  # of packs that were moved: what is there; all else was cut from them
        self._short: set[bytes] = set()  # packs that end before a block that an earlier point has there
        self._looked = 0  # time by the store's clock (ns) when records of places were last looked at
        self._newly: set[bytes] = set()  # packs of which more was hidden than before, when that was last looked at
        self._broken: dict[bytes, frozenset[int]] = {}  # offsets of lost blocks, by pack
        self._newly_broken: set[bytes] = set()  # packs of which more was lost than before, likewise
        run.mirror.hidden = self._is_hidden

    # --- looking ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """List the machine's packs: one request for 5,000 of each kind, two at least. Raises Fatal."""
        mirror = self._mirror
        began = self._vault.store.now()
        mirror.take_listing(self._listed())
        if self._state is None and (mirror.places() or mirror.lacks_some()):
            self._look_at_places(began)
        mirror.note_broken(_digest(self._broken))
        broken = {row.pack for record in self._records for row in record.broken if row.offset is None}
        found = mirror.compare(_moved(self._records), self._damaged.packs() | broken, self._note)
        for kind, pack in found.cut:
            name = pack_name(kind, pack)
            self._problem(b"", f"{name}: the vault has it with another size than was written; it is stored again")
        self.began = began

    def _note(self, kind: PackKind, pack: bytes) -> None:
        try:
            self._damaged.record(kind, pack)
        except LocalError as e:
            raise Fatal(e) from e

    def _listed(self) -> Iterator[Listed]:
        for machine in (self._machine.id, *self._machine.shares):
            for kind in (PackKind.DATA, PackKind.TREE):
                for info in self._vault.store.list(series_folder(kind, machine)):
                    pack = pack_named(info.name)
                    if pack is not None:
                        yield Listed(pack, kind, info.size)

    def _look_at_places(self, now: int) -> bool:
        """Read the newest records of places: one request, if there is no new one. Whether there was."""
        looked, self._looked = self._looked, now
        try:
            records = self._vault.places.newest(self._machine.id)
        except Damaged as e:
            raise Fatal(e) from e
        state = " ".join(sorted(f"{r.digits}/{r.number}" for r in records))
        if state == (self._state or ""):
            self._state, self._newly, self._newly_broken = state, set(), set()
            return False
        before, self._hidden = self._hidden, _hidden(records)
        self._newly = {pack for pack, spans in self._hidden.items() if before.get(pack) != spans}
        had, self._broken = self._broken, _broken(records)
        self._newly_broken = {pack for pack, blocks in self._broken.items() if blocks - had.get(pack, frozenset())}
        was, self._runs = self._runs, _runs(records)
        if now - looked >= HIDING:  # blocks may have been hidden and cut since; otherwise, a move keeps them
            self._newly |= {pack for pack, runs in self._runs.items() if was.get(pack) != runs}
        self._state, self._records = state, records
        self._mirror.keep_places(state)
        return True

    def renew(self, now: int) -> None:
        """Look again before a point is written at `now`, by the store's clock. Raises StartOver and Fatal."""
        if self._look_at_places(now) or now - self.began > AGE:
            self.look()
            self.require()

    def require(self) -> None:
        """Raise StartOver if anything that the point to come refers to is gone, or was taken and is now hidden."""
        bad = self._mirror.unreliable(self._newly, self._newly_broken)
        if bad:
            raise StartOver(f"{len(bad)} packs vanished from the vault during the backup")

    def _is_hidden(self, at: Extent) -> bool:
        runs = self._runs.get(at.pack)
        if runs is not None and not any(start <= at.offset and at.offset + at.stored <= end for start, end in runs):
            return True
        if at.offset in self._broken.get(at.pack, ()):
            return True
        spans = self._hidden.get(at.pack)
        if spans is None:
            return False
        return not spans or any(start < at.offset + at.stored and at.offset < end for start, end in spans)

    # --- using --------------------------------------------------------------------------------------------

    def lossy(self, pack: bytes) -> bool:
        """Whether a pack that an earlier point refers to is gone or damaged, or has lost blocks."""
        return not self._mirror.reach(pack) or pack in self._broken

    def gone(self, at: Extent) -> bool:
        """Whether a block that an earlier point refers to is gone: its pack, all after a cut, or it alone.

        A pack that ends before a block was cut: where nothing else says how long it was, that is noted, too.
        """
        reach = self._mirror.reach(at.pack)
        if at.offset + at.stored <= reach:
            return at.offset in self._broken.get(at.pack, ())
        kind = self._mirror.kind(at.pack)
        if kind is not None and at.pack not in self._short:
            self._short.add(at.pack)
            self._note(kind, at.pack)
            name = pack_name(kind, at.pack)
            self._problem(b"", f"{name}: it is shorter than it was; what is lost is stored again")
        return True

    def hides(self, at: Extent) -> bool:
        """Whether upkeep hides a block of an earlier point; if not, the point to come relies on that."""
        self._mirror.rely(at.pack, taken=True)
        return self._is_hidden(at)

    def find(self, chunk: bytes) -> Extent | None:
        """The extent of a data chunk that the vault has and that a point may refer to.

        Where only an index object says so, a chunk is read back: the first of each pack that is used, and one in a
        hundred of the others.
        """
        found = self._mirror.find(chunk)
        if found is None:
            return None
        at, origin = found
        if origin == Origin.INDEX or (origin == Origin.PROVEN and random.random() < SAMPLED):
            if not self._is_there(at):
                self._note(PackKind.DATA, at.pack)
                self._mirror.drop(at.pack)
                name = pack_name(PackKind.DATA, at.pack)
                self._problem(b"", f"{name}: it does not hold what the index says; its data is stored again")
                if origin == Origin.PROVEN:
                    raise StartOver("the index lists chunks that are not where it says")
                return None
            if origin == Origin.INDEX:
                self._mirror.proven(at.pack)
        self._mirror.rely(at.pack, taken=True)
        return at

    def _is_there(self, at: Extent) -> bool:
        try:
            sealed = self._vault.read_pack(PackKind.DATA, at.pack, at.offset, at.stored, up_to=True)
            raw = memoryview(self._vault.open_block(PackKind.DATA, at, sealed))
        except (Damaged, NewerFormat, ObjectNotFound):
            return False
        data = raw[at.inner : at.inner + at.length]
        return len(data) == at.length and self._vault.keys.chunk_id(data) == at.id


def _hidden(records: Iterable[PlacesRecord]) -> dict[bytes, _Spans]:
    """What nothing may newly refer to, by pack: blocks that were found dead, and objects that are to go."""
    found: dict[bytes, _Spans] = {}
    for record in records:
        moved = {row.pack for row in record.moved}
        for gone in record.leaving:
            if gone.object not in moved:
                found[gone.object] = ()
        for row in record.dead:
            spans = tuple(row.spans)
            if found.get(row.pack) != ():
                found[row.pack] = (*found.get(row.pack, ()), *spans) if spans else ()
    return found


def _broken(records: Iterable[PlacesRecord]) -> dict[bytes, frozenset[int]]:
    """Offsets of blocks that are lost, by pack."""
    found: dict[bytes, set[int]] = {}
    for record in records:
        for row in record.broken:
            if row.offset is not None:
                found.setdefault(row.pack, set()).add(row.offset)
    return {pack: frozenset(offsets) for pack, offsets in found.items()}


def _digest(blocks: dict[bytes, frozenset[int]]) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for pack, offsets in sorted(blocks.items()):
        found.update(pack + b"".join(n.to_bytes(6, "big") for n in sorted(offsets)))
    return found.digest() if blocks else b""


def _runs(records: Iterable[PlacesRecord]) -> dict[bytes, _Spans]:
    return {
        row.pack: tuple((run.start, run.start + run.length) for run in row.runs)
        for record in records
        for row in record.moved
    }


def _moved(records: Iterable[PlacesRecord]) -> Iterator[Moved]:
    for record in records:
        for row in record.moved:
            yield Moved(row.pack, PackKind(row.kind), {record.carriers[run.carrier] for run in row.runs})
