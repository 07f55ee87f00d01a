"""A vault whose clock a test moves, with points made by hand, and pruning of it in this process."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from cache.reader import Reader
from catalog.format.blocks import PackKind
from catalog.format.ledger import ForgottenRow, How
from catalog.format.packs import Extent, decode_pack, pack_named
from catalog.format.records import (
    IndexedPack,
    IndexObject,
    Item,
    Machine,
    Point,
    PointName,
    Root,
    decode_record,
    encode_record,
)
from catalog.format.sealed import Kind, open_object, seal_object
from catalog.format.values import NodeKind
from catalog.ledger.records import Ledgers
from catalog.policies.records import Policies
from catalog.prune.notes import Notes
from catalog.prune.plan import Limits
from catalog.prune.run import Context, Done, prune_series
from catalog.prune.scope import Scope
from catalog.signing import signing_key
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.tree import walk
from catalog.vault import Vault
from tests.kit.mover import with_admin
from tests.kit.stores import MOST
from tests.kit.vaultmaker import MACHINE, Packer, Trees, file_node, open_empty

DAY = 86_400 * 10**9  # ns
START = 1_790_000_000 * 10**9
ITEM = bytes(range(16, 32))
EAGER = Limits(share=0.0, waste=1, most=2)  # whatever can be moved is moved


class World:
    """A machine's vault. `points` has what each point holds, by name of file. Prune's clocks are `now`."""

    def __init__(self, inner: Store | None = None, machine: bytes = MACHINE, vault: World | None = None) -> None:
        self.now = START
        self.memory: MemoryStore = MemoryStore(clock=lambda: self.now) if vault is None else vault.memory
        self.store = self.memory if inner is None else inner
        self.meter = MeteredStore(self.store, log=True)
        self.vault: Vault = with_admin(open_empty(self.meter))
        self.machine = machine
        self.rng = random.Random(7)
        self.files: dict[bytes, bytes] = {}
        self.points: dict[PointName, dict[bytes, bytes]] = {}
        self.notes = Notes()
        self.sequence = 0
        self._at: dict[bytes, Extent] = {}
        self._trees = Trees(self.vault, machine=machine)
        self.vault.add_machine(Machine(id=machine, name="box", hostname="box", system="Linux", created=START))
        self.vault.add_item(Item(id=ITEM, machine=machine, name="home", paths=[b"/home"], created=START))

    def later(self, days: float) -> None:
        self.now += int(days * DAY)

    def saved(self) -> tuple[dict[str, bytes], dict[str, int], int]:
        """The vault and the time as they are now, for `restore`."""
        return dict(self.memory.objects), dict(self.memory._modified), self.now

    def restore(self, saved: tuple[dict[str, bytes], dict[str, int], int]) -> None:
        self.memory.objects, self.memory._modified, self.now = dict(saved[0]), dict(saved[1]), saved[2]

    # --- points -------------------------------------------------------------------------------------------

    def backup(self, *edited: int, size: int = 3_000, partial: bool = False, publish: bool = False) -> PointName:
        """A point in which these files have new contents. Each is a block; those of a run share a pack."""
        packer = Packer(self.vault, PackKind.DATA, machine=self.machine)
        for n in edited:
            name = f"file-{n:03d}".encode()
            self.files[name] = self.rng.randbytes(size)
            self._at[name] = packer.block([self.files[name]])[0]
        packer.finish()
        if publish:
            self._publish(packer.names)
        return self._commit(partial=partial)

    def borrow(self, other: World) -> PointName:
        """A point with the files of another machine, which are in packs of that machine."""
        self.files, self._at = dict(other.files), dict(other._at)
        return self._commit()

    def _publish(self, names: list[str]) -> None:
        """An index object that lists these packs."""
        index = f"index/{self.machine.hex()}/{self.rng.randbytes(16).hex()}"
        packs = [one for name in names if (one := pack_named(name)) is not None]
        rows = [IndexedPack(p, decode_pack(self.vault.keys, PackKind.DATA, p, self.store.get(n, MOST)))
                for p, n in zip(packs, names, strict=True)]  # fmt: skip
        record = encode_record(IndexObject(packs=rows))
        self.store.create(index, [seal_object(self.vault.keys, Kind.INDEX, index, record)])

    def indexed(self, name: str) -> set[bytes]:
        """The packs that an index object lists."""
        data = open_object(self.vault.keys, Kind.INDEX, name, self.store.get(name, MOST))
        return {one.pack for one in decode_record(IndexObject, data, name).packs}

    def _commit(self, *, partial: bool = False) -> PointName:
        rng = random.Random(0)
        nodes = [file_node(name, [self._at[name]], len(data), rng) for name, data in sorted(self.files.items())]
        root = self._trees.root(self._trees.folder(nodes))
        if not partial:
            self.sequence += 1
        point = Point(
            id=self.rng.randbytes(16), machine=self.machine, item=ITEM, machine_name="box", item_name="home",
            hostname="box", system="Linux", sequence=self.sequence + partial, time=self.now, finished=self.now,
            paths=[b"/home"], root=Root.of(root), partial=partial, checked=self.now,
        )  # fmt: skip
        self.vault.add_point(point)
        written = PointName.of(point)
        self.points[written] = dict(self.files)
        return written

    def forget(self, *names: PointName, days: float = 0) -> None:
        """Forget points, which go once so many days have passed."""
        rows = [
            ForgottenRow(n.id, n.sequence, self.now, self.now + int(days * DAY), How.BY_HAND, "a test", "a test")
            for n in names
        ]
        Ledgers(self.vault, self.machine).change(
            self.machine, ITEM, lambda ledger: ledger.forget(rows), signing_key(self.vault), self.now
        )

    def opened(self, store: Store | None = None) -> Vault:
        """The vault as another process opens it."""
        return Vault(store or self.meter, self.vault.keys, self.vault.file)

    def opened_with_records(self) -> Vault:
        """The same, with a cache of records."""
        return Vault(self.meter, self.vault.keys, self.vault.file, {})

    def read(self, name: PointName, vault: Vault | None = None) -> dict[bytes, bytes]:
        """The files of a point, through a reader."""
        vault = vault or self.opened(self.store)
        point = vault.point(name)
        reader = Reader(vault)
        try:
            assert point.root is not None
            found = {}
            for path, entry in walk(reader, point.root.subtree()):
                if entry.entry.kind == NodeKind.FILE:
                    file = reader.open(entry.leaf.pieces(entry.entry), entry.entry.size)
                    found[path] = bytes(file.read(0, entry.entry.size))
            return found
        finally:
            reader.close()

    def check(self) -> None:
        """Every point that is listed and not gone holds what was saved."""
        ledger = Ledgers(self.opened(self.store), self.machine).of(self.machine, ITEM)
        for name, files in self.points.items():
            if str(name) in self.objects("points/") and not ledger.is_gone(name):
                assert self.read(name) == files

    def objects(self, prefix: str) -> Mapping[str, int]:
        """The objects whose names begin so, and their sizes."""
        return {info.name: info.size for info in self.store.list(prefix)}

    # --- pruning ------------------------------------------------------------------------------------------

    def context(self, vault: Vault | None = None, *, dry: bool = False, **more: Any) -> Context:
        vault = vault or self.opened()
        settings: dict[str, Any] = {
            "signer": None if dry else signing_key(vault),
            "deleting": vault.store,
            "by": bytes(16),
            "highest": {},
            "limits": EAGER,
            "clock": lambda: self.now,
            "notes": self.notes,
        }
        return Context(vault=vault, scope=Scope.of(vault), policies=Policies(vault), **(settings | more))

    def prune(self, vault: Vault | None = None, *, dry: bool = False, **more: Any) -> Done:
        """One run for the machine's series."""
        context = self.context(vault, dry=dry, **more)
        return prune_series(context, context.scope.series(self.machine))

    def settle(self, runs: int = 8) -> None:
        """Runs a week apart, until nothing is left to do."""
        for _ in range(runs):
            self.later(7.1)
            self.prune(yes=True)


def random_edits(world: World, runs: int, files: int = 6) -> list[PointName]:
    """Points with a few edits each, an hour apart."""
    found = []
    for _ in range(runs):
        found.append(world.backup(*world.rng.sample(range(files), 2)))
        world.later(1 / 24)
    return found


__all__ = ["DAY", "EAGER", "World", "random_edits"]
