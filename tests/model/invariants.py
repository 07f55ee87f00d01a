"""What must hold after each call."""

from __future__ import annotations

from tests.model.store import Store
from tests.model.values import G, L, Point, hidden, home


def is_whole(store: Store, point: Point) -> bool:
    """Whether a reader gets all blocks of the point, as they were."""
    return all(store.block(place) == value for place, value in point.refs)


def violation(before: Store, after: Store, *, by_rpdrive: bool = True) -> str:
    """The first invariant that a change of the store breaks; empty if there is none."""
    if by_rpdrive and len(after.points) < len(before.points):
        gone, left = {one for one, _ in after.ledger.gone}, {p.id for p in after.points}
        for point in before.points:
            if point.id not in left and point.id not in gone and not point.partial:
                return f"I1: point {point.id} was deleted, and an admin never let it go"
    if after.ledger is not before.ledger:
        for one, _ in after.ledger.gone:
            if one in before.ledger.held and one not in dict(before.ledger.gone):
                return f"I1: point {one} was held, and goes"
    if (
        after.objects is not before.objects
        or after.points is not before.points
        or after.places is not before.places
    ):
        gone = {one for one, _ in after.ledger.gone}
        for point in after.points:
            if point.id not in gone and not is_whole(after, point):
                if point.is_sound:
                    return f"I1: point {point.id} is sound, and blocks of it are missing"
                if point.modified - point.sent <= L // 2:
                    return f"I4: point {point.id} lacks blocks, though no request was slow"
    if after.places is not before.places:
        return _of_record(before, after)
    if len(after.objects) < len(before.objects):
        return _of_delete(before, after)
    return ""


def _of_record(before: Store, after: Store) -> str:
    there = {place: obj for obj in after.objects for place, _ in obj.blocks}
    for place, obj in there.items():
        was, now = hidden(before.places, place), hidden(after.places, place)
        own = after.object(home(place))
        is_offered = own is not None or dict(after.places.moved).get(place) == obj.id
        if was and not now and is_offered and not after.restored:
            return f"I3: block {place} was hidden, and is no longer"
        if now and not was and own is not None and after.now - own.modified < G:
            return f"I2: block {place} is hidden, and was stored {after.now - obj.modified} h ago"
    return ""


def _of_delete(before: Store, after: Store) -> str:
    for obj in before.objects:
        young = after.now - obj.modified < G and after.object(obj.id) is None
        if young and any(after.block(place) != value for place, value in obj.blocks):
            return f"I2: object {obj.id} was deleted {after.now - obj.modified} h after it was stored"
    return ""
