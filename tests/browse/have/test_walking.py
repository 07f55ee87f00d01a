"""The order of an archive, over trees of every shape: from any member on, and of several places."""

from __future__ import annotations

import random
from io import BytesIO
from tarfile import open as open_tar
from typing import NamedTuple

from cache.reader import Reader
from catalog.format.records import Point
from catalog.format.values import NodeKind
from catalog.store.memory import MemoryStore
from catalog.tree import walk
from mount.browse.resources.archives.contents import cut
from mount.browse.resources.archives.tar import Tar
from mount.browse.resources.archives.tops import tops
from mount.browse.resources.archives.walking import Walk
from mount.browse.resources.archives.zip import Zip
from tests.browse.have.trees import spot_of, whole
from tests.kit.random_trees import RandomTrees
from tests.kit.vaults import new_vault


class _Made(NamedTuple):
    reader: Reader
    points: list[Point]


def _made(seed: int) -> _Made:
    vault = new_vault(MemoryStore())
    trees = RandomTrees(vault, seed)
    points = [trees.point() for _ in range(2)]
    return _Made(Reader(vault), points)


def test_a_walk_goes_on_from_any_member() -> None:
    for seed in range(4):
        reader, points = _made(seed)
        rng = random.Random(seed)
        members = list(Walk(reader, [whole(reader, p) for p in points]).members())
        plain = [b"top/" + step.path for p in points for step in walk(reader, p.root.subtree() if p.root else None)]
        assert [m.path for m in members if m.path != b"top"] == plain
        keys = [m.key for m in members]
        assert keys == sorted(set(keys))
        for n in {0, len(keys) - 1, *(rng.randrange(len(keys)) for _ in range(25))}:
            again = Walk(reader, [whole(reader, p) for p in points]).members(keys[n])
            assert [(m.path, m.key) for m in again] == [(m.path, m.key) for m in members[n:]]
        reader.close()


def test_a_walk_of_several_places_goes_on_from_any_member() -> None:
    reader, points = _made(1)
    rng = random.Random(1)
    steps = list(walk(reader, points[1].root.subtree() if points[1].root else None))
    paths = [step.path for step in rng.sample(steps, 12)]
    places = tops([spot_of(reader, points[1], path) for path in paths])
    members = list(Walk(reader, places).members())
    below = [[s for s in steps if s.path == path or s.path.startswith(path + b"/")] for path in paths]
    assert [m.key & 0xFFFFFFFF for m in members] == [step.found.number for some in below for step in some]
    entries = [step.found.entry for some in below for step in some]
    assert [m.entry for m in members] == entries
    for n in rng.sample(range(len(members)), 9):
        again = Walk(reader, places).members(members[n].key)
        assert [(m.path, m.key) for m in again] == [(m.path, m.key) for m in members[n:]]
    reader.close()


def test_archives_of_any_tree_are_whole_and_exact() -> None:
    reader, points = _made(2)
    places = [whole(reader, points[0])]
    archive = Tar(reader, places)
    data = b"".join(archive.read())
    assert len(data) == archive.length
    with open_tar(fileobj=BytesIO(data), errors="surrogateescape") as opened:
        sizes = {m.name: m.size for m in opened if m.isfile()}
    there = {
        "top/" + step.path.decode(): step.found.entry.size
        for step in walk(reader, points[0].root.subtree() if points[0].root else None)
        if step.found.entry.kind == NodeKind.FILE
    }
    assert sizes == there
    rng = random.Random(5)
    for start in (rng.randrange(len(data)) for _ in range(20)):
        assert b"".join(cut(archive.read(start), 5000)) == data[start : start + 5000]
    packed = Zip(reader, places)
    assert sum(map(len, packed.read())) == packed.length
    reader.close()


def test_names_at_the_top_are_apart_on_every_system() -> None:
    reader, (first, second) = _made(3)
    found = tops([spot_of(reader, first, b""), spot_of(reader, second, b"")] * 2)
    assert len(found) == 2  # what is given twice counts once
    assert len({top.name.lower() for top in found}) == 2
    assert all(top.name.startswith(b"home 2026-") for top in found)
    reader.close()
