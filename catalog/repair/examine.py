"""Finds out what is wrong with the packs of one machine, and what can be done: nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from catalog.errors import Damaged, RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.checks import checks_folder, checks_named, decode_checks
from catalog.format.numbers import written_number
from catalog.format.packs import SERIES_BYTES, Extent, pack_name
from catalog.format.places import BrokenRow, InsteadRow, PlacesRecord, far, near
from catalog.format.records import Machine, PointName
from catalog.format.sealed import Kind, open_object
from catalog.mark.faults import FaultKind
from catalog.mark.roots import Roots, find_roots
from catalog.mark.run import Marked, mark
from catalog.places import Run
from catalog.repair.copies import AT_ONCE, Copies
from catalog.repair.moved import find_carriers, rebuilt
from catalog.repair.names import Losses, Names
from catalog.repair.state import Rows, State
from catalog.repair.survey import Survey
from catalog.repair.tables import bad_tables
from catalog.repair.verify import Block, Reading, blocks_of
from catalog.repair.walk import Walk
from catalog.repair.work import Work
from catalog.screen.phases import Follower, Phase
from catalog.store.reading import time_to_read
from catalog.vault import Vault

_DATA, _TREE = PackKind.DATA, PackKind.TREE
_PAGES = frozenset({FaultKind.PAGE, FaultKind.VALUE})
_WRITTEN_SO = frozenset({FaultKind.ENTRY, FaultKind.STRANGER})  # no other copy can help: pages are as written
_MOST_REMARKS = 20
_MOST_CHECKS = 20  # records of checks that are tried, from the newest on
MOST_COPIES = 100_000  # rows that one run adds: a record of places has 32 MiB, and these have 90 bytes each
ROUNDS = 5  # of marks: each finds what the one before could not reach


class Wanted(NamedTuple):
    """What is asked for: packs that this machine `noted` as damaged, and whether to read all that points need.

    `dry`: nothing is to be written.
    """

    noted: frozenset[bytes] = frozenset()
    read_all: bool = False
    dry: bool = False


class Found(NamedTuple):
    """What was found in the packs of a machine.

    `rows` can be written without a loss. `acknowledged` are rows for tree blocks that stay lost: once they are
    written, upkeep no longer keeps what only the pages in them lead to. `rebuilt` is a record of places made anew.
    `losses` names what stays lost, `healed` counts chunks that have another copy now. `unread` are points whose
    records can't be read, `remarks` what else a person should know.
    """

    machine: bytes
    began: int
    rows: Rows
    acknowledged: list[BrokenRow]
    rebuilt: PlacesRecord | None
    after: int
    unindexed: int
    healed: int
    lost: int
    losses: Losses
    unread: list[tuple[PointName, RpdriveError]]
    remarks: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to do and nothing lost."""
        todo = self.rows or self.acknowledged or self.rebuilt or self.unindexed
        return not (todo or self.lost or self.unread or self.remarks)


