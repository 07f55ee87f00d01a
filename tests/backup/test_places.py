"""W6: what upkeep hides is gone for writers, and what it moved is there. Records of places are made by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from backup import files, pipeline
from backup.run import Result
from catalog.errors import Damaged
from catalog.format.blocks import PackKind
from catalog.format.packs import decode_pack, pack_name
from catalog.format.places import BrokenRow, DeadRow, LeavingRow, PlacesRecord, encode_places
from catalog.format.records import PointName
from catalog.format.sealed import Kind
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.backup.test_evidence import Acting, at_first
from tests.backup.test_requests import BEGINNING, COMMIT, Asked
from tests.kit.mover import Mover, with_admin
from tests.kit.protected import Protected, extents_of, vault_on
from tests.kit.recorded import assert_equal, of_source
from tests.kit.stores import MOST

DATA, TREE = PackKind.DATA, PackKind.TREE


@dataclass
class Kept(Protected):
    """A machine of a vault whose upkeep has a key."""

    @property
    def vault(self) -> Vault:
        return with_admin(vault_on(self.store))


class World:
    """A machine with one point, and the upkeep of its packs."""

    def __init__(self, folder: Path) -> None:
        self.memory = MemoryStore()
        self.machine = Kept(self.memory, folder / "state")
        self.source = folder / "source"
        rng = random.Random(1)
        for name in ("a", "b"):
            (self.source / name).mkdir(parents=True)
            for n in range(12):
                (self.source / name / f"f{n}").write_bytes(rng.randbytes(4_000))
        self.machine.checked(self.source)
        self.id = next(iter(self.machine.vault.machines()))
        self.mover = Mover(self.machine.vault, self.memory, self.id)

    def copy(self, to: str) -> None:
        """Add a copy of each file, whose contents are found through the mirror."""
        (self.source / to).mkdir()
        for n in range(12):
            (self.source / to / f"c{n}").write_bytes((self.source / "a" / f"f{n}").read_bytes())

    def hide(self, pack: bytes, spans: list[tuple[int, int]] | None = None, kind: PackKind = DATA) -> None:
        self.mover.dead.append(DeadRow(pack, int(kind), 1, spans or []))

    def checked(self, store: Acting | Asked | None = None) -> Result:
        """A backup without problems, whose point equals the source."""
        self.machine.store = store or self.memory
        outcome = self.machine.backup(self.source)
        self.machine.store = self.memory
        assert outcome.problems == [] and outcome.point is not None
        assert_equal(self.machine.snapshot(outcome.point, self.source), of_source(self.source))
        return outcome

    def add(self, **fields: object) -> None:
        """Write a record of places with these fields alone."""
        record = PlacesRecord(
            series=self.id[:4], number=self.mover.number + 1, by=bytes(16), began=1, **fields  # type: ignore[arg-type]
        )  # fmt: skip
        vault = self.mover
        self.mover.number = vault.signed.add(
            Kind.PLACES, vault.folder, encode_places(record), vault.admin, vault.private, after=vault.number
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(pipeline, "PACK_TARGET", 20_000)
    monkeypatch.setattr(pipeline, "BLOCK_RAW", 5_000)
    return World(tmp_path)


def test_hidden_packs_are_given_to_nobody(world: World) -> None:
    """The parent may keep what is in them; nothing newly refers to them."""
    for pack in world.mover.packs(DATA):
        world.hide(pack)
    world.mover.publish()
    unchanged = world.checked()
    assert (unchanged.progress.read_files, unchanged.progress.sent.data_bytes) == (0, 0)
    world.copy("c")
    assert world.checked().progress.sent.new_bytes == 48_000
    world.copy("d")
    assert world.checked().progress.sent.new_bytes == 0, "the second copy is not hidden"


def test_a_run_that_does_not_know_yet_sees_it_at_its_end(world: World) -> None:
    """Hidden while the backup runs, after it took chunks from there: the attempt starts over."""
    world.copy("c")

    def hide() -> None:
        for pack in world.mover.packs(DATA):
            world.hide(pack)
        world.mover.publish()

    outcome = world.checked(Acting(world.memory, at_first("create", "meta/", hide)))
    assert outcome.progress.sent.new_bytes == 48_000


def test_deleted_after_they_were_hidden(world: World) -> None:
    """The records and the deletion both came since the last run: what the parent has there is stored again."""
    packs = world.mover.packs(DATA)
    world.hide(packs[0])
    world.mover.publish()
    world.mover.delete(DATA, packs[:1])
    outcome = world.checked()
    assert 0 < outcome.progress.read_files < 24


def test_blocks_are_hidden_one_by_one(world: World) -> None:
    pack = world.mover.packs(DATA)[0]
    rows = decode_pack(
        world.machine.vault.keys, DATA, pack, world.memory.get(pack_name(DATA, pack), MOST)
    )  # fmt: skip
    world.hide(pack, [(rows[0].offset, rows[0].offset + rows[0].stored)])
    world.mover.publish()
    world.checked()
    world.copy("c")
    assert world.checked().progress.sent.new_bytes == sum(rows[0].lengths)


def test_what_was_cut_from_a_pack_is_given_to_nobody(world: World) -> None:
    """The pack itself is still there for a while; and no row says any more that the block was dead."""
    pack = world.mover.packs(DATA)[0]
    rows = decode_pack(
        world.machine.vault.keys, DATA, pack, world.memory.get(pack_name(DATA, pack), MOST)
    )  # fmt: skip
    world.mover.cut(DATA, pack, lambda row: row.offset != rows[0].offset)
    world.mover.publish()
    world.copy("c")
    assert world.checked().progress.sent.new_bytes == sum(rows[0].lengths)
    world.copy("d")
    assert world.checked().progress.sent.new_bytes == 0, "the second copy is whole"


@pytest.mark.parametrize("kind", [DATA, TREE])
def test_what_only_an_unsound_point_refers_to_is_stored_again(world: World, kind: PackKind) -> None:
    """Upkeep that has not seen the point may be about to delete what it hides."""
    vault = world.machine.vault
    late = vault.point(vault.point_names()[-1])
    world.memory.delete(str(PointName.of(late)))
    vault.add_point(msgspec.structs.replace(late, checked=1))
    hidden = world.mover.packs(kind)
    for pack in hidden:
        world.hide(pack, kind=kind)
    world.mover.publish()
    sent = world.machine.backup(world.source).progress.sent
    assert (sent.new_bytes, sent.tree_bytes > 0) == (96_000 if kind is DATA else 0, True)
    world.mover.delete(kind, hidden)
    newest = vault.point(vault.point_names()[-1])
    assert_equal(world.machine.snapshot(newest, world.source), of_source(world.source))


def test_moved_packs_are_there(world: World) -> None:
    world.mover.move_all()
    assert world.memory.objects.keys().isdisjoint(pack_name(kind, pack) for kind, pack in world.mover.moved)
    unchanged = world.checked()
    assert (unchanged.progress.read_files, unchanged.progress.sent.data_bytes) == (0, 0)
    world.copy("c")
    assert world.checked().progress.sent.new_bytes == 0
    world.mover.move_again(DATA)
    world.copy("d")
    assert world.checked().progress.sent.new_bytes == 0


def test_a_carrier_that_is_gone_takes_its_packs_with_it(world: World) -> None:
    world.mover.move_all()
    data = [c for c in world.mover.carriers if pack_name(DATA, c) in world.memory.objects]
    world.mover.delete(DATA, data)
    outcome = world.checked()
    assert outcome.progress.read_files == 24 and outcome.progress.sent.new_bytes == 96_000
    assert world.checked().progress.read_files == 0


def test_moved_while_a_backup_runs(world: World) -> None:
    world.copy("c")
    outcome = world.checked(Acting(world.memory, at_first("create", "meta/", world.mover.move_all)))
    assert outcome.progress.sent.new_bytes == 0


def test_broken_packs_are_stored_again(world: World) -> None:
    pack = world.mover.packs(DATA)[0]
    world.add(broken=[BrokenRow(pack, int(DATA), None, 1, "it rots")])
    assert world.checked().progress.sent.new_bytes > 0, "the record is seen at its end, and the attempt starts over"
    assert world.checked().progress.sent.new_bytes == 0
    del world.memory.objects[pack_name(DATA, pack)]
    point = world.checked().point
    assert point is not None
    assert_equal(world.machine.snapshot(point, world.source), of_source(world.source))


def test_broken_blocks_are_stored_again_and_no_others(world: World) -> None:
    """The parent's files that have them are read again; the rest of their pack is kept, and found."""
    pack = world.mover.packs(DATA)[0]
    rows = decode_pack(world.machine.vault.keys, DATA, pack, world.memory.get(pack_name(DATA, pack), MOST))
    world.add(broken=[BrokenRow(pack, int(DATA), rows[1].offset, 1, "it rots")])
    lost = sum(rows[1].lengths)
    for _ in range(2):  # seen at its end, the attempt starts over; then it is known
        outcome = world.checked()
        assert outcome.progress.sent.new_bytes == lost
        assert outcome.progress.read_files == len(rows[1].lengths)
        lost, rows = 0, [rows[0], msgspec.structs.replace(rows[1], lengths=[])]
    world.copy("c")
    assert world.checked().progress.sent.new_bytes == 0
    data = bytearray(world.memory.objects[pack_name(DATA, pack)])
    data[rows[1].offset : rows[1].offset + rows[1].stored] = bytes(rows[1].stored)
    world.memory.objects[pack_name(DATA, pack)] = bytes(data)
    point = world.checked().point
    assert point is not None
    assert_equal(world.machine.snapshot(point, world.source), of_source(world.source))


