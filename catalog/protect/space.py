"""Whether what is deleted frees space at once."""

from __future__ import annotations

from catalog.errors import StoreError
from catalog.store.base import Store
from catalog.store.protection import Fact, State

_SAMPLE = "vault.json"


def kept_after_deleting(store: Store) -> str:
    """A sentence if the place of the store keeps what is deleted, so that space is freed later; "" if not.

    Three requests to a store that can be asked, none to others. "" also if it can't be known.
    """
    try:
        facts = {fact.name: fact for fact in store.protection([_SAMPLE])}
    except StoreError:
        return ""
    versions, soft = facts.get("versions"), facts.get("soft delete")
    if _is_on(versions):
        return (
            "the account keeps deleted objects as versions: their space is free when a lifecycle rule deletes "
            "those (docs/protect.md)"
        )
    if soft is not None and _is_on(soft):
        return f"the account keeps deleted objects for {soft.days} days: their space is free after that"
    return ""


def _is_on(fact: Fact | None) -> bool:
    return fact is not None and fact.state is State.ON
