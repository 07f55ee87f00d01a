"""`rpdrive seed start` and `add-disk`: a folder becomes a disk of a seed, once nothing stands against it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from catalog.access.session import Session
from catalog.errors import Damaged, LocalError, ObjectExists, RpdriveError, UsageError
from catalog.format.sealed import MAX_SEALED
from catalog.format.seeds import LONGEST, SeedRecord
from catalog.format.vaultfile import CopyMark
from catalog.machines.registry import this_machine
from catalog.screen.text import iso_time
from catalog.seeds.disk import (
    MAX_DISKS,
    SeedFile,
    TwinFile,
    read_seed_file,
    read_twin_file,
    write_seed_file,
    write_twin_file,
)
from catalog.seeds.local import Facts, LocalDisk, LocalSeed, Stage, alone, day_of, is_connected, seed_folder
from catalog.seeds.record import add_seed
from catalog.store.local import LocalStore
from catalog.vault import VAULT_FILE, Vault

SECOND = 10**9
EXPIRES = 180 * 86_400.0  # s
# What a new or a used disk has by itself.
_OF_THE_DISK = {
    "lost+found", "System Volume Information", "$RECYCLE.BIN", ".Trashes", ".fseventsd", ".Spotlight-V100",
    ".rpdrive",
}  # fmt: skip
TWIN = "the twin of a seed"
_ELSEWHERE = "name an empty folder on another disk"


class Wish(NamedTuple):
    """What `seed start` was asked for. `expires` is seconds from now; `names` are those of items, none: all new."""

    disk: Path
    twin: Path | None = None
    names: tuple[str, ...] = ()
    label: str = ""
    expires: float = EXPIRES


def start(session: Session, vault: Vault, wish: Wish) -> LocalSeed:
    """Start a seed: its record is in the vault before its disk is one.

    Raises UsageError if there is one already, or for a folder that can't be a disk; StoreError, LocalError.
    """
    if not 86_400 <= wish.expires <= LONGEST / SECOND:
        raise UsageError("a seed expires after 1 to 366 days", "give e.g. --expires 180d")
    state = session.settings.state
    with alone(state, vault.id):
        machine = this_machine(vault, state)
        seed = LocalSeed.load(seed_folder(state, vault))
        if seed is not None and seed.facts.stage is not Stage.STARTING:
            raise UsageError(
                f"a seed of this machine is under way already, since {day_of(seed.facts.time)}",
                "see `rpdrive seed status`; another disk is added with `rpdrive seed add-disk DIR`",
            )
        disk = wish.disk.absolute()
        known = () if seed is None else (seed.facts.id,)
        check_folder(session, disk, known)
        if wish.twin is not None:
            check_twin(session, wish.twin.absolute(), disk, known)
        ids = {item.name: item.id for item in vault.items(machine.id).values()}
        if seed is None:
            now = time.time_ns()
            seed = LocalSeed(seed_folder(state, vault))
            seed.save(Facts(
                id=os.urandom(16).hex(), machine=machine.id.hex(), address=session.address, time=now,
                expires=now + int(wish.expires) * SECOND,
            ))  # fmt: skip
        facts = msgspec.structs.replace(
            seed.facts, names=wish.names, twin="" if wish.twin is None else str(wish.twin.absolute())
        )
        seed.save(facts)
        items = sorted(ids[name] for name in wish.names if name in ids)
        record = SeedRecord(
            id=bytes.fromhex(facts.id), machine=machine.id, items=items, time=facts.time, expires=facts.expires
        )
        add_seed(vault, record)
        if wish.twin is not None:
            make_twin(vault, facts)
        _make_disk(vault, seed, disk, wish.label)
        seed.reach(Stage.OPEN)
        return seed


def add_disk(session: Session, vault: Vault, folder: Path, label: str = "") -> LocalDisk:
    """Add a disk to the open seed, or note where one of its disks is now. Raises as `start`."""
    state = session.settings.state
    with alone(state, vault.id):
        seed = opened_here(session, vault)
        disk, facts = folder.absolute(), seed.facts
        if facts.stage is Stage.STARTING:
            raise UsageError("the seed was not started completely", "run `rpdrive seed start` again")
        found = _seed_of(disk)
        if found is not None and found.seed == facts.id:
            for one in seed.disks:
                if one.id == found.row.id:
                    moved = msgspec.structs.replace(one, path=str(disk))
                    seed.save_disk(moved)
                    return moved
        if facts.stage is Stage.CLOSED:
            raise UsageError("the seed is closed: its disks may be travelling", "see `rpdrive seed status`")
        check_folder(session, disk, (facts.id,))  # of an interrupted add-disk, perhaps
        for one in seed.disks:
            if is_connected(one, facts.id) and os.stat(one.path).st_dev == _device(disk):
                raise UsageError(f"{disk} is on the same file system as {one.name}, {one.path}", _ELSEWHERE)
        return _make_disk(vault, seed, disk, label)


def opened_here(session: Session, vault: Vault) -> LocalSeed:
    """The seed of this machine. Raises UsageError if there is none."""
    seed = LocalSeed.load(seed_folder(session.settings.state, vault))
    if seed is None:
        raise UsageError("no seed of this machine is under way", "start one with `rpdrive seed start --disk DIR`")
    return seed


def _make_disk(vault: Vault, seed: LocalSeed, folder: Path, label: str) -> LocalDisk:
    facts, disks = seed.facts, seed.disks
    for one in disks:
        if one.path == str(folder) and facts.stage is Stage.STARTING:
            disk = one  # of a start that was interrupted
            break
    else:
        number = len(disks) + 1
        if number > MAX_DISKS:
            raise UsageError(f"a seed has {MAX_DISKS} disks at most", "use larger ones")
        label = label or folder.name or f"disk {number}"
        if len(label) > 255 or not label.isprintable():
            raise UsageError("a label has up to 255 printable characters", "give another one with --label")
        disk = LocalDisk(number=number, id=os.urandom(16).hex(), label=label, path=str(folder))
    make_folder(folder)
    write_seed_file(folder, seed_file(vault.id, facts, disk, [*disks, disk]))
    seed.save_disk(disk)
    return disk


def make_folder(folder: Path) -> None:
    """Make a folder, if the one above it is there. Raises LocalError."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as e:
        raise LocalError(f"{folder} can't be made: {e.strerror}", "check that the disk is writable") from e


