"""Ledgers in a vault: the newest that an admin signed counts, and of two who write one, both count."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from catalog.errors import Damaged, ObjectChanged
from catalog.format.admins import make_admin, open_admin
from catalog.format.ledger import ForgottenRow, LedgerRecord, encode_ledger, ledger_folder
from catalog.format.sealed import Kind
from catalog.format.signed import seal_signed
from catalog.ledger.records import Ledger, Ledgers, Signer
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.vaults import new_vault

MACHINE, ITEM, OTHER = b"m" * 16, b"i" * 16, b"j" * 16
FOLDER = ledger_folder(MACHINE, ITEM)


def point(n: int) -> bytes:
    return n.to_bytes(16, "big")


def row(n: int) -> ForgottenRow:
    return ForgottenRow(point(n), n, 1, 2, 1, "no longer needed", "me")


class World:
    """A new vault, and its admin's key."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.store = MeteredStore(self.memory)
        self.vault: Vault = new_vault(self.store)
        (admin,) = self.vault.file.admins
        self.signer: Signer = admin, open_admin(self.vault.keys, admin)

    def forget(self, n: int, item: bytes = ITEM, ledgers: Ledgers | None = None) -> Ledger:
        ledgers = ledgers or Ledgers(self.vault, MACHINE, item)
        return ledgers.change(MACHINE, item, lambda ledger: ledger.forget([row(n)]), self.signer, 1)

    def now(self, item: bytes = ITEM) -> Ledger:
        return Ledgers(self.vault, MACHINE).of(MACHINE, item)

    def put(self, number: int, content: bytes, signer: Signer | None = None) -> None:
        name = f"{FOLDER}{number:08d}"
        sealed = seal_signed(self.vault.keys, *(signer or self.signer), Kind.LEDGER, name, content)
        self.memory.objects[name] = sealed


@pytest.fixture
def world() -> World:
    return World()


def test_ledgers_follow_each_other(world: World) -> None:
    assert world.now() == Ledger(MACHINE, ITEM)
    assert world.forget(1).number == 1
    assert world.forget(2).number == 2
    assert world.now().number == 2 and world.now().forgotten == {point(n): row(n) for n in (1, 2)}
    assert world.forget(2).number == 2, "nothing changes: nothing is written"
    assert world.forget(3, OTHER).number == 1
    assert Ledgers(world.vault).keys == [(MACHINE, ITEM), (MACHINE, OTHER)]


def test_each_costs_one_request_and_the_listing_one(world: World) -> None:
    for n in range(1, 6):
        world.forget(n)
        world.forget(n, OTHER)
    before = world.store.snapshot()
    ledgers = Ledgers(world.vault, MACHINE)
    assert {p for item in (ITEM, OTHER) for p in ledgers.of(MACHINE, item).forgotten} == {
        point(n) for n in range(1, 6)
    }
    ledgers.of(MACHINE, ITEM)
    assert ledgers.of(MACHINE, b"n" * 16) == Ledger(MACHINE, b"n" * 16)
    spent = world.store.snapshot() - before
    assert spent.requests == 3
    world.forget(6)
    before = world.store.snapshot()
    ledgers.refresh()
    assert ledgers.of(MACHINE, ITEM).number == 6 and ledgers.of(MACHINE, OTHER).number == 5
    assert (world.store.snapshot() - before).requests == 2, "what is still the newest is not read again"


def test_a_ledger_that_was_changed_meanwhile_is_changed_again(world: World) -> None:
    mine = Ledgers(world.vault, MACHINE, ITEM)
    mine.of(MACHINE, ITEM)
    world.forget(1)
    world.forget(2)
    after = world.forget(3, ledgers=mine)
    assert after.number == 3 and set(after.forgotten) == {point(1), point(2), point(3)}
    assert world.now() == after


def test_many_at_once_lose_nothing(world: World) -> None:
    """Each forgets points of its own, at the same time as the others."""
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(world.forget, range(1, 31)))
    assert set(world.now().forgotten) == {point(n) for n in range(1, 31)}
    numbers = [int(name[-8:]) for name in world.memory.objects if name.startswith(FOLDER)]
    assert sorted(numbers) == list(range(1, 31))


def test_old_ledgers_are_named(world: World) -> None:
    for n in range(1, 8):
        world.forget(n)
        world.forget(n, OTHER)
    world.put(8, b"junk", (make_admin(world.vault.keys, bytes(32), ""), bytes(32)))
    world.put(9, b"\xc1")
    names = [f"{FOLDER}{n:08}" for n in range(1, 5)]
    ledgers = Ledgers(world.vault)
    other = [name.replace(ITEM.hex(), OTHER.hex()) for name in names]
    assert sorted(ledgers.old_names(MACHINE, 2**63, 3)) == other, "one that can't be read goes on saying so"
    del world.memory.objects[f"{FOLDER}00000009"]
    ledgers.refresh()
    assert sorted(ledgers.old_names(MACHINE, 2**63, 3)) == sorted(names + other)
    assert ledgers.old_names(MACHINE, 0, 3) == ledgers.old_names(b"n" * 16, 2**63, 3) == []
    before = world.now()
    for name in names:
        world.store.delete(name)
    assert world.now() == before


def test_one_who_is_always_slower_gives_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: object, **more: object) -> int:
        raise ObjectChanged("somebody was faster")

    monkeypatch.setattr(world.vault.signed, "store_next", slow)
    with pytest.raises(ObjectChanged):
        world.forget(1)


def test_a_malformed_ledger_of_an_admin_blocks(world: World) -> None:
    world.forget(1)
    world.put(2, b"\xc1")
    with pytest.raises(Damaged, match="00000002 is malformed"):
        world.now()
    with pytest.raises(Damaged):
        world.forget(2)
    assert len([n for n in world.memory.objects if n.startswith(FOLDER)]) == 2


def test_what_no_admin_signed_is_passed_over(world: World) -> None:
    """A machine that makes backups has the vault's key, and can store objects; it can't have a point forgotten."""
    world.forget(1)
    private = os.urandom(32)
    stranger = make_admin(world.vault.keys, private, "")
    forged = LedgerRecord(machine=MACHINE, item=ITEM, number=2, written=0, forgotten=[row(1), row(2)])
    world.put(2, encode_ledger(forged), (stranger, private))
    # The same under the id of the admin, signed by the stranger.
    world.put(3, encode_ledger(forged), (world.signer[0], private))
    # A record of another item, which an admin signed for its own name.
    world.forget(5, OTHER)
    world.memory.objects[f"{FOLDER}00000004"] = world.memory.objects[ledger_folder(MACHINE, OTHER) + "00000001"]
    assert world.now().number == 1 and [*world.now().forgotten] == [point(1)]
    with pytest.raises(Damaged, match="00000004 does not open"):  # it may be a later word that was damaged
        world.forget(7)
    del world.memory.objects[f"{FOLDER}00000004"]
    assert world.forget(7).number == 4, "the numbers that junk has taken are passed over"
    assert [*world.now().forgotten] == [point(1), point(7)]


def test_fields_of_a_later_version_are_kept(world: World) -> None:
    record = LedgerRecord(machine=MACHINE, item=ITEM, number=1, written=0, forgotten=[row(1)])
    later = {"quorum": 2, ("forgotten", point(1)): ["more"]}
    world.put(1, encode_ledger(record, later))
    assert world.forget(2).unknown == later == world.now().unknown
