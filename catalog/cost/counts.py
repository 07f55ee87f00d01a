"""How many requests each operation makes, by what the vault has. Pure; tests compare it with the meter.

`Shape` describes a vault by its numbers: those of the whole vault, and those of an average machine. A listing has
5,000 names a request. What is exact and what is an estimate is said at each function; docs/cost.md has the table.
All are of a store that is not near: records of points, machines and items are cached on this machine.
"""

from __future__ import annotations

from math import ceil

import msgspec

from catalog.cost.use import Use
from catalog.store.base import LIST_PAGE

MIB = 1 << 20
PACK = 32 * MIB  # bytes of a full pack
RANGE = 18 * MIB  # bytes that a restore asks for at once: catalog and restore have the same pack in mind
INDEXED = 256 * MIB  # bytes of new data for which a backup writes an index object
OPENED = 64  # records of a folder that a check of level 1 or 2 opens
RECORD = 500  # bytes of a small record: a point, a job
TESTED = 20  # files that a restore test reads


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a vault. Of an average machine: `items`, `points` of an item, objects and bytes of folders.

    Of the whole vault: `policies`, `plans`, `ledgers`, `places`, `checks` and `copies` (of vault.json), objects.
    `size` and `files` are those of a machine's newest points, before compression; `newest` the stored bytes that
    these need; `tree_bytes` all bytes of trees, `tree` those of one point.
    """

    machines: float = 1
    items: float = 1
    points: float = 1
    packs: float = 0
    pack_bytes: float = 0
    trees: float = 0
    tree_bytes: float = 0
    index: float = 0
    index_bytes: float = 0
    jobs: float = 0
    other_bytes: float = 0
    policies: float = 0
    plans: float = 0
    ledgers: float = 0
    places: float = 0
    checks: float = 0
    copies: float = 1
    size: float = 0
    files: float = 0
    newest: float = 0
    tree: float = 0

    @property
    def stored(self) -> float:
        """Bytes of the vault."""
        of_machine = self.pack_bytes + self.tree_bytes + self.index_bytes + self.other_bytes
        return self.machines * of_machine

    @property
    def all_points(self) -> float:
        return self.machines * self.items * self.points


def pages(names: float) -> int:
    """Requests that list so many names."""
    return max(1, ceil(names / LIST_PAGE))


def opening() -> Use:
    """To open a vault: vault.json. Exact."""
    return Use(read=1, received=2 * RECORD)


def backup(shape: Shape, data: float = 0, trees: float = 0, *, is_scheduled: bool = False) -> Use:
    """A backup of an item that this machine has backed up before, with so many new bytes of packs and of trees.

    Exact, but for reads of the trees of folders that changed, of which one is counted if there is something new.
    """
    objects = ceil(data / PACK) + ceil(trees / PACK) + (ceil(max(data, 1) / INDEXED) if data or trees else 0)
    lists = 3 + pages(shape.packs) + pages(shape.trees) + 2 * pages(shape.points)
    use = opening() + Use(
        list=lists,
        read=2 + (1 if trees else 0),  # the item, the point before, and a page of its tree
        write=3 + objects,  # the job's beginning and end, and the point
        sent=data + trees + 3 * RECORD,
        received=2 * RECORD + (256 << 10 if trees else 0),
    )
    if is_scheduled:  # the plans of three levels, the machine and its items
        use += Use(list=3, read=min(3, shape.plans), received=3 * RECORD)
    return use


def first_backup(shape: Shape) -> Use:
    """The first backup of an item. Exact, if packs are full and index objects are not due by time."""
    data, trees = shape.newest / shape.items, shape.tree
    objects = ceil(data / PACK) + ceil(trees / PACK) + ceil(max(data, 1) / INDEXED)
    return opening() + Use(list=7, write=5 + objects, sent=data + trees + 5 * RECORD)


def check(shape: Shape, level: int, percent: float = 1.0) -> Use:
    """A check of the whole vault. Exact up to level 1, and at level 3 if all packs are in use.

    Level 2 reads whole slices, so about `percent`.
    """
    m = shape.machines
    every = shape.items * shape.points  # points of a machine
    folders = _folders(shape)
    lists: float = 1 + sum(map(pages, folders)) + 3 * pages(m)
    lists += m * (2 + pages(shape.packs) + pages(shape.trees) + pages(every))
    signed = min(m, shape.ledgers) + min(m, shape.places)
    use = opening() + Use(list=lists, read=signed, received=signed * RECORD)
    if level == 0:
        return use
    noted = min(shape.checks, m)  # machines of which an earlier check is noted
    folders[-1] += m  # the jobs of this check have begun
    if level > 1:
        folders[-2] += m  # and it has noted what it read
    most = float("inf") if level > 2 else OPENED
    records = sum(min(most, count) for count in folders)
    index = min(most, m * shape.index) * _each(shape.index_bytes, shape.index)
    small = m * min(most, every) + records + noted  # points are opened as the store has them
    use += Use(
        list=m, read=small + m * shape.trees, write=2 * m, sent=2 * m * RECORD,
        received=small * RECORD + index + m * shape.tree_bytes,
    )  # fmt: skip
    if level == 1:
        return use
    share = percent / 100 if level == 2 else 1.0
    return use + Use(
        list=2 * m, read=m * (shape.packs + shape.trees) * share + 2 * noted, write=m, sent=m * RECORD,
        received=m * (shape.pack_bytes + shape.tree_bytes) * share + 2 * noted * RECORD,
    )  # fmt: skip


def prune(shape: Shape, gone: float = 0, *, small: float = 0, new: float = 0, weekly: bool = False) -> Use:
    """A prune of the whole vault. Exact if nothing is to do.

    Of each machine, `gone` points go, `small` objects are put together, and `new` points were stored since the last
    time, whose trees are read. `weekly`: the run tidies jobs, checks and index objects, too.
    """
    m = shape.machines
    every = shape.items * shape.points
    lists = 2 + 2 * pages(m) + m * (2 + pages(shape.packs) + pages(shape.trees) + pages(every))
    if weekly:
        lists += m * (1 + pages(shape.jobs) + pages(shape.index))
    changed = 2 if gone or small else 0
    return opening() + Use(
        list=lists,
        read=m * (2 * new + 2 * small + changed),
        write=m * (2 + changed + 2 * small),
        delete=m * (gone + small),
        sent=m * (2 + changed) * RECORD,
        received=m * (new * (RECORD + (64 << 10)) + changed * RECORD),
        copied=m * small * (256 << 10),
    )


def restore(shape: Shape, size: float, trees: float) -> Use:
    """A restore of `size` stored bytes whose folders are described by `trees` bytes.

    An estimate: 16 MiB a request, as whole packs of 32 MiB are read in two. At most one for each 8 MiB, and 20.
    """
    return opening() + Use(
        list=1 + pages(shape.points), read=max(1, ceil(trees / (4 * MIB))) + max(1, ceil(size / (PACK / 2))),
        received=size + trees,
    )  # fmt: skip


def restore_test(shape: Shape, files: float = TESTED) -> Use:
    """A restore test of an item: at most a page of the tree and a block for each file. An estimate, from above."""
    each = min(MIB, shape.newest / shape.files if shape.files else 0)
    return opening() + Use(list=1 + pages(shape.points), read=2 + 2 * files, received=files * (each + (256 << 10)))


def look(shape: Shape) -> Use:
    """What a machine with a timer looks at once a day, beside its jobs. An estimate."""
    return Use(list=6, read=6, other=3, received=6 * RECORD)


def _folders(shape: Shape) -> list[float]:
    """The objects in each folder of records that a check lists; at the end those of checks and of jobs."""
    m = shape.machines
    return [
        m, m * shape.items, m * shape.index, shape.policies, shape.plans, shape.ledgers, shape.places,
        shape.copies, shape.checks, m * shape.jobs,
    ]  # fmt: skip


def _each(size: float, count: float) -> float:
    return size / count if count else 0.0