def seed_file(
    vault_id: bytes, facts: Facts, disk: LocalDisk, disks: list[LocalDisk], *, complete: bool = False
) -> SeedFile:
    """The seed.json of a disk."""
    rows = {one.number: one.row for one in disks}
    return SeedFile(
        vault=vault_id.hex(), seed=facts.id, machine=facts.machine, expires=facts.expires,
        disk=disk.number, disks=tuple(rows[number] for number in sorted(rows)), complete=complete,
    )  # fmt: skip


# --- what stands against a folder -------------------------------------------------------------------------


def check_folder(session: Session, folder: Path, seeds: tuple[str, ...]) -> None:
    """Check that a folder can become a disk, or is one of a seed in `seeds` (hex).

    Raises UsageError and LocalError.
    """
    _check_place(session, folder, "a disk of a seed")
    found = _seed_of(folder)
    if found is not None and found.seed not in seeds:
        raise UsageError(
            f"{folder} holds the seed {found.seed[:8]} of the vault {found.vault[:8]}",
            "import that with `rpdrive seed import`, or empty the folder",
        )
    if found is None:
        _check_empty(folder)
    _check_writable(folder)


def check_twin(session: Session, folder: Path, disk: Path, seeds: tuple[str, ...]) -> None:
    """Check that a folder can become the twin. Raises UsageError, LocalError."""
    _check_place(session, folder, TWIN)
    if _device(folder) == _device(disk):
        raise UsageError(f"the twin {folder} is on the file system of the disk {disk}", _ELSEWHERE)
    try:
        found = read_twin_file(folder)
    except (Damaged, RpdriveError) as e:
        raise UsageError(f"{folder} can't become the twin: {e}", "name an empty folder") from e
    if found is None:
        _check_empty(folder)
    elif found.seed not in seeds:
        raise UsageError(f"{folder} is the twin of the seed {found.seed[:8]}", "name an empty folder")
    _check_writable(folder)


