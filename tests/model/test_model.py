"""The design of pruning holds in the model, and without any of its rules it doesn't: docs/prune-design.md."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model import witnesses
from tests.model.__main__ import main
from tests.model.design import DESIGN, RULES
from tests.model.quiet import converges
from tests.model.scenarios import EVERYTHING, SCENARIOS, Scenario
from tests.model.search import breadth_first, fewest_switches, follow, walk

BY_RULE = {rule: scenario for scenario in SCENARIOS for rule in scenario.kills}
_SMALL = ("accident", "forged", "instead", "ledger", "merge", "original comes back", "refused")
SMALL = [s for s in SCENARIOS if s.name in _SMALL]


def test_every_rule_has_a_scene_and_a_history() -> None:
    assert set(RULES) == set(BY_RULE) == set(witnesses.read())
    assert len(BY_RULE) == sum(len(scenario.kills) for scenario in SCENARIOS)


@pytest.mark.parametrize("rule", RULES)
def test_without_a_rule_something_goes_wrong(rule: str) -> None:
    """If the model has changed, `python -m tests.model --write` finds the histories again."""
    scene = BY_RULE[rule].scene(replace(DESIGN, **{rule: False}))
    assert follow(scene, witnesses.read()[rule])[:2] in ("I1", "I2", "I3", "I4")


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_every_history_of_a_small_scene(scenario: Scenario) -> None:
    found = breadth_first(scenario.scene(), 30_000, at_end=converges)
    assert (found.broken, found.complete) == ("", True), "\n".join(found.history)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_histories_with_few_switches(scenario: Scenario) -> None:
    found = fewest_switches(scenario.scene(), 3, 3_000)
    assert found.broken == "", "\n".join(found.history)


def test_long_histories_at_random() -> None:
    for seed in (*range(10), 398, 941):  # in the last two, a partial point goes during the quiet at the end
        found = walk(EVERYTHING.scene(), seed, 300, at_end=converges)
        assert found.broken == "", (seed, found.history)


def test_a_fault_is_found_at_random() -> None:
    """Long histories get to where things go wrong."""
    scenes = (EVERYTHING.scene(replace(DESIGN, two_marks=False, second_look=False)) for _ in range(60))
    assert any(walk(scene, seed, 300).broken for seed, scene in enumerate(scenes))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--full"]) == 0, capsys.readouterr().out
