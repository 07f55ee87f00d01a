"""Upkeep: mark, hide, and a week later delete; merge and cut packs; let points go that are up."""

from __future__ import annotations

from tests.model.design import Design
from tests.model.values import PARTIAL, WAIT, Actor, G, L, Ledger, Obj, Places, Point, holder, home

NEW = 0  # `since` of a row that this run adds: the time when its record is created
_Blocks = tuple[tuple[int, int], ...]


def prune(design: Design, *, merge: bool = False, cut: bool = False) -> Actor:
    """One run. With `merge`, whole packs are moved together; with `cut`, packs lose their dead blocks."""
    if design.records_before_points:
        record, ledger = yield ("records",)
        began, points, _ = yield ("points",)
        packs = yield ("packs",)
    else:
        began, points, _ = yield ("points",)
        packs = yield ("packs",)
        record, ledger = yield ("records",)
    if not design.gone_after_mark:
        early = _Plan(design, record, ledger, began, points, packs)
        if early.up():
            ledger = early.ledger_without(early.up())
            if not (yield ("ledger", ledger)):
                return
    plan = _Plan(design, record, ledger, began, points, packs)
    reason = plan.refusal()
    if reason:
        yield ("report", reason)
        return
    plan.mark()
    cuts = plan.cuts(cut)
    for blocks in (*cuts, *plan.merged(merge, cuts)):
        carrier = yield ("carrier", blocks)
        if design.carrier_read_back and (yield ("check", carrier)) != blocks:
            return  # it is an orphan; a later run removes it
        plan.put(carrier, blocks)
    if not design.orphans_through_state:
        for one in plan.orphans:
            yield ("delete", one, None)
    if not design.state_before_deletes:
        for one in plan.deletes:
            yield ("delete", one, None)
    until = None
    ends = bool(plan.up() or plan.old_partials())
    if plan.is_changed() or plan.deletes or (ends and design.gone_after_own_state):
        created = yield ("state", plan.next())
        if not created:
            return  # another run was faster; this one would start over
        until = created + L // 2
    if design.state_before_deletes:
        for one in plan.deletes:
            yield ("delete", one, until if design.deletes_in_time else None)
    up = plan.up() if design.gone_after_mark else ()
    if up and not (yield ("ledger", plan.ledger_without(up))):
        return
    for one in (*up, *plan.refused(), *plan.old_partials()):
        yield ("drop", one)


