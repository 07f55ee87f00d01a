"""Made-up vaults of many machines for tests of this process: in memory, behind a meter."""

from __future__ import annotations

from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore, Traffic
from catalog.vault import Vault, open_vault
from tests.kit.made.shape import HOUR, SECOND, Shape
from tests.kit.made.store import MadeStore, Plan
from tests.kit.vaults import PASSPHRASE, new_vault

START = 1_750_000_000 * SECOND  # of the first point


class Fleet:
    """Such a vault. Its points have no trees but those that a test gives them, unless it has `folders`.

    The points of the first machine are `interval` apart from `start` on, those of each other machine are `stagger`
    after those of the one before (ns).
    """

    def __init__(
        self, machines: int, points: int, *, folders: int = 0, start: int = START, interval: int = HOUR,
        stagger: int = 0,
    ) -> None:  # fmt: skip
        shape = Shape(machines, points, folders, 1, start + (points - 1) * interval, interval, stagger)
        written = MemoryStore()
        plan = Plan.of(new_vault(written), shape)
        self.store = MadeStore(plan, written, "made:")
        self.meter = MeteredStore(self.store)
        self.vault = open_vault(self.store, passphrase=PASSPHRASE)
        self.point = self.store.names.point

    def opened(self) -> Vault:
        """The vault, opened once more as another process would."""
        return open_vault(self.meter, passphrase=PASSPHRASE)

    def spent(self, since: Traffic) -> Traffic:
        return self.meter.snapshot() - since
