"""Reading with `--also`: what is asked where, what is said, and which places are not believed. In this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cache.reader import Reader
from catalog.access.copies import KnownCopies
from catalog.access.session import Session
from catalog.errors import Damaged, NoVault, RpdriveError, StoreUnreachable, UsageError
from catalog.format.keys import Keys
from catalog.format.records import Point, PointName
from catalog.format.vaultfile import VaultFile
from catalog.ledger.listed import list_points
from catalog.points.opening import open_point
from catalog.points.seen import Seen
from catalog.store.local import LocalStore
from catalog.vault import Vault, open_vault
from mount.view.nodes import File, Folder, Node
from mount.view.point import PointView
from tests.kit.backing import back_up
from tests.kit.bad_disk import BadDisk
from tests.kit.cli import ROOT
from tests.kit.drives import noise
from tests.kit.places import Places, copy_of
from tests.kit.restoring import restore
from tests.kit.vaults import PASSPHRASE, home_of, make_vault, new_vault

FILES = 5


class World:
    """A source, a vault of it in a folder, and a copy of that, made from `made` by a test that changes them."""

    def __init__(self, folder: Path, made: Path) -> None:
        self.folder, self.source = folder, made / "source"
        self.first = folder / "vault"
        shutil.copytree(made / "vault", self.first)
        self.vault = open_vault(LocalStore(self.first), passphrase=PASSPHRASE)
        self.copy = copy_of(self.vault, self.first, folder / "copy")
        self.places = Places(folder, self.first)
        self.outs = 0

    def read(self, session: Session) -> Point:
        """Restore the latest point and compare it, byte by byte."""
        vault = session.open_vault(reading=True)
        return self.restored(vault)

    def restored(self, vault: Vault) -> Point:
        point = open_point(vault, list_points(vault), "latest")
        self.outs += 1
        out = self.folder / f"out{self.outs}"
        report = restore(vault, point, out)
        assert not report.problems, report
        top = out / str(self.source).lstrip("/")
        for file in (path for path in self.source.rglob("*") if path.is_file()):
            assert (top / file.relative_to(self.source)).read_bytes() == file.read_bytes()
        return point

    def packs(self, place: Path, folder: str = "packs") -> list[Path]:
        return sorted(path for path in (place / folder).rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, and a vault of it: copied for each test."""
    folder = tmp_path_factory.mktemp("made")
    source = folder / "source"
    (source / "below").mkdir(parents=True)
    for n in range(FILES):
        (source / f"{n}").write_bytes(noise(300_000, n))
        (source / "below" / f"{n}").write_bytes(noise(2_000, 100 + n))
    back_up(make_vault(folder / "vault"), folder / "state", source)
    return folder


