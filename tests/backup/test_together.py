"""Machines that back up into one vault at the same time, as threads on one store."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from backup import attempt, pipeline
from catalog.store.memory import MemoryStore
from tests.kit.protected import Protected, listed
from tests.kit.recorded import assert_whole


@pytest.mark.slow
def test_many_machines_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each machine has its own index and points; their writes don't interfere."""
    monkeypatch.setattr(pipeline, "PACK_TARGET", 200_000)
    monkeypatch.setattr(attempt, "INDEX_BYTES", 1)
    rng, memory = random.Random(8), MemoryStore()
    source = tmp_path / "source"
    for n in range(20):
        (source / f"d{n}").mkdir(parents=True)
        for m in range(40):
            (source / f"d{n}" / f"f{m}").write_bytes(rng.randbytes(2_000))
    machines = [
        Protected(memory, tmp_path / f"state {n}", name=f"machine {n}", partial_seconds=0.0) for n in range(4)
    ]
    failed: list[BaseException] = []

    def back_up(machine: Protected) -> None:
        try:
            for _ in range(3):
                machine.checked(source)
        except BaseException as e:  # noqa: BLE001 - reported by the test's own thread
            failed.append(e)

    threads = [threading.Thread(target=back_up, args=(m,)) for m in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    vault = machines[0].vault
    assert {m.name for m in vault.machines().values()} == {m.name for m in machines}
    points = vault.points(vault.point_names())
    assert sorted((p.machine_name, p.sequence) for p in points) == [
        (f"machine {n}", k) for n in range(4) for k in (1, 2, 3)
    ]
    assert assert_whole(vault) >= 12
    assert len(listed(vault)) == sum(name.startswith("packs/") for name in memory.objects)
