"""What a vault costs in a month, and what restores and checks cost: the model, from numbers to money. Pure.

Of what changes (a share of the data in a day, at random), a version is stored if a point that is kept has it. So a
vault has a full backup, and for each point that is kept what changed since the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import msgspec

from catalog.cost import counts
from catalog.cost.counts import Shape
from catalog.cost.money import MONTH, NO_BILL, Bill, bill, early, storage
from catalog.cost.prices import Tariff
from catalog.cost.use import NOTHING, Use

RULES = {"daily": 1.0, "weekly": 7.0, "monthly": 30.4375, "yearly": 365.25}  # days between two points
MOST_POINTS = 9_999  # of an item
SMALL = 64  # objects of less than 4 MiB that prune leaves as they are
TOUCHED = 5  # changes touch so many times as much of a tree as of the data
ENTRY = 60  # stored bytes of an entry, about
HOUR, WEEK = 3_600, 604_800  # s
INDEX_ROW = 64  # bytes that a chunk takes in an index object
CHUNK = 1 << 20  # bytes of a large file that are one chunk; a smaller file is one


class Keeps(msgspec.Struct, frozen=True, kw_only=True):
    """How many points the rules of a policy keep; all 0: every point stays."""

    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    @property
    def is_set(self) -> bool:
        return any((self.daily, self.weekly, self.monthly, self.yearly))


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What runs by itself, in runs in a month of 30.4 days: `backups` of each item, `tests` of each machine.

    Each check and prune is of the whole vault: `doers` machines do so many each. `change` is the share of the data
    that changes in a day, `percent` what a check of level 2 reads.
    """

    backups: float = 0
    check_1: float = 0
    check_2: float = 0
    check_3: float = 0
    percent: float = 1.0
    prunes: float = 0
    tests: float = 0
    doers: float = 1
    change: float = 0.01
    keeps: Keeps = Keeps()
    has_timers: bool = True


class Line(NamedTuple):
    """What something costs: requests and bytes, and money."""

    name: str
    use: Use
    bill: Bill


class Estimate(NamedTuple):
    """A vault, and what it costs: by the month, and each time that something is done."""

    shape: Shape
    habits: Habits
    tariff: Tariff
    month: list[Line]
    once: list[Line]

    @property
    def total(self) -> Line:
        """Of a month."""
        use, money = NOTHING, NO_BILL
        for line in self.month:
            use, money = use + line.use, money + line.bill
        return Line("a month", use, money)


def ages(habits: Habits, points: float | None = None) -> list[float]:
    """How old (days) the points of an item are that are kept, the newest first.

    With a number of `points`, so many of the newest; otherwise as the policy says.
    """
    between = MONTH / habits.backups if habits.backups else 1.0
    if points is not None or not habits.keeps.is_set:
        count = min(int(points or 1), MOST_POINTS)
        return [n * between for n in range(max(count, 1))]
    found = {0.0}
    for rule, days in RULES.items():
        found.update(n * max(days, between) for n in range(getattr(habits.keeps, rule)))
    # Two points that are closer than a backup are one.
    kept: list[float] = []
    for age in sorted(found):
        if not kept or age - kept[-1] >= between * 0.99:
            kept.append(age)
    return kept[:MOST_POINTS]


def grown(days: Iterable[float], change: float) -> float:
    """How much data points of these ages need, as a multiple of that of one point."""
    stays = 1 - min(max(change, 0.0), 1.0)
    return float(1 + sum(1 - stays ** (late - soon) for soon, late in pairwise(days)))


def planned(
    *, machines: float, items: float, size: float, files: float, ratio: float, habits: Habits,
    points: float | None = None,
) -> Shape:  # fmt: skip
    """The numbers of a vault that does not exist yet. A machine has `size` bytes in `files`, in all its items.

    `ratio`: stored bytes by bytes of files, once compressed.
    """
    days = ages(habits, points)
    newest = size * ratio
    tree = max(files, 1) * ENTRY
    data, trees = newest * grown(days, habits.change), tree * grown(days, touched(habits.change))
    count = len(days)
    merged = habits.prunes > 0
    upkeep = (habits.check_1 + habits.check_2 + habits.check_3 + habits.prunes) * habits.doers  # of each machine
    runs = habits.backups * items + upkeep
    chunks = max(files, size / CHUNK) * grown(days, habits.change)
    index = chunks * INDEX_ROW
    jobs = 2 * runs * 400 / MONTH
    return Shape(
        machines=machines, items=items, points=count, size=size, files=files, newest=newest, tree=tree / items,
        packs=objects(data, items * (count - 1), merged=merged), pack_bytes=data,
        trees=objects(trees, items * (count - 1), merged=merged), tree_bytes=trees,
        index=objects(index, items * (count - 1), merged=merged), index_bytes=index,
        jobs=jobs, other_bytes=(jobs + items * count) * counts.RECORD, plans=1, policies=1,
        ledgers=machines if merged else 0, places=machines if merged else 0,
        checks=machines * min(150, habits.check_2 + habits.check_3),
    )  # fmt: skip


