"""Measures the memory that listing a seed takes: `python -m tests.kit.seed_memory FOLDER OBJECTS` prints KiB."""

from __future__ import annotations

import sys
from pathlib import Path

from catalog.seeds.disk import DiskRow, check_list, read_list, write_list
from catalog.seeds.local import Facts, LocalDisk, LocalSeed, Stage
from catalog.seeds.staged import StagedStore
from catalog.store.memory import MemoryStore
from tests.kit.peak import forget_peak, peak

MACHINE = "11" * 16


def filled(folder: Path, objects: int) -> LocalSeed:
    """A seed with so many packs on its first disk."""
    seed = LocalSeed(folder)
    seed.save(Facts(id="22" * 16, machine=MACHINE, address="x", time=1, expires=2, stage=Stage.OPEN))
    seed.save_disk(LocalDisk(number=1, id="33" * 16, label="one", path=str(folder / "nowhere")))
    rows = ((f"packs/{MACHINE[:8]}/{n % 256:02x}/{n:032x}", 1 << 24, 1, bytes(32), 1) for n in range(objects))
    with seed._used() as db:
        db.execute("BEGIN")
        db.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")
    return seed


def main() -> None:
    folder, objects = Path(sys.argv[1]), int(sys.argv[2])
    seed = filled(folder / "seed", objects)
    small = filled(folder / "small", 10)
    for one in (small, seed):  # the first one loads what any takes
        forget_peak()
        before = peak()
        count, _bytes = one.totals(1)
        assert sum(1 for _ in StagedStore(MemoryStore(), one).list("packs/")) == count
        path = folder / "objects.jsonl"
        written = write_list(path, one.listed(1))
        row = DiskRow(
            number=1, id="33" * 16, objects=written.objects, bytes=written.bytes, list=written.list,
            list_bytes=written.list_bytes,
        )  # fmt: skip
        check_list(path, row)
        assert sum(1 for _ in read_list(path, row)) == count
    print(peak() - before)


if __name__ == "__main__":
    main()
