"""A vault in memory whose clock tests set, with points that hold nothing."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from catalog.format.admins import open_admin
from catalog.format.records import Point, PointName, Root
from catalog.format.values import Totals
from catalog.ledger.records import Ledger, Ledgers, Signer
from catalog.policies.records import Policies, add_retention
from catalog.policies.setting import changed, read_fields
from catalog.retention.policy import Level
from catalog.retention.slots import DAY
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.vaults import new_vault

MACHINE, ITEM, OTHER = b"m" * 16, b"i" * 16, b"j" * 16
BEGIN = 1_700_000_000 // 86_400 * DAY  # a midnight (UTC)


def point_id(n: int, item: bytes = ITEM) -> bytes:
    return item[:4] + n.to_bytes(12, "big")


class World:
    """`now` is the time of the store and of everybody (ns)."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.memory = MemoryStore(clock=lambda: self.now)
        self.store = MeteredStore(self.memory)
        self.vault: Vault = new_vault(self.store)
        (admin,) = self.vault.file.admins
        self.signer: Signer = admin, open_admin(self.vault.keys, admin)
        self.numbers: dict[bytes, int] = {}

    def point(self, item: bytes = ITEM, *, sequence: int = 0, **more: Any) -> PointName:
        """Add a whole point that was made at `now`."""
        number = sequence or self.numbers.get(item, 0) + 1
        self.numbers[item] = number
        at = Root(0, bytes(16), 8, 30, 0, 1, bytes(16), Totals(1, 1, 10 << 20, 0))
        point = Point(
            id=point_id(number, item), machine=MACHINE, item=item, machine_name="laptop", item_name="home",
            hostname="h", system="Linux", sequence=number, time=self.now, finished=self.now, paths=[b"/home"],
            previous=point_id(number - 1, item) if number > 1 else None, root=at,
        )  # fmt: skip
        point = replace(point, **more)
        self.vault.add_point(point)
        return PointName.of(point)

    def days(self, count: int, item: bytes = ITEM) -> list[PointName]:
        """A point each day at noon, for so many days. It is midnight before and after."""
        made = []
        for _ in range(count):
            self.now += DAY // 2
            made.append(self.point(item))
            self.now += DAY // 2
        return made

    def policy(self, item: bytes | None = None, **fields: str) -> None:
        """Set fields of the vault's policy, or of an item's."""
        given = {"zone": "UTC", **fields} if item is None else fields
        policies = Policies(self.vault)
        level = policies.of_vault() if item is None else policies.level("item", "home", item)
        assert isinstance(level, Level)
        new = changed(level, read_fields(None, given))
        assert new.record is not None
        add_retention(self.vault, level, new.record, new.unknown)

    def ledger(self, item: bytes = ITEM) -> Ledger:
        return Ledgers(self.vault, MACHINE).of(MACHINE, item)

    @property
    def requests(self) -> int:
        return self.store.snapshot().requests
