"""Machines with a plan, for tests of what runs by itself."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from catalog.access.settings import Settings
from catalog.format.plan import Schedule
from catalog.plans.local import LocalPlans, LocalVault
from catalog.plans.records import Plans, add_plan, next_record, refresh
from catalog.vault import Vault
from tests.kit.cli import Cli


def plan_item(vault: Vault, state: Path, rpdrive: Cli, source: Path, **fields: Any) -> LocalVault:
    """Plan the only item, `home`, for days that are not near; the plan counts for times gone by, too."""
    settings = Settings(rpdrive.environ)
    known = refresh(vault, f"file://{rpdrive.vault}", settings)
    assert known is not None
    machine = bytes.fromhex(known.machine)
    (item,) = vault.items(machine).values()
    plans = Plans(vault)
    away = (datetime.now(UTC).isoweekday() + 2) % 7 + 1  # three days from now, and four days ago
    schedule = Schedule(times=[0], weekdays=[away])
    own = plans.level("item", "home", item.id)
    add_plan(vault, own, next_record(
        own, zone="UTC", paths=[os.fsencode(source)], exclude=["*.tmp"], schedule=schedule, spread=0, **fields
    ))  # fmt: skip
    found = refresh(vault, known.address, settings)
    assert found is not None
    found = msgspec.structs.replace(found, items=[msgspec.structs.replace(i, since=0) for i in found.items])
    LocalPlans(state).save(found)
    return found