class _Plan:
    """What a run does, from what it has read."""

    def __init__(
        self,
        design: Design,
        record: Places,
        ledger: Ledger,
        began: int,
        points: tuple[Point, ...],
        packs: tuple[Obj, ...],
    ) -> None:
        self.design, self.before, self.ledger = design, record, ledger
        self.began, self.points, self.packs = began, points, {obj.id: obj for obj in packs}
        self.gone = {one for one, _ in ledger.gone}
        self.roots = [p for p in points if p.id not in self.gone]
        if not design.partials_are_roots:
            self.roots = [p for p in self.roots if not p.partial]
        self.live = {place for p in self.roots for place, _ in p.refs}
        if design.targets_marked:
            self.live |= {copy for lost, copy in record.instead if lost in self.live}
        # A child of a point that was given up may be about to commit, and no mark had the point as a root.
        self._waits = design.accepted_waits and any(began - since < G for _n, since in ledger.accepted)
        self.dead = {place: record.since(since) for place, since in record.dead}
        self.leaving = {one: record.since(since) or NEW for one, since in record.leaving}
        self.moved = dict(record.moved)
        self.deletes: list[int] = []
        self.orphans: list[int] = []
        self._first = (dict(self.dead), dict(self.leaving), dict(self.moved))

    # --- reasons not to go on -------------------------------------------------------------------------------

    def refusal(self) -> str:
        """Why this series can't be pruned now; empty if it can."""
        numbers = {p.sequence for p in self.points if not p.partial}
        numbers |= {n for _id, n in self.ledger.gone} | {n for n, _since in self.ledger.accepted}
        if self.design.gaps_refused and numbers != set(range(1, max(numbers, default=0) + 1)):
            return "recovery points are missing"
        lost = {place for place, _ in self.before.instead}
        if any(not self._is_there(p) for p in self.live - lost):
            return "blocks are missing"
        return ""

    def _is_there(self, place: int) -> bool:
        """Whether the block is in an object that is listed."""
        objects = (self.packs.get(one) for one in (home(place), holder(self.before, place)))
        return any(obj is not None and place in dict(obj.blocks) for obj in objects)

    # --- the next state -------------------------------------------------------------------------------------

    def mark(self) -> None:
        """Hide what is dead, and plan what may go."""
        left = dict(self.leaving)
        for obj in self.packs.values():
            self._mark(obj)
        for one in {home(place) for place in self.dead}:
            self._remove(one)
        for one, since in left.items():
            if one in self.leaving:
                self._leave(one, since)

    def _mark(self, obj: Obj) -> None:
        is_old = self.began - obj.modified >= G or not self.design.age
        places = [p for p, _ in obj.blocks if home(p) == obj.id]
        if not places:
            places = [p for p, _ in obj.blocks if self.moved.get(p) == obj.id]
            if not places and obj.id not in self.leaving and is_old:
                self.orphans.append(obj.id)
                if self.design.orphans_through_state:
                    self.leaving[obj.id] = NEW
        elif any(home(p) == obj.id for p in self.moved):  # its blocks are elsewhere
            self.leaving.setdefault(obj.id, NEW)  # it may have come back
            return
        elif obj.id in self.leaving:
            if any(p in self.live for p in places):  # it came back, and a point refers to it
                del self.leaving[obj.id]
                self.dead |= dict.fromkeys(places)
            return
        for place in places:
            if place in self.live:
                if place in self.dead and not self.design.hidden_for_ever:
                    del self.dead[place]
                elif place in self.dead and self.design.since_restarts:
                    self.dead[place] = None
            elif self.dead.get(place, NEW) is None or (place not in self.dead and is_old):
                self.dead[place] = NEW

    def _is_ripe(self, place: int) -> bool:
        """Whether it was dead for G before this run began, and is dead now."""
        since = self.dead.get(place)
        if since is None or place in self.live or self._waits:
            return False
        return not self.design.two_marks or (since != NEW and self.began - since >= G)

    def _remove(self, one: int) -> None:
        """Let a pack go, if all that is left of it may."""
        moved = {p for p in self.moved if home(p) == one}
        if moved:
            if all(map(self._is_ripe, moved)):
                carriers = {self.moved.pop(p) for p in moved}
                self._bury(one)
                self._empty(carriers)
        elif one not in self.packs:
            self._bury(one)
        elif all(self._is_ripe(p) for p, _ in self.packs[one].blocks) or (
            not self.design.young_spans_kept and self._is_partly_ripe(self.packs[one])
        ):
            self.deletes.append(one)

    def _is_partly_ripe(self, obj: Obj) -> bool:
        places = [p for p, _ in obj.blocks]
        return any(map(self._is_ripe, places)) and all(self.dead.get(p) is not None for p in places)

    def _bury(self, one: int) -> None:
        """A pack is gone: it stays hidden until all who saw it have looked again."""
        self.dead = {p: since for p, since in self.dead.items() if home(p) != one}
        if self.design.tombstones:
            self.leaving[one] = NEW

    def _empty(self, carriers: set[int]) -> None:
        """Carriers that nothing is in any more leave."""
        for one in carriers - set(self.moved.values()):
            self.leaving[one] = NEW

    def _leave(self, one: int, since: int) -> None:
        """Delete what has left for long enough; forget what was deleted."""
        moved = {carrier for p, carrier in self.moved.items() if home(p) == one}
        if one in self.moved.values() or self.began - since < (WAIT if moved else G):
            return
        if one not in self.packs:
            del self.leaving[one]
        elif moved <= self.packs.keys():
            self.deletes.append(one)
            if not moved and self.design.tombstones_restart:
                self.leaving[one] = NEW  # it may have been back

    # --- carriers -----------------------------------------------------------------------------------------

    def cuts(self, wanted: bool) -> list[_Blocks]:
        """The blocks that stay of each pack of which some are to go."""
        found = []
        for one in sorted({home(p) for p in self.dead if wanted and self._is_ripe(p)} - {*self.deletes}):
            carriers = {c for p, c in self.moved.items() if home(p) == one} or {one}
            obj = self.packs.get(min(carriers))
            if obj is None or len(carriers) > 1:
                continue
            places = {p for p, _ in obj.blocks if home(p) == one}
            go = {p for p in places if self._is_ripe(p)}
            blocks = tuple(row for row in obj.blocks if row[0] in places - go)
            if blocks and go:
                found.append(blocks)
        return found

    def merged(self, wanted: bool, cuts: list[_Blocks]) -> list[_Blocks]:
        """The blocks of all packs that lie in their own objects, and are to stay. A run moves a pack only once."""
        busy = {home(p) for p in (*self.moved, *(p for blocks in cuts for p, _ in blocks))}
        busy |= {*self.deletes, *self.leaving}
        packs = [obj for obj in self.packs.values() if wanted and obj.id not in busy]
        blocks = tuple(row for obj in packs for row in obj.blocks if home(row[0]) == obj.id)
        return [blocks] if blocks else []

    def put(self, carrier: int, blocks: _Blocks) -> None:
        """Say that these blocks are in a carrier now, and the others of their packs nowhere."""
        packs = {home(place) for place, _ in blocks}
        before = {c for p, c in self.moved.items() if home(p) in packs}
        self.moved = {p: c for p, c in self.moved.items() if home(p) not in packs}
        self.moved |= {place: carrier for place, _ in blocks}
        self.dead = {p: s for p, s in self.dead.items() if home(p) not in packs or p in self.moved}
        for one in packs if not before else ():
            self.leaving[one] = NEW
            if not self.design.originals_wait:
                self.deletes.append(one)
        self._empty(before)

    # --- what is written ------------------------------------------------------------------------------------

    def is_changed(self) -> bool:
        return (self.dead, self.leaving, self.moved) != self._first

    def next(self) -> Places:
        return Places(
            self.before.number + 1,
            0,
            tuple(sorted(self.dead.items())),
            tuple(sorted(self.moved.items())),
            tuple(sorted(self.leaving.items())),
            self.before.instead,
        )

    # --- points -------------------------------------------------------------------------------------------

    def up(self) -> tuple[int, ...]:
        """Points whose time is up, and that this run had as roots."""
        rooted = {p.id for p in self.roots}
        held = self.ledger.held if self.design.holds else ()
        return tuple(
            one for one, until in self.ledger.forgotten if until <= self.began and one in rooted and one not in held
        )

    def ledger_without(self, up: tuple[int, ...]) -> Ledger:
        numbers = {p.id: p.sequence for p in self.points}
        forgotten = tuple(row for row in self.ledger.forgotten if row[0] not in up)
        gone = tuple(sorted({*self.ledger.gone, *((one, numbers[one]) for one in up)}))
        return self.ledger._replace(number=self.ledger.number + 1, forgotten=forgotten, gone=gone)

    def refused(self) -> list[int]:
        """Points that are gone, and still there."""
        return [p.id for p in self.points if p.id in self.gone]

    def old_partials(self) -> list[int]:
        whole = max((p.sequence for p in self.points if not p.partial), default=0)
        return [
            p.id
            for p in self.points
            if p.partial and self.began - p.modified > PARTIAL and whole >= p.sequence
        ]  # fmt: skip
