"""The end of a seed on this machine: `rpdrive seed abandon`, and what is forgotten once it is over."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from catalog.access.session import Session
from catalog.errors import LocalError, ObjectExists, ObjectNotFound
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


def forget(state: Path, vault: Vault, seed: LocalSeed, *, arrived: bool = False) -> None:
    """Remove this machine's state of a seed that is over. `arrived`: all of it is in the vault.

    Its index mirror becomes that of the vault then, if there is none: all of the index need not be read. Otherwise
    that of the vault is made anew by the next backup.
    """
    mirror = state / f"index-{vault.state_id}-{seed.facts.machine}.sqlite"
    try:
        if arrived and not mirror.exists():
            for tail in ("-wal", ""):  # the file itself is last: alone it would be without what -wal has
                old = seed.mirror.with_name(seed.mirror.name + tail)
                if old.exists():
                    old.replace(mirror.with_name(mirror.name + tail))
        else:
            for tail in ("", "-wal", "-shm"):
                mirror.with_name(mirror.name + tail).unlink(missing_ok=True)
    except OSError as e:
        raise LocalError(f"the index mirror {mirror} can't be replaced: {e.strerror}", "remove that file") from e
    seed.forget()
