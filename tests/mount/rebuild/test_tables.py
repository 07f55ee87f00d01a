"""Partition tables that a script writes, read back from an image by sfdisk: to the sector, with every identity."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from catalog.inventory.values import Disk
from mount.rebuild.names import Names, Target
from mount.rebuild.partitions import write_partitions
from mount.rebuild.shell import Script
from tests.kit.machines import LAYOUTS

DISKS = [(name, disk) for name, make in LAYOUTS.items() for disk in make().disks if not disk.removable]


@pytest.mark.needs_program("sfdisk")
@pytest.mark.parametrize(("name", "disk"), DISKS, ids=[f"{name}-{disk.device}" for name, disk in DISKS])
@pytest.mark.parametrize("larger", [0, 5 << 30])
def test_a_table_is_as_it_was(name: str, disk: Disk, larger: int, tmp_path: Path) -> None:
    image = tmp_path / "an image"
    with image.open("wb") as file:
        file.truncate(disk.size + larger)
    script = Script()
    script.code("set -eu\nwipe() { :; }\nsettle() { :; }")
    write_partitions(script, [disk], Names([disk], {disk.device: Target(str(image), disk.size)}), set())
    subprocess.run(["/bin/sh", "-c", script.text()], check=True)
    told = subprocess.run(["sfdisk", "--json", image], stdout=subprocess.PIPE, check=True).stdout
    table = json.loads(told)["partitiontable"]
    assert (table["label"], table["id"].lower(), table["unit"]) == (disk.table, disk.table_id.lower(), "sectors")
    if disk.table == "gpt":
        assert table["firstlba"] == disk.first
    rows = [
        (p["start"], p["size"], p["type"].lower(), p.get("uuid", "").lower(), p.get("name", ""), p.get("attrs", ""),
         p.get("bootable", False))
        for p in table["partitions"]
    ]  # fmt: skip
    assert rows == [(p.start, p.size, p.type.lower(), p.uuid, p.name, p.flags, p.bootable) for p in disk.partitions]
    # sfdisk says the numbers in the names of the nodes.
    assert [int(p["node"].removeprefix(str(image))) for p in table["partitions"]] == [
        p.number for p in disk.partitions
    ]
