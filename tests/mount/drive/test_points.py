"""The drive of all points, and large folders, through the kernel."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.vault import Vault
from tests.kit.drives import ITEM, MACHINE, Home, Maker, add_item, add_machine, add_point, eventually
from tests.kit.faults import spoilt
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_fuse

SECOND = 10**9
START = 1_790_000_000 * SECOND
OTHER, MAIL = b"other machine id", b"item id of mail!"
WINFSP_TOO = True


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    add_machine(vault, OTHER, "laptop", 2)
    add_item(vault)
    add_item(vault, MAIL, "mail")
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", b"one")]), 1, START)
    add_point(vault, m.root([m.file(b"file", b"two!"), m.file(b"new", b"x")]), 2, START + 60 * SECOND)
    add_point(vault, m.root([m.file(b"mail", b"m")]), 1, START, item=MAIL, item_name="mail")
    add_point(vault, m.root([m.file(b"other", b"o")]), 1, START, machine=OTHER, machine_name="laptop")
    return vault


@pytest.fixture
def home(tmp_path: Path, vault: Vault, driver: str) -> Iterator[Home]:
    home = Home(tmp_path, tmp_path / "vault")
    yield home
    home.close()


def test_all_points(home: Home) -> None:
    drive = home.mount()
    assert sorted(os.listdir(drive)) == ["box", "laptop"]
    assert sorted(os.listdir(drive / "box")) == ["home", "mail"]
    versions, first, second, latest = sorted(os.listdir(drive / "box" / "home"))
    assert (versions, latest) == (".versions", "latest")
    assert os.readlink(drive / "box" / "home" / "latest") == second
    assert (drive / "box" / "home" / first / "file").read_text() == "one"
    assert (drive / "box" / "home" / "latest" / "file").read_text() == "two!"
    assert (drive / "laptop" / "home" / "latest" / "other").read_text() == "o"
    assert (drive / "box" / "home" / first).stat().st_mtime_ns == START
    (row,) = home.mounts()
    assert row["point"] is None
    points: list[str | Path] = ["find", drive, "-name", ".versions", "-prune", "-o", "-type", "f", "-print"]
    found = subprocess.run(points, capture_output=True, text=True, check=True).stdout
    assert len(found.splitlines()) == 5


def test_points_appear_while_it_is_mounted(home: Home, vault: Vault) -> None:
    drive = home.mount()
    folder = drive / "box" / "home"
    before = set(os.listdir(folder))
    assert (folder / "latest" / "file").read_text() == "two!"
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", b"three")]), 3, START + 120 * SECOND)
    eventually(lambda: len(os.listdir(folder)) > len(before), "the new point appears")
    eventually(lambda: (folder / "latest" / "file").read_text() == "three", "latest moves")
    (new,) = set(os.listdir(folder)) - before
    assert os.readlink(folder / "latest") == new
    previous = max(before - {"latest", ".versions"})
    assert (folder / previous / "file").read_text() == "two!"


def test_damaged_records_cost_no_more_than_a_name(home: Home, vault: Vault, tmp_path: Path) -> None:
    """Damage to the newest point of two items and to records of an item and a machine: the rest still opens."""

    def damage(path: Path) -> None:
        path.chmod(0o600)
        path.write_bytes(spoilt(path.read_bytes()))

    newest = vault.point_names(MACHINE, ITEM)[-1]
    damage(tmp_path / "vault" / str(newest))
    (lonely,) = vault.point_names(MACHINE, MAIL)
    damage(tmp_path / "vault" / str(lonely))
    drive = home.mount()
    assert sorted(os.listdir(drive / "box")) == ["home", "mail"]
    first, second, latest = sorted(set(os.listdir(drive / "box" / "home")) - {".versions"})
    assert (drive / "box" / "home" / first / "file").read_text() == "one"
    assert os.readlink(drive / "box" / "home" / latest) == first  # the newest that opens
    assert (drive / "box" / "home" / latest / "file").read_text() == "one"
    for folder in (drive / "box" / "home" / second, drive / "box" / "mail" / "latest"):
        with pytest.raises(OSError) as error:
            os.listdir(folder)
        assert error.value.errno == errno.EIO
    log = next((home.folder / "home" / "state" / "logs").iterdir()).read_text()
    assert str(newest) in log and "Traceback" not in log
    home.run("unmount", drive)

    damage(tmp_path / "vault" / "items" / MACHINE.hex() / MAIL.hex() / "00000001")
    damage(tmp_path / "vault" / "machines" / OTHER.hex() / "00000001")
    drive = home.mount()
    assert sorted(os.listdir(drive)) == sorted(["box", OTHER.hex()])
    assert sorted(os.listdir(drive / "box")) == sorted(["home", MAIL.hex()])
    assert (drive / OTHER.hex() / "home" / "latest" / "other").read_text() == "o"


def test_points_whose_ids_begin_alike_keep_their_own_files(home: Home, vault: Vault) -> None:
    """An inode number has room for 31 bits of a point's id. A machine can choose its ids, and chance does, too."""
    m = Maker(vault)
    texts = [b"third", b"the fourth", b"fifth: other numbers, too"]
    for n, text in enumerate(texts):
        files = [m.file(b"file", text), *(m.file(b"before %d" % i, text) for i in range(n % 2))]
        point_id = b"same" + bytes([n]) * 12
        when = START + n * 3600 * SECOND
        add_point(vault, m.root(files), n + 3, when, item=b"i" * 16, item_name="twins", point_id=point_id)
    add_point(
        vault, m.root([m.file(b"file", b"ours")]), 2, START, machine=OTHER, point_id=b"same" + bytes([0]) * 12
    )
    twins = home.mount() / "box" / "twins"
    days = sorted(set(os.listdir(twins)) - {"latest", ".versions"})
    for _ in range(2):
        assert [(twins / day / "file").read_bytes() for day in days] == texts
        assert [(twins / day / "file").stat().st_size for day in days] == [len(text) for text in texts]
    assert (home.folder / "drive" / "laptop" / "home" / "latest" / "file").read_text() == "ours"
    inodes = [(twins / day / name).stat().st_ino for day in days for name in os.listdir(twins / day)]
    assert len(set(inodes)) == len(inodes)


