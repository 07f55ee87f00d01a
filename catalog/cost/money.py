"""What requests and bytes cost, by the prices of a place. Pure."""

from __future__ import annotations

from catalog.cost.prices import Step, Tariff, steps
from catalog.cost.use import Amounts, Use

_REQUESTS = 10_000  # the number of requests that prices are for
MONTH = 30.4375  # days


class Bill(Amounts, frozen=True):
    """Money in the tariff's currency, by what it is for."""

    storage: float = 0.0
    write: float = 0.0
    list: float = 0.0
    read: float = 0.0
    other: float = 0.0
    retrieval: float = 0.0
    transfer: float = 0.0
    replication: float = 0.0
    early: float = 0.0

    @property
    def total(self) -> float:
        return float(sum(getattr(self, name) for name in self.__struct_fields__))

    @property
    def requests(self) -> float:
        """Requests of every class."""
        return self.write + self.list + self.read + self.other


NO_BILL = Bill()


def bill(tariff: Tariff, use: Use, *, leaves: bool = True, free: bool = False) -> Bill:
    """What `use` costs. `leaves`: the bytes received leave the region of the store.

    `free`: the part of a month that is free of charge is not used up yet. Without it, nothing that leaves is free.
    """
    p = tariff.price
    gb = tariff.gb
    ladder = tariff.transfer if free else [step for step in tariff.transfer if step.price > 0]
    return Bill(
        write=use.write * p.write / _REQUESTS,
        list=use.list * p.list / _REQUESTS,
        read=use.read * p.read / _REQUESTS,
        other=(use.other * p.other + use.delete * p.delete) / _REQUESTS,
        retrieval=(use.received + use.copied) / gb * p.retrieval,
        transfer=stepped(ladder, use.received / gb) if leaves else 0.0,
        replication=(use.sent + use.copied) / gb * p.replication,
    )


def storage(tariff: Tariff, stored: float) -> Bill:
    """What it costs to store so many bytes for a month."""
    return Bill(storage=stepped(steps(tariff.price.storage), stored / tariff.gb))


def early(tariff: Tariff, size: float, days: float) -> Bill:
    """What is charged for `size` bytes that are deleted when they are `days` old, for the days that are missing."""
    missing = max(0.0, tariff.price.minimum_days - days)
    return Bill(early=storage(tariff, size).storage * missing / MONTH)


def stepped(ladder: list[Step], gb: float) -> float:
    """What `gb` GB cost by steps."""
    total, start = 0.0, 0.0
    for step in ladder:
        end = gb if step.to is None else min(gb, step.to)
        if end > start:
            total += (end - start) * step.price
            start = end
    return total
