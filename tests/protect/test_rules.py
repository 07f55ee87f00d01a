"""The vault's own rules: what they take, and what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import UsageError
from catalog.format.vaultfile import Immutable, VaultFile
from catalog.protect.rules import Change, changed, weakens


def file(immutable: Immutable | None = None, soft_delete: int = 14) -> VaultFile:
    return VaultFile(bytes(16), 1, "now", (), (), soft_delete, immutable)


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        (None, Change(30), Immutable(30, False)),
        (None, Change(30, lock=True), Immutable(30, True)),
        (Immutable(30, False), Change(lock=True), Immutable(30, True)),
        (Immutable(30, False), Change(7), Immutable(7, False)),
        (Immutable(30, False), Change(0), None),
        (Immutable(30, True), Change(31), Immutable(31, True)),
        (Immutable(30, True), Change(30, lock=True), Immutable(30, True)),
        (Immutable(30, True), Change(), Immutable(30, True)),
        (None, Change(36_500), Immutable(36_500, False)),
    ],
)
def test_what_may_be_changed(before: Immutable | None, change: Change, after: Immutable | None) -> None:
    assert changed(file(before), change).immutable == after


@pytest.mark.parametrize(
    ("before", "change", "says"),
    [
        (Immutable(30, True), Change(29), "can't become fewer"),
        (Immutable(30, True), Change(0), "can't become fewer"),
        (Immutable(30, True), Change(soft_delete=14), "for fewer days"),
        (None, Change(lock=True), "nothing to lock"),
        (Immutable(30, False), Change(0, lock=True), "nothing to lock"),
        (None, Change(36_501), "1 to 36,500 days"),
        (None, Change(soft_delete=13), "14 to 180 days"),
        (None, Change(soft_delete=181), "14 to 180 days"),
    ],
)
def test_what_may_not(before: Immutable | None, change: Change, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        changed(file(before, soft_delete=20), change)


changes = st.builds(
    Change,
    st.none() | st.integers(0, 40_000),
    st.booleans(),
    st.none() | st.integers(0, 200),
)


@given(st.lists(changes, max_size=8))
def test_a_locked_vault_only_ever_gets_stricter(some: list[Change]) -> None:
    now = file(Immutable(30, True), 20)
    for change in some:
        try:
            new = changed(now, change)
        except UsageError:
            continue
        assert not weakens(now, change)
        assert now.immutable is not None and new.immutable is not None and new.immutable.locked
        assert new.immutable.days >= now.immutable.days and new.soft_delete_days >= now.soft_delete_days
        now = new
