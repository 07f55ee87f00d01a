"""A vault that is watched: what is told of it, and vaults of many machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from catalog.alerts.rules import DAY
from catalog.alerts.state import Alert
from catalog.alerts.watching import Watcher
from catalog.format.records import Item, Job, Machine, Outcome, Point
from catalog.notify.event import Event, Failing, Ping
from catalog.vault import Vault
from tests.kit.pruning import ITEM, START, World
from tests.kit.vaultmaker import MACHINE


class Told:
    """Remembers what is sent."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.pings: list[Ping] = []
        self.takes_none = False

    def send(self, events: Sequence[Event], now: int) -> list[Event]:
        if self.takes_none:
            return list(events)
        self.events += events
        return []

    def ping(self, ping: Ping) -> None:
        self.pings.append(ping)

    def retry(self, now: int) -> None:
        pass

    def failing(self, now: int) -> list[Failing]:
        return []

    def take(self) -> list[tuple[str, str]]:
        found, self.events = [(str(e.what), e.alert) for e in self.events], []
        return found


class Watching:
    """A world that is watched."""

    def __init__(self, folder: Path) -> None:
        self.world, self.told, self.folder = World(), Told(), folder
        self.watcher = Watcher(folder, self.world.vault.id, self.told)
        self.alerts: Sequence[Alert] = ()

    def look(self, vault: Vault | None = None) -> list[tuple[str, str]]:
        """What is told of a look now."""
        self.alerts = self.watcher.look(vault or self.world.opened(), self.world.now).alerts
        return self.told.take()

    def job(self, outcome: str = Outcome.COMPLETED, kind: str = "backup", **fields: object) -> Job:
        rng, now = self.world.rng, self.world.now
        row = {
            "id": rng.randbytes(16), "machine": MACHINE, "item": ITEM, "kind": kind, "outcome": outcome,
            "machine_name": "box", "item_name": "home", "hostname": "box", "time": now, "finished": now,
        } | fields  # fmt: skip
        job = Job(**row)  # type: ignore[arg-type]
        self.world.vault.add_job(job)
        return job


def fill(vault: Vault, machines: int, points: int) -> None:
    """A vault of many machines with an item each, and as many points and jobs of each."""
    for m in range(machines):
        machine, item = bytes([1, m]) * 8, bytes([2, m]) * 8
        vault.add_machine(Machine(id=machine, name=f"m{m}", hostname="h", system="Linux", created=START))
        vault.add_item(Item(id=item, machine=machine, name="files", paths=[b"/"], created=START))
        for n in range(1, points + 1):
            when = START + n * DAY
            vault.add_point(
                Point(
                    id=bytes([3, m, n, 0]) * 4, machine=machine, item=item, machine_name=f"m{m}", item_name="files",
                    hostname="h", system="Linux", sequence=n, time=when, finished=when, paths=[b"/"],
                )
            )  # fmt: skip
            vault.add_job(
                Job(
                    id=bytes([4, m, n, 0]) * 4, machine=machine, item=item, kind="backup",
                    outcome=Outcome.COMPLETED, machine_name=f"m{m}", hostname="h", time=when, finished=when,
                )
            )  # fmt: skip
