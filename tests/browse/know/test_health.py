"""The home screen: states, words, what is overdue by a plan or by a guess; requests; a vault that is away."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from catalog.alerts.keeping import Kept
from catalog.alerts.state import Alert, Step
from catalog.format.plan import Pause
from catalog.notify.event import Severity
from catalog.schedule.history import History, Ran
from catalog.store.base import ObjectInfo
from mount.browse.resources import looks as looks_module
from mount.browse.resources.alerts import alerts
from mount.browse.resources.calendar import calendar
from mount.browse.resources.health import HealthPage, health
from tests.browse.know.worlds import DAY, HOUR, PATIENCE, World


class Seen:
    """A world in which each kind of item is, and what the page says of it two days later."""

    def __init__(self, folder: Path) -> None:
        self.world = w = World(folder)
        planned, late, bare, once = (w.add(name) for name in ("planned", "late", "bare", "once"))
        self.bare = bare
        w.add("empty")
        for key in (planned, late):
            w.plan(key[1], 21 * 60)
        paused = w.add("paused")
        w.plan(paused[1], 21 * 60, paused=Pause(since=w.now, until=w.now + 20 * DAY))
        w.point(once)
        for _day in range(12):
            for key in (planned, late, bare, paused):
                w.point(key)
            w.now += DAY
        for _day in range(3):
            w.point(planned)
            w.now += DAY
        w.job(planned, outcome="failed", error="no room", error_kind="StoreFull")
        w.point(planned)
        w.now += 3 * HOUR
        self.opened = w.opened()
        self.page = health(self.opened, wait=PATIENCE)
        self.rows = {row.machine_name: row for row in self.page.items}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    found = Seen(tmp_path_factory.mktemp("health"))
    yield found
    found.opened.close()


def test_the_calendar_agrees_with_the_strip(seen: Seen) -> None:
    """Of the days that a look knows, though the backups were those of other machines."""
    compared = set[str]()
    for row in seen.page.items:
        first = date.fromisoformat(row.strip.first)
        years = {first.year, (first + timedelta(len(row.strip.states))).year}
        days = {day.date: day for year in years for day in calendar(seen.opened, year, row.machine, row.item).days}
        for n, letter in enumerate(row.strip.states):
            day = days.get((first + timedelta(n)).isoformat())
            assert (0 if day is None else day.points) == row.strip.points[n]
            if day is not None and letter in "gpf":
                wanted = {"good"} if letter == "g" else {"problems", "failed"}
                assert day.outcome in wanted, (row.machine_name, day, letter)
                compared.add(letter)
    assert compared == {"g", "p"}


def test_the_states_of_items(seen: Seen) -> None:
    states = {name: row.state for name, row in seen.rows.items()}
    assert states == {
        "planned": "fine", "late": "critical", "bare": "warning", "once": "fine", "empty": "unknown",
        "paused": "paused",
    }  # fmt: skip
    assert seen.page.counts == {"critical": 1, "warning": 1, "unknown": 1, "paused": 1, "fine": 2}
    assert (seen.page.state, seen.page.total, seen.page.shown) == ("critical", 6, 6)
    order = [row.machine_name for row in seen.page.items]
    assert order == ["late", "bare", "empty", "paused", "once", "planned"], "what needs a person comes first"


def test_overdue_by_the_plan_or_by_a_guess_that_says_so(seen: Seen) -> None:
    late, bare, planned = seen.rows["late"], seen.rows["bare"], seen.rows["planned"]
    assert late.overdue and not late.guessed and "backup is overdue" in late.words
    assert bare.overdue and bare.guessed and "a guess, as no plan says" in bare.words
    assert bare.age_seconds == (4 * DAY + 3 * HOUR) // 10**9
    assert not planned.overdue and not planned.guessed and planned.words == "in time by its plan"
    assert planned.next is not None and planned.next > (planned.last or "")
    assert (bare.next, bare.schedule) == (None, "no plan")
    assert not seen.rows["once"].overdue and "too few points" in seen.rows["once"].words
    assert "no recovery point yet" in seen.rows["empty"].words
    assert seen.rows["paused"].schedule.startswith("paused until")


def test_a_guess_waits_for_twice_the_usual_gap(seen: Seen) -> None:
    item = next(i for i in (looks_module.looks_of(seen.opened).state().found or pytest.fail()).items if i.guessed)
    assert item.gap == DAY and item.due == item.health.last + 2 * DAY
    assert not item.is_overdue(item.due) and item.is_overdue(item.due + 1)


def test_where_nothing_is_saved_all_is_not_fine(tmp_path: Path) -> None:
    world = World(tmp_path)
    for _items in range(2):  # none at all, and one without a point
        opened = world.opened()
        assert health(opened, wait=PATIENCE).state == "unknown"
        opened.close()
        key = world.add("box")
    world.point(key)
    opened = world.opened()
    assert health(opened, wait=PATIENCE).state == "fine"
    opened.close()


def test_points_made_by_hand_one_after_the_other_are_no_plan(tmp_path: Path) -> None:
    world = World(tmp_path)
    key = world.add("box")
    for _n in range(5):
        world.point(key)
        world.now += HOUR // 12
    world.now += 5 * DAY
    opened = world.opened()
    (row,) = health(opened, wait=PATIENCE).items
    assert (row.state, row.overdue, row.guessed, row.expected) == ("fine", False, False, None)
    assert "nothing says when it is due" in row.words
    opened.close()


def test_the_last_thirty_days(seen: Seen) -> None:
    found = seen.rows["planned"].strip
    assert len(found.states) == len(found.points) == 30 and sum(found.points) == 16
    assert set(found.states) == {"g", "p", "."}
    assert list(found.words.values()) == ["1 recovery point, 1 failed"]
    assert found.states[next(iter(found.words))] == "p"
    assert seen.rows["late"].strip.states.count("m") in (3, 4)


def test_alerts_have_the_command_that_mends_them(seen: Seen) -> None:
    page = alerts(seen.opened)
    (late,) = (row for row in page.alerts if row.kind == "backup.overdue")
    assert (late.command, late.where) == ("rpdrive plan now --item home", "late")
    assert (
        late.about == "home, late"
        and late.severity == "critical"
        and late.acknowledge.startswith("rpdrive alerts ack")
    )
    assert seen.page.alerts[0].id == late.id and page.total == seen.page.alerts_total


def test_pages_filters_and_bounds(seen: Seen) -> None:
    def names(**how: object) -> list[str]:
        return [row.machine_name for row in health(seen.opened, **how).items]  # type: ignore[arg-type]

    assert names(start=1, count=2) == ["bare", "empty"]
    assert names(text="LATE") == ["late"] and names(text="nothing of the kind") == []
    assert names(only="attention") == ["late", "bare", "empty"] and names(only="paused") == ["paused"]
    assert health(seen.opened, count=0).items == [] and health(seen.opened, start=10**6).shown == 6


def test_what_runs_is_known_without_a_request(seen: Seen) -> None:
    vault = seen.opened.vault.id.hex()
    history = History(seen.opened.session.settings.state)
    assert seen.page.running == []
    ran = history.started(Ran(id="ab" * 16, vault=vault, kind="restore", item_name="home", started=seen.world.now))
    dead = Ran(id="cd" * 16, vault=vault, kind="restore", started=seen.world.now, boot="of another start")
    history.add(dead)
    before = seen.world.remote.requests
    (row,) = health(seen.opened).running
    assert (row.kind, row.item_name, row.here, row.link) == ("restore", "home", True, f"/jobs/{ran.id}")
    assert seen.world.remote.requests == before
    history.add(msgspec.structs.replace(ran, outcome="completed"))
    assert health(seen.opened).running == []


# --- requests, and a vault that is away -----------------------------------------------------------------------


def test_requests(tmp_path: Path) -> None:
    world, machines = World(tmp_path), 20
    for n in range(machines):
        key = world.add(f"m{n}")
        world.point(key)
    opened = world.opened()

    def cost() -> int:
        before = world.remote.requests
        health(opened, wait=PATIENCE)
        return world.remote.requests - before

    # Listings: machines, items, points, ledger, jobs, plans, policies, seeds; and 3 requests for the store's place.
    steady = 8 + 3
    assert cost() == steady + 4 * machines, "once: machines, items, points, jobs"
    assert cost() == 0, "the last look serves"
    before = world.remote.requests
    look_again(looks_module.looks_of(opened))
    assert world.remote.requests - before == steady, "what was read before is not read again"
    opened.close()


def test_nobody_waits_for_the_vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store does not answer, the page has what this machine knows: its own alerts."""
    world = World(tmp_path)
    world.point(world.add("box"))
    opened = world.opened()
    known = Alert(
        id="target.failing", severity=Severity.WARNING, title="a target fails", opened=world.now, scopes=("here",)
    )
    Kept(opened.session.settings.state).change("", lambda _before: Step((known,), ()))
    answer, listing = threading.Event(), world.remote.memory.list

    def late(prefix: str) -> Iterable[ObjectInfo]:
        assert answer.wait(PATIENCE)
        return listing(prefix)

    monkeypatch.setattr(world.remote.memory, "list", late)
    for _again in range(2):
        page = health(opened)
        assert (page.items, page.state, page.checked, page.error) == ([], "unknown", None, None)
        assert page.looking is not None
        (alert,) = page.alerts
        assert (alert.title, alert.command) == ("a target fails", "rpdrive notify test")
        assert alerts(opened).checked is None
    answer.set()
    page = health(opened, wait=PATIENCE)
    assert rows(page) == ["box"] and [alert.kind for alert in page.alerts] == ["target.failing"]
    opened.close()


