"""`rpdrive seed close`: every disk is read back and gets its list; the last one also what comes last.

It can be run again and again, with other disks connected each time, and goes on where it was stopped: a disk that
has its list is not read again. What is not on a disk as it was written leaves the seed, and the points with it: the
next backup stores it again, and the seed is open until then.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import msgspec
from blake3 import blake3

from catalog.access.session import Session
from catalog.errors import (
    Damaged,
    NotFound,
    ObjectExists,
    StoreError,
    StoreUnreachable,
    UsageError,
)
from catalog.format.seeds import Ending, SeedName
from catalog.screen.phases import Follower, NoFollower, Phase
from catalog.screen.text import counted
from catalog.seeds.disk import BULK, check_list, list_path, travels, write_list, write_seed_file
from catalog.seeds.ending import why_over
from catalog.seeds.local import DESK, LocalDisk, LocalSeed, Row, Stage, alone, is_connected
from catalog.seeds.record import sealed_end
from catalog.seeds.staged import disk_store
from catalog.seeds.starting import opened_here, seed_file
from catalog.store.base import Store
from catalog.systems.this import SYSTEM
from catalog.vault import Vault

_PIECE = 1 << 20
_LATER = ("jobs/", "points/", "seeds/")
_MOST_NAMED, _MOST_BAD = 3, 10_000
_LOST = "look after the disk; if it is lost, run `rpdrive seed abandon`, and start again with another one"


class Closed(NamedTuple):
    """The disks of a seed after `close`, and those that must be connected for it to go on; none: it is closed."""

    disks: list[LocalDisk]
    missing: list[LocalDisk]


def close(session: Session, vault: Vault, follow: Follower = NoFollower()) -> Closed:
    """Read the connected disks back and finish them.

    Raises NotFound if the seed is over, so its disks would not be taken; UsageError, Damaged, StoreFull, another
    StoreError.
    """
    state = session.settings.state
    with alone(state, vault.id):
        seed = opened_here(session, vault)
        facts = seed.facts
        word = "" if facts.stage is Stage.STARTING else why_over(vault, facts)
        if word:
            raise NotFound(word, "its disks are not needed; run the backup, or `rpdrive seed abandon`")
        if facts.stage is Stage.CLOSED:
            return Closed(seed.disks, [])
        if facts.stage is Stage.STARTING:
            raise UsageError("the seed was not started completely", "run `rpdrive seed start` again")
        if not any(not row.name.endswith(".partial") for row in seed.rows("points/")):
            raise UsageError("no backup went to the seed yet", "run `rpdrive backup` first; it goes to the disk")
        seed.reach(Stage.CLOSING)
        return _Closing(vault, seed, follow).run()


class _Closing:
    def __init__(self, vault: Vault, seed: LocalSeed, follow: Follower) -> None:
        self._vault, self._seed, self._follow = vault, seed, follow
        self._facts = seed.facts

    def run(self) -> Closed:
        seed = self._seed
        self._recall(seed.disks[-1])
        *others, last = seed.disks
        missing = []
        for disk in others:
            if disk.is_finished:
                continue
            if not is_connected(disk, self._facts.id):
                if seed.totals(disk.number)[0]:
                    missing.append(disk)
                else:  # lost or not, nothing has to come from it
                    seed.save_disk(msgspec.structs.replace(disk, list=blake3().hexdigest()))
                continue
            self._read_back(disk)
            self._finish(disk)
        if missing:
            return Closed(seed.disks, missing)
        if not is_connected(last, self._facts.id):
            return Closed(seed.disks, [last])
        store = disk_store(Path(last.path))
        try:
            self._bring(store, last)
        finally:
            store.close()
        self._read_back(last)
        self._finish_last(last)
        seed.reach(Stage.CLOSED)
        return Closed(seed.disks, [])

    def _recall(self, last: LocalDisk) -> None:
        """Let what comes last wait for the disk that is last now, if an earlier one had no room for all of it."""
        for row in (row for prefix in _LATER for row in self._seed.rows(prefix)):
            if row.disk not in (DESK, last.number):
                self._seed.reopen(row.disk)
                self._seed.add(row._replace(disk=DESK))

    # --- reading back -------------------------------------------------------------------------------------

    def _read_back(self, disk: LocalDisk) -> None:
        """Compare what is on a disk with what was written, from the disk itself. Raises Damaged, StoreError."""
        seed, root = self._seed, Path(disk.path)
        total, done = seed.totals(disk.number)[1], 0
        store = disk_store(root)
        bad = []
        try:
            self._adopt(store, disk)
            for row in seed.rows(disk=disk.number):
                found = _hash(root, row.name, row.size)
                if found is None and not is_connected(disk, self._facts.id):
                    raise StoreUnreachable(f"{disk.name} went away", "connect it, then close the seed again")
                if found != row.hash and not self._mend(store, row):
                    bad.append(row)
                    if len(bad) > _MOST_BAD:
                        raise StoreError(f"{disk.name} has lost most of what was written to it", _LOST)
                done += row.size
                self._follow.phase(Phase(f"reading {disk.name} back", done, total))
        finally:
            store.close()
        if bad:
            self._give_up(disk, bad)

    def _adopt(self, store: Store, disk: LocalDisk) -> None:
        """Take what a run that was killed put on the disk, and did not note."""
        for info in store.list(""):
            if travels(info.name) and self._seed.row(info.name) is None:
                digest = _hash(Path(disk.path), info.name, info.size)
                if digest is not None and info.name.startswith(BULK):
                    self._seed.add(Row(info.name, info.size, info.modified, digest, disk.number))

    def _mend(self, store: Store, row: Row) -> bool:
        """Write an object again that is not as it was written, from the twin. Whether that was possible."""
        if not self._facts.twin:
            return False
        desk = self._seed.desk
        try:
            data = desk.get(row.name, max(row.size, 1))
            if blake3(data).digest() != row.hash:
                return False
            store.delete(row.name)
            store.create(row.name, [data])
            return True
        except (StoreError, Damaged):
            return False
        finally:
            desk.close()

    def _give_up(self, disk: LocalDisk, bad: list[Row]) -> None:
        """Let what is lost leave the seed, and all points, which may need it. Raises Damaged."""
        seed = self._seed
        for row in [*seed.rows("points/"), *bad]:
            seed.drop(row.name)
        store = disk_store(Path(disk.path))
        try:
            for row in bad:
                store.delete(row.name)
        except StoreError:
            pass  # it is in no list
        finally:
            store.close()
        seed.reach(Stage.OPEN)
        named = ", ".join(row.name for row in bad[:_MOST_NAMED]) + (" and more" if len(bad) > _MOST_NAMED else "")
        raise Damaged(
            f"{counted(len(bad), 'object')} on {disk.name} can't be read as written: {named}",
            "look after the disk; run the backups again, which store what is lost, then `rpdrive seed close`",
        )

    # --- finishing ----------------------------------------------------------------------------------------

    def _finish(self, disk: LocalDisk) -> LocalDisk:
        """Write the list of a disk, and its seed.json."""
        root = Path(disk.path)
        written = write_list(root / "objects.jsonl", self._seed.listed(disk.number))
        done = msgspec.structs.replace(
            disk, objects=written.objects, bytes=written.bytes, list=written.list, list_bytes=written.list_bytes
        )
        write_seed_file(root, seed_file(self._vault.id, self._facts, done, [*self._seed.disks, done]))
        self._seed.save_disk(done)
        return done

    def _bring(self, store: Store, last: LocalDisk) -> None:
        """Put what comes last on the last disk: jobs, points, and the end of the seed, if there is no twin."""
        seed, facts = self._seed, self._facts
        desk = seed.desk
        try:
            ended = str(SeedName(bytes.fromhex(facts.id), is_ended=True))
            if seed.row(ended) is None:
                self._seal_end(desk, ended)
            for row in (row for prefix in _LATER for row in seed.rows(prefix)):
                is_kept = row.name.endswith(".partial") or (row.name == ended and facts.twin)
                if is_kept or row.disk == last.number:
                    continue  # one that a former last disk has goes to this one, too
                data = desk.get(row.name, max(row.size, 1))
                try:
                    store.create(row.name, [data])
                except ObjectExists:
                    if _hash(Path(last.path), row.name, row.size) != row.hash:
                        store.delete(row.name)  # half of it, of a run that was killed with its disk
                        store.create(row.name, [data])
                seed.add(row._replace(disk=last.number))
        finally:
            desk.close()

    def _seal_end(self, desk: Store, name: str) -> None:
        facts = self._facts
        data = sealed_end(self._vault, bytes.fromhex(facts.id), bytes.fromhex(facts.machine), Ending.IMPORTED)
        try:
            desk.create(name, [data])
        except ObjectExists:
            data = desk.get(name, _PIECE)
        self._seed.add(Row(name, len(data), desk.now(), blake3(data).digest(), DESK))

    def _finish_last(self, last: LocalDisk) -> None:
        """Write the lists of all disks to the last one, and at last the seed.json that says that it is complete."""
        root, seed = Path(last.path), self._seed
        for disk in seed.disks:
            if disk.number != last.number:
                target = list_path(root, disk.number, None)
                write_list(target, seed.listed(disk.number))
                check_list(target, seed_file(self._vault.id, self._facts, disk, [disk]).row)
        written = write_list(root / "objects.jsonl", seed.listed(last.number))
        done = msgspec.structs.replace(
            last, objects=written.objects, bytes=written.bytes, list=written.list, list_bytes=written.list_bytes
        )
        write_seed_file(root, seed_file(self._vault.id, self._facts, done, [*seed.disks, done], complete=True))
        seed.save_disk(done)


def _hash(root: Path, name: str, size: int) -> bytes | None:
    """The BLAKE3 of an object's bytes, as the disk has them and not the memory of the system.

    None if it can't be read, or has another size.
    """
    try:
        descriptor = SYSTEM.open_below(str(root), name)
        try:
            SYSTEM.forget_pages(descriptor)
            found, at = blake3(), 0
            while data := SYSTEM.pread(descriptor, _PIECE, at):
                found.update(data)
                at += len(data)
            return found.digest() if at == size else None
        finally:
            os.close(descriptor)
    except OSError:
        return None
