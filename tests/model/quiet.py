"""I5 and I6: from any moment, whoever crashed, a few runs leave no garbage, and a backup succeeds."""

from __future__ import annotations

from tests.model.design import DESIGN
from tests.model.invariants import is_whole, violation
from tests.model.pruner import prune
from tests.model.store import Store, outcomes
from tests.model.values import Actor, G, holder
from tests.model.world import World
from tests.model.writer import backup

RUNS = 5  # in which no point goes: a partial one goes 60 days after it was stored, and what it kept later
_known: dict[Store, str] = {}


def converges(world: World) -> str:
    """What goes wrong if all actors die at this moment, and upkeep and a backup run alone; empty if nothing."""
    store = world.store._replace(lags=False, old_objects=None, old_points=None, old_places=None)
    known = _known.get(store)
    if known is None:
        known = _known[store] = _of(store)
    return known


def _of(store: Store) -> str:
    gone = {one for one, _ in store.ledger.gone}
    if any(not is_whole(store, p) for p in store.points if p.id not in gone):
        return ""  # a point that is not sound lacks blocks: upkeep says so, and waits
    runs = 0
    while runs < RUNS:
        points = len(store.points)
        store = store._replace(now=store.now + G + 1)
        store, broken, reports = _alone(store, prune(DESIGN, cut=True))
        if broken or reports:
            return broken or (reports[0] if not store.trash else "")
        runs = runs + 1 if len(store.points) == points else 0
    record, gone = store.places, {one for one, _ in store.ledger.gone}
    live = {place for p in store.points if p.id not in gone for place, _ in p.refs}
    live |= {copy for lost, copy in record.instead if lost in live}
    used = {holder(record, place) for place in live}
    for obj in store.objects:
        if obj.id not in used:
            return f"I5: object {obj.id} is garbage, and stays"
    points = len(store.points)
    store, broken, _reports = _alone(store, backup(DESIGN, (0, 2)))
    if broken:
        return broken
    return "" if len(store.points) > points else "I6: a backup can't be made any more"


def _alone(store: Store, actor: Actor) -> tuple[Store, str, list[str]]:
    """Run an actor alone, with nothing going wrong."""
    reports = []
    try:
        call = next(actor)
        while True:
            if call[0] == "point":
                call = ("point", call[1]._replace(sent=store.now), call[2])
            if call[0] == "report":
                reports.append(str(call[1]))
            _fault, after, answer = outcomes(store, DESIGN, call)[0]
            broken = violation(store, after) if after is not store else ""
            if broken:
                return after, broken, reports
            store = after
            call = actor.send(answer)
    except StopIteration:
        return store, "", reports
