"""How much memory an import takes of a disk that lists N packs, in a process of its own: prints KiB and a count.

The list is one that somebody forged: none of its packs is on the disk.

    python -m tests.kit.import_memory FOLDER N
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from catalog.seeds.disk import (
    LIST_FILE,
    SEED_FILE,
    Listed,
    decode_seed_file,
    read_list,
    write_list,
    write_seed_file,
)
from tests.kit.peak import forget_peak, peak
from tests.kit.seeding import Seed


def forge(seed: Seed, packs: int) -> None:
    """Make the disk of a seed list so many packs more, and its seed.json fit."""
    disk = seed.disks[0]
    file = decode_seed_file((disk / SEED_FILE).read_bytes(), "")
    own = list(read_list(disk / LIST_FILE, file.row))
    series = seed.world.machine.hex()[:8]

    def rows() -> Iterator[Listed]:
        yield from (row for row in own if row.name < "packs/")
        yield from (Listed(f"packs/{series}/00/{n:032x}", 32 << 20, bytes(32)) for n in range(packs))
        yield from (row for row in own if row.name > "packs0")

    written = write_list(disk / LIST_FILE, rows())
    row = msgspec.structs.replace(file.row, **written._asdict())
    write_seed_file(disk, msgspec.structs.replace(file, disks=(row,)))


def main() -> None:
    seed = Seed(Path(sys.argv[1]), 1)
    seed.run(*seed.disks, partial=True)  # loads what an import needs
    forge(seed, int(sys.argv[2]))
    forget_peak()
    before = peak()
    result = seed.run(*seed.disks)
    print(peak() - before, result.disks[0].missing.objects)


if __name__ == "__main__":
    main()
