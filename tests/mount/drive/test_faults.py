"""A drive over a vault with faults: EIO and a named error for what is broken; everything else stays readable."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, pack_name
from catalog.store.address import open_store
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.drives import Home, Maker, add_machine, add_point, eventually, noise
from tests.kit.proxy import running_proxy
from tests.kit.vaults import make_vault, new_vault
from tests.mount.drive.test_memory import anonymous

pytestmark = pytest.mark.needs_fuse

PARTS = [noise(300_000, n) for n in range(4)]
WINFSP_TOO = True


class Broken(Home):
    """A vault in which each file has a pack of its own, except that the four parts of `parts` share one."""

    def __init__(self, folder: Path) -> None:
        vault = make_vault(folder / "vault")
        add_machine(vault)
        m = Maker(vault)
        nodes, self.packs = [], {}
        for name in (b"first", b"second", b"third"):
            nodes.append(m.file(name, noise(200_000, name[0])))
            self.packs[name] = folder / "vault" / m.data.names[-1]
        parts = m.file(b"parts", *PARTS)
        nodes.append(parts)
        self.packs[b"parts"] = folder / "vault" / m.data.names[-1]
        assert isinstance(parts.content, list)
        self.parts = [p for p in parts.content if isinstance(p, Extent)]
        inner = m.folder(b"folder", [m.file(b"in it", b"x")])
        m.trees.finish()  # the folder's page is in another pack than the root's
        self.tree = folder / "vault" / pack_name(PackKind.TREE, m.trees.resolve(inner.content.at).pack)  # type: ignore[union-attr]
        inner.content = inner.content._replace(at=m.trees.resolve(inner.content.at))  # type: ignore[union-attr]
        add_point(vault, m.root([*nodes, inner]), 1)
        super().__init__(folder, folder / "vault")

    def flip(self, path: Path, offset: int) -> None:
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1]))


@pytest.fixture
def home(tmp_path: Path, driver: str) -> Iterator[Broken]:
    home = Broken(tmp_path)
    yield home
    home.close()


def fails(path: Path) -> None:
    """Check that reading gives EIO, and no bytes."""
    with path.open("rb", buffering=0) as file, pytest.raises(OSError) as error:
        file.read(1 << 20)
    assert error.value.errno == errno.EIO


def errors(home: Home) -> set[tuple[str, str]]:
    (row,) = home.mounts()
    return {(e["kind"], e["path"].replace("\\", "/")) for e in row["recent_errors"]}  # as Windows spells them


def test_a_missing_pack(home: Broken) -> None:
    home.packs[b"second"].rename(home.folder / "aside")
    drive = home.mount("--point", "latest")
    fails(drive / "second")
    assert (drive / "first").read_bytes() == noise(200_000, b"first"[0])
    assert (drive / "third").read_bytes() == noise(200_000, b"third"[0])
    assert errors(home) == {("MissingData", "/second")}
    log = next((home.folder / "home" / "state" / "logs").iterdir()).read_text()
    assert "MissingData" in log and "second: " in log and "Traceback" not in log
    (home.folder / "aside").rename(home.packs[b"second"])
    assert (drive / "second").read_bytes() == noise(200_000, b"second"[0])


def test_a_damaged_block_spares_its_neighbours_in_the_pack(home: Broken) -> None:
    home.flip(home.packs[b"parts"], home.parts[1].offset + 1000)
    drive = home.mount("--point", "latest")
    path = drive / "parts"
    starts = [sum(map(len, PARTS[:n])) for n in range(4)]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        for n in (0, 2, 3):
            assert os.pread(descriptor, 4096, starts[n] + 200_000) == PARTS[n][200_000:204_096]
        with pytest.raises(OSError) as error:
            os.pread(descriptor, 4096, starts[1] + 200_000)
        assert error.value.errno == errno.EIO
    finally:
        os.close(descriptor)
    assert ("Damaged", "/parts") in errors(home)
    assert (drive / "first").read_bytes() == noise(200_000, b"first"[0])


@pytest.mark.unmeasured
def test_a_damaged_block_that_is_read_again_and_again_takes_no_memory(home: Broken) -> None:
    """An error and the frames that it passed refer to each other, and the frames to the block's bytes."""
    home.flip(home.packs[b"parts"], home.parts[1].offset + 1000)
    descriptor = os.open(home.mount("--point", "latest") / "parts", os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        found = []
        for _ in range(2):
            for _ in range(100):
                with pytest.raises(OSError):
                    os.pread(descriptor, 4096, len(PARTS[0]) + 200_000)
            found.append(anonymous(home.pid()))
    finally:
        os.close(descriptor)
    assert found[1] - found[0] < 25 * len(PARTS[1]), found


def test_a_truncated_pack(home: Broken) -> None:
    path = home.packs[b"third"]
    path.chmod(0o600)
    os.truncate(path, 1000)
    drive = home.mount("--point", "latest")
    fails(drive / "third")
    assert (drive / "second").read_bytes() == noise(200_000, b"second"[0])


def test_a_damaged_folder(home: Broken) -> None:
    home.flip(home.tree, 100)
    drive = home.mount("--point", "latest")
    assert len(os.listdir(drive)) == 5
    for look in (lambda: os.listdir(drive / "folder"), (drive / "folder" / "in it").stat):
        with pytest.raises(OSError) as error:
            look()
        assert error.value.errno == errno.EIO
    assert (drive / "first").read_bytes() == noise(200_000, b"first"[0])
    home.flip(home.tree, 100)
    assert os.listdir(drive / "folder") == ["in it"]
    assert (drive / "folder" / "in it").read_bytes() == b"x"


def test_a_vault_that_goes_away_and_comes_back(home: Broken) -> None:
    drive = home.mount("--point", "latest", "--read-timeout", "1")
    assert (drive / "first").read_bytes() == noise(200_000, b"first"[0])
    home.vault.rename(home.folder / "away")
    fails(drive / "second")
    assert (drive / "first").read_bytes() == noise(200_000, b"first"[0])
    assert errors(home) == {("StoreUnreachable", "/second")}
    (home.folder / "away").rename(home.vault)
    assert (drive / "second").read_bytes() == noise(200_000, b"second"[0])


def test_no_vault_at_mount(home: Broken) -> None:
    home.vault.rename(home.folder / "away")
    refusal = home.run("mount", home.mount_point(), exit_code=6).stderr
    assert "no vault" in refusal


def test_a_store_that_stops_answering(tmp_path: Path, azurite: Azurite) -> None:
    azurite.container("silence")
    content = noise(100_000)
    with running_proxy(azurite.endpoint) as proxy:
        home = Home(tmp_path, tmp_path)
        home.environment |= {
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string_for(proxy.endpoint),
            "RPDRIVE_VAULT": f"azure://{ACCOUNT}/silence",
        }
        os.environ["AZURE_STORAGE_CONNECTION_STRING"] = azurite.connection_string
        try:
            vault = new_vault(open_store(f"azure://{ACCOUNT}/silence"))
        finally:
            del os.environ["AZURE_STORAGE_CONNECTION_STRING"]
        m = Maker(vault)
        add_machine(vault)
        add_point(vault, m.root([m.file(b"file", content)]), 1)
        try:
            drive = home.mount("--point", "latest", "--read-timeout", "1")
            assert os.listdir(drive) == ["file"]
            proxy.faults[:] = ["silent"] * 1000
            fails(drive / "file")  # after about a second: the test's own limit is what bounds it
            assert errors(home) == {("StoreUnreachable", "/file")}
            proxy.faults.clear()

            def reads() -> bool:
                try:
                    return (drive / "file").read_bytes() == content
                except OSError as e:
                    assert e.errno == errno.EIO
                    return False

            eventually(reads, "the drive reads again when the store answers")
            home.run("unmount", drive)
        finally:
            home.close()


def test_the_vaults_made_here_are_whole(home: Broken) -> None:
    """The files that the other tests break are readable when unbroken."""
    drive = home.mount("--point", "latest")
    assert (drive / "parts").read_bytes() == b"".join(PARTS)
    assert (drive / "folder" / "in it").read_bytes() == b"x"
