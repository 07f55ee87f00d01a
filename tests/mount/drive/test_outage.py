"""A drive survives an outage of its store: reads wait, fail after the timeout, and work again afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.store.address import open_store
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.drives import Home, Maker, add_machine, add_point, eventually, noise
from tests.kit.proxy import Fault, running_proxy
from tests.kit.vaults import make_vault, new_vault

pytestmark = pytest.mark.needs_fuse

FILES = 6


def content(n: int) -> bytes:
    return noise(150_000, n)


def fill(home_folder: Path) -> Home:
    """A vault in which each file has a pack of its own, so that reading one fetches no other."""
    vault = make_vault(home_folder / "vault")
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"%d" % n, content(n)) for n in range(FILES)]), 1)
    return Home(home_folder, home_folder / "vault")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = fill(tmp_path)
    yield home
    home.close()


def requests(home: Home) -> int:
    return int(home.mounts()[0]["store_requests"])


def test_a_read_waits_for_a_vault_that_comes_back(home: Home) -> None:
    drive = home.mount("--point", "latest")
    before = requests(home)
    home.vault.rename(home.folder / "away")
    with subprocess.Popen(["cat", drive / "0"], stdout=subprocess.PIPE) as reader:
        eventually(lambda: requests(home) >= before + 3, "the drive asks again and again")
        assert reader.poll() is None
        assert (home.mounts()[0])["answers"]  # others are not held up
        assert len(os.listdir(drive)) == FILES
        (home.folder / "away").rename(home.vault)
        assert reader.stdout is not None and reader.stdout.read() == content(0)
        assert reader.wait() == 0
    assert home.mounts()[0]["errors"] == 0


def test_the_top_of_a_drive_of_all_points_can_be_listed_without_its_vault(home: Home) -> None:
    drive = home.mount("--read-timeout", "1")
    point = next((drive / "box" / "home").glob("2*"))
    assert sorted(os.listdir(point)) == [str(n) for n in range(FILES)]
    home.vault.rename(home.folder / "away")
    before = requests(home)

    def renewed() -> bool:
        assert (drive / "box" / "home" / "latest").readlink() == Path(point.name)
        return requests(home) > before

    eventually(renewed, "it has tried for a new list of points, and shows the old one")
    with pytest.raises(OSError, match="Input/output error"):
        (point / "1").read_bytes()
    (home.folder / "away").rename(home.vault)
    assert (point / "1").read_bytes() == content(1)


def test_a_drive_that_was_stopped_goes_on(home: Home) -> None:
    """As after the machine's sleep: time has passed, and waiting reads complete."""
    drive = home.mount("--point", "latest", "--read-timeout", "1", "--idle", "1h")
    assert (drive / "0").read_bytes() == content(0)
    pid = home.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        readers = [subprocess.Popen(["cat", drive / str(n)], stdout=subprocess.PIPE) for n in range(1, FILES)]
        with pytest.raises(subprocess.TimeoutExpired):
            readers[0].wait(2)  # longer than a read may wait for the store
    finally:
        os.kill(pid, signal.SIGCONT)
    for n, reader in enumerate(readers, 1):
        assert reader.communicate(timeout=60)[0] == content(n)
        assert reader.returncode == 0
    assert home.mounts()[0]["errors"] == 0


def test_a_network_that_stutters(tmp_path: Path, azurite: Azurite) -> None:
    """Cut connections, a busy server, a hotel's login page: readers of the drive notice none of it."""
    azurite.container("stutter")
    os.environ["AZURE_STORAGE_CONNECTION_STRING"] = azurite.connection_string
    try:
        vault = new_vault(open_store(f"azure://{ACCOUNT}/stutter"))
    finally:
        del os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"%d" % n, content(n)) for n in range(FILES)]), 1)
    faults: list[Fault] = ["lost", "busy", "cut", "throttled", "portal"]
    with running_proxy(azurite.endpoint) as proxy:
        home = Home(tmp_path, tmp_path)
        home.environment |= {
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string_for(proxy.endpoint),
            "RPDRIVE_VAULT": f"azure://{ACCOUNT}/stutter",
        }
        try:
            drive = home.mount("--point", "latest")
            for n, fault in enumerate(faults):
                proxy.faults[:] = [fault]
                assert (drive / str(n)).read_bytes() == content(n)
                assert proxy.faults == []  # it was met
            assert home.mounts()[0]["errors"] == 0
        finally:
            home.close()


def test_backups_and_other_drives_go_on_while_one_is_open(home: Home, tmp_path: Path) -> None:
    first = home.mount(name="first")
    before = (first / "box" / "home" / "latest").readlink()
    with (first / "box" / "home" / "latest" / "0").open("rb") as file:
        assert file.read(1000) == content(0)[:1000]
        second = home.mount("--point", "latest", name="second")
        source = tmp_path / "source"
        source.mkdir()
        (source / "new").write_text("new")
        home.run("backup", source, "--item", "other")
        assert (second / "1").read_bytes() == content(1)
        assert file.read() == content(0)[1000:]
    assert (first / "box" / "home" / "latest").readlink() == before
    eventually(lambda: len(list(first.glob("*/other/latest"))) == 1, "the new item appears")
    found = next(first.glob("*/other/latest")) / source.relative_to("/") / "new"
    assert found.read_text() == "new"
