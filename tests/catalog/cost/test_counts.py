"""The model's counts are those of the meter: exact where it says so, within a stated tolerance elsewhere."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from catalog.access.session import Session
from catalog.check.group import Request
from catalog.check.job import check
from catalog.cost import counts
from catalog.cost.look import look
from catalog.cost.use import CLASSES, Use, use_of
from catalog.plans.records import Plans, add_plan, next_record
from catalog.store.metered import MeteredStore
from catalog.vault import Vault, open_vault
from mount.restoretest.job import Request as Wanted
from mount.restoretest.job import RestoreTest
from tests.catalog.cost.worked import Worked
from tests.kit.made.make import make
from tests.kit.vaults import PASSPHRASE

MIB = 1 << 20


def classes(use: Use) -> dict[str, float]:
    return {name: getattr(use, name) for name in CLASSES}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Worked:
    """Two machines with three points each; one of them has read all records."""
    found = Worked(tmp_path_factory.mktemp("worked"), 2)
    for machine in range(2):
        found.fill(machine, large=40 * MIB if machine == 0 else 0)
        for _ in range(3):
            found.back_up(machine)
            found.change(machine)
    found.looked(0)
    return found


@pytest.fixture
def worked(first: Worked, tmp_path: Path) -> Worked:
    return first.copy(tmp_path)


def test_backups(worked: Worked) -> None:
    shape = worked.shape()
    before = worked.memory.objects.keys() | set()
    spent = worked.back_up(0)
    added = {name: len(worked.memory.objects[name]) for name in worked.memory.objects.keys() - before}
    data = sum(size for name, size in added.items() if name.startswith("packs/"))
    trees = sum(size for name, size in added.items() if name.startswith("meta/"))
    model = counts.backup(shape, data, trees)
    assert data and trees
    assert {k: n for k, n in classes(model).items() if k != "read"} == {
        k: n for k, n in classes(spent).items() if k != "read"
    }
    assert abs(model.read - spent.read) <= 1, "a page of the tree that changed, cached or not"
    spent = worked.back_up(0)
    assert {**classes(counts.backup(worked.shape())), "read": 0} == {**classes(spent), "read": 0}


def test_a_first_backup(tmp_path: Path) -> None:
    worked = Worked(tmp_path, 1)
    worked.fill(0, large=70 * MIB)
    spent = worked.back_up(0)
    assert classes(counts.first_backup(worked.shape())) == classes(spent)


@pytest.mark.parametrize("level", range(4))
def test_checks(worked: Worked, level: int) -> None:
    """A first check, and one that finds the records of an earlier one. Of level 2, at most its share of slices."""
    for _ in range(2):
        shape = worked.shape()
        spent = worked.check(0, level)
        model = counts.check(shape, level)
        if level == 2:  # three of 256 slices, in which there may be any of so few packs
            assert -1 <= spent.read - model.read <= shape.machines * (shape.packs + shape.trees)
            model = msgspec.structs.replace(model, read=spent.read)
        assert classes(model) == classes(spent)
    if level == 3:
        assert spent.received == pytest.approx(model.received, rel=0.01)


def test_a_prune_with_nothing_to_do(worked: Worked) -> None:
    worked.prune(0)  # reads trees, and tidies
    shape = worked.shape()
    assert classes(worked.prune(0)) == classes(counts.prune(shape))


def test_the_first_prune_of_a_week_tidies(worked: Worked) -> None:
    shape = worked.shape()
    model, spent = counts.prune(shape, weekly=True), worked.prune(0)
    assert model.list == spent.list and model.write == spent.write
    assert spent.read - model.read == shape.machines * shape.trees, "trees that were not read before"


def test_restores(worked: Worked, tmp_path: Path) -> None:
    shape = worked.shape()
    stored = sum(len(data) for name, data in worked.memory.objects.items() if name.startswith("packs/"))
    names = worked.vault.point_names()
    large = max(names, key=lambda name: worked.vault.point(name).totals.bytes)
    spent = worked.restore(0, large.id.hex(), tmp_path / "out")
    model = counts.restore(shape, 40 * MIB, shape.tree)
    assert spent.list == model.list and spent.write == spent.delete == spent.other == 0
    assert spent.read == pytest.approx(model.read, abs=3)
    assert 40 * MIB <= spent.received <= stored
    assert spent.requests <= stored / (8 * MIB) + 20, "the promise of docs/restore.md"


def test_listings_grow_by_pages() -> None:
    small = counts.Shape(machines=2, points=10, packs=100, trees=10)
    large = msgspec.structs.replace(small, points=10_000, packs=33_000, trees=5_001)
    assert [counts.pages(n) for n in (0, 1, 5_000, 5_001, 10_000)] == [1, 1, 1, 2, 2]
    more = counts.check(large, 0).list - counts.check(small, 0).list
    assert more == 2 * (1 + 6 + 1)
    assert counts.backup(large).list - counts.backup(small).list == 6 + 1 + 2 * 1
    assert counts.check(large, 1).read - counts.check(small, 1).read == 2 * (64 - 10) + 2 * (5_001 - 10)


def test_a_vault_of_8_machines_with_100_points_each(tmp_path: Path) -> None:
    """Checks and a backup's listings of a larger vault, once its records are cached."""
    store = MeteredStore(make(tmp_path / "made", machines=8, points=100))
    keys = open_vault(store, passphrase=PASSPHRASE)
    cached: dict[str, bytes] = {}
    vault = Vault(store, keys.keys, keys.file, cached)
    vault.points(vault.point_names())
    vault.machines()
    shape = look(vault).shape
    assert (shape.machines, shape.points, shape.all_points) == (8, 100, 800)
    for level in (0, 1):
        before = store.snapshot()
        check(vault, Request(level), tmp_path / "state")
        spent = use_of(store.snapshot() - before)
        model = counts.check(shape, level)
        model += counts.opening() * -1 + Use(
            list=-1
        )  # the vault is open, and nothing lists machines to print names
        assert classes(model) == classes(spent), level
    assert spent.received == pytest.approx(model.received, rel=0.25)


def test_a_scheduled_backup_reads_its_plans_first(worked: Worked) -> None:
    plans = Plans(worked.vault)
    level = plans.of_vault()
    add_plan(worked.vault, level, next_record(level, zone="UTC"))
    worked.back_up(0)
    shape = worked.shape()
    spent = worked.back_up(0, is_scheduled=True)
    model = counts.backup(shape, is_scheduled=True)
    assert {**classes(model), "read": 0} == {**classes(spent), "read": 0}
    assert abs(model.read - spent.read) <= 1


def test_a_restore_test_takes_at_most_what_is_reckoned(worked: Worked) -> None:
    wanted = Wanted("latest", None, None, None, None, False, None, "auto")

    def work(session: Session, vault: Vault) -> None:
        RestoreTest(session, wanted).run(vault)

    spent, model = worked.use(1, work), counts.restore_test(worked.shape())
    assert (spent.list, spent.write) == (model.list, 0)
    assert 3 <= spent.read <= model.read and spent.received <= model.received
