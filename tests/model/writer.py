"""A backup: it takes blocks from its mirror and its parent, stores the others, and commits."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tests.model.design import Design
from tests.model.values import Actor, Call, L, Ledger, Obj, Places, Point, hidden, holder, home

AGAIN, LATE = "again", "late"  # answers to the creation of a point: the request failed; its deadline has passed
TRIES = 2


class _Evidence:
    """What the writer knows of the vault."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.began = 0
        self.packs: tuple[Obj, ...] = ()
        self.record = Places()
        self.values: dict[int, list[int]] = {}  # the mirror: places by value

    def take(self, packs: tuple[Obj, ...]) -> None:
        self.packs = packs
        for obj in packs:
            for place, value in obj.blocks:
                if home(place) == obj.id or holder(self.record, place) == obj.id:
                    self.values.setdefault(value, []).append(place)

    def has(self, place: int) -> bool:
        """Whether the place is listed, or moved into a carrier that is."""
        moved = [p for p, _carrier in self.record.moved if home(p) == home(place)]
        if moved and place not in moved and self.design.gaps_hidden:
            return False
        at = holder(self.record, place) if place in moved or not moved else holder(self.record, moved[0])
        return any(obj.id == at for obj in self.packs)

    def hides(self, place: int) -> bool:
        return hidden(self.record, place, gaps=self.design.gaps_hidden)

    def offers(self, value: int) -> int | None:
        for place in self.values.get(value, ()):
            if self.has(place) and not self.hides(place):
                return place
        return None


def backup(
    design: Design, wants: tuple[int, ...], *, partial: bool = False, forgotten: tuple[int, ...] = ()
) -> Actor:
    """Back up the values. With `partial`, a partial point of what is new is written first.

    It has chosen its parent before the points in `forgotten` were forgotten.
    """
    evidence = _Evidence(design)
    evidence.began = yield ("now",)
    packs = yield ("packs",)
    if not design.evidence_from_its_beginning:
        evidence.began = yield ("now",)
    evidence.record = yield ("places",)
    evidence.take(packs)
    own: dict[int, int] = {}
    for _ in range(TRIES):
        _now, points, ledger = yield ("points",)
        parent = _parent(design, points, ledger, forgotten)
        kept: dict[int, int] = {}
        trusted = parent is not None and (parent.is_sound or not design.unsound_parent_checked)
        if parent is not None:  # what is missing of it is stored again
            kept = {v: p for p, v in parent.refs if v in wants and evidence.has(p)}
            kept = {v: p for v, p in kept.items() if trusted or not evidence.hides(p)}
        taken: dict[int, int] = {}
        lacking = []
        for value in wants:
            if value in kept:
                continue
            place = own.get(value)
            if place is None or evidence.hides(place):
                place = evidence.offers(value)
            if place is None:
                lacking.append(value)
            else:
                taken[value] = place
        for n in range(0, len(lacking), 2):
            obj = yield ("upload", tuple(lacking[n : n + 2]))
            own |= {value: place for place, value in obj.blocks}
            evidence.packs += (obj,)
            taken |= {value: place for place, value in obj.blocks}
        if partial and taken:
            looked = design.partial_points_looked_for
            done = yield from _commit(design, evidence, parent, {}, taken, trusted, is_partial=True, look=looked)
            if not done:
                continue
        done = yield from _commit(design, evidence, parent, kept, taken, trusted)
        if done:
            return


def _parent(design: Design, points: tuple[Point, ...], ledger: Ledger, forgotten: tuple[int, ...]) -> Point | None:
    """The newest point that is not forgotten; of one number, the whole one."""
    gone = {one for one, _ in ledger.gone} if design.ledger_read_by_writers else ()
    out = {one for one, _ in ledger.forgotten if one not in forgotten}
    left = [p for p in points if p.id not in gone and p.id not in out]
    return max(left, key=lambda p: (p.sequence, not p.partial, p.id)) if left else None


def _next(points: tuple[Point, ...], ledger: Ledger) -> int:
    """The next number: 1 and the highest that a whole point ever had."""
    numbers = [p.sequence for p in points if not p.partial] + [sequence for _id, sequence in ledger.gone]
    return max([*numbers, *(sequence for sequence, _since in ledger.accepted)], default=0) + 1


def _commit(
    design: Design,
    evidence: _Evidence,
    parent: Point | None,
    kept: dict[int, int],
    taken: dict[int, int],
    trusted: bool,
    *,
    is_partial: bool = False,
    look: bool = True,
) -> Generator[Call, Any, bool]:
    """Look again, and write the point. Returns whether it is written; otherwise the attempt starts over."""
    for _ in range(TRIES):
        checked = 0
        if design.time_before_second_look:
            checked = yield ("now",)
        if design.second_look and look:
            before, evidence.record = evidence.record, (yield ("places",))
            if evidence.record != before or checked - evidence.began > L:
                evidence.began, packs = checked, (yield ("packs",))
                evidence.take(packs)
        if not design.time_before_second_look:
            checked = yield ("now",)
        _now, points, ledger = yield ("points",)
        if look and not _holds(design, evidence, parent, kept, taken, trusted, points, ledger):
            return False
        refs = tuple(sorted((p, v) for v, p in (kept | taken).items()))
        point = Point(0, _next(points, ledger), refs, checked, 0, 0, is_partial)
        until = (checked if design.deadline_from_before_look else _now) + L // 2
        answer: Any = AGAIN
        while answer == AGAIN:
            answer = yield ("point", point, until if design.deadline_of_each_attempt else None)
        if answer == LATE:
            continue
        if answer - checked > L:
            evidence.record = yield ("places",)
            packs = yield ("packs",)
            evidence.take(packs)
            _now, points, ledger = yield ("points",)
            if not _holds(design, evidence, parent, kept, taken, trusted, points, ledger):
                yield ("report", "the point can't be relied on")
        return True
    return False


def _holds(
    design: Design,
    evidence: _Evidence,
    parent: Point | None,
    kept: dict[int, int],
    taken: dict[int, int],
    trusted: bool,
    points: tuple[Point, ...],
    ledger: Ledger,
) -> bool:
    """Whether all that the point refers to may still be relied on."""
    if design.second_look and any(not evidence.has(p) or evidence.hides(p) for p in taken.values()):
        return False
    if design.second_look and any(not evidence.has(p) for p in kept.values()):
        return False
    if not trusted and any(evidence.hides(p) for p in kept.values()):
        return False
    if parent is None or not kept or not design.parent_looked_for_again:
        return True
    gone = {one for one, _ in ledger.gone} if design.ledger_read_by_writers else ()
    return parent.id not in gone and any(p.id == parent.id for p in points)
