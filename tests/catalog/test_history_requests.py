"""What versions of a path and a search over 10,000 points ask for: what differs, and each record once."""

from __future__ import annotations

from catalog.direct import DirectSource
from catalog.history.search import pattern, search
from catalog.history.timeline import all_timelines
from catalog.history.versions import versions
from tests.kit.drives import Maker
from tests.kit.made.fleet import Fleet

POINTS = 10_000


def test_ten_thousand_points_of_twenty_states() -> None:
    """Records once; the blocks of the trees that differ; no more for a path that is deeper."""
    fleet = Fleet(1, POINTS)
    maker, roots = Maker(fleet.vault), []
    for n in range(20):
        deep = maker.folder(b"a", [maker.folder(b"b", [maker.folder(b"c", [maker.file(b"f.txt", b"%d" % n)])])])
        roots.append(maker.root([deep, maker.folder(b"same", [maker.file(b"g.txt", b"always")])]))
    fleet.store.give_trees(roots, POINTS // 20)
    vault = fleet.opened()
    before = fleet.meter.snapshot()
    (line,) = all_timelines(vault).found
    spent = fleet.spent(before)
    assert (spent.list.requests, spent.requests - spent.list.requests) == (4, POINTS + 1)  # the machine's record
    before = fleet.meter.snapshot()
    found = versions(DirectSource(vault), line.points, b"/a/b/c/f.txt").found
    assert [v.points.bit_count() for v in found] == [POINTS // 20] * 20
    assert fleet.spent(before).read.requests == fleet.spent(before).requests == 20
    before = fleet.meter.snapshot()
    hits = list(search(DirectSource(vault), line.points, pattern("*.txt")))
    assert [(hit.path, hit.points.bit_count(), hit.versions) for hit in hits] == [
        (b"/a/b/c/f.txt", POINTS, 20), (b"/same/g.txt", POINTS, 1),
    ]  # fmt: skip
    assert fleet.spent(before).read.requests == fleet.spent(before).requests == 20
    before = fleet.meter.snapshot()
    recent = all_timelines(fleet.opened(), newest=100)
    assert (len(recent.found[0].points), recent.older) == (100, POINTS - 100)
    assert fleet.spent(before).get.requests == 1 + 1 + 100  # vault.json, the machine, the points
