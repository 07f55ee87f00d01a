"""Where a backup goes: into the vault as always, to the disks of a seed, or, while these travel, to the twin."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from catalog.errors import Damaged, ItemTravels, StoreUnreachable
from catalog.format.places import EVIDENCE, HIDDEN
from catalog.format.records import Item
from catalog.format.seeds import SeedName
from catalog.screen.text import counted
from catalog.seeds.ending import ARRIVED, forget, why_over
from catalog.seeds.local import DESK, LocalSeed, Stage, seed_folder
from catalog.seeds.staged import StagedStore
from catalog.seeds.starting import complete_twin
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import Wanted
from catalog.vault import Vault

_SAFE = HIDDEN - EVIDENCE  # ns since the end of a seed: what prune hid since then is not deleted yet
_ORDER = (("packs/", "meta/"), ("index/",), ("jobs/",), ("points/",), ("seeds/",))  # what refers to others is later


class Route(NamedTuple):
    """The way of a backup.

    `vault` is the vault as the backup sees it, `state` the folder of what was seen of it, `mirror` the file of its
    index mirror. `folders` are the disks and the twin, which no backup saves. `is_own_index` says whether this
    machine wrote an index object that reaches the vault by a seed.
    """

    vault: Vault
    state: Path
    mirror: Path
    folders: tuple[Path, ...] = ()
    is_own_index: Callable[[str], bool] = lambda name: False


@contextmanager
def routed(
    state: Path, vault: Vault, machine: bytes, item: Item, mirror: Path, say: Callable[[str], None]
) -> Iterator[Route]:
    """The way of a backup of an item. `state` and `mirror` are those of backups into the vault.

    Costs nothing if this machine makes no seed; otherwise, at most two requests. `say` tells a person what became
    of the seed. Raises ItemTravels if the backup must wait until the disks have arrived, LocalError, StoreError.
    """
    seed = LocalSeed.load(seed_folder(state, vault))
    if seed is None:
        yield Route(vault, state, mirror)
        return
    with closing(seed):
        folders = tuple(Path(disk.path) for disk in seed.disks)
        store = _store(state, vault, machine, item, seed, say)
        if store is None:
            is_over = not (seed.folder / "seed.sqlite").exists()
            yield Route(vault, state, mirror, folders, lambda name: not is_over and seed.row(name) is not None)
            return
        with closing(store):
            seed.take_item(item.id, item.name)
            twin = seed.facts.twin
            if twin:
                complete_twin(vault, Path(twin), seed.facts)
            staged = Vault(store, vault.keys, vault.file)
            staged.tell, staged.on_damage, staged.state_id = vault.tell, vault.on_damage, vault.state_id
            yield Route(staged, seed.folder, seed.mirror, (*folders, *([Path(twin)] if twin else [])))


def _store(
    state: Path, vault: Vault, machine: bytes, item: Item, seed: LocalSeed, say: Callable[[str], None]
) -> StagedStore | None:
    """The store of a backup that travels; None: it goes into the vault."""
    facts = seed.facts
    if facts.machine != machine.hex() or facts.stage is Stage.STARTING or not _holds(vault, seed, item):
        return None
    word = why_over(vault, facts)
    if word:
        arrived = word == ARRIVED and (not facts.twin or _sent_late(vault, seed))
        say(word)
        forget(state, vault, seed, arrived=arrived)
        return None
    if facts.stage is Stage.OPEN:
        store = StagedStore(vault.store, seed)
        if store.connected:
            return store
        store.close()
        raise StoreUnreachable(  # it does not travel yet: a planned run that fails is told, one that waits is not
            f"the first backup of {item.name} goes to disks, and none of them is connected: "
            + ", ".join(disk.name for disk in seed.disks),
            "connect one; if it is elsewhere now, name it with `rpdrive seed add-disk DIR`",
        )
    if not facts.twin:
        since = time.strftime("%Y-%m-%d", time.gmtime(facts.time / 1e9))
        where = "waits for `rpdrive seed close`" if facts.stage is Stage.CLOSING else "is travelling on disks"
        raise ItemTravels(f"the first backup of {item.name} {where} (since {since}): the next one waits for it")
    if not _has_arrived(vault, seed):
        return StagedStore(vault.store, seed)
    send(vault, seed)
    say("the disks of the seed have arrived, and what the twin had beyond them is in the vault now, too")
    forget(state, vault, seed, arrived=True)
    return None


def _holds(vault: Vault, seed: LocalSeed, item: Item) -> bool:
    """Whether backups of an item travel. One listing, if that is not known."""
    facts = seed.facts
    if facts.stage is not Stage.OPEN:
        return seed.has_points(item.id)
    if facts.names:
        return item.name in facts.names
    return item.id.hex() in facts.items or next(vault.stored_points(item.machine, item.id), None) is None


def has_only_left(state: Path, vault: Vault, machine: bytes, item: bytes) -> bool:
    """Whether the points of an item are all on their way: there are none in the vault yet.

    Costs nothing if this machine makes no seed. Raises LocalError, StoreError.
    """
    seed = LocalSeed.load(seed_folder(state, vault))
    if seed is None:
        return False
    with closing(seed):
        return item.hex() in seed.facts.items and next(vault.stored_points(machine, item), None) is None


def _sent_late(vault: Vault, seed: LocalSeed) -> bool:
    """Send what the twin has beyond what was imported of it, e.g. of a backup that ran beside that import.

    False if it is too late for that: prune may have begun to take what such points refer to. One listing.
    """
    end = str(SeedName(bytes.fromhex(seed.facts.id), is_ended=True))
    ended = max((info.modified for info in vault.store.list(end)), default=0)
    if vault.store.now() - ended > _SAFE:
        return False
    send(vault, seed)
    return True


def _has_arrived(vault: Vault, seed: LocalSeed) -> bool:
    """Whether the points that were on the last disk are in the vault. One listing."""
    facts = seed.facts
    last = seed.disks[-1].number
    wanted = {row.name for row in seed.rows("points/", last)}
    found = sum(info.name in wanted for info in vault.store.list(f"points/{facts.machine}/"))
    return bool(wanted) and found == len(wanted)


def send(vault: Vault, seed: LocalSeed) -> None:
    """Send what only the twin has to the vault: points once all else is there, and the end of the seed last.

    Raises Damaged if something can't be sent as it was written, or another StoreError; a later call goes on.
    """
    desk = seed.desk
    try:
        for group in _ORDER:
            rows = (row for prefix in group for row in seed.rows(prefix, DESK) if not row.name.endswith(".partial"))
            done = transfer(desk, vault.store, (Wanted(row.name, row.size, row.hash) for row in rows))
            if not done.is_whole:
                bad = [*done.gone, *(one.name for one in done.conflicts), *(one.name for one in done.damaged)]
                raise Damaged(
                    f"{counted(len(bad), 'object')} of the twin {seed.facts.twin} can't be sent: {bad[0]}",
                    "look after its disk; or give the seed up with `rpdrive seed abandon`, and back up anew",
                )
    finally:
        desk.close()