class Examination:
    """One machine's packs. Close it when what was found is written."""

    def __init__(
        self,
        vault: Vault,
        machine: bytes,
        machines: dict[bytes, Machine],
        others: Sequence[bytes],
        wanted: Wanted,
        follow: Follower,
        gone: Callable[[PointName], bool] | None = None,
    ) -> None:
        """`others` are machines whose points may refer to this machine's packs. `gone` points don't count."""
        self._gone = gone
        self._vault, self._machine, self._machines = vault, machine, machines
        self._wanted, self._follow = wanted, follow
        self.series = machine[:SERIES_BYTES]
        self._others, self._of_points = others, [machine, *others]
        same = [other for other in others if other[:SERIES_BYTES] == self.series]
        self._work = Work()
        self.survey = Survey(vault, self._work, self.series, [machine, *same])
        self._names = Names(self._work)
        self._remarks: list[str] = []
        self._moved: dict[tuple[int, bytes], tuple[Run, ...]] = {}
        self._back: set[tuple[int, bytes]] = set()  # packs whose own objects are there, and whole

    def close(self) -> None:
        self._work.close()

    def again(self) -> Examination:
        """Another one of the same, which finds out anew: objects were added since. Closes this one."""
        self.close()
        self._vault.places = self._vault.places.anew()  # this one has supposed what no record says
        return Examination(
            self._vault, self._machine, self._machines, self._others, self._wanted, self._follow, self._gone
        )

    def lost(self) -> Iterator[tuple[PackKind, bytes, Iterator[Extent]]]:
        """The lost chunks that have no other copy, by pack, each in the order of their places. After `run`."""
        for kind in (_TREE, _DATA):
            for pack, some in groupby(self._lost_of(kind), key=lambda at: at.pack):
                yield kind, pack, some

    def _lost_of(self, kind: PackKind) -> Iterator[Extent]:
        rows = self._work.lost(kind, most=AT_ONCE)
        while rows:
            yield from rows
            rows = self._work.lost(kind, most=AT_ONCE, after=rows[-1])

    def is_missing(self, kind: PackKind, pack: bytes) -> bool:
        """Whether there is neither the object of a pack, nor a record of where its blocks are. After `run`."""
        return self.survey.size(kind, pack) is None and not self._vault.places.runs(kind, pack)

    def run(self) -> Found:
        """Find out. Raises StoreError, sqlite3.Error if the disk is full, or Damaged if places can't be used."""
        vault, phase = self._vault, self._follow.phase
        began = time_to_read(vault.store) if self._wanted.dry else vault.store.now()
        phase(Phase("listing packs"))
        self._state = State(vault, self.series, dry=self._wanted.dry)
        self.survey.look()
        for name, error in self.survey.bad_index.items():
            self._remarks.append(f"the index object {name} can't be read ({error}): what it listed is listed anew")
        self._copies = Copies(vault, self._work, self._state.is_usable, self.survey.tables)
        roots = find_roots(vault, self._of_points, self._gone)
        marked = self._marked(roots)
        try:
            self._remarks += [
                f"{fault.kind}: /{fault.path.decode(errors='replace')}: {fault.reason}"
                for fault in marked.faults
                if fault.kind in _WRITTEN_SO and not fault.acknowledged
            ][:_MOST_REMARKS]
            self._index(marked)
            self._suspect(marked)
            if self._work.suspects():
                self._walk(roots, with_suspects=True)
                self._verify()
                self._remarks += bad_tables(vault, self.survey, self._suspected(marked))
                self._known_copies()
                lost = self._work.count_lost(_DATA)
                if lost:
                    phase(Phase("looking for other copies", 0, lost, "lost chunks"))
                    self._copies.find(lambda n: phase(Phase("looking for other copies", n, lost, "lost chunks")))
            record, after = self._record(marked)
        finally:
            marked.close()
        rows, acknowledged = self._rows(began)
        lost = self._work.count_lost(_DATA) + self._work.count_lost(_TREE)
        healed = sum(1 for row in rows.instead)
        losses = self._names.losses() if lost else Losses([], 0, False)
        unread = [(r.name, r.error) for r in roots.unread]
        return Found(
            self._machine, began, rows, acknowledged, record, after, self.survey.count_unpublished(), healed, lost,
            losses, unread, self._remarks,
        )  # fmt: skip

    # --- the trees ----------------------------------------------------------------------------------------

    def _marked(self, roots: Roots) -> Marked:
        """The mark of all points, once moved packs and tree chunks are found again as far as that is possible."""
        for n in range(ROUNDS):
            marked = mark(
                self._vault, roots, machines=self._machines, places=self._state.records, follow=self._follow
            )
            try:
                again = self._find_moved(marked) | self._find_originals(marked)
                if any(fault.kind in _PAGES for fault in marked.faults) and not again:
                    again = self._walk(roots, with_suspects=False)
            except BaseException:
                marked.close()
                raise
            if not again or n == ROUNDS - 1:
                return marked
            marked.close()
        raise AssertionError("unreachable")

    def _walk(self, roots: Roots, *, with_suspects: bool) -> bool:
        """Walk the trees for what is suspect or can't be read. Whether anything was healed."""
        for table in ("pages", "edges", "holds"):
            self._work.db.execute(f"DELETE FROM {table}")
        self._names = Names(self._work)
        walk = Walk(self._vault, self._work, self._heal_tree)
        try:
            for n, root in enumerate(roots.roots):
                page = walk.point(root.point)
                if page is not None and not root.name.partial:
                    self._names.add(root.name, page)
                self._follow.phase(Phase("looking for what is lost", n + 1, len(roots.roots), "points"))
        finally:
            walk.close()
        return walk.healed > 0 and not with_suspects

    def _heal_tree(self, at: Extent) -> Extent | None:
        other = self._copies.of_tree(at)
        if other is not None:
            self._vault.places.suppose_copy(_TREE, at, other)
        return other

    # --- places -------------------------------------------------------------------------------------------

    def _find_moved(self, marked: Marked) -> bool:
        """Look in carriers for packs that are missing. Whether any blocks were found."""
        missing = {
            (int(kind), pack)
            for kind in (_DATA, _TREE)
            for pack, spans in marked.live.spans(kind)
            if pack[:SERIES_BYTES] == self.series
            and (int(kind), pack) not in self._moved
            and not self._is_there(kind, pack, spans[-1][1])
        }
        if not missing:
            return False
        named = {carrier for record in self._state.records for carrier in record.carriers}
        live = {(int(k), pack) for k in (_DATA, _TREE) for pack, _spans in marked.live.spans(k)}
        candidates = [
            obj
            for kind in (_DATA, _TREE)
            for obj in self.survey.objects(kind, indexed=False)
            if obj.id not in named and (int(kind), obj.id) not in live
        ]
        if not candidates:
            return False
        self._follow.phase(Phase("looking for moved blocks", 0, len(candidates), "objects"))
        there = {(int(obj.kind), obj.id) for kind in (_DATA, _TREE) for obj in self.survey.objects(kind)}
        found = find_carriers(self._vault, candidates, there)
        helps = not missing.isdisjoint(found)
        if helps:
            for (of_kind, pack), runs in found.items():
                self._moved[of_kind, pack] = runs
                self._vault.places.suppose_moved(PackKind(of_kind), pack, runs)
        return helps

    def _find_originals(self, marked: Marked) -> bool:
        """Look for packs whose carriers are missing or damaged, and that were not deleted yet. Whether any are."""
        bad = {(int(f.at.kind), f.at.pack) for f in marked.faults if f.kind in _PAGES}
        found = False
        for kind in (_DATA, _TREE):
            for pack, spans in marked.live.spans(kind):
                end = spans[-1][1]
                doubtful = (int(kind), pack) in bad or not self._is_there(kind, pack, end)
                if doubtful and pack[:SERIES_BYTES] == self.series and self._take_back(kind, pack, end):
                    found = True
                    if kind is _DATA:
                        self._work.suspect(kind, pack, "it is to be read where it was before upkeep moved it")
        return found

    def _take_back(self, kind: PackKind, pack: bytes, end: int) -> bool:
        """Read a pack from its own object again, if that is there and has `end` bytes. Whether it is, as news."""
        key, size = (int(kind), pack), self.survey.size(kind, pack)
        if key in self._back or not self._vault.places.runs(kind, pack) or size is None or size < end:
            return False
        if not self._state.stays(kind, pack):
            said = f"{pack_name(kind, pack)} is there, and a prune may be deleting it: repair again in two days"
            if said not in self._remarks:
                self._remarks.append(said)
            return False
        self._back.add(key)
        self._moved.pop(key, None)
        self._vault.places.suppose_moved(kind, pack, (Run(0, size, pack, 0),))
        return True

    def _is_there(self, kind: PackKind, pack: bytes, end: int) -> bool:
        """Whether listings and records say that the vault has the first `end` bytes of a pack, or what is left."""
        runs = self._vault.places.runs(kind, pack)
        if runs:
            sizes = [(self.survey.size(kind, run.holder), run) for run in runs]
            return all(size is not None and size >= run.at + run.end - run.start for size, run in sizes)
        size = self.survey.size(kind, pack)
        return size is not None and size >= end

    def _record(self, marked: Marked) -> tuple[PlacesRecord | None, int]:
        """The record of places that is to be made anew, and the number that it is to come after."""
        if not self._moved:
            return None, 0
        base = next((r for r in self._state.records if not r.digits), None)
        after = self._state.highest.get("", 0)
        if base is None:
            base = PlacesRecord(series=self.series, number=0, by=bytes(16), began=self._state.now)
        objects = [obj for kind in (_DATA, _TREE) for obj in self.survey.objects(kind)]
        return rebuilt(base, self._moved, objects, marked.live), after

    # --- data ---------------------------------------------------------------------------------------------

    def _index(self, marked: Marked) -> None:
        """Find the packs that an index object should list."""
        wanted = [
            pack
            for pack, _spans in marked.live.spans(_DATA)
            if pack[:SERIES_BYTES] == self.series and not self.survey.is_indexed(pack)
        ]
        if marked.is_blind:  # what unreadable trees refer to is not known: it should be found by its contents
            wanted += [obj.id for obj in self.survey.objects(_DATA, indexed=False)]
        if not wanted:
            return
        self._follow.phase(Phase("reading tables of contents", 0, len(set(wanted)), "packs"))
        for pack, error in self.survey.gather(wanted):
            if self.survey.size(_DATA, pack) is not None:
                self._work.suspect(_DATA, pack, str(error))

    def _suspect(self, marked: Marked) -> None:
        """Note the data packs of which blocks may be lost."""
        work = self._work
        for pack, spans in marked.live.spans(_DATA):
            if pack[:SERIES_BYTES] != self.series:
                continue
            if not self._is_there(_DATA, pack, spans[-1][1]):
                work.suspect(_DATA, pack, "it is missing, or shorter than it was")
            elif self._wanted.read_all:
                work.suspect(_DATA, pack, "everything is read")
        for pack in self._wanted.noted:
            if pack[:SERIES_BYTES] == self.series:
                work.suspect(_DATA, pack, "this machine noted it as damaged")
        for pack in self._checked():
            work.suspect(_DATA, pack, "a check found it damaged")
        for record in self._state.records:
            for broken in record.broken:
                if broken.kind == _DATA:
                    work.suspect(_DATA, broken.pack, "a record of places says that it is broken")

    def _checked(self) -> Iterable[bytes]:
        """The data packs that the newest record of checks names. It proves nothing: they are read again."""
        named = (checks_named(i.name) for i in self._vault.store.list(checks_folder(self.series)))
        numbers = sorted((n[1] for n in named if n is not None), reverse=True)
        for number in numbers[:_MOST_CHECKS]:
            name = checks_folder(self.series) + written_number(number)
            try:
                data = self._vault.fetch_sealed(Kind.CHECKS, name)
                record = decode_checks(open_object(self._vault.keys, Kind.CHECKS, name, data), name)
            except Damaged:
                continue
            return [row.pack for row in record.bad if row.kind == _DATA]
        return []

    def _verify(self) -> None:
        """Read the blocks of suspected packs that points refer to."""
        reading, work = Reading(self._vault), self._work
        suspects = work.suspects()
        for n, (kind, pack, why) in enumerate(suspects):
            self._follow.phase(Phase("reading what may be damaged", n, len(suspects), "packs", why))
            blocks = list(blocks_of(kind, work.extents(kind, pack)))
            if not blocks:
                continue
            if self.survey.size(kind, pack) is None and not self._vault.places.runs(kind, pack):
                known = self._state.is_broken(kind, pack, None)
                first = None if known else reading.look(blocks[0])
                if known or (first is not None and first.gone):
                    for block in blocks:
                        work.add_bad(kind, pack, block.at.offset, "its pack is missing")
                    continue
            for offset, reason in self._bad_of(reading, kind, pack, blocks).items():
                work.add_bad(kind, pack, offset, reason)

    def _bad_of(self, reading: Reading, kind: PackKind, pack: bytes, blocks: Sequence[Block]) -> dict[int, str]:
        """The offsets of blocks of a pack that are lost, with a reason each: in its carriers, or in its own object.

        That is where the pack is read from now on.
        """
        bad = {lost.block.at.offset: lost.reason for lost in reading.run(blocks)}
        runs = self._vault.places.runs(kind, pack)
        if not bad or not self._take_back(kind, pack, self._work.end(kind, pack)):
            return bad
        left = {lost.block.at.offset: lost.reason for lost in reading.run(blocks)}
        if left.keys() < bad.keys():
            return left
        self._back.remove((int(kind), pack))
        self._vault.places.suppose_moved(kind, pack, runs)
        return bad

    def _suspected(self, marked: Marked) -> Iterator[tuple[PackKind, bytes]]:
        """The packs that are suspected, and not cut; if all is to be read, those of trees, too."""
        ends = [(kind, pack, self._work.end(kind, pack)) for kind, pack, _why in self._work.suspects()]
        if self._wanted.read_all:
            trees = ((_TREE, pack, spans[-1][1]) for pack, spans in marked.live.spans(_TREE))
            ends += (row for row in trees if row[1][:SERIES_BYTES] == self.series)
        yield from ((kind, pack) for kind, pack, end in ends if self._is_there(kind, pack, end))

    def _known_copies(self) -> None:
        """Take the copies that records name already, if they can still be read."""
        reading = Reading(self._vault)
        for record in self._state.records:
            for row in record.instead:
                other, kind = near(row.extent), PackKind(row.kind)
                size = self.survey.size(kind, other.pack)
                doubtful = size is None or self._work.is_suspect(kind, other.pack)
                if doubtful and reading.look(Block(kind, (other,))) is not None:
                    self._work.add_bad(kind, other.pack, other.offset, "another copy of a lost chunk is lost, too")
                    continue
                lost = other._replace(pack=row.pack, offset=row.offset, inner=row.inner)
                self._work.add_copy(kind, lost, other)

    # --- what follows -------------------------------------------------------------------------------------

    def _rows(self, began: int) -> tuple[Rows, list[BrokenRow]]:
        """Rows to write: without a loss, and those that acknowledge one."""
        broken, acknowledged = list[BrokenRow](), list[BrokenRow]()
        still = {(at.pack, at.offset) for at in self._work.lost(_TREE)}
        for (kind, pack), group in groupby(self._work.bad(), key=lambda bad: bad[:2]):
            rows = [(offset, reason) for _kind, _pack, offset, reason in group]
            lost = [offset for offset, _reason in rows if kind is _TREE and (pack, offset) in still]
            why = self._why_whole(kind, pack)
            if why and not self._state.is_broken(kind, pack, None):
                (acknowledged if lost else broken).append(BrokenRow(pack, int(kind), None, began, why))
            if why and not lost:
                continue
            for offset, reason in rows:
                if not self._state.is_broken(kind, pack, offset) and not (why and offset in lost):
                    row = BrokenRow(pack, int(kind), offset, began, reason[:200])
                    (acknowledged if offset in lost else broken).append(row)
        known = {row for record in self._state.records for row in record.instead}
        copies = (
            InsteadRow(lost.pack, int(kind), lost.offset, lost.inner, far(other))
            for kind, lost, other in self._work.copies()
        )
        instead = [*islice((row for row in copies if row not in known), MOST_COPIES + 1)]
        if len(instead) > MOST_COPIES:
            self._remarks.append(f"more than {MOST_COPIES:,} copies were found: repair again for the rest")
        return Rows(broken, instead[:MOST_COPIES], sorted(self._back)), acknowledged

    def _why_whole(self, kind: PackKind, pack: bytes) -> str:
        """Why all of a pack is to be called broken, of which some blocks are lost; empty if it is not.

        Of a pack that is shorter than it was, nothing says where its blocks were: its table of contents is gone.
        """
        runs = self._vault.places.runs(kind, pack)
        if runs:
            there = any(self.survey.size(kind, run.holder) is not None for run in runs)
            return "" if there else f"the carriers of {pack_name(kind, pack)} are missing"
        size = self.survey.size(kind, pack)
        if size is None:
            return f"{pack_name(kind, pack)} is missing"
        return f"{pack_name(kind, pack)} is shorter than it was" if size < self._work.end(kind, pack) else ""