def test_a_vault_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    key = world.add("box")
    world.point(key)
    opened = world.opened()
    looks = looks_module.looks_of(opened)
    first = health(opened, wait=PATIENCE)
    assert first.error is None and first.items[0].points == 1
    world.remote.away.reachable = False
    look_again(looks)
    away = health(opened)
    assert away.error is not None and away.error.kind == "StoreUnreachable" and away.error.advice
    assert (away.checked, rows(away)) == (first.checked, ["box"]), "what was known last, and when"
    world.remote.away.reachable = True
    world.now += HOUR
    world.point(key)
    look_again(looks)
    back = health(opened)
    assert back.error is None and back.items[0].points == 2 and back.checked != first.checked
    opened.close()


def test_a_vault_that_is_away_from_the_beginning(tmp_path: Path) -> None:
    world = World(tmp_path)
    opened = world.opened()
    world.remote.away.reachable = False
    page = health(opened, wait=PATIENCE)
    assert (page.checked, page.state, page.items) == (None, "unknown", [])
    assert page.error is not None and page.error.kind == "StoreUnreachable"
    opened.close()


def test_records_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.point(world.add("box"))
    world.remote.memory.objects[f"machines/{'ef' * 16}/00000001"] = b"junk"
    opened = world.opened()
    page = health(opened, wait=PATIENCE)
    assert rows(page) == ["box"] and len(page.reasons) == 1 and "ef" * 16 in page.reasons[0]
    opened.close()


def rows(page: HealthPage) -> list[str]:
    return [row.machine_name for row in page.items]


def look_again(looks: looks_module.Looks) -> None:
    """Look now, and wait for its end."""
    with looks._lock:
        looks._due = 0.0
    looks.state()
    with looks._lock:
        assert looks._lock.wait_for(lambda: looks._since is None, PATIENCE)
