"""Runs the model: `python -m tests.model [--full] [--write] [scene …]`.

Prints for each scene how many states it has, and for each rule the history that goes wrong without it. With --full,
all histories of the scenes are searched, and long ones at random; with --write, witnesses.txt is written again.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

from tests.model import witnesses
from tests.model.design import DESIGN, RULES
from tests.model.quiet import converges
from tests.model.scenarios import EVERYTHING, SCENARIOS
from tests.model.search import Found, breadth_first, fewest_switches, shortened, walk

MOST = 400_000  # states of a scene; a search ends after the length of history that goes beyond
SWITCHES, MOST_SWITCHED = 11, 1_000_000
WALKS, LENGTH = 1000, 400


def main(arguments: list[str]) -> int:
    full, write = "--full" in arguments, "--write" in arguments
    names = {a for a in arguments if not a.startswith("--")}
    wrong, found_by_rule = 0, dict[str, tuple[str, ...]]()
    for scenario in SCENARIOS:
        if names and scenario.name not in names:
            continue
        began = time.process_time()
        if full:
            found = breadth_first(scenario.scene(), MOST, at_end=converges)
        else:
            found = fewest_switches(scenario.scene(), 4, 30_000)
        wrong += bool(found.broken)
        _show(f"{scenario.name}: the design", found, began)
        for rule in scenario.kills:
            began = time.process_time()
            found = fewest_switches(
                scenario.scene(replace(DESIGN, **{rule: False})), SWITCHES, MOST_SWITCHED
            )  # fmt: skip
            scene = scenario.scene(replace(DESIGN, **{rule: False}))
            found = found._replace(history=shortened(scene, found.history))
            wrong += not found.broken
            _show(f"{scenario.name}: without {rule}", found, began)
            found_by_rule[rule] = found.history
    if not names:
        killed = {rule for scenario in SCENARIOS for rule in scenario.kills}
        print("rules that no scene is about:", sorted(set(RULES) - killed) or "none")
        wrong += killed != set(RULES)
    if write:
        witnesses.write(witnesses.read() | found_by_rule)
    if full and not names:
        wrong += _at_random()
    return wrong


def _at_random() -> int:
    began, wrong = time.process_time(), 0
    for seed in range(WALKS):
        found = walk(EVERYTHING.scene(), seed, LENGTH, at_end=converges)
        if found.broken:
            wrong += 1
            _show(f"at random, seed {seed}", found, began)
    print(f"{WALKS} histories of {LENGTH} steps at random, {time.process_time() - began:.1f} s")
    return wrong


def _show(what: str, found: Found, began: float) -> None:
    said = found.broken or ("nothing goes wrong" + ("" if found.complete else ", so far"))
    print(f"{what}: {found.states} states, {time.process_time() - began:.1f} s: {said}", flush=True)
    for label in found.history:
        print(f"    {label}")


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
