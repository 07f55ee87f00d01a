"""Real drives with `--also`: the first place goes away in the middle of `cp -r`, and comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.store.azure.store import AzureStore
from catalog.vault import Vault
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import ROOT
from tests.kit.drives import Home, Maker, add_item, add_machine, add_point, eventually, noise
from tests.kit.places import copy_of
from tests.kit.proxy import running_proxy
from tests.kit.stores import MOST
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_fuse

FILES, LATER = 6, 60
STOP = "2"  # the name at which `cp` waits
# A drive in the foreground that soon gives up the first place, and soon tries it again.
SOON = """
import sys
import catalog.store.fallback as fallback
fallback.PATIENCE, fallback.AWAY = 0.2, 0.2
import catalog.access.also as also
also.PATIENCE = 0.2
import rpdrive
sys.exit(rpdrive.run(sys.argv[1:]))
"""


def content(n: int) -> bytes:
    return noise(150_000, n)


def fill(vault: Vault) -> Vault:
    """Files in packs of their own: reading one fetches no other. Those to be copied, and some for later."""
    add_machine(vault)
    add_item(vault)
    m = Maker(vault)
    files = [m.file(b"%d" % n, content(n)) for n in range(FILES)]
    later = [m.file(b"%02d" % n, noise(1_000, n)) for n in range(LATER)]
    add_point(vault, m.root([m.folder(b"files", files), m.folder(b"later", later)]), 1)
    return vault


class Copying:
    """`cp -r` from a drive, which waits in its middle: a pipe is where it is to write a file."""

    def __init__(self, place: Path, out: Path) -> None:
        self.out = out
        out.mkdir()
        os.mkfifo(out / STOP)
        self._process = subprocess.Popen(["cp", "-r", f"{place}/files/.", out], stderr=subprocess.PIPE)
        eventually(lambda: self._copied(int(STOP) - 1), "cp has copied what comes before")
        assert not (out / str(FILES - 1)).exists()

    def _copied(self, n: int) -> bool:
        path = self.out / str(n)
        return path.exists() and path.stat().st_size == len(content(n))

    def go_on(self) -> None:
        """Let it go on to its end, and compare all files."""
        middle = (self.out / STOP).read_bytes()
        _out, errors = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, errors
        for n in range(FILES):
            assert (middle if str(n) == STOP else (self.out / str(n)).read_bytes()) == content(n)


def test_the_folder_goes_away_in_the_middle_of_cp(tmp_path: Path) -> None:
    """As if its disk were pulled out. The drive is in the background, where it has only its order."""
    first = tmp_path / "vault"
    copy = copy_of(fill(make_vault(first)), first, tmp_path / "copy")
    home = Home(tmp_path, first)
    try:
        place = home.mount("--point", "latest", "--also", str(copy))
        copying = Copying(place, tmp_path / "out")
        first.rename(tmp_path / "away")
        copying.go_on()
        (log,) = (tmp_path / "home" / "state").rglob("*.log")
        said = log.read_text()
        assert said.count(f"{first.as_uri()} does not answer") == 1, said
        assert f"reading from {copy.as_uri()}" in said
        (row,) = home.mounts()
        assert row["errors"] == 0 and row["reading_from"] == copy.as_uri()
        assert f"reading from {copy.as_uri()}" in home.run("mounts").stdout
    finally:
        home.close()


@pytest.mark.soak
def test_the_network_goes_away_in_the_middle_of_cp_and_comes_back(tmp_path: Path, azurite: Azurite) -> None:
    azurite.container("also")
    here = tmp_path / "here"
    vault = fill(make_vault(here))
    store = AzureStore(ACCOUNT, "also", environ=azurite.environ)
    for row in vault.store.list(""):
        store.create(row.name, [vault.store.get(row.name, MOST)])
    copy = copy_of(vault, here, tmp_path / "copy")
    with running_proxy(azurite.endpoint) as proxy:
        home = Home(tmp_path, here)
        connection = azurite.connection_string_for(proxy.endpoint)
        address = f"azure://{ACCOUNT}/also"
        home.environment |= {"AZURE_STORAGE_CONNECTION_STRING": connection, "RPDRIVE_VAULT": address}
        drive = Drive(home, copy)
        try:
            copying = Copying(drive.place, tmp_path / "out")
            proxy.faults = ["lost"] * 10_000
            copying.go_on()
            assert drive.said.count(f"{address} does not answer") == 1, drive.said
            proxy.faults = []
            later = iter(range(LATER))

            def is_back() -> bool:
                n = next(later)
                assert (drive.place / "later" / f"{n:02}").read_bytes() == noise(1_000, n)
                return f"{address} answers again" in drive.said

            eventually(is_back, "the first place is read again")
            copy.rename(tmp_path / "away")
            n = next(later)
            assert (drive.place / "later" / f"{n:02}").read_bytes() == noise(1_000, n)
            assert len(drive.said.splitlines()) == 2, drive.said
        finally:
            drive.close()


class Drive:
    """A drive in the foreground, in a process of its own. `said` is what it has written to stderr."""

    def __init__(self, home: Home, also: Path) -> None:
        self._home, self.place = home, home.mount_point()
        self._log = home.folder / "stderr"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SOON, "mount", "--foreground", self.place, "--point=latest", "--also", also],
                env=home.environment | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
        eventually(self._is_open, "the drive opens")

    def _is_open(self) -> bool:
        assert self._process.poll() is None, self.said
        return os.path.ismount(self.place)

    @property
    def said(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        self._home.close()
        self._process.wait(60)
