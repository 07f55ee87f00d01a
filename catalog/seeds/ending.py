"""The end of a seed on this machine: `rpdrive seed abandon`, and what is forgotten once it is over."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from catalog.access.session import Session
from catalog.errors import Damaged, LocalError, NewerFormat, ObjectExists, ObjectNotFound, UsageError
from catalog.format.seeds import Ending, SeedName, counts_until
from catalog.machines.registry import choose_named, id_here
from catalog.seeds.local import Facts, LocalSeed, alone, remove, seed_folder
from catalog.seeds.record import FOLDER, read_end, read_seed, read_seeds, sealed_end
from catalog.vault import Vault

ARRIVED = "the seed has arrived: backups go into the vault"
_GIVEN_UP = "the seed was given up: backups go into the vault"


class Abandoned(NamedTuple):
    """What was given up: seeds by id (hex), and the twin, if there was one."""

    seeds: list[str]
    twin: str


def abandon(session: Session, vault: Vault, machine: str | None = None) -> Abandoned:
    """Give the seed of this machine up: its end is in the vault, and this machine forgets it.

    What of it has arrived stays, and the next backup uses it; it sends what is missing. With `machine` (a name or
    id), ends the seeds of that machine, which may be gone; also of this one, if its state of a seed was lost.
    Raises UsageError if there is none, NotFound, AmbiguousName, LocalError, StoreError.
    """
    state = session.settings.state
    with alone(state, vault.id):
        here = id_here(session.settings, vault)
        wanted = here if machine is None else choose_named(vault.machines(), machine, "machine").id
        folder = seed_folder(state, vault)
        seed, twin = None, ""
        with suppress(LocalError):  # malformed: it is forgotten all the same
            seed = LocalSeed.load(folder)
            twin = seed.facts.twin if seed is not None else ""
        found = [one.record for one in read_seeds(vault, vault.store.now()).open if one.record.machine == wanted]
        if not found and (wanted != here or not folder.exists()):
            whose = "this machine" if machine is None else machine
            raise UsageError(f"no seed of {whose} is under way", "start one with `rpdrive seed start --disk DIR`")
        for record in found:
            end = sealed_end(vault, record.id, record.machine, Ending.ABANDONED)
            with suppress(ObjectExists):  # e.g. of a run that was interrupted
                vault.store.create(str(SeedName(record.id, is_ended=True)), [end])
        if wanted == here:
            if seed is not None:
                forget(state, vault, seed)
            elif folder.exists():
                remove(folder)
        return Abandoned([record.id.hex() for record in found], twin)


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


def why_over(vault: Vault, facts: Facts) -> str:
    """Why the seed is over, for people; empty if it is not. One listing."""
    one = bytes.fromhex(facts.id)
    names = {info.name: info.modified for info in vault.store.list(FOLDER + facts.id)}
    if str(SeedName(one)) not in names:
        return "the record of the seed is gone from the vault: backups go into the vault"
    if vault.store.now() >= counts_until(facts.expires, names[str(SeedName(one))]):
        return "the seed has expired: backups go into the vault"
    if str(SeedName(one, is_ended=True)) in names:
        try:
            end = read_end(vault, read_seed(vault, one))
        except (Damaged, NewerFormat, ObjectNotFound):
            end = None
        if end is not None:
            return ARRIVED if end.outcome == Ending.IMPORTED else _GIVEN_UP
    return ""
