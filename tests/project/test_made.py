"""Made-up vaults are what rpdrive would have written, as far as its own checks can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.errors import ObjectExists, ObjectNotFound
from tests.kit.made.command import run
from tests.kit.made.make import make


def test_a_made_up_vault_lists_what_it_has(tmp_path: Path) -> None:
    store = make(tmp_path / "vault", machines=3, points=12, folders=4, files=3)
    infos = list(store.list(""))
    names = [info.name for info in infos]
    assert names == sorted(names) and len(names) == 2 + 3 * (2 + 12 * 6)
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
    (point,) = [n for n in names if n.startswith("points/")][:1]
    with pytest.raises(ObjectExists):
        store.create(point, [b"another"])
    store.delete(point)
    assert point not in [info.name for info in store.list("points/")]
    with pytest.raises(ObjectNotFound):
        store.get(point, 1 << 20)
    store.close()


def test_every_byte_of_a_made_up_vault_is_sound(tmp_path: Path) -> None:
    url = make(tmp_path / "vault", machines=2, points=23, folders=4, files=3).url
    took, said = run(tmp_path / "home", url, "check", "--level", "3")
    assert "no damage found; 2 machines, 46 recovery points" in said
    assert took.requests["get points"] and took.carried and took.memory < 100
