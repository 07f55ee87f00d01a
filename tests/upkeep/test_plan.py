"""The plan of a run is that of the model, on whatever states random histories of the model lead to."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from catalog.errors import StoreError
from catalog.format.blocks import PackKind
from catalog.format.message import MAX_OFFSET
from catalog.format.packs import HEADER
from catalog.format.places import (
    BrokenRow,
    DeadRow,
    FarExtent,
    InsteadRow,
    LeavingRow,
    MovedRow,
    PlacesRecord,
    RunRow,
    decode_places,
    encode_places,
)
from catalog.places import Run
from catalog.prune.plan import HOUR, Facts, Limits, LivePack, Move, Object, Plan
from catalog.prune.state import Key
from tests.model.design import DESIGN
from tests.model.pruner import _Plan as Model
from tests.model.scenarios import EVERYTHING, SCENARIOS, point
from tests.model.store import Store
from tests.model.values import Obj, Places, home
from tests.model.world import Scene

BLOCK, CONTENTS = 100, 50  # bytes of a block, and of what follows the blocks of a pack
SERIES, BY = b"seri", bytes(16)
KIND = int(PackKind.DATA)
ALL_MOVES = Limits(share=0.0, waste=1, small=1 << 40, most=1, target=1 << 40)
_DESIGN = replace(DESIGN, gaps_refused=False)  # the ledger has no part in the plan for packs


def key(one: int) -> Key:
    return Key(KIND, SERIES + bytes(8) + one.to_bytes(4, "big"))


def number(one: Key) -> int:
    return int.from_bytes(one.id[-4:], "big")


def span(place: int) -> tuple[int, int]:
    start = HEADER.size + BLOCK * (place & 1)
    return start, start + BLOCK


class Translated:
    """A store of the model as listings, a record and a mark; and decisions back as those of the model."""

    def __init__(self, store: Store, short: tuple[int, ...] = ()) -> None:
        self.store, self.short = store, short  # objects that are listed with a block less
        self.objects = {obj.id: obj for obj in store.objects}
        self.places = {p for obj in store.objects for p, _ in obj.blocks}
        self.places |= {p for p, _ in (*store.places.dead, *store.places.moved)}

    def plan(self) -> Plan:
        store = self.store
        record = None
        if store.places != Places():
            record = self._record()
            name = f"places/{SERIES.hex()}/{record.number:08d}"
            record = decode_places(encode_places(record), name)  # what is compared can be written
        given_up = max((since for _n, since in store.ledger.accepted), default=0)
        facts = Facts(record, store.places.created * HOUR, store.now * HOUR, given_up=given_up * HOUR)
        plan = Plan(facts, ALL_MOVES)
        plan.take(self._objects(), self._live(), self._ends)
        return plan

    def _objects(self) -> Iterator[Object]:
        for one in sorted(self.objects):
            obj = self.objects[one]
            yield Object(key(one), self._size(obj), obj.modified * HOUR)

    def _size(self, obj: Obj) -> int:
        return HEADER.size + BLOCK * len(obj.blocks) + CONTENTS - (BLOCK if obj.id in self.short else 0)

    def _ends(self, objects: object) -> dict[Key, int]:
        return {obj.key: obj.size - CONTENTS for obj in objects}  # type: ignore[attr-defined]

    def live_places(self) -> set[int]:
        gone = {one for one, _ in self.store.ledger.gone}
        live = {p for point in self.store.points if point.id not in gone for p, _ in point.refs}
        return live | {copy for lost, copy in self.store.places.instead if lost in live}

    def _live(self) -> Iterator[LivePack]:
        live = self.live_places()
        for one in sorted({home(place) for place in live}):
            spans = sorted(span(p) for p in live if home(p) == one)
            joined = [(spans[0][0], spans[1][1])] if len(spans) == 2 else spans
            yield LivePack(key(one), joined)

    def _record(self) -> PlacesRecord:
        places = self.store.places
        carriers = sorted({carrier for _p, carrier in places.moved})
        moved = []
        for one in sorted({home(p) for p, _ in places.moved}):
            runs = [
                RunRow(carriers.index(carrier), span(p)[0], BLOCK, self._at(p, carrier))
                for p, carrier in sorted(places.moved)
                if home(p) == one
            ]
            moved.append(MovedRow(key(one).id, KIND, runs))
        return PlacesRecord(
            series=SERIES, number=places.number, by=BY, began=1, dead=list(self._dead_rows()),
            carriers=[key(one).id for one in carriers], moved=moved,
            leaving=[LeavingRow(key(one).id, KIND, since * HOUR) for one, since in places.leaving],
            instead=[
                InsteadRow(
                    key(home(lost)).id, KIND, span(lost)[0], 0,
                    FarExtent(key(home(copy)).id, span(copy)[0], BLOCK, 0, 1, bytes(16)),
                )
                for lost, copy in places.instead
            ],
        )  # fmt: skip

    def _at(self, place: int, carrier: int) -> int:
        obj = self.objects.get(carrier)
        order = [p for p, _ in obj.blocks] if obj is not None else []
        return HEADER.size + BLOCK * (order.index(place) if place in order else 0)

    def _dead_rows(self) -> Iterator[DeadRow]:
        """Rows as the code writes them: those of a pack that is dead as a whole cover all that there could be."""
        dead, moved = dict(self.store.places.dead), dict(self.store.places.moved)
        for one in sorted({home(p) for p in dead}):
            places = sorted(p for p in dead if home(p) == one)
            obj = self.objects.get(one)
            own = {p for p, _ in obj.blocks} if obj is not None else set(places)
            whole = not any(home(p) == one for p in moved) and own <= set(places)
            times = {since if since is None else since * HOUR for since in (dead[p] for p in places)}
            if whole and len(times) == 1:
                yield DeadRow(key(one).id, KIND, times.pop(), [])
                continue
            for place in places:
                start, end = span(place)
                if whole:
                    start, end = 0 if place == places[0] else start, MAX_OFFSET if place == places[-1] else end
                since = dead[place]
                yield DeadRow(key(one).id, KIND, since if since is None else since * HOUR, [(start, end)])

    # --- back -----------------------------------------------------------------------------------------------

    def dead(self, plan: Plan) -> dict[int, int | None]:
        found: dict[int, int | None] = {}
        for place in self.places:
            middle = span(place)[0] + BLOCK // 2
            for segment in plan.state.dead.get(key(home(place)), ()):
                if segment.start <= middle < segment.end:
                    found[place] = segment.since and segment.since // HOUR
        return found

    def moved(self, plan: Plan) -> dict[int, int]:
        return {
            2 * number(pack) + (run.start - HEADER.size) // BLOCK + n: number(Key(KIND, run.holder))
            for pack, runs in plan.state.moved.items()
            for run in runs
            for n in range((run.end - run.start) // BLOCK)
        }

    def leaving(self, plan: Plan) -> dict[int, int]:
        """The rows of `leaving`; and carriers that no record names, which the code treats as packs."""
        found = {number(one): since // HOUR for one, since in plan.state.leaving.items()}
        for obj in self.store.objects:
            rows = plan.state.dead.get(key(obj.id), ())
            if rows and all(home(p) != obj.id for p, _ in obj.blocks):
                assert [tuple(row) for row in rows] == [(0, MAX_OFFSET, 0)]
                found[obj.id] = 0
        return found

    def move(self, plan: Plan, moves: list[Move], carrier: int) -> list[int]:
        """Put what the moves keep into a carrier. Returns its places."""
        runs: dict[Key, tuple[Run, ...]] = {}
        kept: list[int] = []
        for move in moves:
            places = [p for p in (2 * number(move.key), 2 * number(move.key) + 1) if self._is_kept(p, move)]
            first = HEADER.size + BLOCK * len(kept)
            runs[move.key] = tuple(Run(*span(p), key(carrier).id, first + BLOCK * n) for n, p in enumerate(places))
            kept += places
        plan.moved(key(carrier), runs)
        return kept

    def _is_kept(self, place: int, move: Move) -> bool:
        start, end = span(place)
        assert not any(low < end and start < high and not (low <= start and end <= high) for low, high in move.drop)
        there = place in {p for p, _ in self.objects[number(move.source)].blocks}
        return there and not any(low <= start and end <= high for low, high in move.drop)


def check(store: Store, *, cut: bool, merge: bool) -> tuple[int, int]:
    """Compare what the model and the code decide. Returns how much was moved and deleted."""
    model = Model(_DESIGN, store.places, store.ledger, store.now, store.points, store.objects)
    here = Translated(store)
    plan = here.plan()
    assert bool(plan.refusal()) == bool(model.refusal())
    if plan.refusal():
        return 0, 0
    model.mark()
    assert here.dead(plan) == model.dead
    assert here.leaving(plan) == model.leaving
    assert sorted(number(obj.key) for obj in plan.deletes) == sorted(model.deletes)
    # The code does not move a pack of which nothing is alive: it will soon go as it is.
    alive = {home(p) for p in model.live}
    # Nor does it cut a carrier that holds blocks of a pack whose original goes in this run: the next one does.
    busy = {carrier for p, carrier in model.moved.items() if home(p) in model.deletes}
    cuts = [b for b in model.cuts(cut) if home(b[0][0]) in alive | {home(p) for p in model.moved}]
    cuts = [b for b in cuts if model.moved.get(b[0][0]) not in busy]
    merged = [tuple(row for row in blocks if home(row[0]) in alive) for blocks in model.merged(merge, cuts)]
    moves = [move for group in plan.moves() for move in group]
    assert len({move.key for move in moves}) == len(moves), "a pack is moved twice"
    is_ripe = model._is_ripe
    drops = [m for m in moves if any(home(p) == number(m.key) and is_ripe(p) for p in here.places)]
    wholes = [m for m in moves if m not in drops and m.source == m.key]
    carrier = store.serial
    if cut:
        assert sorted(number(move.key) for move in drops) == sorted(home(blocks[0][0]) for blocks in cuts)
        for blocks in cuts:
            [move] = [m for m in drops if number(m.key) == home(blocks[0][0])]
            assert here.move(plan, [move], carrier) == [p for p, _ in blocks]
            model.put(carrier, blocks)
            carrier += 1
    if merge and cut:
        assert sorted(number(m.key) for m in wholes) == sorted({home(p) for blocks in merged for p, _ in blocks})
        for blocks in filter(None, merged):
            kept = here.move(plan, sorted(wholes, key=lambda m: number(m.key)), carrier)
            assert sorted(kept) == sorted(p for p, _ in blocks)
            model.put(carrier, blocks)
    assert here.moved(plan) == model.moved
    assert here.dead(plan) == model.dead
    assert here.leaving(plan) == model.leaving
    assert plan.is_changed() == model.is_changed()
    written = plan.state.record(SERIES, "", store.places.number + 1, BY, 1)
    decode_places(encode_places(written), f"places/{SERIES.hex()}/{written.number:08d}")
    return len(moves), len(plan.deletes)


def histories(scene: Scene, seed: int, steps: int) -> Iterator[Store]:
    """The stores of a history at random."""
    rng = random.Random(seed)
    world = scene.first
    for _ in range(steps):
        found = list(scene.steps(world))
        if not found:
            return
        moves = [step for step in found if step.world.ticked]
        rest = [step for step in found if not step.world.ticked]
        world = rng.choice(moves if not rest or (moves and rng.random() < 1 / 8) else rest).world
        yield world.store


def test_the_plan_is_that_of_the_model() -> None:
    seen: set[Store] = set()
    moved = deleted = 0
    scenes = [(scenario.scene(), 60, range(6)) for scenario in SCENARIOS]
    for scene, steps, seeds in (*scenes, (EVERYTHING.scene(), 400, range(8))):
        for seed in seeds:
            for store in histories(scene, seed, steps):
                for later in (0, 169):
                    then = store._replace(now=store.now + later)
                    bare = then._replace(lags=False, old_objects=None, old_points=None, old_places=None)
                    if bare not in seen:
                        seen.add(bare)
                        for cut, merge in ((False, False), (True, False), (True, True)):
                            some = check(bare, cut=cut, merge=merge)
                            moved, deleted = moved + some[0], deleted + some[1]
    assert len(seen) > 2_000
    assert moved > 1_000
    assert deleted > 500


def test_a_listing_out_of_order_is_refused() -> None:
    store = EVERYTHING.store
    plan = Plan(Facts(None, 1, store.now * HOUR), ALL_MOVES)
    here = Translated(store)
    with pytest.raises(StoreError, match="order"):
        plan.take(reversed(list(here._objects())), here._live(), here._ends)


def test_an_original_stays_while_its_carrier_is_not_listed() -> None:
    obj, carrier = Obj(0, 1_000, ((0, 0), (1, 1))), Obj(5, 9_000, ((0, 0), (1, 1)))
    moved = Places(1, 9_000, (), ((0, 5), (1, 5)), ((0, 9_000),))
    store = EVERYTHING.store._replace(now=10_000, points=(point(1, 1, 0, 1),), places=moved)
    with_carrier, without, cut_short = (
        Translated(store._replace(objects=objects), short).plan()
        for objects, short in (((obj, carrier), ()), ((obj,), ()), ((obj, carrier), (5,)))
    )
    assert [number(one.key) for one in with_carrier.deletes] == [0]
    for plan in (without, cut_short):
        assert not plan.refusal() and not plan.deletes and plan.state.leaving == plan.before.leaving


@pytest.mark.parametrize("lost", [(8, 8 << 20, 16 << 20), (8, 5_000, 9_000)], ids=["large", "small"])
def test_blocks_that_are_known_to_be_lost_may_lie_side_by_side(lost: tuple[int, ...]) -> None:
    end = lost[-1] + (8 << 20)
    rows = [BrokenRow(key(0).id, KIND, offset, 1, "the disk") for offset in lost]

    def missing(broken: list[BrokenRow]) -> list[Key]:
        record = PlacesRecord(series=SERIES, number=1, by=BY, began=1, broken=broken)
        plan = Plan(Facts(record, 1, 10_000 * HOUR), ALL_MOVES)
        plan.take([], [LivePack(key(0), [(lost[0], end)])], lambda objects: {})
        return plan.missing

    assert missing(rows) == []
    assert missing(rows[1:]) == [key(0)], "the first block is not known"
    assert missing([]) == [key(0)]
