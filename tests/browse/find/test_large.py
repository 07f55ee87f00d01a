"""Large folders: any window in any order is what plain sorting gives, and memory stays within its bounds."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from catalog.format.values import NodeKind
from mount.browse.resources.folders import Choice, FolderPage, folder, folders_of, rank
from mount.browse.resources.opened import Opened
from mount.browse.resources.walks import LIMIT
from tests.browse.find.vaults import Made, opened
from tests.kit.drives import Maker, add_item, add_machine, add_point
from tests.kit.peak import forget_peak, peak
from tests.kit.vaults import Remote

ROOT = Path(__file__).parents[3]
AT = b"/large"
STATES = 20  # 6 MB each
Rows = list[tuple[str, int, int]]  # name, size and time (s)


def rows_of(count: int) -> Rows:
    rng = random.Random(count)
    names = {
        f"{rng.choice(('IMG', 'doc', 'Über'))}_{rng.randrange(10**7)}.{rng.choice(('jpg', 'pdf'))}"
        for _ in range(count)
    }
    return [
        (name, rng.randrange(1000), rng.randrange(10**9, 10**9 + 500)) for name in sorted(names, key=str.encode)
    ]


def large(rows: Rows, points: int = 1, states: int = 1) -> Made:
    """Points with a folder of these files, in so many states by turns: in each with one file less."""
    remote = Remote()
    add_machine(remote.vault)
    add_item(remote.vault)
    maker = Maker(remote.vault)
    nodes = [maker.node(name.encode(), content=[], size=size, mtime=time * 10**9) for name, size, time in rows]
    made = []
    roots = []
    for n in range(states):
        subtree = maker.trees.folder(nodes[: len(nodes) - n])
        roots.append(maker.root([maker.node(AT[1:], NodeKind.FOLDER, content=subtree)]))
    for n in range(points):
        at = 1_790_000_000 * 10**9 + n * 3600 * 10**9
        made.append(add_point(remote.vault, roots[n % states], n + 1, at).id.hex())
    return Made(remote, made)


def whole(page: Opened, point: str, choice: Choice, start: int, count: int) -> FolderPage:
    while (found := folder(page, point, AT, choice, start, count)).state != "whole":
        pass
    return found


def test_windows_of_twenty_thousand_names(tmp_path: Path) -> None:
    rows = rows_of(20_000)
    made = large(rows)
    sevens = [row for row in rows if row[0].endswith("7.jpg")]
    with opened(made, tmp_path) as page:
        point = made.points[0]
        for choice, expected in (
            (Choice(), rows),
            (Choice(desc=True), rows[::-1]),
            (Choice(order="size"), sorted(rows, key=lambda row: row[1])),
            (Choice(order="time", desc=True), sorted(rows, key=lambda row: row[2], reverse=True)),
            (Choice(filter="ÜBER_1"), [row for row in rows if "über_1" in row[0].lower()]),
            (Choice(order="time", filter="*7.JPG"), sorted(sevens, key=lambda row: row[2])),
        ):
            for start in (0, 137, len(expected) - 90):
                found = whole(page, point, choice, start, 100)
                assert [row.name for row in found.rows] == [row[0] for row in expected[start : start + 100]]
                assert (found.total, found.shown, found.natural) == (len(rows), len(expected), False)
        first = next(n for n, row in enumerate(rows) if row[0].startswith("doc_5"))
        assert rank(page, point, AT, Choice(), "doc_5").start == first


def memory_of_many_points() -> None:
    """Ask for a folder of 100,000 names in 500 points, in an order each. Prints MiB and bytes of tables."""
    rows = rows_of(100_000)
    made = large(rows, 500, STATES)
    with tempfile.TemporaryDirectory() as home, opened(made, Path(home)) as page:
        forget_peak()
        idle = peak()
        for n in range(0, 500, 7):
            point = made.points[n]
            order = ("name", "size", "time", "kind")[n % 4]
            found = whole(
                page, point, Choice(order=order, desc=n % 2 == 1, filter=("", "7", "*9.pdf")[n % 3]), 0, 200
            )
            assert found.total == len(rows) - n % STATES
        print((peak() - idle) // 1024, folders_of(page).memory)


@pytest.mark.soak
def test_five_hundred_points_of_a_hundred_thousand_names_stay_within_bounds() -> None:
    """In a process of its own, whose memory is what is measured."""
    code = f"from {__name__} import memory_of_many_points; memory_of_many_points()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    more, tables = map(int, done.stdout.split())
    assert tables <= LIMIT
    assert more < 64 + 48 + 16 + 40, f"{more} MiB: tables, blocks, pages, and orders under way"
