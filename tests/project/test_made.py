"""Made-up vaults are what rpdrive would have written, as far as its own checks can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.errors import ObjectExists, ObjectNotFound
from catalog.format.records import Root
from tests.kit.drives import Maker
from tests.kit.made.command import run
from tests.kit.made.fleet import START, Fleet
from tests.kit.made.make import make
from tests.kit.made.shape import HOUR, SECOND, machine_id
from tests.kit.made.store import MadeStore


def test_a_made_up_vault_lists_what_it_has(tmp_path: Path) -> None:
    store = make(tmp_path / "vault", machines=3, points=12, folders=4, files=3)
    assert len(all_names(store)) == 2 + 3 * (2 + 12 * 6)
    (point,) = [n for n in all_names(store) if n.startswith("points/")][:1]
    with pytest.raises(ObjectExists):
        store.create(point, [b"another"])
    store.delete(point)
    assert point not in [info.name for info in store.list("points/")]
    with pytest.raises(ObjectNotFound):
        store.get(point, 1 << 20)
    store.close()


def test_a_fleet_in_memory_lists_what_it_has() -> None:
    """Records of machines, items, points, jobs and their starts; and trees that were given to it."""
    fleet = Fleet(3, 12, stagger=17 * SECOND)
    trees = [Maker(fleet.vault) for _ in range(2)]
    roots = [maker.root([maker.node(b"a" * n)]) for n, maker in enumerate(trees, 1)]
    fleet.store.give_trees(roots, 5)
    assert len(all_names(fleet.store)) == 2 + 2 + 3 * (2 + 12 * 3)
    fleet.store.give_trees(roots[1:])
    fleet.store.create(str(fleet.point(2, 12)), [b"later"])
    assert len(all_names(fleet.store)) == 2 + 2 + 3 * (2 + 12 * 3) + 1
    times = [[name.time - START for name in fleet.vault.point_names(machine_id(m))] for m in range(3)]
    assert times[0] == [n * HOUR for n in range(12)] and times[1] == [time + 17 * SECOND for time in times[0]]
    assert len(times[2]) == 13 and fleet.vault.point(fleet.point(1, 7)).root == Root.of(roots[1])


def all_names(store: MadeStore) -> list[str]:
    """All names in a store: those of each prefix, each with the size of its object."""
    infos = list(store.list(""))
    names = [info.name for info in infos]
    assert names == sorted(names)
    for info in infos:
        assert len(store.get(info.name, 1 << 20)) == store.size(info.name) == info.size
    for prefix in {name[:end] for name in names for end in range(0, len(name), 7)}:
        assert [n for n in names if n.startswith(prefix)] == [info.name for info in store.list(prefix)]
        if prefix.endswith("/"):
            below = {
                n.removeprefix(prefix).split("/")[0]
                for n in names
                if n.startswith(prefix) and "/" in n[len(prefix) :]
            }
            assert sorted(below) == list(store.folders(prefix))
    return names


def test_every_byte_of_a_made_up_vault_is_sound(tmp_path: Path) -> None:
    url = make(tmp_path / "vault", machines=2, points=23, folders=4, files=3).url
    took, said = run(tmp_path / "home", url, "check", "--level", "3")
    assert "no damage found; 2 machines, 46 recovery points" in said
    assert took.requests["get points"] and took.carried and took.memory < 100
