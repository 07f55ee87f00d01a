"""Moves blocks of packs into carriers by hand, as upkeep will, and says so in records of places."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from catalog.format.admins import make_admin, open_admin
from catalog.format.blocks import PackKind
from catalog.format.carriers import CarrierBuilder, decode_carrier
from catalog.format.keys import Keys
from catalog.format.packs import (
    HEADER,
    PACK_TARGET,
    BlockRow,
    Extent,
    decode_pack,
    pack_name,
    pack_named,
    series_folder,
)
from catalog.format.packs import MAGIC as PACK
from catalog.format.places import (
    BrokenRow,
    DeadRow,
    InsteadRow,
    MovedRow,
    PlacesRecord,
    RunRow,
    encode_places,
    far,
    in_shard,
    places_folder,
)
from catalog.format.sealed import Kind
from catalog.format.vaultfile import VaultFile
from catalog.store.base import Store
from catalog.vault import Vault
from tests.kit.stores import MOST
from tests.kit.vaultmaker import MACHINE


def with_admin(vault: Vault, store: Store | None = None) -> Vault:
    """The vault with an admin, whose key is wrapped under the master key."""
    admin = make_admin(vault.keys, bytes(range(32)), "now")
    file = VaultFile(vault.id, 1, "now", (), (admin,))
    return Vault(vault.store if store is None else store, vault.keys, file)


class Mover:
    """Upkeep of one machine's packs. `store` is used without counting requests; `digits` is the shard it keeps."""

    def __init__(self, vault: Vault, store: Store, machine: bytes = MACHINE, digits: str = "") -> None:
        self.keys: Keys = vault.keys
        self.store, self.machine, self.digits = store, machine, digits
        self.number = 0
        self.admin = vault.file.admins[0]
        self.private = open_admin(vault.keys, self.admin)
        self.signed = Vault(store, vault.keys, vault.file).signed
        self.carriers: list[bytes] = []
        self.moved: dict[tuple[PackKind, bytes], list[RunRow]] = {}
        self.instead: list[InsteadRow] = []
        self.dead: list[DeadRow] = []
        self.broken: list[BrokenRow] = []

    @property
    def folder(self) -> str:
        return places_folder(self.machine[:4], self.digits)

    def packs(self, kind: PackKind) -> list[bytes]:
        """The packs that are in the store, by age, without carriers."""
        infos = sorted(self.store.list(series_folder(kind, self.machine)), key=lambda i: i.modified)
        found = [pack for i in infos if (pack := pack_named(i.name)) is not None and in_shard(pack, self.digits)]
        return [pack for pack in found if self.store.read(pack_name(kind, pack), 0, 7) == PACK]

    def merge(self, kind: PackKind, packs: Iterable[bytes], target: int = PACK_TARGET) -> None:
        """Move whole packs into carriers of about `target` bytes, in this order."""
        builder: CarrierBuilder | None = None
        for pack in packs:
            if builder is None:
                builder = CarrierBuilder(self.keys, kind, self.machine)
            self._carry(builder, pack, lambda _row: True)
            if builder.size >= target:
                self._store(builder)
                builder = None
        if builder is not None:
            self._store(builder)

    def cut(self, kind: PackKind, pack: bytes, alive: Callable[[BlockRow], bool]) -> None:
        """Move the blocks of a pack that are alive into a carrier of its own."""
        builder = CarrierBuilder(self.keys, kind, self.machine)
        self._carry(builder, pack, alive)
        self._store(builder)

    def replace(self, lost: Extent, other: Extent, kind: PackKind = PackKind.DATA) -> None:
        """Say that another copy of a chunk is to be read instead."""
        self.instead.append(InsteadRow(lost.pack, int(kind), lost.offset, lost.inner, far(other)))

    def publish(self) -> int:
        """Write the next record of places, and return its number."""
        record = PlacesRecord(
            series=self.machine[:4], digits=self.digits, number=self.number + 1, by=os.urandom(16), began=1,
            dead=self.dead, carriers=self.carriers, instead=self.instead, broken=self.broken,
            moved=[MovedRow(pack, int(kind), runs) for (kind, pack), runs in self.moved.items()],
        )  # fmt: skip
        content = encode_places(record)
        self.number = self.signed.add(
            Kind.PLACES, self.folder, content, self.admin, self.private, after=self.number
        )
        return self.number

    def delete(self, kind: PackKind, objects: Iterable[bytes]) -> None:
        for one in objects:
            self.store.delete(pack_name(kind, one))

    def move_all(self, target: int = PACK_TARGET) -> None:
        """Merge all packs, publish that, and delete them."""
        gone = {kind: self.packs(kind) for kind in (PackKind.DATA, PackKind.TREE)}
        for kind, packs in gone.items():
            self.merge(kind, packs, target)
        self.publish()
        for kind, packs in gone.items():
            self.delete(kind, packs)

    def _carry(self, builder: CarrierBuilder, pack: bytes, alive: Callable[[BlockRow], bool]) -> None:
        """Copy blocks of a pack, which may itself be in carriers, into a new carrier, without opening them."""
        kind = builder.kind
        data, rows = self._blocks(kind, pack)
        carrier, runs = len(self.carriers), list[RunRow]()
        kept = [row for row in rows if alive(row)]
        at = builder.add(pack, kept, [data[row.offset] for row in kept])
        for row in kept:
            last = runs[-1] if runs else None
            if last is not None and last.start + last.length == row.offset:
                runs[-1] = RunRow(carrier, last.start, last.length + row.stored, last.at)
            else:
                runs.append(RunRow(carrier, row.offset, row.stored, at))
            at += row.stored
        self.moved[kind, pack] = runs

    def move_again(self, kind: PackKind) -> None:
        """Copy all carriers of a kind into a new one, publish that, and delete them."""
        old = [c for c in self.carriers if any(i.name == pack_name(kind, c) for i in self.store.list(kind.folder))]
        builder = CarrierBuilder(self.keys, kind, self.machine)
        for moved_kind, pack in list(self.moved):
            if moved_kind is kind:
                self._carry(builder, pack, lambda _row: True)
        self._store(builder)
        self.publish()
        self.delete(kind, old)

    def _blocks(self, kind: PackKind, pack: bytes) -> tuple[dict[int, bytes], list[BlockRow]]:
        if (kind, pack) in self.moved:
            return self._carried(kind, pack)
        data = self.store.get(pack_name(kind, pack), MOST)
        rows = decode_pack(self.keys, kind, pack, data)
        return {row.offset: data[row.offset : row.offset + row.stored] for row in rows}, rows

    def _carried(self, kind: PackKind, pack: bytes) -> tuple[dict[int, bytes], list[BlockRow]]:
        """The blocks of a pack in a carrier, by the carrier's own table of contents."""
        carrier = self.carriers[self.moved[kind, pack][0].carrier]
        data, at = self.store.get(pack_name(kind, carrier), MOST), HEADER.size
        blocks, rows = dict[int, bytes](), list[BlockRow]()
        for held in decode_carrier(self.keys, kind, carrier, data):
            for row in held.blocks:
                if held.pack == pack:
                    blocks[row.offset] = data[at : at + row.stored]
                    rows.append(row)
                at += row.stored
        return blocks, rows

    def _store(self, builder: CarrierBuilder) -> None:
        self.store.create(builder.name, builder.finish())
        self.carriers.append(builder.id)
