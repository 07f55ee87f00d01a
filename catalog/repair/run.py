"""A repair of a vault, machine by machine: what is found out first, and what is written then."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from catalog.errors import Damaged, NotFound, RpdriveError
from catalog.format.packs import SERIES_BYTES
from catalog.format.records import IndexObject, Job, Machine, Outcome, PointName, Problem, encode_record
from catalog.format.sealed import Kind, seal_object
from catalog.ledger.records import Ledgers
from catalog.machines.registry import find_machine
from catalog.repair.examine import Examination, Found, Wanted
from catalog.repair.records import LostRecords, find_lost, write_lost
from catalog.repair.state import Signer, add_rows, write
from catalog.screen.phases import Follower, Phase
from catalog.screen.text import counted
from catalog.vault import Vault

PUBLISHED_BYTES = 16 << 20  # of tables of contents in one index object
_PROBLEMS = 100  # in the record of a job
NUMBERS_AHEAD = 1000  # by which a record of places that is made anew comes after those that are known


class Written(NamedTuple):
    """What was written for a machine: the names of records of places, and the number of index objects."""

    places: list[str]
    indexes: int


class Repair:
    """A repair of a vault, or of one machine of it (a name or an id)."""

    def __init__(self, vault: Vault, machine: str | None, wanted: Wanted, follow: Follower) -> None:
        self._vault, self._wanted, self._follow = vault, wanted, follow
        self._only = machine
        self.names = [name for name, _modified in vault.stored_points()]
        self.machines: Mapping[bytes, Machine] = {}

    def lost_records(self) -> LostRecords:
        """The records of machines and items that can be made anew. Raises StoreError."""
        self._follow.phase(Phase("looking for records of machines and items"))
        names = self.names
        if self._only is not None:
            ids = set(self._chosen())
            names = [name for name in names if name.machine in ids]
        return find_lost(self._vault, names)

    def write_records(self, lost: LostRecords) -> None:
        """Make records of machines and items anew. Raises StoreError."""
        write_lost(self._vault, lost)

    def _chosen(self) -> list[bytes]:
        """The machines to look at, by id. Raises NotFound, or AmbiguousName."""
        with_points = sorted({name.machine for name in self.names})
        if self._only is None:
            return with_points
        found = find_machine(self._vault.machines(), self._only)
        if found is not None:
            return [found.id]
        text = self._only.lower()
        by_id = [one for one in with_points if len(text) >= 8 and one.hex().startswith(text)]
        if len(by_id) != 1:
            raise NotFound(f"there is no machine {self._only} in this vault", "see `rpdrive machine list --all`")
        return by_id

    def examinations(self) -> Iterator[Examination]:
        """Each machine's packs, to be looked at one after the other. Raises StoreError."""
        vault, gone = self._vault, self._gone()
        self.machines = vault.machines()
        with_points = {name.machine for name in self.names}
        for machine in self._chosen():
            others = [
                one
                for one in sorted(with_points - {machine})
                if one[:SERIES_BYTES] == machine[:SERIES_BYTES]
                or ((known := self.machines.get(one)) is not None and machine in known.shares)
            ]
            yield Examination(vault, machine, dict(self.machines), others, self._wanted, self._follow, gone)

    def _gone(self) -> Callable[[PointName], bool]:
        """Whether upkeep has taken a point away for good. Where a ledger can't be used, all points count."""
        ledgers = Ledgers(self._vault)

        def is_gone(name: PointName) -> bool:
            with suppress(Damaged):
                return ledgers.of(name.machine, name.item).is_gone(name)
            return False

        return is_gone

    def carry_out(self, examination: Examination, found: Found, signer: Signer, *, acknowledge: bool) -> Written:
        """Write what can be written for a machine: index objects, then records of places.

        With `acknowledge`, also that tree blocks are lost for good. Interrupted, it can be run again. Raises
        ObjectChanged if other runs write records of places again and again, or another StoreError.
        """
        vault, indexes = self._vault, 0
        for packs in examination.survey.unpublished(PUBLISHED_BYTES):
            indexes += 1
            self._follow.phase(Phase("writing index objects", indexes, unit="objects"))
            name = f"index/{found.machine.hex()}/{os.urandom(16).hex()}"
            vault.store.create(
                name, [seal_object(vault.keys, Kind.INDEX, name, encode_record(IndexObject(packs=packs)))]
            )
        places = list[str]()
        if found.rebuilt is not None:
            record = found.rebuilt
            # Twice: under the next number, so that a run that follows the same record loses the race; and far
            # above, so that whoever has read the lost one takes this.
            places.append(write(vault, record, signer, after=record.number))
            ahead = max(record.number, found.after) + NUMBERS_AHEAD
            places.append(write(vault, record, signer, after=ahead))
        broken = [*found.rows.broken, *(found.acknowledged if acknowledge else ())]
        rows = found.rows._replace(broken=broken)
        if rows:
            self._follow.phase(Phase("writing records of places"))
            places += add_rows(vault, found.machine[:SERIES_BYTES], rows, signer, found.began)
        return Written(places, indexes)


def record_job(vault: Vault, found: Found, name: str, began: int) -> None:
    """Record a repair of a machine in the vault, for people: what stays lost, by name. No error here stops it.

    `began` is the time by this machine's clock (ns).
    """
    losses = found.losses
    job = Job(
        id=os.urandom(16), machine=found.machine, kind="repair", machine_name=name, hostname=platform.node(),
        outcome=Outcome.WITH_WARNINGS if found.lost else Outcome.COMPLETED, time=began, finished=time.time_ns(),
        problems=[
            Problem(row.path + b"/" * row.is_folder, f"lost in {counted(row.points, 'point')}")
            for row in losses.named[:_PROBLEMS]
        ],
        problem_count=len(losses.named),
    )  # fmt: skip
    with suppress(RpdriveError):
        vault.add_job(job)
