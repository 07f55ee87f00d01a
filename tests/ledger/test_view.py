"""A drive of all points that is open while points are forgotten and brought back."""

from __future__ import annotations

import logging

import pytest

from cache.reader import Reader
from catalog.format.ledger import ForgottenRow, ledger_folder
from catalog.format.sealed import Kind
from catalog.format.signed import seal_signed
from catalog.ledger.records import Ledgers
from catalog.signing import signing_key
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault, open_vault
from mount.view.all_points import AllPointsView
from mount.view.nodes import Link
from tests.kit.drives import ITEM, MACHINE, Maker, add_item, add_machine, add_point
from tests.kit.vaults import PASSPHRASE, new_vault
from tests.mount.test_view import find, names

SECOND = 10**9
START = 1_790_000_000 * SECOND


@pytest.fixture
def vault() -> Vault:
    vault = new_vault(MemoryStore())
    add_machine(vault)
    add_item(vault)
    m = Maker(vault)
    for n in (1, 2, 3):
        add_point(vault, m.root([m.file(b"file", b"%d" % n)]), n, START + 60 * n * SECOND)
    return vault


def change(vault: Vault, *numbers: int, back: bool = False) -> None:
    """Forget points, or bring them back."""
    some = [n for n in vault.point_names() if n.sequence in numbers]
    rows = [ForgottenRow(n.id, n.sequence, 0, 2**62, 1, "", "") for n in some]
    ids = {n.id for n in some}
    signer = signing_key(vault)
    Ledgers(vault).change(MACHINE, ITEM, lambda le: le.undelete(ids) if back else le.forget(rows), signer, 0)


def test_points_disappear_and_come_back_while_it_is_open(vault: Vault) -> None:
    view = AllPointsView(vault, Reader(vault), fresh=0)

    def shown() -> int:
        return len(names(find(view, b"box", b"home"))) - 2  # `latest` and `.versions`

    def versions() -> list[bytes]:
        return names(find(view, b"box", b"home", b".versions", b"file"))

    before = versions()
    assert shown() == 3 and len(before) == 3
    change(vault, 3)
    assert shown() == 2 and versions() == before[:2]
    folders = names(find(view, b"box", b"home"))
    latest = find(view, b"box", b"home", b"latest")
    assert isinstance(latest, Link) and latest.target == max(folders[:2])
    change(vault, 1)
    assert shown() == 1 and versions() == before[1:2]
    change(vault, 1, 3, back=True)
    assert shown() == 3 and versions() == before
    change(vault, 1, 2, 3)
    assert names(view.root) == [b"box"] and names(find(view, b"box")) == []


def test_ledgers_are_not_listed_each_time(vault: Vault) -> None:
    store = MeteredStore(vault.store)
    vault = open_vault(store, passphrase=PASSPHRASE)
    open_for_long = AllPointsView(vault, Reader(vault), fresh=1000)
    before = store.snapshot().list.requests
    for _ in range(3):
        open_for_long._listings._read(MACHINE, None)
    assert store.snapshot().list.requests - before == 3 + 1


def test_a_ledger_that_cannot_be_read_hides_nothing(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    name = ledger_folder(MACHINE, ITEM) + "00000001"
    vault.store.create(name, [seal_signed(vault.keys, *signing_key(vault), Kind.LEDGER, name, b"\xc1")])
    view = AllPointsView(vault, Reader(vault), fresh=0)
    assert len(names(find(view, b"box", b"home"))) == 5
    assert "00000001 is malformed" in caplog.text
