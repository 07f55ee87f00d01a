"""`rpdrive seed export`: disks as folders that Azure Data Box, or any other way of copying, takes to a container.

    DIR/BlockBlob/<container>/<seed>/<number>/seed.json, objects.jsonl, packs/…

Data Box makes each file below BlockBlob/<container>/ a block blob of that container, and replaces what is there: so
it is never pointed at a vault. `rpdrive seed import azure://ACCOUNT/CONTAINER/SEED` takes it from there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from catalog.access.session import Session
from catalog.errors import Damaged, LocalError, ObjectExists, RpdriveError, UsageError
from catalog.screen.phases import Follower
from catalog.seeds.arriving import SHOWN, Names
from catalog.seeds.brought import Brought, fetch_list, open_sources, temporary_folder
from catalog.seeds.disk import LIST_FILE, LISTS, MAX_SEED_FILE, SEED_FILE, Listed
from catalog.store.local import LocalStore
from catalog.store.name import RESERVED
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import Outcome, Wanted
from catalog.vault_json import NAME as VAULT_FILE

TOP = "BlockBlob"
CONTAINER = "rpdrive-seed"
_CONTAINER = re.compile("(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")


class Exported(NamedTuple):
    """A disk that was exported to `folder`. `bad` names objects that are damaged on the disk (SHOWN at most)."""

    number: int
    folder: str
    objects: int
    bytes: int
    copied: int
    bad_count: int
    bad: tuple[str, ...]


class Export(NamedTuple):
    """What an export came to. `top` is the folder to copy, `prefix` what follows the account in the address."""

    top: str
    prefix: str
    disks: list[Exported]
    problems: list[RpdriveError]


def check_container(name: str) -> None:
    """Raise UsageError if Azure has no containers of this name."""
    if not _CONTAINER.fullmatch(name):
        raise UsageError(f"{name!r} is not the name of a container", "use 3 to 63 of a-z, 0-9 and single hyphens")


def export_seed(session: Session, sources: Sequence[str], to: Path, container: str, follow: Follower) -> Export:
    """Copy disks to folders below `to`. The same command goes on after it was stopped.

    Raises UsageError for a source that is no disk, or if disks are of several seeds; Damaged if none can be read,
    StoreError if a disk is away or there is no room, and LocalError.
    """
    check_container(container)
    if not to.is_dir():
        raise UsageError(f"there is no folder {to}", "name the folder of the Data Box, or make one")
    for folder in (to.resolve(), *to.resolve().parents):
        for name, what in ((VAULT_FILE, "a vault"), (SEED_FILE, "a disk of a seed")):
            if (folder / name).exists():
                raise UsageError(f"{to} can't be a Data Box: {folder} is {what}", "name a folder outside of it")
    with ExitStack() as opened:
        brought, problems = open_sources(session, sources, opened)
        return _export_all(brought, problems, to, container, follow)


def _export_all(
    brought: list[Brought], problems: list[RpdriveError], to: Path, container: str, follow: Follower
) -> Export:
    if not brought:
        raise problems[0]
    if len({(one.file.vault, one.file.seed) for one in brought}) > 1:
        raise UsageError("these disks belong to several seeds", "export one seed at a time")
    seed = brought[0].file.seed
    top = to if to.name.endswith(TOP) else to / TOP  # the share of a Data Box is named ACCOUNT_BlockBlob
    done = []
    for one in brought:
        if not one.row.is_finished:
            raise Damaged(
                f"disk {one.number} at {one.shown} is not finished",
                "run `rpdrive seed close` on the machine that writes it",
            )
        done.append(_export(one, top / container / seed / str(one.number), follow))
    return Export(str(top), f"{container}/{seed}", done, problems)


def _export(one: Brought, folder: Path, follow: Follower) -> Exported:
    with closing(LocalStore(folder)) as target:
        return _exported(one, target, folder, follow)


def _exported(one: Brought, target: LocalStore, folder: Path, follow: Follower) -> Exported:
    outcome, names = Outcome(), Names(one.file.ended_name, one.file.machine)
    with temporary_folder() as temporary:
        rows = fetch_list(one, one.row, temporary)
        for listed in rows:
            names.check(listed.name, f"the list of disk {one.number}")
        transfer(one.store, target, map(_wanted, rows), follow=follow, total=one.row.bytes, into=outcome)
    bad = [*(fault.name for fault in outcome.damaged), *outcome.gone, *(c.name for c in outcome.conflicts)]
    bad_count = outcome.damaged_count + outcome.gone_count + outcome.conflict_count
    for row in one.file.disks:
        if row.number == one.number:
            _copy(one, target, LIST_FILE, row.list_bytes, bytes.fromhex(row.list))
        elif one.file.complete:
            _copy(one, target, f"{LISTS}/{row.number}.jsonl", row.list_bytes, bytes.fromhex(row.list))
    data = one.store.get(SEED_FILE, MAX_SEED_FILE)
    try:
        target.create(SEED_FILE, [data])  # the last: without it, a folder is no disk
    except ObjectExists:
        if target.get(SEED_FILE, MAX_SEED_FILE) != data:
            raise UsageError(f"another disk was exported to {folder}", "name another folder") from None
    _remove_own(folder)
    return Exported(
        one.number, str(folder), one.row.objects, one.row.bytes, outcome.copied, bad_count, tuple(bad[:SHOWN])
    )


def _wanted(listed: Listed) -> Wanted:
    return Wanted(listed.name, listed.size, listed.hash)


def _copy(one: Brought, target: LocalStore, name: str, size: int, digest: bytes) -> None:
    try:
        target.take(name, one.store, size, digest=digest)
    except ObjectExists:
        pass


def _remove_own(folder: Path) -> None:
    """Remove what a folder store keeps beside its objects: it is no part of the seed."""
    own = folder / RESERVED
    try:
        if own.is_dir():
            for path in own.iterdir():
                path.unlink()
            own.rmdir()
    except OSError as e:
        raise LocalError(f"{own} can't be removed: {e.strerror or e}", "remove it") from e
