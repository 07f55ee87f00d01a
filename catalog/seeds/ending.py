"""The end of a seed on this machine: `rpdrive seed abandon`, and what is forgotten once it is over."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from catalog.access.session import Session
from catalog.errors import ObjectExists, ObjectNotFound
from catalog.format.seeds import Ending, SeedName
from catalog.seeds.local import Facts, LocalSeed, alone
from catalog.seeds.record import read_seed, sealed_end
from catalog.seeds.starting import opened_here
from catalog.vault import Vault


def abandon(session: Session, vault: Vault) -> Facts:
    """Give a seed up: its end is in the vault, and this machine forgets it. Raises UsageError, StoreError.

    What of it has arrived stays, and the next backup uses it; it sends what is missing.
    """
    state = session.settings.state
    with alone(state, vault.id):
        seed = opened_here(session, vault)
        facts = seed.facts
        one = bytes.fromhex(facts.id)
        try:
            read_seed(vault, one)
        except ObjectNotFound:
            pass  # it was never stored, or is gone: there is nothing to end
        else:
            name = str(SeedName(one, is_ended=True))
            with suppress(ObjectExists):  # e.g. of a run that was interrupted
                vault.store.create(name, [sealed_end(vault, one, bytes.fromhex(facts.machine), Ending.ABANDONED)])
        forget(state, vault, seed)
        return facts


def forget(state: Path, vault: Vault, seed: LocalSeed) -> None:
    """Remove this machine's state of a seed that is over, and the index mirror: the vault has other packs now."""
    mirror = state / f"index-{vault.state_id}-{seed.facts.machine}.sqlite"
    for tail in ("", "-wal", "-shm"):
        mirror.with_name(mirror.name + tail).unlink(missing_ok=True)
    seed.forget()
