"""The points before the one that a backup is about to make.

A name proves nothing: a record counts once it opens. Names that do not open are passed over with a warning, so that
nobody without the vault's key can stop a backup, or choose the number of a point.

What the ledger calls gone is no parent, though it may still be listed: what it alone refers to may be deleted. What
is forgotten is none for a new run; a run that has it as its parent may go on.
"""

from __future__ import annotations

from typing import Generic, NamedTuple

from backup.evidence import AGE, StartOver
from backup.run import Run
from backup.systems.base import File, Folder, Stat
from catalog.errors import Damaged, NewerFormat, ObjectNotFound
from catalog.format.numbers import HIGHEST_NUMBER
from catalog.format.records import Point, PointName
from catalog.ledger.records import Ledger, Ledgers

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


class Ancestry(Generic[Folder, File, Stat]):
    """The points of a run's item, and its ledger, as far as the run has looked.

    The ledger is read before each point. At the start it is read if there was one at the last run, or if the newest
    point is not this machine's last one: what a run does not know then, it sees at its end, and starts over.
    """

    def __init__(self, run: Run[Folder, File, Stat]) -> None:
        self._run = run
        self._ledgers: Ledgers | None = None  # None: not looked
        self._ledger: Ledger | None = Ledger(run.machine.id, run.item.id)  # None: it can't be used
        self._unusable = ""  # why not

    def find(self) -> Lineage:
        """Find the points before the new one. At most two listings, and a request for each record not cached."""
        run = self._run
        listed = self._listed()
        noted = run.seen.taken().get((run.machine.id, run.item.id), 0)
        noted = noted if noted < HIGHEST_NUMBER - FAR else 0  # a note that is damaged
        order = sorted(listed, key=lambda n: (n.sequence, not n.partial, n.time), reverse=True)
        possible = _possible(order, noted)
        if len(possible) < len(order):
            run.problems.add(b"", f"recovery points with impossible numbers were passed over, e.g. {order[0]}")
        if possible and self._ledgers is None and self._may_have_ledger(possible[0]):
            self._look()
        ledger = self._ledger
        if ledger is None:
            run.problems.add(b"", self._unusable)
        parent = self._first([n for n in possible if not ledger.is_hidden(n)]) if ledger is not None else None
        if parent is None:
            return self._numbered(Lineage(None, True, None, noted + 1, frozenset(listed)))
        # A partial point has the number of the point that its run was to make.
        sequence = parent.sequence if parent.partial else parent.sequence + 1
        written = listed[PointName.of(parent)]
        return self._numbered(
            Lineage(
                parent,
                parent.checked > 0 and written <= parent.checked + AGE,
                parent.previous if parent.partial else parent.id,
                max(sequence, noted + 1),
                frozenset(listed),
            )
        )

    def still(self, lineage: Lineage) -> Lineage:
        """Look again before the point is written: the lineage by then. Raises StartOver if the parent is gone.

        The ledger is read last, as a point is deleted only once its ledger names it: no number is overlooked.
        """
        listed = self._listed()
        self._look()
        ledger, parent = self._ledger, lineage.parent
        if parent is not None:
            name = PointName.of(parent)
            if name not in listed:
                raise StartOver("the recovery point that the backup compared with was deleted")
            if ledger is None or ledger.is_gone(name):
                raise StartOver("the recovery point that the backup compared with does not count any more")
        new = [n for n in listed if n not in lineage.names and not n.partial and n.sequence >= lineage.sequence]
        point = self._first(sorted(new, key=lambda n: (n.sequence, n.time), reverse=True))
        if point is not None:  # another run with this machine's id was faster
            lineage = lineage._replace(previous=point.id, sequence=point.sequence + 1)
        return self._numbered(lineage._replace(names=frozenset(listed)))

    def counts(self, name: PointName) -> bool:
        """Whether a point is one, by the ledger that was read last."""
        return self._ledger is None or not self._ledger.is_gone(name)

    def _listed(self) -> dict[PointName, int]:
        """The item's points, partial ones included, and when each was written, by the store's clock (ns)."""
        run = self._run
        prefix = f"points/{run.machine.id.hex()}/{run.item.id.hex()}/"
        rows = ((PointName.parse(info.name), info.modified) for info in run.vault.store.list(prefix))
        return {name: modified for name, modified in rows if name is not None}

    def _may_have_ledger(self, newest: PointName) -> bool:
        mirror, item = self._run.mirror, self._run.item.id
        return mirror.had_ledger(item) or mirror.last_point(item) != str(newest)

    def _look(self) -> None:
        """Read the ledger: one listing, and one request if there is a new one."""
        run = self._run
        try:
            if self._ledgers is None:
                self._ledgers = Ledgers(run.vault, run.machine.id, run.item.id)
            else:
                self._ledgers.refresh()
            self._ledger = self._ledgers.of(run.machine.id, run.item.id)
        except Damaged as e:
            self._ledger = None
            self._unusable = f"it can't be known which recovery points still count; all files were read again: {e}"
        if self._ledger is None or self._ledger.number:
            run.mirror.keep_ledger(run.item.id)

    def _numbered(self, lineage: Lineage) -> Lineage:
        """With a number above those of points that were taken away."""
        if self._ledger is None:
            return lineage
        return lineage._replace(sequence=_highest(self._ledger, lineage.sequence - 1) + 1)

    def _first(self, names: list[PointName]) -> Point | None:
        """The first of `names` whose record opens."""
        run = self._run
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


def _possible(names: list[PointName], noted: int) -> list[PointName]:
    """Without names whose numbers are far above those below them, and above the one `noted`."""
    highest = noted
    for n, name in enumerate(reversed(names)):
        if name.sequence > highest + FAR:
            return names[len(names) - n :]
        highest = max(highest, name.sequence)
    return names


def _highest(ledger: Ledger, highest: int) -> int:
    """The highest number of a ledger, or `highest`; without those far above all others, as of forged points."""
    for number in sorted(ledger.numbers):
        if number > highest + FAR:
            break
        highest = max(highest, number)
    return highest