def test_a_broken_block_that_is_known_at_the_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also pieces of long files, whose pages alone lead to the block."""
    for name, value in (
        ("SMALL_FILE", 1 << 14),
        ("CUT_MIN", 1 << 12),
        ("CUT_AVERAGE", 1 << 13),
        ("CUT_MAX", 1 << 14),
    ):
        monkeypatch.setattr(files, name, value)
    (world.source / "long").write_bytes(random.Random(7).randbytes(400_000))
    world.add()
    assert world.checked().progress.read_files == 1
    extent = next(
        at for found in extents_of(world.machine.vault, DATA).values() for at in found if at.length != 4_000
    )
    world.add(broken=[BrokenRow(extent.pack, int(DATA), extent.offset, 1, "it rots")])
    outcome = world.checked()
    assert outcome.progress.read_files == 1
    assert outcome.progress.sent.new_bytes == extent.length
    assert world.checked().progress.read_files == 0


def test_a_broken_tree_block_is_not_referred_to(world: World) -> None:
    (pack,) = world.mover.packs(TREE)
    rows = decode_pack(world.machine.vault.keys, TREE, pack, world.memory.get(pack_name(TREE, pack), MOST))
    world.add(broken=[BrokenRow(pack, int(TREE), rows[0].offset, 1, "it rots")])
    outcome = world.machine.backup(world.source)
    assert outcome.progress.sent.data_bytes == 0 and outcome.progress.sent.tree_bytes > 0
    del world.memory.objects[pack_name(TREE, pack)]
    point = outcome.point
    assert point is not None
    assert_equal(world.machine.snapshot(point, world.source), of_source(world.source))


def test_what_is_to_leave_is_not_referred_to(world: World) -> None:
    world.add(leaving=[LeavingRow(pack, int(DATA), 1) for pack in world.mover.packs(DATA)])
    world.checked()
    world.copy("c")
    assert world.checked().progress.sent.new_bytes == 48_000


def test_junk_records_are_passed_over(world: World) -> None:
    for n in range(3):
        world.memory.objects[f"places/{world.id[:4].hex()}/{n + 1:08d}"] = b"junk"
    world.checked()
    world.mover.number = 3
    world.hide(world.mover.packs(DATA)[0])
    world.mover.publish()
    world.checked()


def test_records_that_nobody_can_use_are_damage(world: World) -> None:
    """Among so much junk the newest record can't be found: what it hides must not be referred to."""
    for n in range(150):
        world.memory.objects[f"places/{world.id[:4].hex()}/{n + 1:08d}"] = b"junk"
    with pytest.raises(Damaged, match="is signed by an admin of this vault"):
        world.machine.backup(world.source)


def test_requests_with_upkeep(world: World) -> None:
    """One listing and one record more, once there are records of places."""
    world.checked()
    store = Asked(world.memory)
    world.checked(store)
    assert [row for row in store.asked if row[0] != "read"] == BEGINNING + COMMIT
    world.hide(world.mover.packs(DATA)[0])
    world.mover.publish()
    world.checked()
    store = Asked(world.memory)
    world.checked(store)
    places = [row for row in store.asked if row[1] == "places"]
    assert places == [("list", "places"), ("get", "places"), ("list", "places")]
    assert [row for row in store.asked if row[1] != "places" and row[0] != "read"] == BEGINNING + COMMIT[1:]
