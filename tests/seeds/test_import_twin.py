"""`rpdrive seed import` of a twin: the folder that has everything the disks have, and what came after them."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.errors import Damaged, NotFound, StoreUnreachable, UsageError
from catalog.seeds.listing import missing_lines, result_json, result_lines
from tests.kit.faults import StopAtStore, Stopped
from tests.kit.seeding import SEED, Seed, WatchedStore, flip, write_twin


def whole_or_nothing(seed: Seed) -> None:
    assert not seed.seen() or not seed.lost()


def test_a_twin_alone(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    twin = write_twin(seed, tmp_path / "twin")
    (twin / f"{seed.points[0]}.partial").write_bytes(b"of a backup that goes on")
    result = seed.run(twin, store=WatchedStore(seed.memory, lambda: whole_or_nothing(seed)))
    assert result.is_whole and result.ends and result.points == 2
    assert result_lines(result)[0].startswith("The twin: all ")
    seed.assert_whole()
    assert seed.run(twin).had_ended


@pytest.mark.parametrize("after", [False, True])
def test_stopped_at_each_call(tmp_path: Path, after: bool) -> None:
    seed = Seed(tmp_path, points=1)
    twin = write_twin(seed, tmp_path / "twin")
    saved, at = seed.world.saved(), 0
    while True:
        at += 1
        seed.world.restore(saved)
        stopping = StopAtStore(seed.memory, at, after=after)
        try:
            seed.run(twin, store=stopping)
        except Stopped:
            pass
        if not stopping.stopped:
            break
        whole_or_nothing(seed)
        assert seed.run(twin).is_whole
        seed.assert_whole()


def test_a_twin_has_what_is_damaged_on_a_disk(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 2, points=3)
    twin = write_twin(seed, tmp_path / "twin")
    for prefix in ("packs/", "points/"):
        flip(seed.on_disk(2, prefix))
    assert seed.run(seed.disks[1]).has_damage
    assert seed.run(seed.disks[1], twin).is_whole  # disk 1 is not needed
    seed.assert_whole()


def test_a_disk_has_what_is_damaged_in_a_twin(tmp_path: Path) -> None:
    """Nobody knows the hashes of what only a twin has; what a disk lists is taken from the disk."""
    seed = Seed(tmp_path)
    twin = write_twin(seed, tmp_path / "twin")
    for name in (str(seed.on_disk(1).relative_to(seed.disks[0])), seed.points[0]):
        flip(twin / name)
    assert not seed.run(twin, seed.disks[1]).is_whole  # the list of disk 1 is on the last one: the hash is known
    seed.assert_nothing_visible()
    assert seed.run(twin, *seed.disks).is_whole
    seed.assert_whole()


def test_what_came_after_the_disks(tmp_path: Path) -> None:
    """With a twin, the end of the seed is not on the disks: it stays open until what the twin has is there, too."""
    seed = Seed(tmp_path, 2, points=3)
    ended = f"seeds/{SEED.hex()}.ended"
    twin = write_twin(seed, tmp_path / "twin")
    later = {ended, seed.points[-1]}
    seed.write_again({name: data for name, data in seed.carried.items() if name not in later})
    result = seed.run(*seed.disks)
    assert result.is_whole and not result.ends and result.points == 2
    assert "It has a twin" in result_lines(result)[-1]
    assert ended not in seed.memory.objects and len(seed.seen()) == 2
    again = seed.run(*seed.disks)
    assert again.is_whole and not again.stored
    result = seed.run(twin)
    assert result.ends and result.stored == 2
    seed.assert_whole()


def test_a_backup_adds_to_the_twin_meanwhile(tmp_path: Path) -> None:
    """A point that comes into the twin during the import waits for the next one."""
    seed = Seed(tmp_path, points=3)
    twin = write_twin(seed, tmp_path / "twin")
    last, ended = twin / seed.points[-1], twin / f"seeds/{SEED.hex()}.ended"
    data, end = last.read_bytes(), ended.read_bytes()
    last.unlink()
    ended.unlink()

    def look() -> None:
        last.write_bytes(data)
        whole_or_nothing(seed)

    result = seed.run(twin, store=WatchedStore(seed.memory, look))
    assert result.is_whole and not result.ends and seed.points[-1] not in seed.memory.objects
    ended.write_bytes(end)
    assert seed.run(twin).ends
    seed.assert_whole()


def test_what_may_be_wrong_with_a_twin(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    twin = write_twin(seed, tmp_path / "twin")
    before = dict(seed.memory.objects)
    stranger = twin / f"index/{bytes(16).hex()}/0"
    stranger.parent.mkdir()
    stranger.touch()
    with pytest.raises(Damaged, match="which no backup of the seed's machine writes"):
        seed.run(twin)
    stranger.unlink()
    file = twin / ".rpdrive/twin.json"
    text = file.read_text()
    file.write_text(text.replace(SEED.hex(), bytes(16).hex()))
    with pytest.raises(NotFound, match="knows no seed"):
        seed.run(twin)
    file.write_text(text.replace(seed.world.vault.id.hex(), bytes(16).hex()))
    with pytest.raises(UsageError, match=r"the twin at .* is for the vault 00000000"):
        seed.run(twin)
    file.write_text("{")
    with pytest.raises(Damaged, match="is malformed"):
        seed.run(twin)
    file.write_text(text)
    away = tmp_path / "away"

    def look() -> None:
        if not away.exists():
            twin.rename(away)

    with pytest.raises(StoreUnreachable, match=r"the twin at .*/twin can't be read any more"):
        seed.run(twin, store=WatchedStore(seed.memory, look))
    assert {name.split("/")[0] for name in set(seed.memory.objects) - set(before)} <= {"packs", "meta"}


def test_json(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    result = seed.run(write_twin(seed, tmp_path / "twin"), partial=True)
    row = result_json(result)
    assert [disk["number"] for disk in row["disks"]] == [0] and not row["complete"]
    assert not list(missing_lines(result))
