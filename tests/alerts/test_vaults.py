"""What a look at a vault finds, in vaults whose clock a test moves: and in how many requests."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.alerts.looking import Look, Looker
from catalog.alerts.rules import DAY
from catalog.alerts.vaults import Known, vault_facts
from catalog.alerts.watching import Room, Watcher, known_of, own_facts, room_of
from catalog.errors import StoreUnreachable
from catalog.format.plan import Care, Limit, Pause, PlanRecord, Schedule, Stop
from catalog.format.records import Job, JobName, Outcome, PointName, StartName
from catalog.format.retention import Retention, RetentionRule
from catalog.format.sealed import Kind
from catalog.format.vaultfile import Immutable
from catalog.notify.event import Severity
from catalog.plans.effective import Level as PlanLevel
from catalog.plans.records import add_plan
from catalog.policies.records import Policies, add_retention
from catalog.vault import Vault
from tests.kit.pruning import ITEM, START, World
from tests.kit.vaultmaker import MACHINE
from tests.kit.vaults import Remote
from tests.kit.watched import Watching, fill

HOUR = 3600 * 10**9
VAULT = "ab" * 16
DAILY = PlanRecord(id=ITEM, number=0, written=START, zone="UTC", schedule=Schedule(times=[21 * 60]))


@pytest.fixture
def w(tmp_path: Path) -> Watching:
    return Watching(tmp_path)


def test_a_machine_that_stopped_is_late_and_comes_back(w: Watching) -> None:
    add_plan(w.world.vault, PlanLevel("item", "home", ITEM), DAILY)
    for _day in range(3):
        w.world.later(1)
        w.world.backup(1)
        assert w.look() == []
    w.world.later(0.7)  # to 6 in the morning: the grace of a daily plan is 12 hours
    assert w.look() == []
    w.world.later(0.3)
    assert w.look() == [("opened", "backup.overdue")]
    alert = w.alerts[0]
    assert (alert.machine_name, alert.item_name, alert.severity) == ("box", "home", Severity.CRITICAL)
    assert "late" in alert.text
    assert w.look() == []
    w.world.later(1)
    assert w.look() == [("reminded", "backup.overdue")]
    w.world.backup(1)
    assert w.look() == [("resolved", "backup.overdue")]


def test_who_stops_a_plan_cannot_do_so_in_silence(w: Watching) -> None:
    vault, item = w.world.vault, PlanLevel("item", "home", ITEM)

    def plan(number: int, **changes: object) -> None:
        record = msgspec.structs.replace(DAILY, written=w.world.now, **changes)
        add_plan(vault, item._replace(number=number), record)

    plan(0)
    w.world.backup(1)
    assert w.look() == []
    now = w.world.now
    plan(1, paused=Pause(since=now, until=now + 20 * DAY))
    assert w.look() == [], "a holiday"
    plan(2, stopped=Stop(since=now))
    assert w.look() == [("opened", "protection.lowered")]
    assert (w.alerts[0].item_name, w.alerts[0].cause) == ("home", "plan")
    assert w.look() == []
    changes: list[dict[str, object]] = [
        {"paused": Pause(since=now)}, {"paused": Pause(since=now, until=now + 90 * DAY)}, {"schedule": None},
    ]  # fmt: skip
    for number, change in enumerate(changes):
        w.world.later(0.1)
        plan(3 + 2 * number)
        assert w.look() == []
        w.world.later(0.1)
        plan(4 + 2 * number, **change)
        w.look()
    assert w.alerts[0].count == 4
    w.world.later(0.1)
    plan(9)
    w.look()
    vault.add_machine(msgspec.structs.replace(vault.machines()[MACHINE], forgotten=True), 2)
    w.look()
    assert w.alerts[0].count == 5 and "forgotten" in w.alerts[0].text


def test_a_plan_that_is_written_again_and_again_excuses_nothing_for_long(w: Watching) -> None:
    item = PlanLevel("item", "home", ITEM)
    add_plan(w.world.vault, item, msgspec.structs.replace(DAILY, written=w.world.now + 900 * DAY))
    w.world.backup(1)
    w.world.later(3)
    assert w.look() == [("opened", "backup.overdue")], "a plan of the future counts from its first point on"
    told = []
    for number in range(1, 8):
        add_plan(w.world.vault, item._replace(number=number), msgspec.structs.replace(DAILY, written=w.world.now))
        told.append(w.look())
        w.world.later(1)
    # A new plan excuses what came before; but a week after the first backup that did not come, no plan does.
    assert told == [
        [("resolved", "backup.overdue")],
        [],
        [],
        [],
        [],
        [("opened", "backup.overdue")],
        [("reminded", "backup.overdue")],
    ]


def test_who_makes_backups_rare_or_pauses_them_again_and_again(w: Watching) -> None:
    item = PlanLevel("item", "home", ITEM)
    add_plan(w.world.vault, item, DAILY)
    w.world.backup(1)
    assert w.look() == []
    rare = Schedule(times=[0], weekdays=[1], every_weeks=52)
    add_plan(w.world.vault, item._replace(number=1), msgspec.structs.replace(DAILY, schedule=rare))
    assert w.look() == [("opened", "protection.lowered")]
    assert "late only after 182 d, and was after 12 h" in w.alerts[0].text
    add_plan(w.world.vault, item._replace(number=2), DAILY)
    assert w.look() == []
    for number in range(3, 6):
        pause = Pause(since=w.world.now, until=w.world.now + 20 * DAY)
        add_plan(w.world.vault, item._replace(number=number), msgspec.structs.replace(DAILY, paused=pause))
        w.look()
        w.world.later(19)
    assert [(a.id, a.count) for a in w.alerts] == [("protection.lowered", 2)]


def test_who_has_a_machine_save_less_or_nothing_at_all(w: Watching) -> None:
    item, plan = PlanLevel("item", "home", ITEM), msgspec.structs.replace(DAILY, paths=[b"/a", b"/b"])
    always = partial(Limit, start=0, end=1440)

    def look(number: int, **changes: object) -> list[tuple[str, str]]:
        add_plan(w.world.vault, item._replace(number=number), msgspec.structs.replace(plan, **changes))
        w.world.backup(number + 1)
        return w.look()

    assert look(0) == []
    assert look(1, exclude=["*"]) == [("opened", "protection.lowered")]
    assert w.alerts[0].title == "a plan saves less than before" and w.alerts[0].severity == "warning"
    assert w.look() == []
    told = [
        look(2, exclude=["*", "!keep"]), look(3), look(4, paths=[b"/a"]), look(5), look(6, one_file_system=True),
        look(7, paths=[b"/a", b"/b", b"/c"]), look(8, exclude=[f"{n}" for n in range(5000)]),
        look(9, throttle=[always(up=5)]),
    ]  # fmt: skip
    assert told == [[]] * 8 and w.alerts[0].count == 5, "a plan that saves more is none of them"
    assert look(10, throttle=[always(up=0), Limit(start=60, end=120)]) == []
    assert look(11, throttle=[always(down=0)]) == [("opened", "protection.lowered")]
    assert len(w.alerts) == 2 and "let nothing go" in w.alerts[1].text and w.alerts[1].severity == "critical"


@pytest.mark.parametrize("junk", [b'{"expected":{"aa/zz":1}}', b'{"saved":{"":["+"]}}', b"[" * 100_000], ids=len)
def test_what_was_known_is_malformed(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "alerts" / VAULT / "known.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(junk)
    assert known_of(tmp_path, VAULT) == Known()


def test_jobs_that_leave_no_point_are_no_backups(w: Watching) -> None:
    add_plan(w.world.vault, PlanLevel("item", "home", ITEM), DAILY)
    w.world.backup(1)
    for _day in range(2):
        w.world.later(1)
        w.job()
    assert w.look() == [("opened", "backup.overdue")]
    forged = msgspec.structs.replace(
        w.world.vault.point(next(iter(w.world.points))), id=b"f" * 16, sequence=2, time=w.world.now + 30 * DAY
    )
    w.world.vault.add_point(forged)
    assert ("resolved", "backup.overdue") in w.look(), "it is a point, as of the time when it was stored"
    w.world.later(2)
    assert ("opened", "backup.overdue") in w.look(), "and not as of the time that it claims"


def test_nothing_is_expected_of_a_forgotten_machine(w: Watching) -> None:
    add_plan(w.world.vault, PlanLevel("item", "home", ITEM), DAILY)
    w.world.backup(1)
    w.world.later(3)
    w.job(Outcome.FAILED, error_kind="Locked")
    assert w.look() == [("opened", "backup.overdue"), ("opened", "backup.failed")]
    machine = w.world.vault.machines()[MACHINE]
    w.world.vault.add_machine(msgspec.structs.replace(machine, forgotten=True), 2)
    assert w.look() == [
        ("resolved", "backup.overdue"), ("opened", "protection.lowered"), ("resolved", "backup.failed"),
    ]  # fmt: skip


def test_a_machine_without_a_plan_is_never_late(w: Watching) -> None:
    w.world.backup(1)
    w.world.later(300)
    assert w.look() == []


def test_a_point_deleted_behind_the_back_is_told_once_and_for_ever(w: Watching) -> None:
    names = [w.world.backup(n) for n in range(4)]
    assert w.look() == []
    w.world.store.delete(str(names[1]))
    assert w.look() == [("opened", "point.deleted")]
    assert "recovery point 2 vanished" in w.alerts[0].text
    assert w.look() == []
    w.world.store.delete(str(names[2]))
    assert w.look() == []
    assert [(a.id, a.count, a.security) for a in w.alerts] == [("point.deleted", 2, True)]


def test_the_newest_point_was_seen_here_and_is_missed(w: Watching) -> None:
    names = [w.world.backup(n) for n in range(3)]
    assert w.look() == []
    w.world.store.delete(str(names[2]))
    assert w.look() == [("opened", "point.deleted")]
    for name in names[:2]:
        w.world.store.delete(str(name))
    assert ("opened", "item.deleted") in w.look()


def test_forgetting_by_hand_is_told_and_what_goes_soon_too(w: Watching) -> None:
    names = [w.world.backup(n) for n in range(4)]
    w.world.forget(names[0], days=14)
    assert w.look() == [("opened", "point.deleted")]
    assert "forgotten by hand, the last one by a test: a test" in w.alerts[0].text
    w.world.later(11.5)
    w.look()
    w.world.later(1)
    assert ("opened", "purge.upcoming") in w.look()
    assert "1 forgotten recovery point goes for good from 36 h on" in next(
        a.text for a in w.alerts if a.id == "purge.upcoming"
    )
    w.world.later(2)
    w.look()
    w.world.prune(yes=True)
    assert ("resolved", "purge.upcoming") in w.look()


def test_a_shortened_policy(w: Watching) -> None:
    vault = w.world.vault
    rule = Retention(id=vault.id, number=0, written=START, zone="UTC", daily=RetentionRule(keep=30))
    add_retention(vault, Policies(vault).of_vault(), rule, {})
    assert w.look() == [], "the first policy shortens nothing"
    w.world.later(1)
    longer = msgspec.structs.replace(rule, daily=RetentionRule(keep=60))
    add_retention(vault, Policies(vault).of_vault(), longer, {})
    assert w.look() == []
    w.world.later(1)
    add_retention(vault, Policies(vault).of_vault(), rule, {})
    assert w.look() == [("opened", "policy.shortened")]
    assert w.alerts[0].text == "the policy of the vault keeps less than before: daily"
    shorter = msgspec.structs.replace(rule, id=MACHINE, daily=RetentionRule(keep=8))
    add_retention(vault, Policies(vault).level("machine", "box", MACHINE), shorter, {})
    assert w.look() == [("opened", "policy.shortened")]
    w.world.later(20)
    w.look()
    assert len(w.alerts) == 2, "an act does not end by itself"


def test_a_forged_time(w: Watching) -> None:
    name = w.world.backup(1)
    point = w.world.vault.point(name)
    forged = msgspec.structs.replace(point, id=b"f" * 16, sequence=2, time=point.time + 400 * DAY)
    w.world.vault.add_point(forged)
    assert w.look() == [("opened", "time.untrusted")]
    assert w.alerts[0].severity is Severity.WARNING
    w.world.forget(PointName.of(forged), days=14)
    assert ("resolved", "time.untrusted") in w.look()


def test_a_name_that_does_not_open_proves_nothing(w: Watching) -> None:
    name = w.world.backup(1)
    w.world.store.create(str(name._replace(sequence=90, id=b"j" * 16)), [b"junk"])
    w.world.store.create(str(name._replace(time=name.time + 99 * DAY, sequence=91, id=b"k" * 16)), [b"junk"])
    w.world.store.create(f"jobs/{MACHINE.hex()}/20260921T000000Z-{'ab' * 16}", [b"junk"])
    w.world.store.create(f"plans/{MACHINE.hex()}/00000001", [b"junk"])
    w.world.store.create(f"policies/{MACHINE.hex()}/00000001", [b"junk"])
    assert w.look() == []


def test_a_failed_and_a_killed_backup(w: Watching) -> None:
    w.world.backup(1)
    w.job()
    w.world.later(1)
    w.job(Outcome.FAILED, error_kind="StoreFull", error="the disk is full")
    assert w.look() == [("opened", "backup.failed")]
    w.world.later(1)
    w.job(Outcome.FAILED, error_kind="StoreFull", error="the disk is full")
    assert w.look() == [("reminded", "backup.failed")]
    assert (w.alerts[0].severity, w.alerts[0].count, w.alerts[0].text) == (
        Severity.CRITICAL, 2, "the disk is full",
    )  # fmt: skip
    w.world.later(0.1)
    w.job()
    assert w.look() == [("resolved", "backup.failed")]


def test_a_killed_backup_is_known_by_the_next_start_of_its_machine_or_after_a_day(w: Watching) -> None:
    def start(boot: str) -> None:
        now = w.world.now
        job = Job(
            id=w.world.rng.randbytes(16), machine=MACHINE, item=ITEM, kind="backup", outcome="running",
            machine_name="box", item_name="home", hostname="box", time=now, finished=0, boot=boot,
        )  # fmt: skip
        w.world.vault.write_record(Kind.JOB, job, str(StartName(JobName.of(job))))

    start("one")
    assert w.look() == []
    w.world.later(0.2)
    w.job(kind="prune", item=None, boot="two")
    assert w.look() == [("opened", "backup.killed")]
    w.world.later(0.2)
    w.job(boot="two")
    assert w.look() == [("resolved", "backup.killed")]
    start("two")
    w.world.later(0.9)
    assert w.look() == []
    w.world.later(0.2)
    assert w.look() == [("opened", "backup.killed")]


def test_a_backup_of_another_machine_that_takes_days(w: Watching) -> None:
    now = w.world.now
    job = Job(
        id=b"j" * 16, machine=MACHINE, item=ITEM, kind="backup", outcome="running", machine_name="box",
        item_name="home", hostname="box", time=now, finished=0, boot="one",
    )  # fmt: skip
    w.world.vault.write_record(Kind.JOB, job, str(StartName(JobName.of(job))))
    w.world.later(3)
    w.world.backup(1, partial=True)
    assert w.look() == []
    w.world.later(1.1)
    assert w.look() == [("opened", "backup.killed")], "nothing came for a day"


def test_upkeep_that_a_vault_knows_of(w: Watching) -> None:
    care = Care(every=24)
    own = PlanRecord(id=MACHINE, number=0, written=START, zone="UTC", prune=care, check_2=care, restore_test=care)
    add_plan(w.world.vault, PlanLevel("machine", "box", MACHINE), own)
    w.job(kind="prune", item=None)
    w.job(kind="check", item=None, level=2)
    assert w.look() == []
    w.world.later(3)
    assert w.look() == [("opened", "check.overdue"), ("opened", "prune.overdue")]
    w.job(Outcome.WITH_WARNINGS, kind="check", item=None, level=2, error="level 2 found 3")
    assert w.look() == [("opened", "check.damage"), ("resolved", "check.overdue")]
    w.world.later(0.1)
    w.job(kind="check", item=None, level=1)
    assert w.look() == []
    w.job(kind="check", item=None, level=2)
    assert w.look() == [("resolved", "check.damage")]


def test_the_rules_of_the_vault_are_compared_with_the_last_look(w: Watching) -> None:
    w.world.backup(1)
    vault = w.world.vault
    file = vault.file.changed(number=5, soft_delete_days=30, immutable=Immutable(days=30, locked=False))
    assert w.look(Vault(vault.store, vault.keys, file)) == []
    less = file.changed(number=6, soft_delete_days=14, immutable=None)
    assert w.look(Vault(vault.store, vault.keys, less)) == [("opened", "protection.lowered")] * 2
    assert {a.cause for a in w.alerts} == {"soft_delete", "immutable"}
    assert w.look(Vault(vault.store, vault.keys, less)) == []
    assert w.look(Vault(vault.store, vault.keys, file)) == [("opened", "protection.lowered")]
    assert [a.text for a in w.alerts if a.cause == "rollback"] == [
        "vault.json is number 5, and number 6 was seen: an older one was put back"
    ]


def test_a_clock_that_differs(w: Watching) -> None:
    w.world.backup(1)
    look = Looker(w.folder / "other", w.world.vault.id).look(w.world.opened(), w.world.now + 2 * HOUR)
    kinds = [fact.id for fact in vault_facts(look, Known()).facts]
    assert kinds == ["clock.skew"]


def test_locks_that_were_not_extended(w: Watching) -> None:
    names = [w.world.backup(n) for n in range(2)]
    vault = w.world.vault
    file = vault.file.changed(number=5, immutable=Immutable(days=30, locked=True))
    for name in names:
        w.world.memory.locked[str(name)] = (w.world.now + 9 * DAY, True)
    assert w.look(Vault(vault.store, vault.keys, file)) == []
    w.world.later(3)
    assert w.look(Vault(vault.store, vault.keys, file)) == [("opened", "lock.expiring")]
    for name in names:
        w.world.memory.locked[str(name)] = (w.world.now + 30 * DAY, True)
    assert w.look(Vault(vault.store, vault.keys, file)) == [("resolved", "lock.expiring")]


def test_the_room_and_the_token(w: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(Settings({"RPDRIVE_HOME": str(w.folder)}), vault=str(w.folder))
    assert room_of(session) is not None
    for used, kinds in ((0.95, ["store.nearly_full"]), (0.85, [])):
        monkeypatch.setattr(
            "catalog.alerts.watching.room_of", lambda _s, free=1 - used: Room(1000, int(1000 * free))
        )
        assert [fact.id for fact in own_facts(session, "v", START)] == kinds
    token = Session(Settings({"RPDRIVE_HOME": str(w.folder)}), vault="azure://account/container")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sp=rcl&se=2026-10-01T00:00:00Z&sig=x")
    assert [fact.id for fact in own_facts(token, "v", START)] == ["token.expiring"]
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sp=rcl&sig=x")
    assert own_facts(token, "v", START) == []


def test_a_vault_that_cannot_be_read_resolves_nothing(w: Watching) -> None:
    names = [w.world.backup(n) for n in range(3)]
    w.world.store.delete(str(names[1]))
    w.look()
    away = StoreUnreachable("no answer")
    assert [a.id for a in w.watcher.away(away, w.world.now).alerts] == ["point.deleted", "vault.unreachable"]
    w.world.later(2)
    late = w.watcher.away(away, w.world.now).alerts
    assert [a.severity for a in late if a.id == "vault.unreachable"] == [Severity.CRITICAL]
    w.told.take()
    assert w.look() == [("resolved", "vault.unreachable")]


def test_a_clock_set_back_is_no_storm(w: Watching) -> None:
    add_plan(w.world.vault, PlanLevel("item", "home", ITEM), DAILY)
    for _day in range(5):
        w.world.backup(1)
        w.job()
        assert w.look() == []
        w.world.later(1)
    watcher = Watcher(w.folder, w.world.vault.id, w.told)
    for back in (1, 30, 10_000):
        watcher.look(w.world.opened(), w.world.now - back * DAY)
        assert {alert for _what, alert in w.told.take()} <= {"clock.skew"}


def test_a_machine_that_looks_after_itself_leaves_the_others_alone(w: Watching, tmp_path: Path) -> None:
    other = World(machine=b"o" * 16, vault=w.world)
    add_plan(w.world.vault, PlanLevel("item", "home", ITEM), DAILY)
    names, foreign = [w.world.backup(n) for n in range(3)], [other.backup(n) for n in range(3)]
    w.world.store.delete(str(foreign[1]))
    assert w.look() == [("opened", "point.deleted")]
    own = Watcher(w.folder, w.world.vault.id, w.told, MACHINE)
    before = w.world.meter.snapshot().requests
    own.look(w.world.opened(), w.world.now)
    assert w.told.take() == []
    # The machine and its item, 6 listings, the newest point, 3 for the place; of plans those of 3 levels.
    assert w.world.meter.snapshot().requests - before <= 18
    w.world.store.delete(str(names[0]))
    own.look(w.world.opened(), w.world.now)
    assert w.told.take() == [("opened", "point.deleted")]
    w.look()
    assert sorted(a.machine_name for a in w.alerts) == ["box", "box"]
    assert {a.machine for a in w.alerts} == {MACHINE.hex(), (b"o" * 16).hex()}
    w.world.later(3)
    other.now = w.world.now
    own.look(w.world.opened(), w.world.now)
    assert sorted(w.told.take()) == [
        ("opened", "backup.overdue"), ("reminded", "point.deleted"), ("reminded", "point.deleted"),
    ]  # fmt: skip


# --- requests -------------------------------------------------------------------------------------------------


def test_requests(tmp_path: Path) -> None:
    """500 points of 50 machines: what was read once is not read again."""
    remote, machines = Remote(), 50
    fill(remote.vault, machines, 10)
    now = START + 11 * DAY
    records: dict[str, bytes] = {}
    looker = Looker(tmp_path, remote.vault.id)

    def look() -> tuple[Look, int]:
        vault = Vault(remote.meter, remote.vault.keys, remote.vault.file, records)
        before = remote.requests
        return looker.look(vault, now), remote.requests - before

    # Listings: machines, items, points, ledger, jobs, plans, policies, seeds; and 3 requests for the store's place.
    steady = 8 + 3
    first, cost = look()
    assert len(first.runs) == 500 and len(first.newest) == machines
    # Once each: machines, items, jobs, and here all points, as the store's clock confirms no time of them.
    assert cost == steady + 2 * machines + 500 + 500
    again, cost = look()
    assert (again.runs, again.newest) == (first.runs, first.newest)
    assert cost == steady
    other, cost = (
        Looker(tmp_path, remote.vault.id).look(
            Vault(remote.meter, remote.vault.keys, remote.vault.file, records), now
        ),
        0,
    )
    assert {ran.id for ran in other.runs} == {ran.id for ran in first.runs}
