"""What an operation asks of a store: requests in the classes by which they are paid for, and bytes."""

from __future__ import annotations

from typing import Self

import msgspec

from catalog.store.metered import Traffic

CLASSES = ("write", "list", "read", "other", "delete")


class Amounts(msgspec.Struct, frozen=True):
    """Numbers by name: two of a kind can be added, and one multiplied, name by name."""

    def __add__(self, more: Self) -> Self:
        return type(self)(*(getattr(self, name) + getattr(more, name) for name in self.__struct_fields__))

    def __mul__(self, times: float) -> Self:
        return type(self)(*(getattr(self, name) * times for name in self.__struct_fields__))


class Use(Amounts, frozen=True):
    """Requests by class, and bytes of contents. A part of a request is an average.

    `sent` and `received` are bytes through this machine; `copied` are bytes that the store reads from itself to put
    an object together.
    """

    write: float = 0
    list: float = 0
    read: float = 0
    other: float = 0
    delete: float = 0
    sent: float = 0
    received: float = 0
    copied: float = 0

    @property
    def requests(self) -> float:
        """Requests of every class."""
        return self.write + self.list + self.read + self.other + self.delete


NOTHING = Use()


def use_of(traffic: Traffic) -> Use:
    """What the meter counted, by the classes that Azure charges for.

    Properties of an object, and locks, are `other`; deleting is free there, and counted by itself. An object that
    is put together counts as a write for each of its parts.
    """
    return Use(
        write=traffic.create.requests + traffic.compose.requests + traffic.replace.requests,
        list=traffic.list.requests,
        read=traffic.get.requests + traffic.read.requests,
        other=traffic.size.requests + traffic.protection.requests + traffic.extend.requests,
        delete=traffic.delete.requests,
        sent=traffic.sent,
        received=traffic.received,
    )
