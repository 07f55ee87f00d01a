"""A reader, who forgets, undeletes and holds, and what happens to the store without rpdrive."""

from __future__ import annotations

from tests.model.design import Design
from tests.model.values import Actor, L, Ledger, Places, Point, holder


def read(_design: object, one: int) -> Actor:
    """Read a point: each block from its pack, then where the records say (docs/format.md, "Reading a block")."""
    _now, points, ledger = yield ("points",)
    gone = {point for point, _ in ledger.gone}
    point = next((p for p in points if p.id == one and p.id not in gone), None)
    if point is None:
        return
    record: Places | None = None
    for place, value in point.refs:
        for _ in range(3):  # as known, after a listing, and after another one
            at = place >> 1 if record is None else holder(record, place)
            blocks = yield ("get", at)
            if blocks is not None and (place, value) in blocks:
                break
            record = yield ("places",)
        else:
            yield ("missing", point.id, place)


def forget(_design: object, one: int, until: int) -> Actor:
    """Forget a point, which may go after `until`."""
    _, ledger = yield ("records",)
    if one not in {point for point, _ in (*ledger.forgotten, *ledger.gone)}:
        rows = tuple(sorted((*ledger.forgotten, (one, until))))
        yield ("ledger", ledger._replace(number=ledger.number + 1, forgotten=rows))


def remember(_design: object, one: int) -> Actor:
    """Undelete a point that is not gone."""
    _, ledger = yield ("records",)
    rows = tuple(row for row in ledger.forgotten if row[0] != one)
    if rows != ledger.forgotten:
        yield ("ledger", ledger._replace(number=ledger.number + 1, forgotten=rows))


def hold(_design: object, one: int) -> Actor:
    """Hold a point: it does not go, whatever else is said."""
    _, ledger = yield ("records",)
    if one not in ledger.held and one not in {point for point, _ in ledger.gone}:
        yield ("ledger", ledger._replace(number=ledger.number + 1, held=(*ledger.held, one)))


def give_up(design: Design, one: int, sequence: int = 0, *, damaged: bool) -> Actor:
    """Give a point up that no run of upkeep can have as a root: its record is damaged, or it vanished.

    One that is damaged is still listed, and gone from now on. A backup may have read its record before.
    """
    _now, points, _ledger = yield ("points",)
    listed = [p for p in points if p.id == one and not p.partial]
    if bool(listed) != damaged:
        return
    since = yield ("now",)
    _, ledger = yield ("records",)
    if one in {point for point, _ in ledger.gone} or one in ledger.held:
        return
    sequence = listed[0].sequence if listed else sequence
    forgotten = tuple(row for row in ledger.forgotten if row[0] != one)
    gone = tuple(sorted((*ledger.gone, (one, sequence)))) if damaged else ledger.gone
    accepted = (*ledger.accepted, (sequence, since))
    until = since + L // 2 if design.accepted_in_time else None
    after = ledger._replace(number=ledger.number + 1, forgotten=forgotten, gone=gone, accepted=accepted)
    yield ("ledger", after, until)


def forge(_design: object, ledger: Ledger) -> Actor:
    """A machine with the role backup stores a record that says that points are gone."""
    yield ("forge", ledger)


def vanish(_design: object, one: int) -> Actor:
    """A point is deleted, and not by rpdrive."""
    yield ("accident", one)


def accident(_design: object, one: int) -> Actor:
    """Somebody deletes a point by the store's own means, and brings it back later."""
    yield ("accident", one)
    yield ("undelete",)


def serve(_design: object, point: Point) -> Actor:
    """The creation of a point, which hung, is served."""
    yield ("serve", point)


def undelete(_design: object) -> Actor:
    """The store's own undelete."""
    yield ("undelete",)
