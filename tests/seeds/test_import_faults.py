"""What may be wrong with disks and with the vault when a seed is imported: each is named, and nothing is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from catalog.errors import (
    AccessDenied,
    Damaged,
    FollowingCopy,
    NotFound,
    RpdriveError,
    StoreFull,
    StoreUnreachable,
    UsageError,
)
from catalog.format.vaultfile import CopyMark
from catalog.seeds.disk import LIST_FILE, SEED_FILE, Listed, decode_seed_file, write_list, write_seed_file
from catalog.seeds.listing import missing_lines, result_lines
from catalog.store.local import LocalStore
from catalog.store.metered import MeteredStore
from catalog.store.roles import Grant, Role, RoleStore
from tests.kit.bad_disk import BadDisk
from tests.kit.faults import FullStore, RefusingStore
from tests.kit.pruning import DAY
from tests.kit.seeding import SEED, Seed, WatchedStore, flip, write_disks
from tests.kit.stores import MOST


def refused(seed: Seed, error: type[RpdriveError], *sources: Path, match: str) -> None:
    """The import raises this error, and the vault is as before."""
    before = dict(seed.memory.objects)
    with pytest.raises(error, match=match) as caught:
        seed.run(*(sources or seed.disks))
    assert caught.value.advice, caught.value
    assert seed.memory.objects == before


# --- disks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["packs/", "meta/", "index/"])
@pytest.mark.parametrize("at", [0, -1])
def test_a_flipped_bit(tmp_path: Path, prefix: str, at: int) -> None:
    """It costs that object: the others land, the name is said, and no point is seen until a good copy comes."""
    seed = Seed(tmp_path)
    bad = seed.on_disk(1, prefix)
    name = str(bad.relative_to(seed.disks[0]))
    flip(bad, at)
    result = seed.run(*seed.disks)
    assert result.has_damage and result.disks[0].damaged.names == [name] and seed.lost() == {name}
    seed.assert_nothing_visible()
    assert name in "\n".join(result_lines(result)) and "1 object on it can't be used" in next(missing_lines(result))
    flip(bad, at)
    assert seed.run(*seed.disks).is_whole
    seed.assert_whole()


@pytest.mark.parametrize("prefix", ["jobs/", "points/", "seeds/"])
def test_a_flipped_bit_in_what_is_stored_last(tmp_path: Path, prefix: str) -> None:
    """One bad point keeps all of them back, so that none seems to be missing between others."""
    seed = Seed(tmp_path)
    bad = seed.on_disk(2, prefix)
    flip(bad)
    result = seed.run(*seed.disks)
    assert result.has_damage and result.late.names == [str(bad.relative_to(seed.disks[1]))]
    assert "the last disk is damaged" in next(missing_lines(result))
    seed.assert_nothing_visible()
    flip(bad)
    assert seed.run(*seed.disks).is_whole
    seed.assert_whole()


@pytest.mark.parametrize("wrong", ["truncated", "longer", "gone", "a link", "a folder", "a fifo"])
def test_an_object_is_not_what_it_was(tmp_path: Path, wrong: str) -> None:
    seed = Seed(tmp_path)
    bad = seed.on_disk(1)
    data = bad.read_bytes()
    bad.unlink()
    match wrong:
        case "truncated":
            bad.write_bytes(data[:-1])
        case "longer":
            bad.write_bytes(data + b"x")
        case "a link":
            (tmp_path / "elsewhere").write_bytes(data)
            bad.symlink_to(tmp_path / "elsewhere")
        case "a folder":
            bad.mkdir()
        case "a fifo":
            os.mkfifo(bad)
    result = seed.run(*seed.disks)
    assert result.has_damage and result.disks[0].damaged.objects == 1
    assert seed.lost() == {str(bad.relative_to(seed.disks[0]))}
    seed.assert_nothing_visible()


def test_a_bad_sector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs the object, and is no reason to think that the disk is away."""
    seed = Seed(tmp_path)
    bad = seed.on_disk(1)
    disk = BadDisk(seed.disks[0], monkeypatch)
    disk.spoil(str(bad.relative_to(seed.disks[0])), 3, 9)
    result = seed.run(*seed.disks)
    assert disk.failed and result.disks[0].damaged.objects == 1 and len(seed.lost()) == 1
    seed.assert_nothing_visible()


