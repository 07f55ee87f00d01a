"""A look at a vault of many machines costs what is new, and remembers what it read."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.alerts import looking
from catalog.alerts.looking import Looker
from catalog.store.metered import MeteredStore
from catalog.vault import open_vault
from tests.kit.made.make import make
from tests.kit.vaults import PASSPHRASE


def test_of_many_jobs_the_newest_of_each_machine_count_and_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "JOBS", 60)
    monkeypatch.setattr(looking, "LEAST_JOBS", 5)
    store = make(tmp_path / "vault", machines=3, points=90)
    meter = MeteredStore(store)
    vault = open_vault(meter, passphrase=PASSPHRASE)
    looker = Looker(tmp_path / "state", vault.id)
    before = meter.snapshot()
    first = looker.look(vault)
    assert (meter.snapshot() - before).get.requests == 3 * (1 + 1 + 1 + 20), "machine, item, newest point, jobs"
    assert len(first.runs) == 3 * 20 and len(first.points) == 270 and not first.gaps
    assert {run.started for run in first.runs} == {store.shape.time(0, point) for point in range(70, 90)}
    before = meter.snapshot()
    for again in (looker, Looker(tmp_path / "state", vault.id)):
        assert again.look(vault).runs == first.runs
    assert (meter.snapshot() - before).get.requests == 0
    store.close()
