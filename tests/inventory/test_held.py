"""Which file systems of a machine the vault holds, from real backups and points of other kinds. `check`'s core."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from catalog.errors import StoreUnreachable
from catalog.format.records import ItemKind, Point, Volume
from catalog.inventory.held import Holding, holdings, is_needed
from catalog.inventory.stored import PointFiles
from catalog.inventory.values import Mounted
from catalog.store.memory import MemoryStore
from tests.kit.faults import UnreachableStore
from tests.kit.protected import Protected


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for name in ("root/usr", "root/boot", "empty"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name).parent.joinpath("file").write_text("x")
    (tmp_path / "root/boot/vmlinuz").write_text("kernel")
    return tmp_path


def mount(place: Path | str, device: str = "/dev/sda1", **fields: str) -> Mounted:
    return Mounted(place=str(place), device=device, type="ext4", **fields)


def held(machine: Protected, mounts: list[Mounted], *points: Point) -> list[tuple[str, bool]]:
    return [(Path(h.place).name, h.point is not None) for h in holdings(machine.vault, mounts, points)]


def test_a_place_is_held_if_it_was_asked_for_and_is_not_empty(machine: Protected, places: Path) -> None:
    point = machine.backup(places / "root").point
    assert point is not None
    mounts = [mount(places / name) for name in ("root", "root/boot", "root/usr", "empty")]
    assert held(machine, mounts, point) == [("root", True), ("boot", True), ("usr", False), ("empty", False)]
    assert held(machine, mounts) == [(name, False) for name in ("root", "boot", "usr", "empty")]


def test_a_point_of_other_paths_does_not_hold_it(machine: Protected, places: Path) -> None:
    point = machine.backup(places / "root" / "boot").point
    assert point is not None
    mounts = [mount(places / "root"), mount(places / "root/boot")]
    assert held(machine, mounts, point) == [("root", False), ("boot", True)]


def test_a_store_that_does_not_answer_says_nothing_of_files(tmp_path: Path, places: Path) -> None:
    store = UnreachableStore(MemoryStore(), reachable=True, kinds=("read",))
    machine = Protected(store, tmp_path / "state")
    point = machine.backup(places / "root").point
    assert point is not None
    path = str(places / "root/boot").encode()
    store.reachable = False
    with pytest.raises(StoreUnreachable):
        PointFiles(machine.vault, point).has_files(path)
    with pytest.raises(StoreUnreachable):
        held(machine, [mount(places / "root/boot")], point)
    store.reachable = True
    assert PointFiles(machine.vault, point).has_files(path)
    for name in list(store.list("meta/")):
        store.delete(name.name)
    assert not PointFiles(machine.vault, point).has_files(path), "what is missing holds nothing"


def test_binds_and_shares_are_no_file_systems_of_the_machine(machine: Protected, places: Path) -> None:
    mounts = [
        mount(places / "root", root="/sub"), Mounted(place="/net", device="host:/x", type="nfs4"),
        Mounted(place=str(places / "empty"), device="/dev/sdb", type="btrfs", root="/@home"),
    ]  # fmt: skip
    assert held(machine, mounts) == [("empty", False)]


def test_an_image_holds_its_device_and_its_partitions(machine: Protected, places: Path) -> None:
    point = machine.backup(places / "root").point
    assert point is not None

    def image(source: str) -> Point:
        volume = Volume(place=b"/x.img", source=source)
        return msgspec.structs.replace(point, kind=ItemKind.IMAGE, volumes=[volume], paths=[b"/x.img"])

    mounts = [
        mount("/a", "/dev/sda3"),
        mount("/b", "/dev/sda"),
        mount("/c", "/dev/sdab1"),
        mount("/d", "/dev/nvme0n1p2"),
    ]
    assert held(machine, mounts, image("/dev/sda")) == [("a", True), ("b", True), ("c", False), ("d", False)]
    assert held(machine, mounts, image("/dev/nvme0n1")) == [("a", False), ("b", False), ("c", False), ("d", True)]
    assert held(machine, mounts, image("")) == [(name, False) for name in "abcd"]


def test_a_volume_is_better_than_a_system_state(machine: Protected, places: Path) -> None:
    whole, boot = machine.backup(places / "root").point, machine.backup(places / "root" / "boot").point
    assert whole is not None and boot is not None
    state = msgspec.structs.replace(whole, kind=ItemKind.SYSTEM)
    volume = Volume(place=str(places / "root/boot").encode())
    exact = msgspec.structs.replace(boot, kind=ItemKind.VOLUME, volumes=[volume])
    with_rules = msgspec.structs.replace(whole, excludes=["*.tmp"])

    def best(*points: Point) -> Holding:
        return holdings(machine.vault, [mount(places / "root/boot")], points)[0]

    assert best(state).remark == "with the system state"
    assert best(state, exact, whole).point is exact
    assert best(state, whole, with_rules).point is whole
    assert best(state, with_rules).remark == "rules left something out"


def test_what_a_rebuild_needs() -> None:
    needed = ["/", "/boot", "/boot/efi", "/usr", "/var", "/var/log", "/etc", "/opt"]
    assert [
        place for place in [*needed, "/home", "/srv", "/mnt/usr", "/various", "/data/boot"] if is_needed(place)
    ] == needed
