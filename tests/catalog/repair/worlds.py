"""A machine that backs up, something that goes wrong in its vault, and repairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backup.run import Result
from catalog.errors import Damaged, ShortRead
from catalog.format.blocks import PackKind
from catalog.format.packs import BlockRow, decode_pack, pack_name
from catalog.format.records import Point
from catalog.places import Places
from catalog.repair.examine import Examination, Found, Wanted
from catalog.repair.run import Repair, Written
from catalog.repair.state import Signer
from catalog.screen.phases import NoFollower
from catalog.store.base import Store
from catalog.vault import Vault
from tests.backup.test_places import World
from tests.kit.recorded import PointReader, Snapshot, assert_equal, of_source
from tests.kit.stores import MOST

DATA, TREE = PackKind.DATA, PackKind.TREE
BY = bytes(range(100, 116))  # the machine that repairs


def quick(vault: Vault) -> Vault:
    """A vault whose readers don't wait for listings that may be behind."""
    vault.places = Places(vault.store, vault.signed, sleep=lambda seconds: None)
    return vault


class Repairs:
    """Repairs of the vault of a machine, and what its points must be."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.points: list[tuple[Point, Snapshot]] = []
        self.note_point(world.machine.vault.points(world.machine.vault.point_names())[-1])

    def note_point(self, point: Point) -> None:
        """Remember a point that was made just now, and what the source is."""
        self.points.append((point, of_source(self.world.source)))

    def backup(self) -> Result:
        """A backup whose point equals the source; problems with the parent don't matter."""
        outcome = self.world.machine.backup(self.world.source)
        assert outcome.point is not None
        self.note_point(outcome.point)
        self.assert_reads(-1)
        return outcome

    def vault(self, store: Store | None = None) -> Vault:
        self.world.machine.store = store or self.world.memory
        try:
            return quick(self.world.machine.vault)
        finally:
            self.world.machine.store = self.world.memory

    def look(self, wanted: Wanted = Wanted(), store: Store | None = None) -> Found:
        """What a repair finds. Writes nothing."""
        before = dict(self.world.memory.objects)
        repair = Repair(self.vault(store), None, wanted, NoFollower())
        (found,) = [self._looked(e) for e in repair.examinations()]
        assert self.world.memory.objects == before
        return found

    @staticmethod
    def _looked(examination: Examination) -> Found:
        try:
            return examination.run()
        finally:
            examination.close()

    def run(
        self, wanted: Wanted = Wanted(), *, acknowledge: bool = False, store: Store | None = None
    ) -> tuple[Found, Written]:
        """A whole repair."""
        repair = Repair(self.vault(store), None, wanted, NoFollower())
        repair.write_records(repair.lost_records())
        signer = Signer(self.world.mover.admin, self.world.mover.private, BY)
        (examination,) = repair.examinations()
        try:
            found = examination.run()
            return found, repair.carry_out(examination, found, signer, acknowledge=acknowledge)
        finally:
            examination.close()

    def reads(self, number: int) -> bool:
        """Whether a point can be read whole; then it must be as it was."""
        point, source = self.points[number]
        try:
            found = PointReader(self.vault()).snapshot(point, self.world.source)
        except (Damaged, ShortRead):
            return False
        assert_equal(found, source)
        return True

    def assert_reads(self, *numbers: int) -> None:
        assert all(self.reads(number) for number in numbers or range(len(self.points)))

    # --- damage -------------------------------------------------------------------------------------------

    def name(self, kind: PackKind = DATA, number: int = 0) -> str:
        return pack_name(kind, self.world.mover.packs(kind)[number])

    def rows(self, kind: PackKind = DATA, number: int = 0) -> Sequence[BlockRow]:
        pack = self.world.mover.packs(kind)[number]
        return decode_pack(
            self.world.machine.vault.keys, kind, pack, self.world.memory.get(pack_name(kind, pack), MOST)
        )

    def rot(self, name: str, at: int) -> None:
        data = bytearray(self.world.memory.objects[name])
        data[at] ^= 1
        self.world.memory.objects[name] = bytes(data)

    def remove(self, prefix: str) -> int:
        gone = [name for name in self.world.memory.objects if name.startswith(prefix)]
        for name in gone:
            del self.world.memory.objects[name]
        return len(gone)


def lost_names(found: Found) -> set[str]:
    """The last parts of the paths that stay lost; folders with a slash."""
    return {row.path.decode().rsplit("/", 1)[-1] + "/" * row.is_folder for row in found.losses.named}


Damage = Callable[[Repairs], set[str]]  # does it, and returns the names of the files that are lost
