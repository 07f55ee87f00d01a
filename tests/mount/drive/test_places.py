"""Where drives are mounted: at the folder that was looked at, once, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.errors import MountFailed
from catalog.mountinfo import mounts
from mount.drivers.kernel.device import open_drive
from mount.place.held import HeldFolder
from mount.place.mounted import FILE_SYSTEM
from tests.kit.drives import Home, Maker, add_machine, add_point, alive, eventually, mount_options
from tests.kit.vaults import PASSPHRASE, make_vault

pytestmark = pytest.mark.needs_fuse

BOB = 3000


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", b"content")]), 1)
    home = Home(tmp_path, tmp_path / "vault")
    yield home
    home.close()


def drives_below(folder: Path) -> list[str]:
    """The places below a folder where drives are mounted; one twice if there are two."""
    found = [os.fsdecode(m.place) for m in mounts() if m.file_system == FILE_SYSTEM]
    return [place for place in found if place.startswith(f"{folder}/")]


def to_a_symlink(place: Path, victim: Path) -> None:
    place.rmdir()
    place.symlink_to(victim)


def above_to_a_symlink(place: Path, victim: Path) -> None:
    place.parent.rename(place.parent.with_name("moved"))
    place.parent.symlink_to(victim.parent)


def to_another_folder(place: Path, _victim: Path) -> None:
    place.rename(place.with_name("moved"))
    place.mkdir()


def to_one_with_files(place: Path, _victim: Path) -> None:
    (place / "file").write_text("x")


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "exchange", [to_a_symlink, above_to_a_symlink, to_another_folder, to_one_with_files], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("options", [[], ["--foreground"]], ids=["background", "foreground"])
def test_a_mount_point_that_is_exchanged_meanwhile(
    home: Home, tmp_path: Path, driver: str, exchange: Callable[[Path, Path], None], options: list[str]
) -> None:
    """While root types the passphrase, the owner of the folder above puts something else there."""
    place, victim = tmp_path / "bob" / "own" / "drive", tmp_path / "victim" / "drive"
    for folder in (place, victim):
        folder.mkdir(parents=True)
    (victim / "file").write_text("important")
    prompt = tmp_path / "prompt"
    os.mkfifo(prompt)
    environment = {n: v for n, v in home.environment.items() if n != "RPDRIVE_PASSPHRASE"}
    command = home.command("--passphrase-file", prompt, "mount", place, "--point", "latest", *options)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as mounting:
        with prompt.open("w") as typed:  # opened as soon as the command reads it
            exchange(place, victim)
            typed.write(PASSPHRASE + "\n")
        error = mounting.communicate(timeout=120)[1]
    assert mounting.returncode == MountFailed.exit_code
    assert error.startswith("rpdrive: the mount point ") and error.count("\n") == 1
    assert drives_below(tmp_path) == []
    assert (victim / "file").read_text() == "important"
    assert home.mounts() == []


@pytest.mark.needs_root
def test_a_mount_follows_the_folder_that_was_looked_at(tmp_path: Path) -> None:
    """Moved after the last look: the drive covers that folder alone, which is noticed and undone."""
    place, victim = tmp_path / "bob" / "drive", tmp_path / "victim"
    for folder in (place, victim):
        folder.mkdir(parents=True)
    held = HeldFolder(place)
    place.rename(tmp_path / "bob" / "moved")
    place.symlink_to(victim)
    descriptor = open_drive(held.path, allow_other=False)
    try:
        assert drives_below(tmp_path) == [str(tmp_path / "bob" / "moved")]
        with pytest.raises(MountFailed, match="was moved while"):
            held.check()
        held.undo()
        assert drives_below(tmp_path) == []
    finally:
        os.close(descriptor)
        held.close()


@pytest.mark.needs_root
def test_a_second_drive_on_top_is_noticed(tmp_path: Path) -> None:
    """By another RPDRIVE_HOME, which knows nothing of the lock."""
    place = tmp_path / "drive"
    place.mkdir()
    first, second = HeldFolder(place), HeldFolder(place)
    descriptors = [open_drive(held.path, allow_other=False) for held in (first, second)]
    try:
        with pytest.raises(MountFailed, match="another drive was mounted at"):
            second.check()
        second.undo()
        first.check()
        first.undo()
        assert drives_below(tmp_path) == []
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        first.close()
        second.close()


def test_two_mounts_at_once(home: Home, tmp_path: Path, driver: str) -> None:
    """One is there; the other says so, and does the first no harm."""
    place = home.mount_point()
    command = home.command("mount", place, "--point", "latest")
    both = [
        subprocess.Popen(
            command, env=home.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for _n in range(2)
    ]
    said = [mounting.communicate(timeout=120)[1] for mounting in both]
    assert sorted(mounting.returncode for mounting in both) == [0, MountFailed.exit_code]
    assert sorted(said)[0] == "" and "already" in sorted(said)[1] and sorted(said)[1].count("\n") == 1
    assert drives_below(tmp_path) == [str(place)]
    assert len(home.mounts()) == 1 and home.mounts()[0]["answers"]
    assert (place / "file").read_bytes() == b"content"
    home.run("unmount", place)
    assert drives_below(tmp_path) == []
    eventually(lambda: home.mounts() == [], "its process ends")


def test_a_folder_that_was_deleted(home: Home, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    command = ["sh", "-c", script, "sh", str(gone), *home.command("mount", ".")]
    done = subprocess.run(command, env=home.environment, capture_output=True, text=True, check=False)
    assert done.returncode in (2, 10, 11) and done.stderr.count("\n") == 1 and done.stderr.startswith("rpdrive: ")


@pytest.mark.needs_root
@pytest.mark.needs_program("unshare")
def test_a_drive_in_another_namespace_is_shown_as_such(home: Home) -> None:
    place = home.mount_point()
    words = ["unshare", "--mount", "--propagation", "private", *home.command("mount", place, "--point", "latest")]
    subprocess.run(words, env=home.environment, check=True, capture_output=True)
    assert mount_options(place) is None
    (row,) = home.mounts()
    assert row["elsewhere"] and row["answers"]
    assert f"{place} (in another mount namespace)" in home.run("mounts").stdout
    refusal = home.run("unmount", place, exit_code=10).stderr
    assert f"kill {row['pid']}" in refusal
    os.kill(row["pid"], signal.SIGTERM)
    eventually(lambda: not alive(row["pid"]), "its process ends")
    home.mount("--point", "latest")
    assert not home.mounts()[0]["elsewhere"]
