"""Rebuild scripts of several layouts, to the letter; and that a shell takes them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from catalog.inventory.values import SystemState
from mount.rebuild.finishing import Restore
from mount.rebuild.names import Target
from mount.rebuild.script import Wanted, plan_rebuild, write_script
from tests.kit.machines import LAYOUTS, efi_lvm, layered, mbr, targets

GOLDEN = Path(__file__).parent / "golden"


def script_of(state: SystemState, wanted: Wanted | None = None) -> str:
    wanted = wanted or Wanted(targets(state))
    rebuild = plan_rebuild(state, wanted)
    restores = [Restore(place, "ab" * 16, "" if place == "/" else place, "an item") for place in rebuild.places]
    return write_script(state, rebuild, wanted, restores, title="A title.", vault="/a vault")


def own_part(script: str) -> str:
    """A script without the functions that are the same in all of them."""
    head, rest = script.split("set -eu\n", 1)
    return head + "tools() {" + rest.split("\ntools() {", 1)[1].split("\nfirst=1 last=8\n", 1)[0] + "\n"


def phase(script: str, number: int) -> str:
    return script.split(f"\nphase_{number}() {{\n")[1].split("\n}\n", maxsplit=1)[0]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_script_of_a_layout_is_the_golden_one(name: str) -> None:
    state = LAYOUTS[name]()
    assert plan_rebuild(state, Wanted(targets(state))).refusals == []
    found = own_part(script_of(state))
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("RPDRIVE_TEST_RENEW"):
        path.write_text(found)
    assert found == path.read_text()


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_can_parse_it(name: str, shell: str, tmp_path: Path) -> None:
    path = tmp_path / "rebuild.sh"
    path.write_text(script_of(LAYOUTS[name]()))
    done = subprocess.run([shell, "-n", path], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_without_yes_it_does_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rebuild.sh"
    path.write_text(script_of(mbr()))
    for args in ([], ["--yes", "--from", "9"], ["--yes", "--from"], ["--nonsense"]):
        done = subprocess.run(
            ["/bin/sh", path, *args], env={"PATH": "/bin:/usr/bin"}, capture_output=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith(b"usage: ")


def test_the_last_partition_fills_a_larger_disk_only_if_asked() -> None:
    state = efi_lvm()
    larger: dict[str, Target | None] = {"/dev/nvme0n1": Target("/dev/sdb", 128 << 30)}
    kept = phase(script_of(state, Wanted(larger)), 1)
    grown = phase(script_of(state, Wanted(larger, grow=True)), 1)
    assert "7 : start=2200000, size=60000000, type=" in kept
    assert "7 : start=2200000, type=" in grown
    assert "2 : start=1060000, size=1048576, type=" in grown
    # A file system on a grown partition takes its size from there.
    state = msgspec.structs.replace(mbr(), disks=[msgspec.structs.replace(mbr().disks[0], partitions=[
        mbr().disks[0].partitions[0]])], file_systems=[mbr().file_systems[0]])  # fmt: skip
    assert "-N 250000" in script_of(state, Wanted(targets(state)))
    assert "-N 250000" not in script_of(state, Wanted(targets(state), grow=True))


def test_a_logical_partition_does_not_grow() -> None:
    state = mbr()
    assert script_of(state, Wanted(targets(state), grow=True)) == script_of(state)


def test_names_of_disks_become_those_of_their_partitions() -> None:
    state = mbr()
    for path, end in (("/dev/nvme1n1", "p1"), ("/dev/disk/by-id/ata-X_1", "-part1"), ("/dev/sdz", "1")):
        text = phase(script_of(state, Wanted({"/dev/sda": Target(path, 8 << 30)})), 3)
        assert f" {path}{end}\n" in text


def test_a_place_without_a_point_is_said() -> None:
    state, wanted = efi_lvm(), Wanted(targets(efi_lvm()))
    rebuild = plan_rebuild(state, wanted)
    restores = [Restore("/", "cd" * 16), Restore("/boot"), Restore("/srv/it's", "ef" * 16, "/srv/it's"),
                Restore("/var/x", "01" * 16)]  # fmt: skip
    text = phase(write_script(state, rebuild, wanted, restores, title=""), 5)
    assert "say '/boot: no recovery point holds its files'" in text
    assert f'restore {"cd" * 16} --to "$target" ' in text
    assert f'restore {"01" * 16} --to "$target"/var/x ' in text
    assert f"""restore '{"ef" * 16}:/srv/it'"'"'s' --to "$target"/srv """ in text


def test_a_passphrase_is_never_an_argument() -> None:
    text = phase(script_of(layered()), 2)
    assert text.count("""printf '%s' "$answer" | cryptsetup """) == 2
    assert "$answer" not in text.replace("""printf '%s' "$answer" | """, "")
