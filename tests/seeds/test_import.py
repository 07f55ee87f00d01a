"""`rpdrive seed import`: disks in any order, on any days, stopped anywhere, and nothing half visible."""

from __future__ import annotations

import random
import threading
from itertools import permutations
from pathlib import Path

import pytest

from catalog.screen.phases import NoFollower
from catalog.seeds.importing import Request, import_seed
from catalog.seeds.listing import missing_lines, result_json, result_lines, state_of
from catalog.store.metered import MeteredStore
from tests.kit.faults import StopAtStore, Stopped, spoilt
from tests.kit.seeding import SEED, Seed, WatchedStore, session_of


def whole_or_nothing(seed: Seed) -> None:
    """A recovery point that is visible reads whole, and then nothing of the seed is missing."""
    assert not seed.seen() or not seed.lost()


def test_disks_come_together_and_are_seen_only_when_all_is_there(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 3)
    watched = WatchedStore(seed.memory, lambda: whole_or_nothing(seed))
    result = seed.run(*seed.disks, store=watched)
    assert result.is_whole and result.points == 2 and result.stored == len(seed.carried) == watched.looked
    assert not list(missing_lines(result))
    assert [state_of(disk) for disk in result.disks] == ["arrived"] * 3
    assert "the seed is complete, with 2 new recovery points" in result_lines(result)[-1]
    seed.assert_whole()


def test_what_is_stored_last_comes_in_order(tmp_path: Path) -> None:
    """Jobs, the points by their times, so that no number seems to be missing, and the seed's end."""
    seed = Seed(tmp_path, 2, points=4)
    order = MeteredStore(seed.memory, log=True)
    seed.run(*seed.disks, store=order)
    assert order.log is not None
    created = [request.name for request in order.log if request.kind == "create"]
    kinds = [name.split("/")[0] for name in created]
    early = kinds.index("jobs")
    assert set(kinds[:early]) == {"packs", "meta", "index"}
    last_pack = max(n for n, kind in enumerate(kinds) if kind in ("packs", "meta"))
    assert last_pack < kinds.index("index")
    assert created[early + 1 : -1] == sorted(seed.points) and created[-1] == f"seeds/{SEED.hex()}.ended"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_disks_come_one_by_one(tmp_path: Path, order: tuple[int, ...]) -> None:
    seed = Seed(tmp_path, 3)
    for number, disk in enumerate(order):
        result = seed.run(seed.disks[disk])
        is_last = number == 2 and disk == 2
        assert result.is_whole == is_last, list(missing_lines(result))
        if not is_last:
            seed.assert_nothing_visible()
            text = "\n".join(missing_lines(result))
            if disk == 2:
                away = [str(n + 1) for n in range(2) if n not in order[: number + 1]]
                assert all(f"disk {n} of 3 (usb-{n}) is missing: " in text for n in away), text
            else:
                assert "the last disk is missing, which has the recovery points" in text
        seed.world.later(3)
    if order[-1] != 2:
        assert seed.run(seed.disks[2]).is_whole
    seed.assert_whole()


def test_a_folder_may_hold_several_disks(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 3)
    assert seed.run(tmp_path).is_whole
    seed.assert_whole()


def test_one_disk_is_enough(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 1)
    assert seed.run(*seed.disks).is_whole
    seed.assert_whole()


@pytest.mark.parametrize("after", [False, True])
def test_stopped_at_each_call(tmp_path: Path, after: bool) -> None:
    """An import that is killed at any call to the vault leaves nothing half visible, and the next one finishes."""
    seed = Seed(tmp_path)
    saved = seed.world.saved()
    at = 0
    while True:
        at += 1
        seed.world.restore(saved)
        stopping = StopAtStore(seed.memory, at, after=after)
        try:
            seed.run(*seed.disks, store=stopping)
        except Stopped:
            pass
        if not stopping.stopped:
            break
        whole_or_nothing(seed)
        assert seed.run(*seed.disks).is_whole
        seed.assert_whole()
    assert at > len(seed.carried)


