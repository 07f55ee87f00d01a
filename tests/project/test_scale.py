"""How the work grows with a vault, at toy sizes: what grows where nothing should is a fault (docs/scale.md)."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import rpdrive
from catalog.access import actions, listing
from catalog.format.records import PointName
from catalog.store import address, stack
from catalog.vault import Vault
from tests.kit.made import backup, command, drive
from tests.kit.made.backup import saved
from tests.kit.made.command import Counting
from tests.kit.made.contents import FILE_BYTES
from tests.kit.made.make import make
from tests.kit.made.source import ManyFiles
from tests.kit.made.store import MadeScheme
from tests.kit.vaults import home_of, make_vault

MOST = 400  # MiB
FEW, MANY = (2, 10), (8, 60)  # machines, and points of each
ONE = ("--machine", "machine-00001")

# By how many requests a command grows: for each machine of the vault, and for each point of one machine. First as a
# user who has never been here, then once more.
GROWTH = {
    ("vault", "info"): ((2, 0), (0, 0)),  # records of machines and items
    ("machine", "list"): ((1, 0), (0, 0)),
    ("points", "--last", "5", *ONE): ((1, 0), (0, 0)),
    ("points", "--json", *ONE): ((1, 1), (0, 0)),
    ("points", "--why", *ONE): ((1, 1), (0, 0)),
    ("ls", "latest:/folder-001", *ONE): ((1, 0), (0, 0)),
    ("find", "file-001.txt", *ONE): ((1, 0), (0, 0)),
    ("find", "file-001.txt", "--all-points", *ONE): ((1, 2), (0, 1)),  # a record and a page of each
    ("versions", "/folder-001/file-001.txt", *ONE): ((1, 2), (0, 1)),
    ("jobs", "--last", "5", *ONE): ((1, 0), (0, 0)),
    ("policy", "preview", "--daily", "30", *ONE): ((1, 1), (0, 0)),
    ("check", "--level", "0", *ONE): ((1, 1), (0, 0)),
    ("prune", "--dry-run", *ONE): ((1, 4), (0, 0)),  # and what may be merged
}


class World:
    """Vaults that are made up, and one user for each run."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch, self._vaults = folder, patch, 0
        self.scheme = MadeScheme()
        patch.setitem(address._schemes, self.scheme.name, self.scheme)
        patch.setattr(stack, "MeteredStore", Counting)

    def vault(self, machines: int, points: int) -> str:
        self._vaults += 1
        store = make(self._folder / f"vault-{self._vaults}", machines=machines, points=points)
        store.close()
        return store.url

    def user(self, vault: str) -> None:
        """Another user of a vault, who has never been there."""
        home = self._folder / f"home-{len(self.scheme.opened)}"
        for name, value in home_of(home, vault).items():
            self._patch.setenv(name, value)

    def requests(self, *words: str) -> int:
        before = Counter(Counting.counts)
        assert rpdrive.run(list(words)) == 0, words
        return (Counting.counts - before).total()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_vault_info_stops_counting(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of very many points, their number is worth a listing of all only to who asks for it."""
    monkeypatch.setattr(actions, "MANY", 100)
    monkeypatch.setattr(listing, "MANY", 100)
    url = world.vault(8, 60)
    world.user(url)
    seen = list[PointName]()
    real = Vault.each_point_name

    def noted(vault: Vault) -> Iterator[PointName]:
        for name in real(vault):
            seen.append(name)
            yield name

    monkeypatch.setattr(Vault, "each_point_name", noted)
    world.requests("vault", "info")
    shown = capsys.readouterr().out
    assert "points    more than 100; `rpdrive vault info --count` counts them\n" in shown
    assert shown.count("  item    ") == 8 and "60 points" not in shown
    assert len(seen) == 101
    world.requests("vault", "info", "--count")
    shown = capsys.readouterr().out
    assert "points    480\n" in shown and shown.count(": 60 points\n") == 8
    world.requests("vault", "info", "--json")
    assert json.loads(capsys.readouterr().out)["points"] == 480


def test_no_command_grows_with_what_it_does_not_show(world: World) -> None:
    few, more_machines, more_points = world.vault(*FEW), world.vault(MANY[0], FEW[1]), world.vault(FEW[0], MANY[1])
    found = {}
    for words in GROWTH:
        counts = []
        for vault in (few, more_machines, more_points):
            world.user(vault)
            counts.append((world.requests(*words), world.requests(*words)))
        small, by_machines, by_points = counts
        found[words] = tuple(
            ((by_machines[n] - small[n]) / (MANY[0] - FEW[0]), (by_points[n] - small[n]) / (MANY[1] - FEW[1]))
            for n in range(2)
        )
    too_many = {
        words: growth
        for words, growth in found.items()
        for n in range(2)
        if growth[n][0] > GROWTH[words][n][0] or growth[n][1] > GROWTH[words][n][1]
    }
    assert too_many == {}


def test_what_a_command_keeps_is_on_the_disk_when_it_ends(world: World) -> None:
    """And nothing of it stays in a process that runs many, as a worker of a fleet does."""
    world.user(world.vault(20, 3))
    before = {thread.ident for thread in threading.enumerate()}
    counts = [world.requests("machine", "list") for _ in range(3)]
    assert counts[0] > counts[1] == counts[2]
    assert {thread.ident for thread in threading.enumerate()} <= before


def test_a_backup_asks_as_much_whatever_the_vault_has(world: World) -> None:
    counts = []
    for size in (FEW, MANY):
        vault = world.vault(*size)
        world.user(vault)
        saved(world.scheme, vault, "machine-00001", size[1] - 1)  # a new host, which takes the machine over
        row = []
        for point in (size[1] - 1, size[1]):
            before = Counter(Counting.counts)
            result = saved(world.scheme, vault, "machine-00001", point)
            assert result.problem_count == 0 and result.progress.changed == point + 1 - size[1]
            row.append(Counting.counts - before)
        counts.append([sum(n for kind, n in one.items() if kind != "read meta") for one in row])
    assert counts[0] == counts[1] == [14, 17], "nothing has changed, and one file"


def test_a_backup_sends_what_changed_and_asks_for_nothing_more(world: World) -> None:
    asked = set()
    for files, changed in ((2_000, 1), (6_000, 1), (6_000, 4)):
        vault = world.vault(0, 1)
        world.user(vault)
        saved(world.scheme, vault, "big", ManyFiles(files))
        before = Counter(Counting.counts)
        result = saved(world.scheme, vault, "big", ManyFiles(files, 1, changed))
        progress = result.progress
        assert (progress.changed, progress.sent.new_bytes) == (changed * 100, changed * 100 * FILE_BYTES)
        asked.add(tuple((Counting.counts - before).items()))
    (spent,) = asked
    assert dict(spent)["create packs"] == dict(spent)["create meta"] == dict(spent)["create points"] == 1


def test_a_file_of_sixty_terabytes(world: World) -> None:
    """MARS's volumes have 54,400 GB at most. All but the ends of this file is a hole."""
    size, end = 64 * 10**12, b"the end"
    with TemporaryDirectory(dir="/dev/shm") as folder:  # on ext4, no file can have so many bytes
        source, back = Path(folder) / "source", Path(folder) / "back"
        source.mkdir()
        with (source / "large").open("wb") as file:
            file.seek(size - len(end))
            file.write(end)
        vault = make_vault(Path(folder) / "vault")
        world.user(vault.store.url)
        assert rpdrive.run(["backup", str(source)]) == 0
        assert rpdrive.run(["restore", f"latest:{source}/large", "--to", str(back)]) == 0
        with (back / "large").open("rb") as file:
            assert file.seek(-len(end), 2) == size - len(end) and file.read() == end
            assert (back / "large").stat().st_blocks * 512 < 1 << 20


@pytest.mark.soak
@pytest.mark.needs_root
@pytest.mark.needs_fuse
def test_an_item_of_ten_thousand_points_fits_into_memory(tmp_path: Path) -> None:
    """Nothing takes 400 MiB; `make bench-scale` measures the rest, up to twenty million points."""
    points = 10_000
    url = make(tmp_path / "vault", machines=3, points=points).url
    for words in (
        ("points", "--why", "--json", *ONE), ("find", "file-001.txt", "--all-points", *ONE),
        ("versions", "/folder-001/file-001.txt", *ONE), ("check", "--level", "1", *ONE),
        ("prune", "--dry-run", *ONE), ("health", "--all"),
    ):  # fmt: skip
        took, _said = command.run(tmp_path / "home", url, *words)
        assert took.memory < MOST, words
    looks = drive.run(
        tmp_path / "home", url, "", "machine-00001", "machine-00001/root", "machine-00001/root/latest/"
    )
    assert looks[-1].memory < MOST and sum(look.total for look in looks) < 20
    for point in (points - 1, points):
        took, said = backup.run(tmp_path / "home", url, "machine-00001", "--point", point)
        assert took.memory < MOST and said["problems"] == 0
