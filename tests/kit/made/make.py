"""Makes a vault of very many points, all made up: `python -m tests.kit.made.make FOLDER --points 10000`.

Prints its address. The passphrase is that of all vaults of tests (tests/kit/vaults.py).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import msgspec

from catalog.store.local import LocalStore
from tests.kit.made.contents import Contents
from tests.kit.made.shape import HOUR, SECOND, Shape
from tests.kit.made.store import SHAPE, WRITTEN, MadeStore, Plan, made_url
from tests.kit.vaults import new_vault

KEPT = 3600 * SECOND  # from the last points until now


def make(
    folder: Path,
    *,
    machines: int = 1,
    points: int = 1,
    folders: int = 10,
    files: int = 10,
    end: int | None = None,
    interval: int = 8 * HOUR,
) -> MadeStore:
    """Make a vault in a folder, which must be new or empty; `end` is the time (ns) of the last points."""
    end = (time.time_ns() - KEPT if end is None else end) // SECOND * SECOND
    shape = Shape(machines, points, folders, files, end, interval)
    folder.mkdir(parents=True, exist_ok=True)
    vault = new_vault(LocalStore(folder / WRITTEN))
    plan, contents = Plan.of(vault, shape), Contents(vault.keys, shape)
    if folders:  # sizes of records alone are found out as quickly as they are read
        plan.sizes = {group: contents.sizes(group) for group in shape.groups}
        plan.sizes["starts"] = contents.sizes("jobs", is_start=True)
    (folder / SHAPE).write_bytes(msgspec.msgpack.encode(plan))
    return MadeStore.at(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    for name, default in (("machines", 1), ("points", 1), ("folders", 10), ("files", 10)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    options = parser.parse_args()
    make(
        options.folder, machines=options.machines, points=options.points, folders=options.folders,
        files=options.files,
    )  # fmt: skip
    print(made_url(options.folder))


if __name__ == "__main__":
    main()
