"""`rpdrive system plan` on a real vault: which points it takes for which place, and what it refuses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from backup.sources.base import Begun, LiveFiles
from catalog.errors import LocalError, NotFound, UsageError
from catalog.format.records import ItemKind, Point, Volume
from catalog.inventory.values import SystemState
from catalog.store.memory import MemoryStore
from mount.rebuild import here
from mount.rebuild.job import Asked, plan_on
from mount.rebuild.names import Target
from mount.rebuild.points import restores_for
from tests.kit.machines import efi_lvm
from tests.kit.protected import Protected

OLD = "/dev/nvme0n1"


class Standing(LiveFiles):
    """A source whose folders are at other paths than they seem: a whole machine in a temporary folder."""

    def __init__(self, kind: ItemKind, places: dict[str, Path], volumes: list[str]) -> None:
        self.kind = kind
        self.begun = Begun(volumes=[Volume(place=os.fsencode(place)) for place in volumes])
        self.handles = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for folder in places.values()]
        for path, handle in zip(places, self.handles, strict=True):
            self.begun.top.at(os.fsencode(path)).handle = handle

    def begin(self) -> Begun:
        return self.begun

    def close(self) -> None:
        while self.handles:
            os.close(self.handles.pop())


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state", name="srv01")


Save = Callable[..., Point]


@pytest.fixture
def save(machine: Protected, tmp_path: Path) -> Iterator[Save]:
    """Make a point whose paths hold one file each."""

    def do(item: str, *paths: str, kind: ItemKind = ItemKind.FILES, volumes: tuple[str, ...] = ()) -> Point:
        folders: dict[str, Path] = {}
        for number, path in enumerate(paths):
            folders[path] = tmp_path / f"{item}-{number}"
            folders[path].mkdir(exist_ok=True)
            (folders[path] / "file").write_text(path)
        machine.item = item
        source = Standing(kind, folders, list(volumes))
        try:
            result = machine.backup(*map(Path, paths), source=source)
        finally:
            source.close()
        assert result.point is not None and not result.problems
        return result.point

    yield do


@pytest.fixture
def save_state(machine: Protected, tmp_path: Path) -> Callable[[SystemState], Point]:
    def do(state: SystemState) -> Point:
        folder = tmp_path / "staged"
        folder.mkdir(exist_ok=True)
        (folder / "system.json").write_bytes(msgspec.json.encode(state))
        machine.item = "state"
        source = Standing(ItemKind.SYSTEM, {"/.system": folder}, [])
        try:
            result = machine.backup(Path("/.system"), source=source)
        finally:
            source.close()
        assert result.point is not None
        return result.point

    return do


def asked(item: str = "state", disks: tuple[str, ...] = ()) -> Asked:
    return Asked("latest", None, item, list(disks), wipe=False, grow=False, without=[])


def chosen(machine: Protected, *places: str) -> list[tuple[str, str, str]]:
    found = restores_for(machine.vault, next(iter(machine.vault.machines())), list(places))
    return [(r.place, r.point, r.where) for r in found]


def test_a_volume_is_better_than_a_point_with_more_in_it(machine: Protected, save: Save) -> None:
    boot = save("boot", "/boot", kind=ItemKind.VOLUME, volumes=("/boot",)).id.hex()
    both = save("both", "/boot", "/srv").id.hex()
    found = chosen(machine, "/boot", "/srv", "/var")
    assert found == [("/boot", boot, ""), ("/srv", both, "/srv"), ("/var", "", "")]


def test_the_newest_point_of_an_item_is_taken(machine: Protected, save: Save) -> None:
    save("srv", "/srv")
    newest = save("srv", "/srv").id.hex()
    assert chosen(machine, "/srv") == [("/srv", newest, "/srv")]


def test_a_place_that_came_with_the_one_above_is_not_restored_twice(
    machine: Protected, save: Save, tmp_path: Path
) -> None:
    (tmp_path / "srv-0" / "data").mkdir(parents=True)
    (tmp_path / "srv-0" / "data" / "file").touch()
    one = save("srv", "/srv").id.hex()
    assert chosen(machine, "/srv", "/srv/data") == [("/srv", one, "/srv")]


def test_a_folder_that_is_only_a_mount_point_is_no_copy(machine: Protected, save: Save, tmp_path: Path) -> None:
    (tmp_path / "srv-0" / "data").mkdir(parents=True)
    one = save("srv", "/srv").id.hex()
    assert chosen(machine, "/srv", "/srv/data") == [("/srv", one, "/srv"), ("/srv/data", "", "")]


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "target", lambda path: Target(path, 64 << 30))


@pytest.mark.usefixtures("disks")
def test_the_script_of_a_vault(
    machine: Protected, save: Save, save_state: Callable[[SystemState], Point], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    state = save_state(efi_lvm())
    with pytest.raises(LocalError, match=r"no script was written: .*no recovery point .* the files of /: "):
        plan_on(machine.vault, asked(disks=(f"{OLD}=/dev/vdx",)), address="/v", output=None)
    whole = save("root", "/")
    output = tmp_path / "rebuild.sh"
    plan_on(machine.vault, asked(disks=(f"{OLD}=/dev/vdx",)), address="/v", output=output)
    text = output.read_text()
    assert output.stat().st_mode & 0o777 == 0o600
    assert f"from the recovery point\n# {state.id.hex()}." in text or f"recovery point {state.id.hex()}." in text
    assert f'"$rpdrive" --vault /v restore {whole.id.hex()} --to "$target" ' in text
    assert "no recovery point holds the files of /boot/efi" in capsys.readouterr().err
    assert subprocess.run(["/bin/sh", "-n", output], check=False).returncode == 0


@pytest.mark.usefixtures("disks")
def test_all_refusals_are_in_one_message(machine: Protected, save_state: Callable[[SystemState], Point]) -> None:
    save_state(efi_lvm())
    with pytest.raises(LocalError) as error:
        plan_on(machine.vault, asked(), address="/v", output=None)
    assert "say where /dev/nvme0n1 goes" in str(error.value)
    assert "; no file system for / is on the disks that are named" in str(error.value)
    with pytest.raises(UsageError, match="give it as"):
        plan_on(machine.vault, asked(disks=("/dev/sda",)), address="/v", output=None)
    with pytest.raises(UsageError, match="named twice"):
        plan_on(machine.vault, asked(disks=("/dev/sda=none", "/dev/sda=none")), address="/v", output=None)


def test_a_point_without_a_state(machine: Protected, save: Save) -> None:
    save("srv", "/srv")
    with pytest.raises(NotFound, match="holds no system state"):
        plan_on(machine.vault, asked(item="srv"), address="/v", output=None)


def test_what_is_no_disk() -> None:
    for path, why in (
        ("/dev/null", "not a block device"),
        ("/nowhere", "no such device"),
        ("/etc/hosts", "not a block"),
    ):
        with pytest.raises(UsageError, match=why):
            here.target(path)


@pytest.mark.needs_root
@pytest.mark.needs_program("losetup", "sfdisk", "mke2fs")
def test_a_real_disk_is_looked_at(tmp_path: Path) -> None:
    image, place = tmp_path / "disk.img", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    place.mkdir()

    def run(*command: str | Path) -> str:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    device = run("losetup", "--find", "--show", "--nooverlap", image)
    try:
        assert here.target(device) == Target(device, 64 << 20, 512)
        run("mke2fs", "-q", "-F", "-t", "ext4", device)
        assert here.target(device) == Target(device, 64 << 20, 512, holds="data at its start")
        run("mount", device, place)
        try:
            assert here.target(device).in_use == f"{device} is mounted on {place}"
        finally:
            run("umount", place)
    finally:
        run("losetup", "--detach", device)
