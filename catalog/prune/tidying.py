"""What piles up beside packs: old jobs and records of checks, small index objects. Once a week for each series.

An index only saves uploads, so nothing is lost with it. Small index objects are put together into few; those that
these came from go at least a day later, so that a backup that has listed them finds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec

from catalog.errors import Damaged, NewerFormat, ObjectNotFound
from catalog.format.blocks import PackKind
from catalog.format.checks import checks_folder, checks_named
from catalog.format.message import Id, decode
from catalog.format.packs import BlockRow, check_rows
from catalog.format.sealed import Kind, open_object, seal_object
from catalog.prune.deleting import Deleter
from catalog.prune.notes import Notes
from catalog.prune.segments import within
from catalog.prune.state import Key, State
from catalog.store.base import ObjectInfo
from catalog.vault import Vault

DAY = 86_400 * 10**9  # ns
EVERY = 7 * DAY
JOBS = 400 * DAY  # how long records of jobs are kept
CHECKS, CHECKED = 150, 30 * DAY  # records of checks that stay: so many of the newest, and those younger than that
SMALL, MANY = 16 << 20, 64  # so many index objects of less than so many bytes are put together
TARGET, PACKS = 32 << 20, 65_536  # bytes and packs of an index object that is made
_encode = msgspec.msgpack.Encoder().encode
_rows = msgspec.msgpack.Decoder(list[BlockRow])


class _RawPack(msgspec.Struct, array_like=True):
    pack: Id
    blocks: msgspec.Raw


class _RawIndex(msgspec.Struct):
    packs: list[_RawPack]


_index = msgspec.msgpack.Decoder(_RawIndex)


class Superseded(msgspec.Struct):
    """Index objects (`old`, names) of which all that matters stands in others, which were stored by `at` (ns)."""

    new: list[str]
    old: list[str]
    at: int


class Tidying:
    """Tidies what belongs to a machine. `began` is the store's time (ns), `there` says whether a pack is listed."""

    def __init__(
        self,
        vault: Vault,
        notes: Notes,
        deleter: Deleter,
        machine: bytes,
        began: int,
        state: State,
        there: Callable[[PackKind, bytes], bool],
    ) -> None:
        self._vault, self._notes, self._deleter = vault, notes, deleter
        self._machine, self._began, self._state, self._there = machine, began, state, there

    def run(self) -> None:
        """Tidy, if that was not done in the last week. Raises StoreError."""
        note = f"tidied {self._machine.hex()}"
        last = self._notes.get(note) or "0"
        if last.isdecimal() and 0 <= self._began - int(last) < EVERY:
            return
        self._jobs()
        self._checks()
        self._index()
        self._notes.set(note, str(self._began))

    def _jobs(self) -> None:
        infos = self._vault.store.list(f"jobs/{self._machine.hex()}/")
        self._deleter.names([info.name for info in infos if self._began - info.modified > JOBS])

    def _checks(self) -> None:
        """Records of checks that newer ones stand for: each says all that is known."""
        infos = self._vault.store.list(checks_folder(self._machine))
        known = sorted((named[1], info) for info in infos if (named := checks_named(info.name)) is not None)[
            :-CHECKS
        ]
        self._deleter.names([info.name for _number, info in known if self._began - info.modified > CHECKED])

    # --- the index ----------------------------------------------------------------------------------------

    def _index(self) -> None:
        infos = {info.name: info for info in self._vault.store.list(f"index/{self._machine.hex()}/")}
        note = f"index {self._machine.hex()}"
        done = self._superseded(note)
        old = [name for name in done.old if name in infos] if done is not None else []
        if old and done is not None:
            if set(done.new) <= infos.keys() and self._began - done.at >= DAY:
                self._deleter.names(old)
            return  # what is new is put together another time
        small = [info for _name, info in sorted(infos.items()) if info.size < SMALL]
        if len(small) >= MANY:
            new, read = self._put_together(small)
            if new:
                self._notes.set(note, msgspec.json.encode(Superseded(new, read, self._vault.store.now())).decode())

    def _superseded(self, note: str) -> Superseded | None:
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(self._notes.get(note) or "null", type=Superseded)
        return None

    def _put_together(self, infos: list[ObjectInfo]) -> tuple[list[str], list[str]]:
        """Write what these index objects say into few. The names of those written, and of those read."""
        new: list[str] = []
        read: list[str] = []
        packs: list[_RawPack] = []
        seen: set[bytes] = set()
        size = 0
        for info in infos:
            try:
                found = list(self._opened(info))
            except (Damaged, NewerFormat, ObjectNotFound):
                continue  # it stays as it is
            read.append(info.name)
            for one in found:
                if one.pack not in seen:
                    seen.add(one.pack)
                    packs.append(one)
                    size += len(bytes(one.blocks)) + 20
                if size >= TARGET or len(packs) >= PACKS:
                    new.append(self._written(packs))
                    packs, size = [], 0
        if packs:
            new.append(self._written(packs))
        return new, read

    def _opened(self, info: ObjectInfo) -> Iterator[_RawPack]:
        """What an index object says of packs that are there, without blocks that nobody may refer to."""
        data = self._vault.fetch_sealed(Kind.INDEX, info.name)
        index = decode(_index, open_object(self._vault.keys, Kind.INDEX, info.name, data), info.name)
        for one in index.packs:
            rows = decode(_rows, bytes(one.blocks), info.name)
            check_rows(rows, info.name)
            # A pack may be younger than the listing; then so is the index object.
            if self._began - info.modified > DAY and not self._is_there(one.pack):
                continue
            left = [row for row in rows if not self._is_hidden(one.pack, row)]
            if len(left) < len(rows):
                one = _RawPack(one.pack, msgspec.Raw(_encode(left)))  # noqa: PLW2901
            if left:
                yield one

    def _is_there(self, pack: bytes) -> bool:
        return Key(int(PackKind.DATA), pack) in self._state.moved or self._there(PackKind.DATA, pack)

    def _is_hidden(self, pack: bytes, row: BlockRow) -> bool:
        key, span = Key(int(PackKind.DATA), pack), (row.offset, row.offset + row.stored)
        runs = self._state.moved.get(key)
        if runs is not None and within([span], [(run.start, run.end) for run in runs]) != [span]:
            return True
        if runs is None and key in self._state.leaving:
            return True
        return bool(within([span], [(s.start, s.end) for s in self._state.dead.get(key, ())]))

    def _written(self, packs: list[_RawPack]) -> str:
        name = f"index/{self._machine.hex()}/{os.urandom(16).hex()}"
        data = seal_object(self._vault.keys, Kind.INDEX, name, _encode(_RawIndex(packs)))
        self._vault.store.create(name, [data])
        return name