def _check_place(session: Session, folder: Path, what: str) -> None:
    if not folder.is_dir() and not folder.parent.is_dir():
        raise LocalError(f"{folder} does not exist", "check the path, and that the disk is mounted")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", _ELSEWHERE)
    real = folder.resolve()
    for own in session.own_folders():
        mine = own.path.resolve()
        if real == mine or real in mine.parents or mine in real.parents:
            raise UsageError(f"{folder} can't be {what}: {own.what} is {own.path}", _ELSEWHERE)
    at = session.folder
    if at is not None and what != TWIN and at.exists() and at.stat().st_dev == _device(folder):
        raise UsageError(
            f"{folder} is on the file system of the vault {at}, so nothing has to travel",
            f"back up into the vault itself, or {_ELSEWHERE}",
        )


def _device(folder: Path) -> int:
    """The file system that a folder is on, or will be. Raises LocalError."""
    try:
        return (folder if folder.exists() else folder.parent).stat().st_dev
    except OSError as e:
        raise LocalError(f"{folder} can't be used: {e.strerror}", "check that the disk is mounted") from e


def _seed_of(folder: Path) -> SeedFile | None:
    try:
        return read_seed_file(folder)
    except Damaged as e:
        what = f"{folder} can't become a disk of a seed: {e}"
        raise UsageError(what, "empty the folder, if nothing in it counts") from e


def _check_empty(folder: Path) -> None:
    try:
        names = sorted(set(os.listdir(folder)) - _OF_THE_DISK) if folder.exists() else []
    except OSError as e:
        raise LocalError(f"{folder} can't be listed: {e.strerror}", "check its permissions") from e
    if names:
        raise UsageError(f"{folder} is not empty: it has {names[0]!r}", "name an empty folder on the disk")


def _check_writable(folder: Path) -> None:
    """Raise LocalError unless a file can be made there."""
    place = folder if folder.exists() else folder.parent
    probe = place / f".rpdrive-{os.getpid()}.tmp"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.close(descriptor)
        probe.unlink()
    except OSError as e:
        raise LocalError(f"nothing can be written to {place}: {e.strerror}", "check how the disk is mounted") from e


# --- the twin ---------------------------------------------------------------------------------------------


def make_twin(vault: Vault, facts: Facts) -> None:
    """Make the twin a copy of the vault that can be read: its vault.json says that it follows the vault."""
    folder = Path(facts.twin)
    make_folder(folder)
    (folder / ".rpdrive").mkdir(exist_ok=True)
    write_twin_file(folder, TwinFile(
        vault=vault.id.hex(), seed=facts.id, machine=facts.machine, expires=facts.expires,
    ))  # fmt: skip
    store = LocalStore(folder)
    mark = CopyMark(of=facts.address[:1000], since=iso_time(facts.time) or "")
    try:
        store.create(VAULT_FILE, [vault.file.changed(copy=mark).encode(vault.keys)])
    except ObjectExists:
        pass  # of a start that was interrupted
    finally:
        store.close()


def complete_twin(vault: Vault, folder: Path, facts: Facts) -> None:
    """Bring the records of the machine and its items to the twin, without which it could not be read.

    Two listings, and a request for each record that the twin lacks. Raises StoreError.
    """
    store = LocalStore(folder)
    try:
        for prefix in (f"machines/{facts.machine}/", f"items/{facts.machine}/"):
            there = {info.name for info in store.list(prefix)}
            for info in vault.store.list(prefix):
                if info.name not in there:
                    store.create(info.name, [vault.store.get(info.name, MAX_SEALED)])
    finally:
        store.close()