def test_into_a_folder(tmp_path: Path) -> None:
    """Where the system copies from disk to disk, the bytes are checked just so before they get their name."""
    seed = Seed(tmp_path / "seed", 2, points=6)
    folder = LocalStore(tmp_path / "vault")
    for name, data in seed.memory.objects.items():
        folder.create(name, [data])
    first, second, third = sorted(path for path in (seed.disks[0] / "packs").rglob("*") if path.is_file())[:3]
    saved = {path: path.read_bytes() for path in (first, second, third)}
    flip(first, 5)
    second.write_bytes(saved[second] + b"x")
    os.truncate(third, len(saved[third]) - 1)
    result = seed.run(*seed.disks, store=folder)
    bad = {str(path.relative_to(seed.disks[0])) for path in saved}
    assert set(result.disks[0].damaged.names) == bad and not list(folder.list("points/"))
    for path, data in saved.items():
        path.write_bytes(data)
    assert seed.run(*seed.disks, store=folder).is_whole
    assert {info.name: folder.get(info.name, MOST) for info in folder.list("")} == seed.whole
    assert not [path for path in (tmp_path / "vault/.rpdrive").iterdir() if path.is_file()]


def test_another_copy_of_a_disk_helps(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    shutil.copytree(seed.disks[0], tmp_path / "another")
    flip(seed.on_disk(1))
    assert seed.run(*seed.disks, tmp_path / "another").is_whole
    seed.assert_whole()


def test_a_list_is_damaged_and_has_a_copy_on_the_last_disk(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 3)
    flip(seed.disks[0] / LIST_FILE, 40)
    alone = seed.run(seed.disks[1])
    assert alone.disks[1].has_arrived
    result = seed.run(*seed.disks)
    assert result.is_whole and f"{seed.disks[0]}/{LIST_FILE} is not the list" in result.notes[0]
    seed.assert_whole()


def test_a_list_is_damaged_and_there_is_no_copy(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 3)
    flip(seed.disks[0] / LIST_FILE, 40)
    refused(seed, Damaged, seed.disks[0], match="is not the list that seed.json tells of")
    result = seed.run(*seed.disks[:2])
    assert result.has_damage and result.disks[1].has_arrived
    assert LIST_FILE in next(missing_lines(result))
    seed.assert_nothing_visible()


def test_the_list_of_the_last_disk_is_damaged(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    flip(seed.disks[1] / LIST_FILE)
    result = seed.run(*seed.disks)
    assert result.has_damage and result.disks[0].has_arrived
    seed.assert_nothing_visible()


def test_each_bit_of_seed_json(tmp_path: Path) -> None:
    """Whatever bit is flipped, the import ends in words, and what becomes visible is whole."""
    seed = Seed(tmp_path)
    path = seed.disks[1] / SEED_FILE
    saved, data = seed.world.saved(), path.read_bytes()
    outcomes: set[int] = set()
    for at in range(0, len(data) * 8, 37):  # a bit of every fifth byte
        path.write_bytes(data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :])
        seed.world.restore(saved)
        try:
            outcomes.add(0 if seed.run(*seed.disks).is_whole else Damaged.exit_code)
        except RpdriveError as e:
            outcomes.add(e.exit_code)
        assert not seed.seen() or not seed.lost()
    assert outcomes == {0, Damaged.exit_code}  # in blanks; and in what has a check, so in all else


def test_a_disk_whose_seed_json_is_damaged_costs_that_disk(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 3)
    (seed.disks[0] / SEED_FILE).write_bytes(b"{")
    result = seed.run(*seed.disks)
    assert result.has_damage and SEED_FILE in next(missing_lines(result))
    assert [disk.has_arrived for disk in result.disks] == [False, True, True]
    seed.assert_nothing_visible()
    refused(seed, Damaged, seed.disks[0], match="is malformed")


def test_sources_that_are_no_disks(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    (tmp_path / "empty").mkdir()
    refused(seed, UsageError, tmp_path / "empty", match="no disk of a seed at .*/empty: it has no seed.json")
    refused(seed, UsageError, tmp_path / "nowhere", match="there is no folder .*/nowhere")
    refused(seed, UsageError, *seed.disks, tmp_path / "empty", match="no disk of a seed")


def test_a_disk_of_another_vault(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    foreign = write_disks(tmp_path / "foreign", seed.carried, 1, bytes(16), seed.expires)
    refused(seed, UsageError, *seed.disks, *foreign, match="is for the vault 00000000, and the vault at")


def test_a_disk_of_another_seed(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    foreign = write_disks(tmp_path / "foreign", seed.carried, 1, seed.world.vault.id, seed.expires, bytes(16))
    refused(seed, UsageError, *seed.disks, *foreign, match="belongs to the seed 00000000, and others to")
    refused(seed, NotFound, *foreign, match="knows no seed 00000000")


def test_a_disk_that_was_written_again(tmp_path: Path) -> None:
    """The last disk tells of another disk 1 than the one that is there."""
    seed = Seed(tmp_path)
    path = seed.disks[0] / SEED_FILE
    file = decode_seed_file(path.read_bytes(), "")
    other = msgspec.structs.replace(file, disks=(msgspec.structs.replace(file.row, id="f" * 32),))
    write_seed_file(seed.disks[0], other)
    result = seed.run(*seed.disks)
    assert result.has_damage and "is not the one that the last disk tells of" in next(missing_lines(result))
    seed.assert_nothing_visible()


def test_a_disk_that_is_not_finished(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    file = decode_seed_file((seed.disks[0] / SEED_FILE).read_bytes(), "")
    row = msgspec.structs.replace(file.row, list="", list_bytes=0, objects=0, bytes=0)
    write_seed_file(seed.disks[0], msgspec.structs.replace(file, disks=(row,)))
    refused(seed, Damaged, seed.disks[0], match="is not finished")


@pytest.mark.parametrize("at", [1, 3])
def test_unplugged_in_the_middle(tmp_path: Path, at: int) -> None:
    seed = Seed(tmp_path)
    away = tmp_path / "unplugged"

    def look() -> None:
        if watched.looked >= at and not away.exists():
            seed.disks[0].rename(away)

    watched = WatchedStore(seed.memory, look)
    with pytest.raises(StoreUnreachable, match=r"disk 1 at .*/disk-1 can't be read any more; .* are stored") as e:
        seed.run(*seed.disks, store=watched)
    assert "connect it again" in e.value.advice
    seed.assert_nothing_visible()
    away.rename(seed.disks[0])
    assert seed.run(*seed.disks).is_whole
    seed.assert_whole()


def test_the_last_disk_is_unplugged_before_its_points_are_read(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    away = tmp_path / "unplugged"

    def look() -> None:
        if not seed.lost() and not away.exists():
            seed.disks[1].rename(away)

    with pytest.raises(StoreUnreachable, match=r"disk 2 at .*/disk-2 can't be read any more"):
        seed.run(*seed.disks, store=WatchedStore(seed.memory, look))
    seed.assert_nothing_visible()
    away.rename(seed.disks[1])
    assert seed.run(*seed.disks).is_whole
    seed.assert_whole()


# --- the vault --------------------------------------------------------------------------------------------


def test_no_room(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    total = sum(len(data) for data in seed.carried.values())
    for room in range(0, total, max(1, total // 12)):
        with pytest.raises(StoreFull, match="are stored"):
            seed.run(*seed.disks, store=FullStore(seed.memory, 0 if not room else total // 12))
        assert not seed.seen() or not seed.lost()
        if not seed.lost():
            break
    assert seed.run(*seed.disks).is_whole
    seed.assert_whole()


def test_the_vault_has_another_object_under_a_name(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    name = str(seed.on_disk(1).relative_to(seed.disks[0]))
    seed.memory.create(name, [b"another"])
    result = seed.run(*seed.disks)
    assert result.has_damage and result.disks[0].conflicts.names == [name]
    assert "which were left alone" in next(missing_lines(result))
    assert seed.memory.objects[name] == b"another"
    seed.assert_nothing_visible()


@pytest.mark.parametrize("prefix", ["jobs/", "points/"])
def test_the_vault_has_another_point_under_a_name(tmp_path: Path, prefix: str) -> None:
    seed = Seed(tmp_path)
    name = next(name for name in seed.carried if name.startswith(prefix))
    seed.memory.create(name, [b"another"])
    result = seed.run(*seed.disks)
    assert result.has_damage and not result.is_whole and seed.memory.objects[name] == b"another"
    assert name in "\n".join(result_lines(result))
    assert [n for n in seed.memory.objects if n.startswith(("points/", "jobs/"))] == [name]


def test_another_point_comes_under_a_name_meanwhile(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    name = seed.points[-1]

    def look() -> None:
        if seed.points[0] in seed.memory.objects and name not in seed.memory.objects:
            seed.memory.create(name, [bytes(len(seed.carried[name]))])

    with pytest.raises(Damaged, match="the vault has another object under the name points/"):
        seed.run(*seed.disks, store=WatchedStore(seed.memory, look))
    assert f"seeds/{SEED.hex()}.ended" not in seed.memory.objects


def test_the_seed_is_not_known(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    del seed.memory.objects[f"seeds/{SEED.hex()}"]
    refused(seed, NotFound, match="knows no seed 64656667")


def test_the_seed_was_abandoned(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    seed.memory.create(f"seeds/{SEED.hex()}.ended", [b"abandoned"])
    refused(seed, NotFound, match="has ended, and .* objects of these disks are not in the vault")
    refused(seed, NotFound, seed.disks[0], match="has ended")


def test_the_seed_is_abandoned_during_the_import(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    name = f"seeds/{SEED.hex()}.ended"

    def look() -> None:
        if not seed.lost() and name not in seed.memory.objects:
            seed.memory.create(name, [b"abandoned"])

    with pytest.raises(NotFound, match="it was abandoned"):
        seed.run(*seed.disks, store=WatchedStore(seed.memory, look))
    assert not seed.seen()


@pytest.mark.parametrize(("expires", "later"), [(10, 10.1), (10_000, 366.1)])
def test_the_seed_has_expired(tmp_path: Path, expires: float, later: float) -> None:
    seed = Seed(tmp_path, expires=expires)
    seed.world.later(later)
    refused(seed, NotFound, match="expired at")


def test_the_seed_expires_during_the_import(tmp_path: Path) -> None:
    seed = Seed(tmp_path, expires=10)

    def look() -> None:
        if not seed.lost():
            seed.world.now = max(seed.world.now, seed.expires + DAY)

    with pytest.raises(NotFound, match="expired at"):
        seed.run(*seed.disks, store=WatchedStore(seed.memory, look))
    seed.assert_nothing_visible()


def test_a_copy_that_follows_takes_no_seed(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    vault = seed.world.vault
    file = vault.file.changed(copy=CopyMark("file:///source", "2026-01-01T00:00:00+00:00", None))
    seed.memory.objects["vault.json"] = file.encode(vault.keys)
    refused(seed, FollowingCopy, match="is a copy of file:///source, and follows it")


# --- rights -----------------------------------------------------------------------------------------------


def test_rights_to_add_objects_are_enough(tmp_path: Path) -> None:
    """Nothing is asked of the vault but listings, vault.json, and to create: no role above backup."""
    seed = Seed(tmp_path)
    grant = Grant(Role.BACKUP, 1 << 62)
    log = MeteredStore(RoleStore(seed.memory, grant, lambda: None), log=True)
    assert seed.run(*seed.disks, store=log).is_whole
    assert log.log is not None and {request.kind for request in log.log} == {"get", "list", "create"}
    assert {request.name for request in log.log if request.kind == "get"} == {"vault.json"}


def test_rights_to_read_are_not(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    before = dict(seed.memory.objects)
    store = RoleStore(seed.memory, Grant(Role.RESTORE, 1 << 62), lambda: None)
    with pytest.raises(AccessDenied, match="role restore can't add objects"):
        seed.run(*seed.disks, store=store)
    assert seed.memory.objects == before
    with pytest.raises(AccessDenied):
        seed.run(*seed.disks, store=RefusingStore(seed.memory, {"get"}))


# --- disks that somebody prepared ---------------------------------------------------------------------------


def hostile(seed: Seed, change: Callable[[list[Listed]], list[Listed]]) -> Path:
    """A disk that lists what somebody wants, and whose seed.json fits that list."""
    disk = seed.disks[-1]
    names = sorted(str(path.relative_to(disk)) for path in disk.rglob("*") if path.is_file())
    rows = [Listed(n, len(seed.carried[n]), bytes(32)) for n in names if n in seed.carried]
    file = decode_seed_file((disk / SEED_FILE).read_bytes(), "")
    written = write_list(disk / LIST_FILE, change(rows))
    row = msgspec.structs.replace(file.row, **written._asdict())
    write_seed_file(disk, msgspec.structs.replace(file, disks=(*file.disks[:-1], row)))
    return disk


@pytest.mark.parametrize(
    "name",
    [
        f"index/{bytes(16).hex()}/x",  # of another machine
        f"packs/{bytes(4).hex()}/00/{bytes(16).hex()}",
        f"points/{bytes(16).hex()}/x",
        f"seeds/{bytes(16).hex()}.ended",  # the end of another seed
        "packs/x",
        "meta/00010203",
        "index/../vault.json",
    ],
)
def test_names_that_no_seed_carries(tmp_path: Path, name: str) -> None:
    seed = Seed(tmp_path)
    if ".." in name:
        text = (seed.disks[-1] / LIST_FILE).read_text().replace('"index/', '"index/../')
        (seed.disks[-1] / LIST_FILE).write_text(text)
        forge(seed.disks[-1])
    else:
        hostile(seed, lambda rows: sorted([*rows, Listed(name, 3, bytes(32))]))
    before = dict(seed.memory.objects)
    with pytest.raises(Damaged):
        seed.run(seed.disks[-1])
    assert seed.memory.objects == before
    result = seed.run(*seed.disks)
    assert result.has_damage and not seed.seen() and name not in seed.memory.objects


def forge(disk: Path) -> None:
    """Make seed.json fit the list as it is now."""
    from blake3 import blake3

    data = (disk / LIST_FILE).read_bytes()
    file = decode_seed_file((disk / SEED_FILE).read_bytes(), "")
    row = msgspec.structs.replace(file.row, list=blake3(data).hexdigest(), list_bytes=len(data))
    write_seed_file(disk, msgspec.structs.replace(file, disks=(*file.disks[:-1], row)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"packs/', '"vault.json", "x": "'),
        ('"packs/', '"ledger/'),
        ('"packs/', '"/packs/'),
        ('"size":', '"size": 9223372036854775808, "x":'),
        ('"size":', '"size": -1, "x":'),
        ('"size":', '"size": 1e3, "x":'),
        ('"size":', '"size": "1", "x":'),
        ('"blake3":', '"blake3": "00", "x":'),
        ("\n", " \n\n"),
        ("{", "[" * 900),
        ("}", " " * 5000 + "}"),
    ],
)
def test_lists_that_nobody_wrote(tmp_path: Path, old: str, new: str) -> None:
    """The hash fits, and the lines don't: the disk is refused, with the number of the line."""
    seed = Seed(tmp_path)
    path = seed.disks[-1] / LIST_FILE
    path.write_text(path.read_text().replace(old, new, 1))
    forge(seed.disks[-1])
    refused(seed, Damaged, seed.disks[-1], match=f"{seed.disks[-1]}/{LIST_FILE}")
    before = set(seed.memory.objects)
    result = seed.run(*seed.disks)
    assert result.has_damage and not seed.seen()
    assert {name.split("/")[0] for name in set(seed.memory.objects) - before} <= {"packs", "meta", "index"}


def test_a_list_without_an_end(tmp_path: Path) -> None:
    """No more is read of a list than seed.json tells of, and that has a bound."""
    seed = Seed(tmp_path)
    path = seed.disks[-1] / LIST_FILE
    os.truncate(path, 1 << 40)  # zeros
    refused(seed, Damaged, seed.disks[-1], match="is not the list")
    file = decode_seed_file((seed.disks[-1] / SEED_FILE).read_bytes(), "")
    for fields in ({"list_bytes": 1 << 40}, {"objects": 1 << 50, "list_bytes": 1 << 53}):
        row = msgspec.structs.replace(file.row, **fields)
        write_seed_file(seed.disks[-1], msgspec.structs.replace(file, disks=(*file.disks[:-1], row)))
        refused(seed, Damaged, seed.disks[-1], match="no disk holds so many")


def test_a_seed_json_without_an_end(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    os.truncate(seed.disks[-1] / SEED_FILE, 1 << 40)
    refused(seed, Damaged, seed.disks[-1], match="seed.json is too large")


def test_objects_that_a_list_invents(tmp_path: Path) -> None:
    """Names that are on no disk are missing; their number is told, and only some of their names are kept."""
    seed = Seed(tmp_path)
    machine = seed.world.machine.hex()
    hostile(
        seed, lambda rows: sorted([*rows, *(Listed(f"index/{machine}/{n:05d}", n, bytes(32)) for n in range(3000))])
    )
    result = seed.run(seed.disks[-1])
    assert result.disks[-1].damaged.objects >= 3000 and result.disks[-1].missing.objects >= 3000
    assert len(result.disks[-1].missing.names) < 100 and not seed.seen()