def test_narrowed_to_a_machine_or_an_item(home: Home) -> None:
    drive = home.mount("--machine", "laptop", name="laptop")
    assert os.listdir(drive) == ["laptop"]
    drive = home.mount("--item", MAIL.hex()[:8], name="mail")
    assert os.listdir(drive) == ["box"] and os.listdir(drive / "box") == ["mail"]
    drive = home.mount("--machine", "box", "--item", "mail", "--point", "latest", name="one")
    assert os.listdir(drive) == ["mail"]
    refusal = home.run("mount", home.mount_point("no"), "--item", "homes", exit_code=4).stderr
    assert "no item 'homes'" in refusal
    assert len(home.mounts()) == 3


def test_mounting_all_and_listing_the_top_costs_what_it_must(home: Home) -> None:
    drive = home.mount()
    assert len(os.listdir(drive)) == 2
    assert home.mounts()[0]["store_requests"] <= 3 + 2 + 3


def test_an_empty_vault(tmp_path: Path) -> None:
    make_vault(tmp_path / "empty")
    home = Home(tmp_path, tmp_path / "empty")
    try:
        assert os.listdir(home.mount()) == []
        refusal = home.run("mount", home.mount_point("one"), "--point", "latest", exit_code=4).stderr
        assert "no recovery points" in refusal
    finally:
        home.close()


def output(home: Home, command: list[str | bytes]) -> bytes:
    """What a command prints. If it hangs, say what it had printed, and which requests had no answer."""
    with (home.folder / "output").open("w+b") as file, subprocess.Popen(command, stdout=file) as process:
        try:
            assert process.wait(120) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            lines = (home.folder / "output").read_bytes().splitlines()
            (row,) = home.mounts()
            pytest.fail(
                f"{command} had printed {len(lines)} lines, {len(set(lines))} different ones, the last of them"
                f" {lines[-1:]}; the drive: {row['driver']}, errors: {row['recent_errors']}"
            )
    return (home.folder / "output").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kernel", "fuse"])  # the stand-in for WinFsp takes minutes
def test_a_folder_of_100_000_names(tmp_path: Path, name: str) -> None:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    rng = random.Random(2)
    names = {rng.randbytes(rng.randint(4, 20)).hex().encode() for _ in range(100_000)}
    add_point(vault, m.root([m.folder(b"many", [m.file(one) for one in names])]), 1)
    home = Home(tmp_path, tmp_path / "vault")
    try:
        folder = os.fsencode(home.mount("--point", "latest", "--driver", name) / "many")
        assert set(os.listdir(folder)) == names
        long = output(home, ["ls", "-lU", folder])
        assert {line.split()[-1] for line in long.splitlines()[1:]} == names
        # From the middle, and again from the start, as programs that seek in folders do.
        with os.scandir(folder) as entries:
            some = [next(entries).name for _ in range(1000)]
        assert len(set(some)) == 1000
        for command in (["getfattr", "-d", "-m", "-"], ["getfacl", "-cE"]):  # there are no attributes at all here
            done = subprocess.run(
                [*command, "--absolute-names", folder], capture_output=True, text=True, check=True
            )
            assert done.stderr == ""
            assert done.stdout.split() == (["user::rwx", "group::r-x", "other::r-x"] if "-cE" in command else [])
        for one in rng.sample(sorted(names), 100):
            assert os.stat(os.path.join(folder, one)).st_size == 0
        (row,) = home.mounts()
        assert row["errors"] == 0
    finally:
        home.close()
