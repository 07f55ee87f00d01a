"""The instant of a promotion lies between the points that were stored before it, and those that will be."""

from __future__ import annotations

import pytest

from catalog.format.records import PointName
from catalog.promotion.promote import moment_of
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.kit.vaults import new_vault

S = 10**9  # ns
NEWEST = 1_700_000_000 * S


@pytest.mark.parametrize(("step", "newest"), [(1, NEWEST + S // 2), (S, NEWEST), (2 * S, NEWEST), (1, 0)])
def test_what_is_stored_next_is_younger(monkeypatch: pytest.MonkeyPatch, step: int, newest: int) -> None:
    """Also by a store that tells the time more finely than it stamps objects."""
    vault = new_vault(MemoryStore())
    now = [max(newest, NEWEST) + S // 4]

    def slept(seconds: float) -> None:
        now[0] += int(seconds * S)

    def stored(_vault: Vault) -> list[tuple[PointName, int]]:
        return [(PointName(bytes(16), bytes(16), 0, 1, bytes(16), False), newest)] if newest else []

    monkeypatch.setattr("catalog.promotion.promote.time.sleep", slept)
    monkeypatch.setattr(MemoryStore, "now", lambda _store: now[0])
    monkeypatch.setattr(Vault, "stored_points", stored)
    at = moment_of(vault)
    assert newest <= at * S < now[0] // step * step
