"""The command `rpdrive seed import`, as a process of a user who has nothing: exit codes, lines, JSON."""

from __future__ import annotations

import json
from pathlib import Path

from catalog.store.local import LocalStore
from tests.kit.cli import Cli
from tests.kit.seeding import Seed, flip
from tests.kit.stores import MOST

FAR = 100_000  # days: the clock of a folder is the real one


def test_exit_codes_and_lines(tmp_path: Path, rpdrive: Cli) -> None:
    seed, store = Seed(tmp_path / "seed", 3, expires=FAR), LocalStore(rpdrive.vault)
    for name, data in seed.memory.objects.items():
        store.create(name, [data])
    nobody = {"RPDRIVE_PASSPHRASE": None}

    wrong = rpdrive.fails("seed", "import", tmp_path, code=2, env=nobody)
    assert "there is no disk of a seed at" in wrong

    missing = rpdrive.run("seed", "import", seed.disks[0], seed.disks[2], env=nobody)
    lines = missing.stdout.decode().splitlines()
    assert missing.returncode == 3, missing
    assert lines[0].startswith("Disk 1 of 3 (usb-1): all ") and lines[0].endswith(" are in the vault")
    assert lines[1].startswith("Disk 2 of 3 (usb-2): missing, connect it: ")
    assert lines[3].startswith("Stored ") and lines[3].endswith("; no recovery points yet")
    errors = missing.stderr.decode().splitlines()
    assert len(errors) == 1 and errors[0].startswith("rpdrive: disk 2 of 3 (usb-2) is missing: "), errors

    flip(seed.on_disk(2))
    damaged = rpdrive.run("seed", "import", *seed.disks, "--json", env=nobody)
    row = json.loads(damaged.stdout)
    assert damaged.returncode == 9 and row["disks"][1]["state"] == "damaged" and not row["complete"], damaged
    flip(seed.on_disk(2))

    whole = rpdrive.ok("seed", "import", tmp_path / "seed", env=nobody)
    assert "the seed is complete, with 2 new recovery points" in whole
    assert {info.name: store.get(info.name, MOST) for info in store.list("")} == seed.whole
    assert not (rpdrive.home / "state").exists() and not (rpdrive.home / "config").exists()
