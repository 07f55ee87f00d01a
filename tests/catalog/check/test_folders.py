"""Garbage in the folders of records: each object is told by name, with what to do, and costs itself alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest

from catalog.check.finding import What
from catalog.check.folders import look_at_folders
from catalog.check.group import Request
from catalog.check.job import check
from catalog.format.admins import make_admin, open_admin
from catalog.format.blocks import PackKind
from catalog.format.ledger import HeldRow, ledger_folder
from catalog.format.numbers import written_number
from catalog.format.packs import pack_name
from catalog.format.places import places_folder
from catalog.format.plan import PlanRecord, encode_plan
from catalog.format.records import IndexedPack, IndexObject, Job, JobName, encode_record
from catalog.format.retention import Retention, encode_retention, policy_folder
from catalog.format.sealed import Kind, seal_object
from catalog.format.signed import seal_signed
from catalog.ledger.records import Ledger, Ledgers
from catalog.policies.records import Policies, add_retention
from catalog.vault import Vault
from tests.catalog.check.test_level2 import ALL
from tests.catalog.check.test_levels import START, World
from tests.kit.drives import ITEM
from tests.kit.faults import BadDiskStore
from tests.kit.mover import Mover
from tests.kit.vaultmaker import MACHINE

M, STRANGER = MACHINE.hex(), "ab" * 16


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("catalog.places.PATIENCE", 0.0)
    return World(tmp_path)


@pytest.fixture
def full(world: World) -> World:
    """A vault with a good record of each kind, and a second one in each signed folder."""
    vault = world.vault
    job = Job(
        id=b"j" * 16, machine=MACHINE, machine_name="box", hostname="box", kind="backup", time=START,
        finished=START, outcome="completed",
    )  # fmt: skip
    vault.add_job(job)
    put_index(world, "11" * 16)
    put(world, PLAN, Kind.PLAN, encode_plan(PlanRecord(id=bytes.fromhex(STRANGER), number=1, written=START)))
    (admin,) = vault.file.admins
    signer = admin, open_admin(vault.keys, admin)
    for keep in (7, 8):
        level = Policies(vault).of_vault()
        add_retention(vault, level, Retention(id=vault.id, number=1, written=START, last=keep), {})
    ledgers = Ledgers(vault, MACHINE)
    for point in world.points:
        row = HeldRow(point.id, point.sequence, START, None, "", "me")
        ledgers.change(MACHINE, ITEM, partial(held, row), signer, START)
    mover = Mover(vault, world.memory)
    mover.publish()
    mover.publish()
    world.check(3, budget=ALL)
    return world


def held(row: HeldRow, ledger: Ledger) -> Ledger:
    return ledger.hold([row])


def put_index(world: World, one: str) -> str:
    name = f"index/{M}/{one}"
    put(world, name, Kind.INDEX, encode_record(IndexObject(packs=[IndexedPack(pack=world.note.pack, blocks=[])])))
    return name


def put(world: World, name: str, kind: Kind, content: bytes) -> None:
    world.memory.create(name, [seal_object(world.vault.keys, kind, name, content)])


PLAN = f"plans/{STRANGER}/00000001"
JOB = str(JobName(MACHINE, START, b"j" * 16))
RECORDS = [
    f"machines/{M}/00000001",
    f"items/{M}/{ITEM.hex()}/00000001",
    f"index/{M}/{'11' * 16}",
    f"checks/{M[:8]}/00000001",
    JOB,
    PLAN,
    "vault/1.json",
    ledger_folder(MACHINE, ITEM) + "00000001",
    places_folder(MACHINE[:4]) + "00000001",
]
ADVICE = ("delete it", "copy vault.json over it", "`rpdrive repair`")
UNNEEDED = (f"checks/{M[:8]}/00000001", JOB)


def test_all_is_well_with_a_vault_that_has_a_record_of_each_kind(full: World) -> None:
    assert {name.split("/")[0] for name in full.memory.objects} >= {
        "machines", "items", "index", "policies", "plans", "ledger", "places", "checks", "jobs", "vault",
    }  # fmt: skip
    for level in (0, 1):
        report = full.check(level)
        assert not report.findings and not report.notes


def flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("which", [*RECORDS, "policy"], ids=lambda name: name.split("/")[0])
def test_a_record_that_does_not_open_is_named(full: World, which: str) -> None:
    name = policy_folder(full.vault.id) + "00000001" if which == "policy" else which
    good = full.memory.objects[name]
    for bad in (good[:-9], good[:20], b"", flipped(good)):
        full.memory.objects[name] = bad
        looked = look_at_folders(full.vault, 1).findings
        (finding,) = [f for f in looked if f.object == name]
        assert finding.what is (What.MINOR if name in UNNEEDED else What.RECORD)
        assert any(text in finding.reason for text in ADVICE)
    assert name not in {f.object for f in full.check(0).findings}
    report = full.check(1)
    assert name in {f.object for f in report.findings} and report.is_damaged == (name not in UNNEEDED)
    # One machine alone: what belongs to no machine is not looked at.
    alone = {f.object for f in full.check(1, machine=MACHINE).findings}
    assert (name in alone) == (not name.startswith(("vault/", "policies/", "plans/")))


@pytest.mark.parametrize("which", [*RECORDS, "policy"], ids=lambda name: name.split("/")[0])
def test_a_record_that_the_disk_can_not_read_is_named(full: World, which: str) -> None:
    name = policy_folder(full.vault.id) + "00000001" if which == "policy" else which
    vault = Vault(BadDiskStore(full.meter, name), full.vault.keys, full.vault.file)
    report = check(vault, Request(1), full.state)
    (finding,) = [f for f in report.findings if f.object == name]
    assert finding.what is (What.MINOR if name in UNNEEDED else What.RECORD)
    assert "can't be read" in finding.reason and report.is_damaged == (name not in UNNEEDED)


def test_each_bad_object_costs_itself_alone(full: World) -> None:
    for name in RECORDS:
        full.memory.objects[name] = b"garbage"
    assert {f.object for f in full.check(1).findings} == {*RECORDS, "machines/"}


def test_names_that_nothing_reads_are_told(full: World) -> None:
    junk = [
        "junk/a", "packs.bak/x", f"machines/{M}/1", f"items/{M}/note.txt", f"index/{M}/x", "policies/readme",
        f"ledger/{M}/{ITEM.hex()}/1", f"places/{M[:8]}/1", f"checks/{M[:8]}/x.tmp", f"jobs/{M}/old",
        "vault/01.json",
        f"points/{M}/{ITEM.hex()}/x", "points/backup/x", f"packs/{M[:8]}/00/x", f"meta/{M[:8]}/x",
    ]  # fmt: skip
    wanted = {*junk, "junk/", "packs.bak/", "points/backup/"} - {"junk/a", "packs.bak/x", "points/backup/x"}
    for name in junk:
        full.garble(name)
    for level in (0, 1):
        report = full.check(level)
        assert {f.object for f in report.findings} == wanted
        assert {f.what for f in report.findings} == {What.STRANGE} and not report.is_damaged


def test_reserved_names_are_known(full: World) -> None:
    for name in (f"marks/{M}/00000001", f"seeds/{STRANGER}"):
        full.garble(name)
    assert not full.check(1).findings


def test_many_names_are_counted(full: World) -> None:
    for n in range(50):
        full.garble(f"vault/{n}.txt")
    found = [f for f in full.check(0).findings if f.what is What.STRANGE]
    assert len(found) == 21 and "30 more" in found[-1].reason


def test_a_record_that_no_admin_signed_is_told_if_it_is_above_those_that_count(full: World) -> None:
    vault, folder = full.vault, policy_folder(full.vault.id)
    private = b"p" * 32
    admin = make_admin(vault.keys, private, "now")
    for number in (1, 9):  # as a key that was changed since has signed the first one
        name = folder + written_number(number)
        data = encode_retention(Retention(id=vault.id, number=number, written=START), {})
        full.memory.objects[name] = seal_signed(vault.keys, admin, private, Kind.RETENTION, name, data)
    report = full.check(1)
    assert [(f.what, f.object) for f in report.findings] == [(What.UNSIGNED, folder + "00000009")]
    assert not report.is_damaged


def test_a_copy_of_another_vault_json_is_told(full: World) -> None:
    full.memory.objects["vault/2.json"] = full.memory.objects["vault/1.json"]
    report = full.check(1)
    assert [(f.what, f.object) for f in report.findings] == [(What.RECORD, "vault/2.json")]


def test_many_records_are_opened_a_part_at_a_time(full: World) -> None:
    bad = put_index(full, "22" * 16)
    for n in range(3, 8):
        put_index(full, f"{n:032x}")
    full.spoil(bad, 50)
    found, before = set[str](), full.meter.snapshot()
    for _ in range(200):
        looked = look_at_folders(full.vault, 1, most=3)
        assert any("3 of 7 records in index/" in note for note in looked.notes)
        found |= {f.object for f in looked.findings}
        if found:
            break
    assert found == {bad}
    spent = full.meter.snapshot() - before
    assert spent.get.requests <= 3 * 9 * 200
    all_of_it = look_at_folders(full.vault, 3, most=3)
    assert [f.object for f in all_of_it.findings] == [bad] and not all_of_it.notes


def test_a_policy_that_does_not_open_says_how_to_set_it_again(full: World) -> None:
    name = policy_folder(full.vault.id) + "00000002"
    full.memory.objects[name] = b""
    (finding,) = full.check(1).findings
    assert finding.object == name and "`rpdrive policy set`" in finding.reason


def test_unknown_objects_among_packs_do_not_hide_packs(full: World) -> None:
    full.garble(f"packs/{M[:8]}/zz/x")
    full.lose(pack_name(PackKind.DATA, full.note.pack))
    assert {f.what for f in full.check(0).findings} == {What.STRANGE, What.MISSING}


def test_msgpack_of_another_shape_is_no_index(full: World) -> None:
    name = f"index/{M}/{'33' * 16}"
    data = msgspec.msgpack.encode({"packs": [[full.note.pack, [[1, 2, [3], b""]]]]})
    full.memory.create(name, [seal_object(full.vault.keys, Kind.INDEX, name, data)])
    assert [f.object for f in full.check(1).findings] == [name]


@pytest.mark.parametrize("lost", ["machines/", "items/", "vault/"])
def test_a_record_that_is_missing(world: World, lost: str) -> None:
    """Without that of its machine, nothing is pruned; the copy of vault.json is all there is if that is lost."""
    (gone,) = [name for name in world.memory.objects if name.startswith(lost)]
    del world.memory.objects[gone]
    (found,) = world.check(0).findings
    assert found.what is What.MISSING and found.is_damage and gone.startswith(found.object)
    assert "`rpdrive repair`" in found.reason
    assert (lost == "vault/") == (not world.check(0, machine=MACHINE).findings)


@pytest.mark.parametrize(
    "folder", [ledger_folder(MACHINE, ITEM), places_folder(MACHINE[:4])], ids=["ledger", "places"]
)
def test_the_newest_signed_record_of_an_earlier_check_is_missed(full: World, folder: str, tmp_path: Path) -> None:
    newest = full.memory.objects.pop(folder + "00000002")
    for level in (0, 1):
        (finding,) = full.check(level).findings
        assert finding.object == folder + "00000002" and finding.is_damage
    full.state = tmp_path / "elsewhere"
    assert not full.check(0).findings, "another machine can't know"
    full.state = tmp_path
    full.memory.objects[folder + "00000002"] = newest
    assert not full.check(0).findings
    for name in [name for name in full.memory.objects if name.startswith(folder)]:
        del full.memory.objects[name]
    assert folder + "00000002" in {f.object for f in full.check(0).findings}
    (noted,) = full.state.glob("records-*.json")
    noted.write_text('{"x": [], "ledger/": true}')
    assert not full.check(0).findings


def test_a_point_that_only_a_cache_has_whole_is_named(full: World) -> None:
    name, cache = str(full.points[0]), dict(full.memory.objects)
    full.memory.objects[name] = full.memory.objects[name][:-1]
    vault = Vault(full.meter, full.vault.keys, full.vault.file, cache)
    assert not check(vault, Request(0), full.state).findings, "that would cost a request for each point"
    (finding,) = check(vault, Request(1), full.state).findings
    assert (finding.what, finding.object) == (What.POINT, name) and finding.is_damage
    assert f"`rpdrive forget --damaged {full.points[0].id.hex()[:8]}`" in finding.reason
    assert full.points[0].id in {name.id for name in finding.points} and name in cache


@pytest.mark.parametrize("name", [f"items/{M}/{ITEM.hex()}/00000001", "vault/1.json"], ids=["machine", "vault"])
def test_a_damaged_record_is_in_the_job(full: World, name: str) -> None:
    full.memory.objects[name] = b""
    before = set(full.vault.job_names())
    full.check(1)
    (job,) = map(full.vault.job, set(full.vault.job_names()) - before)
    assert job.outcome == "completed with warnings" and "level 1 found 1 " in job.error
