"""Searches: every history of a scene, the shortest first; or some, at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.model.world import Scene, World

CLOCK = 1 / 12


class Found(NamedTuple):
    """The result of a search: how many states it saw, whether all of them, and a history that broke something."""

    states: int
    complete: bool
    broken: str
    history: tuple[str, ...]


def breadth_first(scene: Scene, most: int, *, at_end: Callable[[World], str] | None = None) -> Found:
    """Every history, in order of length. States are remembered by a hash of 64 bits."""
    seen = {hash(scene.first)}
    front: list[tuple[World, Any]] = [(scene.first, None)]
    while front:
        following: list[tuple[World, Any]] = []
        for world, trail in front:
            for label, after, broken in scene.steps(world):
                if broken:
                    return Found(len(seen), False, broken, _labels((label, trail)))
                key = hash(after)
                if key not in seen:
                    seen.add(key)
                    following.append((after, (label, trail)))
            if at_end is not None and (broken := at_end(world)):
                return Found(len(seen), False, broken, _labels(trail))
        if len(seen) > most:
            return Found(len(seen), False, "", ())
        front = following
    return Found(len(seen), True, "", ())


def fewest_switches(scene: Scene, switches: int, most: int) -> Found:
    """Every history with at most so many switches from one actor to another, those with the fewest first.

    Most faults need few switches, however long they take.
    """
    seen: set[int] = set()
    front: list[tuple[World, int, Any]] = [(scene.first, -1, None)]
    for _ in range(switches + 1):
        later: list[tuple[World, int, Any]] = []
        while front:
            following: list[tuple[World, int, Any]] = []
            for world, actor, trail in front:
                key = hash((world, actor))
                if key in seen:
                    continue
                seen.add(key)
                for label, after, broken in scene.steps(world):
                    if broken:
                        return Found(len(seen), False, broken, _labels((label, trail)))
                    whose = scene.actor_of(world, after)
                    entry = (after, whose, (label, trail))
                    (following if whose == actor or actor < 0 else later).append(entry)
            if len(seen) > most:
                return Found(len(seen), False, "", ())
            front = following
        front = later
    return Found(len(seen), not front, "", ())


def walk(scene: Scene, seed: int, length: int, *, at_end: Callable[[World], str] | None = None) -> Found:
    """One history at random, with the clock moved at one step in twelve."""
    rng = random.Random(seed)
    world, trail = scene.first, None
    for n in range(length):
        steps = list(scene.steps(world))
        if not steps:
            break
        moves = [step for step in steps if step.world.ticked]
        rest = [step for step in steps if not step.world.ticked]
        label, world, broken = rng.choice(moves if not rest or (moves and rng.random() < CLOCK) else rest)
        trail = (label, trail)  # type: ignore[assignment]
        if not broken and at_end is not None and n % 16 == 15:
            broken = at_end(world)
        if broken:
            return Found(n + 1, False, broken, _labels(trail))
    return Found(length, True, "", ())


def follow(scene: Scene, history: tuple[str, ...]) -> str:
    """The invariant that the history breaks; empty if it breaks none, or can't happen so."""
    world = scene.first
    for wanted in history:
        for label, after, broken in scene.steps(world):
            if label == wanted:
                if broken:
                    return broken
                world = after
                break
        else:
            return ""
    return ""


def shortened(scene: Scene, history: tuple[str, ...]) -> tuple[str, ...]:
    """The history without steps that it breaks an invariant without, too."""
    n = len(history)
    while n:
        n -= 1
        if follow(scene, rest := history[:n] + history[n + 1 :]):
            history = rest
            n = min(n, len(history))
    return history


def _labels(trail: Any) -> tuple[str, ...]:
    labels = []
    while trail is not None:
        label, trail = trail
        labels.append(label)
    return tuple(reversed(labels))
