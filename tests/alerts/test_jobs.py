"""What runs say: which facts follow, whatever their order, and what is never an alert."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.alerts.jobs import ENDS, Names, job_facts
from catalog.alerts.rules import RULES
from catalog.alerts.state import Alert, Fact, Facts, step
from catalog.format.records import Outcome
from catalog.notify.event import Severity
from catalog.schedule.history import Ran

HOUR = 3600 * 10**9
DAY = 24 * HOUR
T = 1_800_000_000 * 10**9
VAULT, MACHINE, ITEM = "aa" * 16, "bb" * 16, "cc" * 16
NAMES = Names({MACHINE: "SRV01"}, {(MACHINE, ITEM): "files"})
OK, WARN, FAILED = Outcome.COMPLETED, Outcome.WITH_WARNINGS, Outcome.FAILED


def ran(n: int, outcome: str = OK, kind: str = "backup", **fields: object) -> Ran:
    """Run number n, an hour after the one before."""
    begun = T + n * HOUR
    row = {
        "id": f"{n:032x}", "vault": VAULT, "machine": MACHINE, "kind": kind, "item": ITEM, "started": begun,
        "finished": begun + 1, "outcome": outcome, "new_bytes": 1 << 20, "files": 1000,
    } | fields  # fmt: skip
    return Ran(**row)  # type: ignore[arg-type]


def facts(*runs: Ran, now: int = T + 50 * HOUR, **more: object) -> list[Fact]:
    found = job_facts(runs, "s", NAMES, now, **more)  # type: ignore[arg-type]
    shuffled = list(runs)
    random.Random(7).shuffle(shuffled)
    assert job_facts(shuffled, "s", NAMES, now, **more) == found  # type: ignore[arg-type]
    assert all(fact.id in RULES and fact.scope == f"s/{MACHINE}" for fact in found)
    return found


def kinds(*runs: Ran, now: int = T + 50 * HOUR, **more: object) -> list[str]:
    return [fact.id for fact in facts(*runs, now=now, **more)]


def test_a_failure_is_a_warning_and_the_second_for_the_same_reason_critical() -> None:
    first = facts(ran(1), ran(2, FAILED, cause="StoreFull", error="the disk is full"))
    assert [(f.id, f.severity, f.cause, f.text) for f in first] == [
        ("backup.failed", None, "StoreFull", "the disk is full")
    ]
    assert (first[0].machine_name, first[0].item_name) == ("SRV01", "files")
    two = facts(ran(1), ran(2, FAILED, cause="StoreFull"), ran(3, FAILED, cause="StoreFull"))
    assert [(f.severity, len(f.marks)) for f in two] == [(Severity.CRITICAL, 2)]
    others = facts(
        ran(2, FAILED, cause="StoreFull"), ran(3, FAILED, cause="Locked"), ran(4, FAILED, cause="StoreFull")
    )
    assert [(f.severity, f.cause) for f in others] == [(None, "Locked"), (None, "StoreFull")]
    assert kinds(ran(2, FAILED, cause="StoreFull"), ran(3)) == []


@pytest.mark.parametrize("outcome", [Outcome.INTERRUPTED, Outcome.SKIPPED, Outcome.MISSED, "a later word"])
def test_what_is_never_an_alert(outcome: str) -> None:
    assert kinds(ran(1), ran(2, outcome, reason="on battery")) == []
    between = facts(ran(1, FAILED, cause="x"), ran(2, outcome), ran(3, FAILED, cause="x"))
    assert [f.severity for f in between] == [Severity.CRITICAL], "it does not come between two failures"


def test_the_words_are_those_of_records() -> None:
    assert ENDS == (Outcome.COMPLETED, Outcome.WITH_WARNINGS, Outcome.FAILED, Outcome.INTERRUPTED)


def test_killed() -> None:
    begun = ran(2, "running", finished=0, boot="one")
    assert kinds(ran(1), begun, now=T + 3 * HOUR) == []
    assert kinds(ran(1), begun, now=T + 3 * HOUR, boots={MACHINE: "one"}) == []
    assert kinds(ran(1), begun, now=T + 3 * HOUR, boots={MACHINE: "two"}) == ["backup.killed"]
    assert kinds(ran(1), begun, now=T + 27 * HOUR) == ["backup.killed"]
    alive = {(MACHINE, ITEM)}
    assert kinds(ran(1), begun, now=T + 27 * HOUR, alive=alive) == [], "a first backup may take days"
    assert kinds(ran(1), begun, now=T + 27 * HOUR, alive=alive, boots={MACHINE: "two"}) == ["backup.killed"]
    assert kinds(ran(1), ran(2, Outcome.KILLED), now=T + 3 * HOUR) == ["backup.killed"]
    # One backup of a machine runs at a time: where it has begun another one, also of another item, this one ended.
    again = ran(3, "running", finished=0, boot="one")
    elsewhere = msgspec.structs.replace(again, item="cd" * 16)
    for later in (again, elsewhere, msgspec.structs.replace(elsewhere, outcome="completed")):
        assert kinds(ran(1), begun, later, now=T + 4 * HOUR, boots={MACHINE: "one"}) == ["backup.killed"]
    ahead = [msgspec.structs.replace(again, ahead=True), msgspec.structs.replace(again, started=T + 9 * HOUR)]
    others = [msgspec.structs.replace(again, machine="dd" * 16), msgspec.structs.replace(again, vault="dd" * 16)]
    for other in (*ahead, *others, msgspec.structs.replace(again, kind="check")):
        assert kinds(ran(1), begun, other, now=T + 4 * HOUR) == []
    for end in (OK, WARN, FAILED, Outcome.INTERRUPTED):
        assert "backup.killed" not in kinds(begun, ran(3, end))


def test_missing_files_are_one_alert_that_names_the_new_ones() -> None:
    one = ran(1, WARN, problem_count=1, problems=[b"a"])
    two = ran(2, WARN, problem_count=2, problems=[b"a", b"b\xff"])
    assert [(f.id, f.text, f.marks) for f in facts(one)] == [
        ("backup.incomplete", "1 file was not saved, or not whole: /a", (one.id,))
    ]
    assert [(f.text, f.marks, f.details["files"]) for f in facts(one, two)] == [
        ("2 files were not saved, or not whole; new: /b� …", (one.id, two.id), 2)
    ]
    assert kinds(one, two, ran(3)) == []


def test_missed_times_are_news() -> None:
    assert [(f.id, f.text) for f in facts(ran(1, missed=3))] == [
        ("backup.missed", "one backup made up for 3 missed times")
    ]
    assert kinds(ran(1, missed=3), now=T + 60 * DAY) == []


def test_unusual_backups() -> None:
    usual = [ran(n) for n in range(6)]
    assert kinds(*usual) == []
    large = ran(7, new_bytes=100 << 20)
    assert [(f.id, f.marks) for f in facts(*usual, large)] == [("backup.unusual", (large.id,))]
    assert "100 MiB new: 100 times the usual" in facts(*usual, large)[0].text
    assert kinds(*usual, ran(7, new_bytes=5 << 20)) == [], "five times as much is usual, and so is what is small"
    assert kinds(*usual, ran(7, changed=501)) == ["backup.unusual"]
    assert kinds(*usual, ran(7, changed=500)) == []
    assert kinds(ran(1), ran(2, new_bytes=1 << 40, changed=999)) == [], "too little to compare with"
    assert kinds(*usual, ran(7), dense=[ran(7).id]) == ["backup.unusual"]


def test_checks_by_level() -> None:
    bad = ran(1, WARN, "check", level=2, item="", error="level 2 found 3")
    assert [(f.id, f.cause) for f in facts(bad)] == [("check.damage", "level 2")]
    assert kinds(bad, ran(2, OK, "check", level=1, item="")) == ["check.damage"], "another level says nothing of it"
    assert kinds(bad, ran(2, OK, "check", level=2, item="")) == []
    by_code = ran(1, FAILED, "check", level=3, cause="MissingData")
    assert kinds(by_code) == ["check.damage"]
    away = ran(2, FAILED, "check", level=2, item="", cause="StoreUnreachable")
    assert kinds(bad, away) == ["check.damage", "check.failed"]
    assert kinds(away, ran(3, OK, "check", level=2, item="")) == []


@pytest.mark.parametrize(
    ("kind", "alert"),
    [
        ("prune", "prune.failed"),
        ("restore", "restore.failed"),
        ("restore-test", "restore_test.failed"),
        ("restore test", "restore_test.failed"),
    ],
)
def test_other_kinds(kind: str, alert: str) -> None:
    assert kinds(ran(1, FAILED, kind)) == [alert]
    assert kinds(ran(1, FAILED, kind), ran(2, WARN, kind)) == []
    assert kinds(ran(1, Outcome.INTERRUPTED, kind)) == []
    assert bool(kinds(ran(1, FAILED, kind, cause="NotFound"))) is (kind == "prune"), "a name that does not exist"


def test_each_alert_ends_with_its_cause() -> None:
    """A history, run by run: what opens is resolved once the item and the upkeep are well again."""
    story = [
        ran(1), ran(2, FAILED, cause="Locked"), ran(3, FAILED, cause="Locked"), ran(4, WARN, problem_count=1),
        ran(5, "running", finished=0), ran(6, Outcome.KILLED), ran(7),
        ran(8, WARN, "check", level=1), ran(9, FAILED, "prune"), ran(10, FAILED, "restore-test"),
        ran(11, OK, "check", level=1), ran(12, OK, "prune"), ran(13, OK, "restore test"),
    ]  # fmt: skip
    alerts: tuple[Alert, ...] = ()
    opened: list[str] = []
    for n in range(len(story)):
        now = story[n].started + 1
        found = Facts(tuple(job_facts(story[: n + 1], "s", NAMES, now)), frozenset(["s"]))
        result = step(alerts, found, now)
        opened += [change.alert.id for change in result.changes if change.what == "opened"]
        alerts = result.alerts
    assert opened == [
        "backup.failed", "backup.incomplete", "backup.killed", "check.damage", "prune.failed",
        "restore_test.failed",
    ]  # fmt: skip
    assert not [alert.id for alert in alerts if alert.is_open]


RUNS = st.lists(
    st.tuples(
        st.sampled_from(["backup", "check", "prune", "restore", "restore-test"]),
        st.sampled_from([*Outcome, "running", "a later word"]),
        st.sampled_from(["", "StoreFull", "Damaged"]),
        st.integers(0, 3),
        st.integers(-30, 30),
    ),
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(RUNS)
def test_whatever_happened_ends_once_all_is_well(rows: list[tuple[str, str, str, int, int]]) -> None:
    """Any history, also by a clock that jumps; then one success of each kind: only alerts about acts are left."""
    story = [
        ran(n, outcome, kind, cause=cause, level=number if kind == "check" else 0, problem_count=number,
            missed=number, started=T + (n + jump) * HOUR, new_bytes=number << 26)
        for n, (kind, outcome, cause, number, jump) in enumerate(rows)
    ]  # fmt: skip
    alerts: tuple[Alert, ...] = ()

    def look(runs: list[Ran], now: int) -> None:
        nonlocal alerts
        found = Facts(tuple(job_facts(runs, "s", NAMES, now)), frozenset(["s"]))
        result = step(alerts, found, now)
        assert step(result.alerts, found, now) == (result.alerts, ())
        alerts = result.alerts

    for n in range(len(story)):
        look(story[: n + 1], story[n].started + 1)
    well = [ran(60 + n, kind=kind) for n, kind in enumerate(["backup", "prune", "restore", "restore-test"])]
    well += [ran(70 + level, kind="check", level=level) for level in range(4)]
    look([*story, *well], T + 80 * HOUR)
    assert {a.id for a in alerts if a.is_open} <= {"backup.unusual"}
