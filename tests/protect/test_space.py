"""Whether deleting frees space at once: said if it does not, and only if it is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from catalog.errors import StoreUnreachable
from catalog.protect.space import kept_after_deleting
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.protection import Fact, State
from tests.kit.pruning import World


class Account(MemoryStore):
    """A store that says this of its place."""

    def __init__(self, *facts: Fact) -> None:
        super().__init__()
        self.facts = facts

    def protection(self, sample: Sequence[str]) -> Sequence[Fact]:
        if not self.facts:
            raise StoreUnreachable("away")
        return self.facts


ON, OFF, UNKNOWN = (Fact("versions", state) for state in (State.ON, State.OFF, State.UNKNOWN))


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ((ON,), "as versions"),
        ((ON, Fact("soft delete", State.ON, 7)), "as versions"),
        ((OFF, Fact("soft delete", State.ON, 7)), "for 7 days"),
        ((OFF, Fact("soft delete", State.OFF)), ""),
        ((UNKNOWN, Fact("soft delete", State.UNKNOWN)), ""),
        ((), ""),
    ],
)
def test_what_is_said(facts: Sequence[Fact], says: str) -> None:
    found = kept_after_deleting(Account(*facts))
    assert says in found and bool(says) == bool(found)


def test_it_takes_three_requests() -> None:
    meter = MeteredStore(Account(OFF))
    kept_after_deleting(meter)
    assert meter.snapshot().requests == 3
    assert kept_after_deleting(World().store) == ""