def test_another_import_finishes_at_each_call(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    saved = seed.world.saved()
    for at in range(1, 2 * len(seed.carried) + 1):
        seed.world.restore(saved)
        looks = [0]

        def look(at: int = at, looks: list[int] = looks) -> None:
            looks[0] += 1
            if looks[0] == at:
                assert seed.run(*seed.disks).is_whole

        assert seed.run(*seed.disks, store=WatchedStore(seed.memory, look)).is_whole
        seed.assert_whole()


def test_two_imports_at_once(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 2, points=3)
    ready = threading.Barrier(2)
    results = []

    def run(disks: list[Path]) -> None:
        ready.wait()
        session = session_of(tmp_path / "home", seed.memory)
        results.append(import_seed(session, Request([str(disk) for disk in disks]), NoFollower()))

    threads = [threading.Thread(target=run, args=(disks,)) for disks in (seed.disks, seed.disks[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and all(result.is_whole for result in results)
    assert sum(result.stored for result in results) == len(seed.carried)
    seed.assert_whole()


def test_imported_twice(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    seed.run(*seed.disks)
    log = MeteredStore(seed.memory)
    for sources in (seed.disks, seed.disks[:1], seed.disks[1:]):
        result = seed.run(*sources, store=log)
        assert result.had_ended and result.is_whole and not result.stored
        assert "was imported before" in result_lines(result)[-1]
    traffic = log.snapshot()
    assert traffic.create.requests == 0 and traffic.read.bytes == 0
    seed.assert_whole()


def test_what_is_there_is_neither_read_nor_sent_again(tmp_path: Path) -> None:
    """The second run of an import lists the vault, and sends what is missing, and nothing else."""
    seed = Seed(tmp_path, 2)
    seed.run(seed.disks[0])
    lost = {name: len(seed.carried[name]) for name in seed.lost(early=False)}
    meter = MeteredStore(seed.memory)
    assert seed.run(*seed.disks, store=meter).is_whole
    traffic = meter.snapshot()
    assert traffic.create.requests == len(lost) and traffic.create.bytes == sum(lost.values())
    assert traffic.read.requests == traffic.size.requests == 0 and traffic.get.requests == 1  # vault.json


def test_verify_reads_back(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    meter = MeteredStore(seed.memory)
    assert seed.run(*seed.disks, store=meter, verify=True).is_whole
    early = sum(len(data) for name, data in seed.carried.items() if name.startswith(("packs/", "meta/", "index/")))
    assert meter.snapshot().received >= early
    seed.assert_whole()


def test_verify_finds_what_the_vault_has_otherwise(tmp_path: Path) -> None:
    seed = Seed(tmp_path)
    seed.run(seed.disks[0])
    name = str(seed.on_disk(1).relative_to(seed.disks[0]))
    data = bytearray(seed.memory.objects[name])
    data[7] ^= 1
    seed.memory.objects[name] = bytes(data)
    result = seed.run(*seed.disks, verify=True)
    assert not result.is_whole and result.has_damage and result.disks[0].conflicts.names == [name]
    seed.assert_nothing_visible()
    assert seed.memory.objects[name] == data


@pytest.mark.parametrize("prefix", ["packs/", "meta/", "index/", "jobs/", "points/", "seeds/"])
def test_verify_of_what_was_imported_before(tmp_path: Path, prefix: str) -> None:
    seed = Seed(tmp_path)
    seed.run(*seed.disks)
    assert seed.run(*seed.disks, verify=True).is_whole
    name = next(name for name in seed.carried if name.startswith(prefix))
    seed.memory.objects[name] = spoilt(seed.memory.objects[name])
    assert seed.run(*seed.disks).is_whole  # names and sizes are as they were
    result = seed.run(*seed.disks, verify=True)
    assert result.has_damage and not result.stored and name in "\n".join(result_lines(result))
    assert next(missing_lines(result)).endswith("run `rpdrive repair` (docs/repair.md)")


@pytest.mark.parametrize("prefix", ["jobs/", "points/"])
def test_verify_of_what_is_stored_last(tmp_path: Path, prefix: str) -> None:
    """The vault had other bytes of the same size under a name: --verify says so."""
    seed = Seed(tmp_path)
    name = next(name for name in seed.carried if name.startswith(prefix))
    seed.memory.create(name, [spoilt(seed.carried[name])])
    result = seed.run(*seed.disks, verify=True)
    assert result.has_damage and not result.is_whole and name in "\n".join(result_lines(result))


def test_partial_takes_what_is_there(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 3)
    result = seed.run(seed.disks[0], seed.disks[2], partial=True)
    assert not result.is_whole and not list(missing_lines(result))
    assert "the next backup sends only what did not arrive" in result_lines(result)[-1]
    seed.assert_nothing_visible()
    arrived = {str(path.relative_to(disk)) for disk in (seed.disks[0], seed.disks[2]) for path in disk.rglob("*")}
    assert seed.lost() == {name for name in seed.lost(early=False) - arrived if not name.startswith("points/")}
    assert seed.run(*seed.disks).is_whole  # the disk came after all
    seed.assert_whole()


def test_json_says_what_the_text_says(tmp_path: Path) -> None:
    seed = Seed(tmp_path, 3)
    row = result_json(seed.run(seed.disks[2]))
    assert row["complete"] is False and row["points"] == 0 and row["knows_all_disks"] is True
    assert [disk["state"] for disk in row["disks"]] == ["missing", "missing", "arrived"]
    assert sum(disk["missing"]["objects"] for disk in row["disks"]) == len(seed.lost())


def test_many_disks_of_many_objects(tmp_path: Path) -> None:
    """Whatever subset comes first, what is said to be missing is what is missing."""
    seed = Seed(tmp_path, 5, points=6)
    some = random.Random(5).sample(seed.disks[:4], 2)
    result = seed.run(seed.disks[4], *some)
    missing = {name for disk in result.disks for name in disk.missing.names}
    assert missing == seed.lost() and not result.is_whole
    seed.assert_nothing_visible()
    assert seed.run(*seed.disks).is_whole
    seed.assert_whole()
