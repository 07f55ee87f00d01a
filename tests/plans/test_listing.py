"""Whatever a record that opens may say, it can be shown."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.format.plan import PlanRecord
from catalog.plans.effective import Level, effective
from catalog.plans.fields import SETTABLE
from catalog.plans.listing import next_runs, plan_json, plan_rows, state_text
from catalog.plans.now import words_of
from tests.kit.format_values import FEW
from tests.plans.plans import records

LAST = 2**63 - 1  # ns
NOW = st.one_of(st.integers(0, LAST), st.sampled_from([0, 1_795_784_400 * 10**9, LAST]))


@settings(FEW)
@given(records(), NOW, st.sampled_from(["Linux", "Windows", ""]))
def test_every_plan_can_be_shown(record: PlanRecord, now: int, system: str) -> None:
    plan = effective([Level("item", "i", record.id, 1, record)])
    rows = plan_rows(plan, system)
    assert {row[0].replace(" ", "_") for row in rows} >= plan.origins.keys() & set(SETTABLE)
    row = json.loads(json.dumps(plan_json(plan, now)))
    assert row["fields"].keys() == set(SETTABLE)
    runs = next_runs(plan, now)
    assert runs == sorted(set(runs)) and all(slot > now for slot in runs)
    assert bool(state_text(plan, now)) != plan.runs_at(now)
    words = words_of(plan, "item", system)
    assert all(isinstance(word, str) for word in words)
    if plan.what in ("", "system state"):
        last = ["--system-state"] if plan.what else ["--", *words[len(words) - len(plan.paths) :]]
        assert words[len(words) - len(last) :] == last
    else:
        assert words.count(f"--{plan.what}") == len(plan.paths)
