"""A page that runs for days keeps no more records than fit."""

from __future__ import annotations

from pathlib import Path

from mount.browse.resources.jobs import jobs
from mount.browse.resources.near_records import NearRecords
from tests.browse.know.worlds import HOUR, World


def test_the_records_used_last_stay_within_the_limit() -> None:
    records = NearRecords(10_000)
    for n in range(100):
        records[f"jobs/{n}"] = bytes(250)
    assert len(records) == 20 and "jobs/99" in records and "jobs/79" not in records
    assert records.pop("jobs/99") == bytes(250) and records.pop("jobs/99", None) is None
    assert records.get("jobs/80") == bytes(250)
    records["jobs/100"] = records["jobs/101"] = b""
    assert "jobs/80" in records


def test_a_vault_in_a_folder_keeps_its_records_there(tmp_path: Path) -> None:
    world = World(tmp_path)
    key = world.add("box")
    for _n in range(30):
        world.now += HOUR
        world.job(key)
    opened = world.opened()
    small = NearRecords(10_000)
    opened.vault.keep_records(small)
    assert len(jobs(opened, count=30, now=world.now).jobs) == 30
    assert 0 < len(small) < 31
    assert len(jobs(opened, count=30, now=world.now).jobs) == 30, "what was evicted is read again"
    opened.close()