@pytest.fixture
def world(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", PASSPHRASE)
    return World(tmp_path, made)


def test_with_a_healthy_first_place_nothing_more_is_asked(world: World) -> None:
    session = world.places.session()
    world.read(session)
    alone = world.places.requests(world.first)
    world.read(world.places.session(world.copy, world.folder / "nowhere"))
    assert world.places.requests(world.first) == alone and alone
    assert list(world.places.meters) == [world.first.as_uri()] and not world.places.said


def test_the_vault_is_opened_from_the_copy(world: World) -> None:
    world.places.unreachable.add(world.first)
    world.read(world.places.session(world.copy))
    assert [row[:2] for row in world.places.requests(world.first)] == [("get", "vault.json")]
    assert len([row for row in world.places.requests(world.copy) if row[1] == "vault.json"]) == 2
    (line,) = world.places.said
    assert line.startswith(f"{world.first.as_uri()} does not answer (")
    assert line.endswith(f"reading from {world.copy.as_uri()}")


@pytest.mark.parametrize("damage", ["missing", "gone", "rotten"])
def test_a_vault_json_that_can_not_be_had_is_read_from_the_copy(world: World, damage: str) -> None:
    if damage == "gone":
        world.first.rename(world.folder / "away")
    elif damage == "missing":
        (world.first / "vault.json").unlink()
    else:
        (world.first / "vault.json").write_bytes(b"rotten")
    with pytest.raises((NoVault, Damaged)):
        world.places.session().open_vault(reading=True)
    world.read(world.places.session(world.copy))
    assert len(world.places.said) == 1


def test_a_copy_that_is_behind_says_so(world: World) -> None:
    (point,) = world.vault.points(world.vault.point_names())
    newer = msgspec.structs.replace(point, id=bytes(16), sequence=3)
    world.vault.add_point(newer)
    session = world.places.session(world.copy)
    Seen(session.settings.state, world.vault).note(PointName.of(newer))
    world.places.unreachable.add(world.first)
    assert world.read(session).sequence == 1
    (line,) = world.places.said
    assert "; this copy is behind: 2 newer points of 1 item, which this machine has seen, can't be read" in line


def test_a_first_place_that_goes_away_later(world: World) -> None:
    session = world.places.session(world.copy)
    vault = session.open_vault(reading=True)
    world.places.away[world.first.as_uri()].reachable = False
    world.restored(vault)
    assert len(world.places.said) == 1
    copied = world.places.requests(world.copy)
    assert [row[0] for row in copied if row[1] == "vault.json"] == ["get"], "it was proven once"


def test_known_copies_are_suggested_and_no_more(world: World) -> None:
    session = world.places.session()
    KnownCopies(session.settings).remember(world.copy.as_uri(), world.vault.id, world.first.as_uri())
    world.places.unreachable.add(world.first)
    with pytest.raises(StoreUnreachable) as caught:
        session.open_vault(reading=True)
    at = world.copy.as_uri()
    assert caught.value.advice.endswith(f"or read from the copy at {at}: --also {at}")
    assert list(world.places.meters) == [world.first.as_uri()]


# --- places that are not believed ---------------------------------------------------------------------------


def refused(world: World, place: Path, kind: type[RpdriveError] = StoreUnreachable) -> str:
    """Read while the first place goes away, once the vault is open; and what is said of the other place."""
    session = world.places.session(place)
    vault = session.open_vault(reading=True)
    world.places.away[world.first.as_uri()].reachable = False
    with pytest.raises(kind):
        vault.point_names()
    with pytest.raises(kind):
        vault.point_names()
    assert not [row for row in world.places.requests(place) if row[1] != "vault.json"], "nothing else was asked"
    (line,) = world.places.said
    return line


def test_another_vault_is_named(world: World) -> None:
    other = new_vault(LocalStore(world.folder / "other"))
    line = refused(world, world.folder / "other")
    assert f"is {other.id.hex()[:8]}, and not {world.vault.id.hex()[:8]}" in line
    world.places.unreachable.add(world.first)
    with pytest.raises(StoreUnreachable):
        session = world.places.session(world.folder / "other")
        session.settings.remember_vault(world.first.as_uri(), world.vault.id)
        session.open_vault(reading=True)
    assert "nothing is read there" in world.places.said[0]


def test_a_forged_copy_is_named(world: World) -> None:
    """Same id, another key: as of a place that somebody else has filled."""
    file = VaultFile.decode((world.copy / "vault.json").read_bytes())
    (world.copy / "vault.json").write_bytes(file.encode(Keys(bytes(32), world.vault.id)))
    assert "was not written with the keys of this vault: nothing is read there" in refused(world, world.copy)


def test_a_copy_that_is_away_too(world: World) -> None:
    world.places.unreachable.add(world.copy)
    assert f"{world.copy.as_uri()} (--also): " in refused(world, world.copy)


def test_the_next_place_is_asked_if_one_is_not_believed(world: World) -> None:
    new_vault(LocalStore(world.folder / "other"))
    session = world.places.session(world.folder / "other", world.copy)
    vault = session.open_vault(reading=True)
    world.places.away[world.first.as_uri()].reachable = False
    world.restored(vault)
    assert [line.split()[-1] for line in world.places.said][-1] == world.copy.as_uri()


def test_one_place_named_twice(world: World) -> None:
    link = world.folder / "link"
    link.symlink_to(world.first)
    for also in ([world.first], [link], [world.copy, world.copy], [world.first / "below" / ".."]):
        session = world.places.session(*also)
        session.also_required = True  # by the option
        with pytest.raises(UsageError, match="is named twice"):
            session.open_vault(reading=True)
        assert not world.places.meters
        session = world.places.session(*also)  # by the variable, which is for all commands
        session.open_vault(reading=True)
        assert session.also is not None and session.also.urls == (world.copy.as_uri(),)[: world.copy in also]


# --- what is lost or damaged --------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def lost_line(world: World) -> None:
    (line,) = world.places.said
    assert line.startswith(
        f"{world.first.as_uri()} has lost or damaged data, which is read from {world.copy.as_uri()}: "
    )


@pytest.mark.parametrize("folder", ["packs", "meta"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damaged_and_lost_packs_are_read_from_the_copy(world: World, folder: str, damage: str) -> None:
    for path in world.packs(world.first, folder):
        match damage:
            case "flipped":
                flip(path, 100)
            case "cut":
                path.write_bytes(path.read_bytes()[:200])
            case "gone":
                path.unlink()
    session = world.places.session(world.copy)
    world.read(session)
    lost_line(world)
    if damage == "flipped":
        assert session.damaged_packs(world.vault.id.hex()).packs(), "noted, though it was read"
        with pytest.raises((Damaged, AssertionError)):
            world.read(world.places.session())


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_reader_reads_them_too(world: World, damage: str) -> None:
    """As a drive does: with its memory, and not once more for each piece of a block."""
    for path in [*world.packs(world.first), *world.packs(world.first, "meta")]:
        if damage == "gone":
            path.unlink()
        else:
            flip(path, 100)
    vault = world.places.session(world.copy).open_vault(reading=True)
    point = open_point(vault, list_points(vault), "latest")
    reader = Reader(vault)
    try:
        node: Node = PointView(reader, point).root
        for part in str(world.source / "below").strip("/").split("/"):
            assert isinstance(node, Folder)
            node = node.lookup(part.encode())
        assert isinstance(node, Folder)
        asked = []
        for n in range(FILES):
            file = node.lookup(b"%d" % n)
            assert isinstance(file, File)
            assert bytes(file.open().read(0, 2_000)) == noise(2_000, 100 + n)
            asked.append(len(world.places.requests(world.copy)))
        assert asked[-1] == asked[0], "the small files share a block, and it was fetched once"
    finally:
        reader.close()
    lost_line(world)


@pytest.mark.parametrize("folder", ["points", "machines", "items"])
def test_a_damaged_record_is_read_from_the_copy(world: World, folder: str) -> None:
    for path in world.packs(world.first, folder):
        flip(path, 50)
    vault = world.places.session(world.copy).open_vault(reading=True)
    assert [machine.name for machine in vault.machines().values()]
    assert [item.paths for item in vault.all_items()] == [[bytes(world.source)]]
    world.restored(vault)
    assert not vault.passed_over.report()
    lost_line(world)


def test_a_command_that_does_not_read_elsewhere_takes_no_also(world: World) -> None:
    session = world.places.session(world.copy)
    vault = session.open_vault()  # a variable may be set for all commands
    assert session.also is None and type(vault) is Vault
    session = world.places.session(world.copy)
    session.also_required = True
    with pytest.raises(UsageError, match="--also is for reading"):
        session.open_vault()


def test_without_the_option_no_module_more_is_loaded(world: World) -> None:
    """The option costs those nothing who don't use it."""
    code = (
        "import sys, rpdrive; rpdrive.run(['points', *sys.argv[1:]]); "
        "names = {'catalog.access.also', 'catalog.elsewhere', 'catalog.store.fallback', 'catalog.points.lacking'}; "
        "print(sorted(names & sys.modules.keys()))"
    )
    found = []
    for words in ([], [f"--also={world.copy}"]):
        environ = os.environ | home_of(world.folder / "home", str(world.first))
        done = subprocess.run(
            [sys.executable, "-c", code, *words], env=environ, cwd=ROOT, capture_output=True, text=True, check=True
        )
        found.append(done.stdout.splitlines()[-1])
    assert found == ["[]", "['catalog.access.also', 'catalog.elsewhere', 'catalog.store.fallback']"]


@pytest.mark.parametrize("folder", ["packs", "meta"])
def test_what_the_disk_can_not_read_is_read_from_the_copy(
    world: World, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BadDisk(world.first, monkeypatch)
    for path in world.packs(world.first, folder):
        disk.spoil(str(path.relative_to(world.first)), 100, 101)
    world.read(world.places.session(world.copy))
    assert disk.failed
    lost_line(world)


def test_a_bad_sector_costs_the_files_of_its_block_and_no_restore(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a copy. It ended the whole restore."""
    disk = BadDisk(world.first, monkeypatch)
    (pack,) = world.packs(world.first)
    disk.spoil(str(pack.relative_to(world.first)), 100, 101)
    vault = world.places.session().open_vault(reading=True)
    point = open_point(vault, list_points(vault), "latest")
    out = world.folder / "out"
    report = restore(vault, point, out)
    top = out / str(world.source).lstrip("/")
    found = {path.relative_to(top) for path in top.rglob("*") if path.is_file()}
    wanted = {path.relative_to(world.source) for path in world.source.rglob("*") if path.is_file()}
    lost = {problem.path.decode().removeprefix(str(world.source).lstrip("/") + "/") for problem in report.problems}
    assert report.problems and found and lost == {str(path) for path in wanted - found}