def objects(size: float, runs: float, *, merged: bool) -> float:
    """Objects of so many bytes, which so many runs have added to. `merged`: prune puts small ones together."""
    full = ceil(size / counts.PACK)
    return full + (min(runs, SMALL) if merged else runs)


def touched(change: float) -> float:
    """The share of a tree that changes in a day: what changes lies near other such."""
    return 1 - (1 - min(max(change, 0.0), 1.0)) ** TOUCHED


def estimate(
    shape: Shape, habits: Habits, tariff: Tariff, *, leaves: bool, new: tuple[float, float] | None
) -> Estimate:
    """What a vault costs. `leaves`: what is read leaves the store's region.

    `new` are the bytes of packs and of trees that a machine stores in a month; None: as the habits say.
    """
    data, trees = new if new is not None else added(shape, habits)

    def line(name: str, use: Use, more: Bill = NO_BILL) -> Line:
        return Line(name, use, bill(tariff, use, leaves=leaves) + more)

    m = shape.machines
    month = [Line("storage", NOTHING, storage(tariff, shape.stored))]
    runs = habits.backups * shape.items
    if runs:
        one = counts.backup(shape, data / runs, trees / runs, is_scheduled=habits.has_timers)
        month.append(line("backups", one * (runs * m)))
    for level, often, percent in (
        (1, habits.check_1, 1.0),
        (2, habits.check_2, habits.percent),
        (3, habits.check_3, 100.0),
    ):
        if often:
            month.append(line(f"check {level}", counts.check(shape, level, percent) * (often * habits.doers)))
    if habits.prunes:
        month.append(_prunes(shape, habits, tariff, data, trees, runs, leaves=leaves))
    if habits.tests:
        month.append(line("restore tests", counts.restore_test(shape) * (habits.tests * m)))
    if habits.has_timers and (runs or habits.prunes or habits.tests):
        month.append(line("daily looks", counts.look(shape) * (MONTH * m)))
    if habits.keeps.is_set and habits.prunes and (deleted := _early(shape, habits, tariff, data + trees)).total:
        month.append(Line("early deletion", NOTHING, deleted))
    return Estimate(shape, habits, tariff, month, _once(shape, line))


def _once(shape: Shape, line: Callable[..., Line]) -> list[Line]:
    m, items = shape.machines, max(shape.items, 1)
    item = counts.restore(shape, shape.newest / items, shape.tree)
    each = shape.newest / shape.files if shape.files else 0.0
    rows = [
        line("restore of everything", item * (items * m)),
        line("restore of one machine", item * items),
        line("restore of one item", item),
        line("restore of one file", counts.restore(shape, each, min(shape.tree, 3 * (64 << 10)))),
        line("first backup of one item", counts.first_backup(shape)),
    ]
    rows += [line(f"check of level {level}", counts.check(shape, level)) for level in range(4)]
    return rows


def added(shape: Shape, habits: Habits) -> tuple[float, float]:
    """The bytes of packs and trees that a machine stores in a month, by the share of the data that changes."""
    between = MONTH / habits.backups if habits.backups else MONTH
    share = 1 - (1 - min(habits.change, 1.0)) ** between
    pages = 1 - (1 - touched(habits.change)) ** between
    return shape.newest * share * habits.backups, shape.tree * shape.items * pages * habits.backups


def _prunes(
    shape: Shape, habits: Habits, tariff: Tariff, data: float, trees: float, runs: float, *, leaves: bool
) -> Line:
    """What all prunes of a month cost. As many points go as come; small objects are put together once."""
    often = habits.prunes * habits.doers
    per = runs / often if often else 0.0  # backups of a machine between two prunes of anybody
    small = per * ((data / runs < 4 << 20) + (trees / runs < 4 << 20)) if runs else 0.0
    gone = per if habits.keeps.is_set else 0.0
    one = counts.prune(shape, gone, small=small, new=per)
    tidy = min(often, MONTH / 7)
    extra = counts.prune(shape, weekly=True) + counts.prune(shape) * -1
    use = one * often + extra * tidy
    return Line("prune", use, bill(tariff, use, leaves=leaves))


def _early(shape: Shape, habits: Habits, tariff: Tariff, new: float) -> Bill:
    """What goes before the least time that a tier asks for.

    As much goes as is added. It has the age of the rule that keeps points for the shortest time.
    """
    keeps = habits.keeps
    shortest = min(getattr(keeps, rule) * days for rule, days in RULES.items() if getattr(keeps, rule))
    return early(tariff, new * shape.machines, shortest)
