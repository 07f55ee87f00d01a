"""The steps of a world: each actor's next call, however it may go; crashes; requests that hang; the clock.

An actor's state is the answers that it got: a generator can't be copied, so one that is needed again runs again.
These states are kept in a tree, in which each state is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.model.design import Design
from tests.model.invariants import violation
from tests.model.store import Store, outcomes
from tests.model.values import STEPS, Actor, Call, Point
from tests.model.writer import AGAIN, LATE

Job = Callable[[Design], Actor]


class Role(NamedTuple):
    """An actor: its name, what it may do, and its jobs one after the other. After a crash, the next job begins."""

    name: str
    may: frozenset[str]
    jobs: tuple[Job, ...]


class Limits(NamedTuple):
    """What may happen in a history, and how often."""

    clock: tuple[str, ...] = ("L+", "G+")
    ticks: int = 2
    crashes: int = 0
    faults: int = 0
    kinds: frozenset[str] = frozenset()  # of faults


class Flight(NamedTuple):
    """The creation of a point whose request hangs."""

    actor: int
    node: int
    point: Point


class World(NamedTuple):
    """All that matters of a moment. `actors` are numbers of nodes."""

    store: Store
    actors: tuple[int, ...]
    ticks: int
    crashes: int
    faults: int
    flights: tuple[Flight, ...] = ()
    ticked: bool = False  # by the last step


class _Node:
    __slots__ = ("actor", "answers", "call", "job", "kids")

    def __init__(self, actor: int, job: int, answers: tuple[Any, ...], call: Call | None) -> None:
        self.actor, self.job, self.answers, self.call = actor, job, answers, call
        self.kids: dict[Any, int] = {}


class Step(NamedTuple):
    """A step, the world after it, and the invariant that it broke."""

    label: str
    world: World
    broken: str


class Scene:
    """Actors, a store and limits: what may happen from there."""

    def __init__(
        self,
        design: Design,
        store: Store,
        roles: tuple[Role, ...],
        limits: Limits,
        prologue: tuple[str, ...] = (),
    ) -> None:
        self.design, self.roles, self.limits = design, roles, limits
        self._nodes: list[_Node] = []
        self._starts: dict[tuple[int, int], int] = {}
        actors = tuple(self._start(actor, 0) for actor in range(len(roles)))
        self.first = World(store, actors, limits.ticks, limits.crashes, limits.faults)
        for label in prologue:
            self.first = next(step.world for step in self.steps(self.first) if step.label == label)

    # --- actors -------------------------------------------------------------------------------------------

    def _start(self, actor: int, job: int) -> int:
        number = self._starts.get((actor, job))
        if number is None:
            number = self._starts[actor, job] = len(self._nodes)
            self._nodes.append(_Node(actor, job, (), None))
            if job < len(self.roles[actor].jobs):
                self._nodes[number].call = next(self.roles[actor].jobs[job](self.design))
        return number

    def _answered(self, number: int, answer: Any) -> int:
        """The state of an actor after an answer."""
        node = self._nodes[number]
        kid = node.kids.get(answer)
        if kid is None:
            generator = self.roles[node.actor].jobs[node.job](self.design)
            next(generator)
            try:
                for earlier in node.answers:
                    generator.send(earlier)
                call = generator.send(answer)
            except StopIteration:
                kid = self._start(node.actor, node.job + 1)
            else:
                kid = len(self._nodes)
                self._nodes.append(_Node(node.actor, node.job, (*node.answers, answer), call))
            node.kids[answer] = kid
        return kid

    def actor_of(self, before: World, after: World) -> int:
        """Whose step it was; that of the clock and of the network is nobody's, and takes no switch."""
        for actor, (was, now) in enumerate(zip(before.actors, after.actors, strict=True)):
            if was != now:
                return actor
        return -1

    # --- steps --------------------------------------------------------------------------------------------

    def steps(self, world: World) -> Iterator[Step]:
        store = world.store
        for actor, number in enumerate(world.actors):
            node = self._nodes[number]
            if node.call is None:
                continue
            if not any(flight.actor == actor and flight.node == number for flight in world.flights):
                yield from self._calls(world, actor, number, node.call)
            if world.crashes and node.answers:
                to = self._start(actor, node.job + 1)
                yield self._step(world, f"{self.roles[actor].name} crashes", store, actor, to, crashes=1)
        for flight in world.flights:
            yield self._land(world, flight)
        if world.ticks and not world.ticked:
            for name in self.limits.clock:
                later = store._replace(now=store.now + STEPS[name])
                to_world = world._replace(store=later, ticks=world.ticks - 1, ticked=True)
                yield Step(f"the clock: {name}", to_world, "")

    def _calls(self, world: World, actor: int, number: int, call: Call) -> Iterator[Step]:
        store, role = world.store, self.roles[actor]
        label = f"{role.name}: {shown(call)}"
        if call[0] not in role.may:
            yield Step(label, world, f"I8: {role.name} may not do that")
            return
        if call[0] == "point":
            until = call[2]
            if until is not None and store.now > until:
                yield self._step(world, label + ", too late", store, actor, self._answered(number, LATE))
                return
            call = ("point", call[1]._replace(sent=store.now), until)
            if self._allows(world, "request fails"):
                again = self._answered(number, AGAIN)
                yield self._step(world, label + ", request fails", store, actor, again, faults=1)
            if self._allows(world, "request hangs"):
                hanging = self._step(world, label + ", request hangs", store, actor, number, faults=1)
                flights = (*world.flights, Flight(actor, number, call[1]))
                yield hanging._replace(world=hanging.world._replace(flights=flights))
        elif call[0] == "missing":
            yield Step(label, world, self._of_reader(store, call[1]))
            return
        for fault, after, answer in outcomes(store, self.design, call):
            if not fault:
                yield self._step(world, label, after, actor, self._answered(number, answer))
            elif self._allows(world, fault):
                to = self._answered(number, answer)
                yield self._step(world, f"{label}, {fault}", after, actor, to, faults=1)

    def _allows(self, world: World, fault: str) -> bool:
        return world.faults > 0 and fault in self.limits.kinds

    def _of_reader(self, store: Store, one: int) -> str:
        gone = {point for point, _ in store.ledger.gone}
        there = any(p.id == one and p.is_sound for p in store.points) and one not in gone
        return f"I1: a reader of point {one} is told that a block is missing" if there else ""

    def _land(self, world: World, flight: Flight) -> Step:
        """A request that hung is served: its actor learns of it, if it lives."""
        _fault, after, answer = outcomes(world.store, self.design, ("point", flight.point, None))[0]
        flights = tuple(f for f in world.flights if f is not flight)
        number = world.actors[flight.actor]
        if number == flight.node:
            number = self._answered(number, answer)
        label = f"{self.roles[flight.actor].name}: the request is served"
        step = self._step(world, label, after, flight.actor, number)
        return step._replace(world=step.world._replace(flights=flights))

    def _step(
        self, world: World, label: str, after: Store, actor: int, to: int, *, crashes: int = 0, faults: int = 0
    ) -> Step:
        actors = (*world.actors[:actor], to, *world.actors[actor + 1 :])
        then = World(
            after, actors, world.ticks, world.crashes - crashes, world.faults - faults, world.flights
        )  # fmt: skip
        if after is world.store:
            return Step(label, then, "")
        return Step(label, then, violation(world.store, after, by_rpdrive="accident" not in self.roles[actor].may))


def shown(call: Call) -> str:
    """A call, for people."""
    kind, *rest = call
    if kind == "point":
        point = call[1]
        return f"{'partial point' if point.partial else 'point'} {point.sequence} with {[p for p, _ in point.refs]}"
    if kind == "state":
        r = call[1]
        rows = {"dead": r.dead, "moved": r.moved, "leaving": r.leaving}
        return ", ".join((f"state {r.number}", *(f"{name} {dict(row)}" for name, row in rows.items() if row)))
    if kind in ("ledger", "forge") and rest:
        r = call[1]
        return f"{kind} {r.number}, forgotten {dict(r.forgotten)}, gone {[one for one, _ in r.gone]}"
    return " ".join(str(part) for part in (kind, *rest))
