"""A vault of some machines whose clock a test moves, opened for a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalog.format.plan import PlanRecord, Schedule
from catalog.format.records import Item, Job, Machine, Outcome, Point
from catalog.plans.effective import Level
from catalog.plans.records import add_plan
from mount.browse.resources.looks import looks_of
from mount.browse.resources.opened import Opened
from mount.browse.resources.storage import numbers_of
from tests.kit.browsing import opened_as
from tests.kit.vaults import Remote

DAY, HOUR, SECOND = 86_400 * 10**9, 3600 * 10**9, 10**9
START = 1_790_000_000 * SECOND
PATIENCE = 60.0  # seconds that a test waits for the vault, at most


class World:
    """A vault behind a meter. `now` is the time (ns) of all clocks."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.remote = Remote()
        self.remote.memory._clock = lambda: self.now
        self.vault = self.remote.vault
        self.records: dict[str, bytes] = {}
        self._folder, self._number = folder, 0
        self._sequences: dict[bytes, int] = {}

    def opened(self) -> Opened:
        """The vault as a page opens it; the page goes by the clock of this world."""
        found = opened_as(self._folder, self.remote.opened())
        looks_of(found, lambda: self.now)
        numbers_of(found, lambda: self.now)
        return found

    def add(self, name: str, item: str = "home", system: str = "Linux", kind: str = "") -> tuple[bytes, bytes]:
        """A machine with an item."""
        machine, one = self.id(), self.id()
        self.vault.add_machine(Machine(id=machine, name=name, hostname=name, system=system, created=self.now))
        self.vault.add_item(Item(id=one, machine=machine, name=item, paths=[b"/home"], created=self.now, kind=kind))
        return machine, one

    def id(self) -> bytes:
        self._number += 1
        return self._number.to_bytes(16, "big")

    def point(self, key: tuple[bytes, bytes], name: str = "box", **job: Any) -> Point:
        """A backup now: its point, and the record of its job."""
        self._sequences[key[1]] = number = self._sequences.get(key[1], 0) + 1
        found = Point(
            id=self.id(), machine=key[0], item=key[1], machine_name=name, item_name="home", hostname=name,
            system="Linux", sequence=number, time=self.now, finished=self.now, paths=[b"/home"],
        )  # fmt: skip
        self.vault.add_point(found)
        self.job(key, name, point=found.id, **job)
        return found

    def job(self, key: tuple[bytes, bytes], name: str = "box", **fields: Any) -> Job:
        row: dict[str, Any] = {
            "id": self.id(), "machine": key[0], "item": key[1], "kind": "backup", "outcome": Outcome.COMPLETED,
            "machine_name": name, "item_name": "home", "hostname": name, "time": self.now,
            "finished": self.now + SECOND,
        } | fields  # fmt: skip
        found = Job(**row)
        self.vault.add_job(found)
        return found

    def plan(self, item: bytes, *times: int, number: int = 0, **fields: Any) -> None:
        """A plan for an item: backups at these minutes of the day (UTC)."""
        record = PlanRecord(
            id=item, number=0, written=self.now, zone="UTC", paths=[b"/home"],
            schedule=Schedule(times=sorted(times)), **fields,
        )  # fmt: skip
        add_plan(self.vault, Level("item", "home", item, number=number), record)
