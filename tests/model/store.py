"""The vault: what each call does to it, and answers. Calls are atomic; actors may sleep between any two."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model.design import Design
from tests.model.values import BEGIN, LAG, Call, Ledger, Obj, Places, Point

# What a role may do. An admin may do what upkeep does.
WRITER = frozenset({"now", "packs", "places", "points", "upload", "point", "report"})
READER = frozenset({"places", "points", "get", "missing"})
UPKEEP = frozenset(
    {"records", "points", "packs", "carrier", "check", "state", "delete", "ledger", "drop", "report"}
)
ADMIN = frozenset({"now", "points", "records", "ledger"})
STORE = frozenset({"undelete", "accident", "forge", "serve"})  # not by rpdrive at all


class Old(NamedTuple):
    """What a listing that is behind shows: as it was before the last change, at `until`."""

    until: int
    value: Any


class Store(NamedTuple):
    now: int = BEGIN
    objects: tuple[Obj, ...] = ()
    points: tuple[Point, ...] = ()
    places: Places = Places()
    ledger: Ledger = Ledger()
    serial: int = 10  # the next id
    trash: tuple[Any, ...] = ()  # deleted objects and points
    forged: Ledger | None = None  # a record of the ledger that no admin signed
    restored: bool = False  # by the store's own undelete
    lags: bool = False
    old_objects: Old | None = None
    old_points: Old | None = None
    old_places: Old | None = None

    def object(self, one: int) -> Obj | None:
        for obj in self.objects:
            if obj.id == one:
                return obj
        return None

    def block(self, place: int) -> int | None:
        """The value that a reader with the newest records gets; None if it is missing."""
        for at in (place, *(copy for lost, copy in self.places.instead if lost == place)):
            for one in (at >> 1, *(carrier for p, carrier in self.places.moved if p == at)):
                for obj in self.objects:
                    if obj.id == one:
                        for p, value in obj.blocks:
                            if p == at:
                                return value
        return None

    def with_objects(self, objects: tuple[Obj, ...], **more: Any) -> Store:
        old = Old(self.now, self.objects) if self.lags else None
        return self._replace(objects=objects, old_objects=old, **more)

    def with_points(self, points: tuple[Point, ...], **more: Any) -> Store:
        old = Old(self.now, self.points) if self.lags else None
        return self._replace(points=points, old_points=old, **more)


class Outcome(NamedTuple):
    """One way that a call may go. `fault` says what went wrong, if anything did."""

    fault: str
    store: Store
    answer: Any


def outcomes(store: Store, design: Design, call: Call) -> list[Outcome]:
    """What may come of a call, the undisturbed way first."""
    found = getattr(_Calls(store, design), call[0])(*call[1:])
    return found if isinstance(found, list) else [Outcome("", *found)]


class _Calls:
    def __init__(self, store: Store, design: Design) -> None:
        self.store, self.design = store, design

    def now(self) -> Any:
        return self.store, self.store.now

    def _listed(self, now: Any, old: Old | None, answer: Any) -> list[Outcome]:
        """The answer for a listing, and that of one which is behind."""
        store = self.store
        found = [Outcome("", store, answer(now))]
        if old is not None and store.now - old.until < LAG:
            found.append(Outcome("behind", store, answer(old.value)))
        return found

    def packs(self) -> Any:
        return self._listed(self.store.objects, self.store.old_objects, lambda objects: objects)

    def places(self) -> Any:
        return self._listed(self.store.places, self.store.old_places, lambda places: places)

    def _ledger(self) -> Ledger:
        store = self.store
        if store.forged is not None and not self.design.signatures:
            return store.forged._replace(number=store.ledger.number)
        return store.ledger

    def points(self) -> Any:
        """The item's points, and its ledger."""
        store = self.store
        return self._listed(
            store.points, store.old_points, lambda points: (store.now, points, self._ledger())
        )  # fmt: skip

    def records(self) -> Any:
        ledger = self._ledger()
        return self._listed(self.store.places, self.store.old_places, lambda places: (places, ledger))

    def upload(self, values: tuple[int, ...]) -> Any:
        store = self.store
        obj = Obj(store.serial, store.now, tuple((store.serial * 2 + i, v) for i, v in enumerate(values)))
        return store.with_objects((*store.objects, obj), serial=store.serial + 1), obj

    def carrier(self, blocks: tuple[tuple[int, int], ...]) -> Any:
        store, found = self.store, []
        for fault, kept in (("", blocks), ("cut short", blocks[:-1])):
            obj = Obj(store.serial, store.now, kept)
            to = store.with_objects((*store.objects, obj), serial=store.serial + 1)
            found.append(Outcome(fault, to, obj.id))
        return found

    def check(self, one: int) -> Any:
        """The blocks of a carrier, read back."""
        obj = self.store.object(one)
        return self.store, obj and obj.blocks

    def get(self, one: int) -> Any:
        return self.check(one)

    def point(self, point: Point, _until: int | None) -> Any:
        """Store a point. world.py has what can happen to the request on its way."""
        store = self.store
        point = point._replace(
            id=store.serial, modified=store.now if self.design.modified_when_stored else point.sent
        )  # fmt: skip
        return store.with_points((*store.points, point), serial=store.serial + 1), point.modified

    def state(self, record: Places) -> Any:
        """Create the next record of places, only if it is absent."""
        store = self.store
        if self.design.compare_and_swap and store.places.number >= record.number:
            return store, 0
        old = Old(store.now, store.places) if store.lags else None
        to = store._replace(places=record._replace(created=store.now), old_places=old)
        return [Outcome("", to, store.now), Outcome("answer lost", to, 0)]

    def ledger(self, record: Ledger, until: int | None = None) -> Any:
        store = self.store
        if store.ledger.number >= record.number or (until is not None and store.now > until):
            return store, False
        return [
            Outcome("", store._replace(ledger=record), True),
            Outcome("answer lost", store._replace(ledger=record), False),
        ]

    def delete(self, one: int, until: int | None) -> Any:
        store, obj = self.store, self.store.object(one)
        if obj is None or (until is not None and store.now > until):
            return store, None
        rest = tuple(o for o in store.objects if o.id != one)
        to = store.with_objects(rest, trash=(*store.trash, obj))
        return [Outcome("", to, None), Outcome("refused", store, None)]

    def drop(self, one: int) -> Any:
        """Delete the object of a point."""
        store = self.store
        if not any(p.id == one for p in store.points):
            return store, None
        rest = tuple(p for p in store.points if p.id != one)
        lost = tuple(p for p in store.points if p.id == one)
        to = store.with_points(rest, trash=store.trash + lost)
        return [Outcome("", to, None), Outcome("refused", store, None)]

    def accident(self, one: int) -> Any:
        """Somebody deletes a point, and not by rpdrive."""
        _refused, store, _answer = self.drop(one)[0]
        return store, None

    def undelete(self) -> Any:
        """The store's own undelete: everything comes back as old as it was."""
        store = self.store
        objects = tuple(o for o in store.trash if isinstance(o, Obj))
        points = tuple(p for p in store.trash if isinstance(p, Point))
        return store._replace(
            objects=store.objects + objects, points=store.points + points, trash=(), restored=True
        ), None  # fmt: skip

    def serve(self, point: Point) -> Any:
        """A request is served that hung since long ago, and whose writer is gone."""
        store = self.store
        return store.with_points((*store.points, point._replace(modified=store.now))), None

    def forge(self, record: Ledger) -> Any:
        """Store a record that no admin signed: whoever makes backups can."""
        return self.store._replace(forged=record), None

    def report(self, *_what: Any) -> Any:
        return self.store, None

    def missing(self, *_what: Any) -> Any:
        return self.store, None
