"""The difference of two stores, from one listing of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from catalog.store.base import ObjectInfo, Store


class Row(NamedTuple):
    """One name, and what each store's listing says of it: None if the store does not have it."""

    name: str
    source: ObjectInfo | None
    target: ObjectInfo | None

    @property
    def is_same(self) -> bool:
        """Whether both have the object, with the same size."""
        return self.source is not None and self.target is not None and self.source.size == self.target.size


def differ(source: Store, target: Store, prefix: str = "") -> Iterator[Row]:
    """Every object of either store whose name starts with `prefix`, in order of name; in constant memory.

    Takes one listing of each store: a request per LIST_PAGE names, at least one. Raises StoreError.
    """
    ours, theirs = iter(source.list(prefix)), iter(target.list(prefix))
    here, there = next(ours, None), next(theirs, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here.name < there.name):
            assert here is not None
            yield Row(here.name, here, None)
            here = next(ours, None)
        elif here is None or there.name < here.name:
            yield Row(there.name, None, there)
            there = next(theirs, None)
        else:
            yield Row(here.name, here, there)
            here, there = next(ours, None), next(theirs, None)
