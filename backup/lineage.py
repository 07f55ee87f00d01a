"""The points before the one that a backup is about to make.

A name proves nothing: a record counts once it opens. Names that do not open are passed over with a warning, so that
nobody without the vault's key can stop a backup, or choose the number of a point.
"""

from __future__ import annotations

from typing import NamedTuple

from backup.evidence import AGE, StartOver
from backup.run import Run
from backup.systems.base import File, Folder, Stat
from catalog.errors import Damaged, NewerFormat, ObjectNotFound
from catalog.format.records import HIGHEST_NUMBER, Point, PointName

TRIED = 100  # records that don't open, before the rest of them is passed over unread
FAR = 2**32  # a number that is so much higher than any before it is nobody's: it would soon use up all numbers


class Lineage(NamedTuple):
    """The point to compare with, which may be partial, and what the new point says of those before it.

    A parent is `sound` if it was written soon after the store was seen to have all that it refers to. `names` are
    those of the item's points, partial ones included, when they were listed.
    """

    parent: Point | None
    sound: bool
    previous: bytes | None  # id of the newest whole point
    sequence: int  # of the new point
    names: frozenset[PointName]

    def without_parent(self) -> Lineage:
        """The same for an attempt that compares with nothing."""
        return self._replace(parent=None, sound=True)


def find_lineage(run: Run[Folder, File, Stat]) -> Lineage:
    """Find the points before the new one. One listing, and a request for each record that is not cached."""
    listed = _listed(run)
    noted = run.seen.highest().get((run.machine.id, run.item.id), 0)
    noted = noted if noted < HIGHEST_NUMBER - FAR else 0  # a note that is damaged
    order = sorted(listed, key=lambda n: (n.sequence, not n.partial, n.time), reverse=True)
    possible = _possible(order, noted)
    if len(possible) < len(order):
        run.problems.add(b"", f"recovery points with impossible numbers were passed over, e.g. {order[0]}")
    parent = _first(run, possible)
    if parent is None:
        return Lineage(None, True, None, noted + 1, frozenset(listed))
    # A partial point has the number of the point that its run was to make.
    sequence = parent.sequence if parent.partial else parent.sequence + 1
    written = listed[PointName.of(parent)]
    return Lineage(
        parent,
        parent.checked > 0 and written <= parent.checked + AGE,
        parent.previous if parent.partial else parent.id,
        max(sequence, noted + 1),
        frozenset(listed),
    )


def still(lineage: Lineage, run: Run[Folder, File, Stat]) -> Lineage:
    """Look again before the point is written: the lineage by then. Raises StartOver if the parent is gone."""
    listed = _listed(run)
    if lineage.parent is not None and PointName.of(lineage.parent) not in listed:
        raise StartOver("the recovery point that the backup compared with was deleted")
    new = [n for n in listed if n not in lineage.names and not n.partial and n.sequence >= lineage.sequence]
    point = _first(run, sorted(new, key=lambda n: (n.sequence, n.time), reverse=True))
    if point is not None:  # another run with this machine's id was faster
        lineage = lineage._replace(previous=point.id, sequence=point.sequence + 1)
    return lineage._replace(names=frozenset(listed))


def _possible(names: list[PointName], noted: int) -> list[PointName]:
    """Without names whose numbers are far above those below them, and above the one `noted`."""
    highest = noted
    for n, name in enumerate(reversed(names)):
        if name.sequence > highest + FAR:
            return names[len(names) - n :]
        highest = max(highest, name.sequence)
    return names


def _listed(run: Run[Folder, File, Stat]) -> dict[PointName, int]:
    """The item's points, partial ones included, and when each was written, by the store's clock (ns)."""
    prefix = f"points/{run.machine.id.hex()}/{run.item.id.hex()}/"
    rows = ((PointName.parse(info.name), info.modified) for info in run.vault.store.list(prefix))
    return {name: modified for name, modified in rows if name is not None}


def _first(run: Run[Folder, File, Stat], names: list[PointName]) -> Point | None:
    """The first of `names` whose record opens."""
    own = run.mirror.last_point(run.item.id)
    failed = 0
    for name in names:
        if failed >= TRIED and str(name) != own:
            continue
        try:
            return run.vault.point(name)
        except ObjectNotFound:
            continue  # deleted since it was listed
        except (Damaged, NewerFormat) as e:
            failed += 1
            run.problems.add(b"", f"an earlier recovery point can't be used: {e}")
            if failed == TRIED:
                run.problems.add(
                    b"", f"{TRIED} records of recovery points can't be used; the others were not tried"
                )
    return None
