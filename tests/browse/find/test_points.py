"""Machines, points and the calendar: what names in a listing say, in this machine's time zone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catalog.access.settings import Settings
from catalog.errors import NotFound, UsageError
from catalog.format.records import Machine, PointName
from catalog.schedule.history import History, Ran
from mount.browse.resources.calendar import Year, calendar
from mount.browse.resources.opened import Opened
from mount.browse.resources.points import PointList, machines, point, points
from tests.browse.find.vaults import Made, opened
from tests.kit.browsing import opened_as
from tests.kit.drives import ITEM, MACHINE, add_item, add_machine, add_point
from tests.kit.pruning import World
from tests.kit.vaults import Remote, home_of

OTHER, SECOND = bytes(range(40, 56)), bytes(range(60, 76))
HERE = MACHINE.hex()


@pytest.fixture
def zone() -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this process."""
    before = os.environ.get("TZ")

    def put(name: str) -> None:
        os.environ["TZ"] = name
        time.tzset()

    yield put
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * 10**9


def vault_with(*times: str) -> Remote:
    remote = Remote()
    add_machine(remote.vault)
    add_item(remote.vault)
    for n, text in enumerate(times, 1):
        add_point(remote.vault, None, n, ns(text))
    return remote


def days(year: Year) -> dict[str, tuple[int, str]]:
    return {day.date: (day.points, day.outcome) for day in year.days}


def test_days_are_those_of_this_machine(zone: Callable[[str], None], tmp_path: Path) -> None:
    zone("Europe/Berlin")
    remote = vault_with(
        "2026-03-28T23:30:00+00:00",  # half past midnight, on a day of 23 hours
        "2026-03-29T21:59:59+00:00",  # its last second
        "2026-03-29T22:00:00+00:00",
        "2026-10-24T22:00:00+00:00",  # the first second of a day of 25 hours
        "2026-10-25T22:59:59+00:00",  # its last one
        "2026-12-31T23:30:00+00:00",  # next year already
    )
    with opened(Made(remote, []), tmp_path) as page:
        found = calendar(page, 2026, HERE, ITEM.hex())
        assert days(found) == {
            "2026-03-29": (2, "none"), "2026-03-30": (1, "none"), "2026-10-25": (2, "none"),
        }  # fmt: skip
        assert (found.first, found.last) == ("2026-03-29T00:30:00+01:00", "2027-01-01T00:30:00+01:00")
        assert days(calendar(page, 2027)) == {"2027-01-01": (1, "none")}
        for day, (count, _outcome) in days(found).items():
            assert len(points(page, HERE, ITEM.hex(), day, day).points) == count
        some = points(page, since="2026-10-25T00:00:00+02:00", until="2026-10-25T23:59:58+01:00")
        assert [row.time for row in some.points] == ["2026-10-25T00:00:00+02:00"]
    zone("Pacific/Auckland")
    with opened(Made(remote, []), tmp_path) as page:
        assert days(calendar(page, 2026, HERE))["2026-03-30"] == (2, "none")


def test_absurd_times_are_shown_as_well_as_can_be(zone: Callable[[str], None], tmp_path: Path) -> None:
    zone("Europe/Berlin")
    remote = vault_with("2026-05-01T12:00:00+00:00", "2554-07-21T12:00:00+00:00")  # as late as a record can say
    for sequence, text in ((3, "1923-05-01T12:00:00+00:00"), (4, "9999-12-31T23:59:59+00:00")):
        forged = PointName(MACHINE, ITEM, ns(text), sequence, sequence.to_bytes(16), partial=False)
        remote.vault.store.create(str(forged), [b"no record, but a name"])
    with opened(Made(remote, []), tmp_path) as page:
        assert days(calendar(page, 9999)) == {"9999-12-31": (1, "none")}
        assert days(calendar(page, 1923)) == {"1923-05-01": (1, "none")}
        assert [row.sequence for row in points(page).points] == [4, 2, 1, 3]
        assert [row.sequence for row in points(page, since="9999-12-31", until="9999-12-31").points] == [4]
        assert points(page, since="0001-01-01", until="0001-01-01").points == []
        assert len(points(page, HERE, ITEM.hex()).points) == machines(page).machines[0].items[0].points == 4


def test_outcomes_are_what_this_machine_remembers(zone: Callable[[str], None], tmp_path: Path) -> None:
    zone("UTC")
    remote = vault_with("2026-05-01T12:00:00+00:00", "2026-05-02T12:00:00+00:00", "2026-05-05T12:00:00+00:00")
    vault, state = remote.vault.id.hex(), Settings(home_of(tmp_path, "file:///vault")).where("state")
    rows = [
        ("backup", "2026-05-01", "completed", HERE, ITEM, vault),
        ("backup", "2026-05-02", "completed with warnings", HERE, ITEM, vault),
        ("backup", "2026-05-02", "completed", HERE, ITEM, vault),
        ("backup", "2026-05-03", "killed", HERE, ITEM, vault),
        ("backup", "2026-05-03", "completed", HERE, ITEM, vault),
        ("backup", "2026-05-04", "skipped", HERE, ITEM, vault),
        ("prune", "2026-05-05", "failed", HERE, ITEM, vault),
        ("backup", "2026-05-05", "failed", HERE, ITEM, "0" * 32),
        ("backup", "2026-05-06", "failed", HERE, SECOND, vault),
        ("backup", "2026-05-07", "failed", OTHER.hex(), SECOND, vault),
        ("backup", "2026-05-08", "a later word", HERE, ITEM, vault),
        ("backup", "2025-05-01", "failed", HERE, ITEM, vault),
    ]
    History(state).note(
        Ran(id=f"{n:032x}", vault=of, machine=machine, kind=kind, item=item.hex(), outcome=outcome,
            started=ns(day + "T01:00:00+00:00"))
        for n, (kind, day, outcome, machine, item, of) in enumerate(rows)
    )  # fmt: skip
    one = {
        "2026-05-01": (1, "good"), "2026-05-02": (1, "problems"), "2026-05-03": (0, "failed"),
        "2026-05-05": (1, "none"),
    }  # fmt: skip
    with opened(Made(remote, []), tmp_path) as page:
        assert days(calendar(page, 2026, HERE, ITEM.hex())) == one
        assert days(calendar(page, 2026, HERE)) == one | {"2026-05-06": (0, "failed")}
        assert days(calendar(page, 2026)) == one | {"2026-05-06": (0, "failed"), "2026-05-07": (0, "failed")}


def test_a_list_of_points_goes_on_where_it_ended(tmp_path: Path) -> None:
    remote = Remote()
    add_machine(remote.vault)
    at = ns("2026-05-01T12:00:00+00:00")
    made = [add_point(remote.vault, None, n, at + n // 3 * 10**9).id.hex() for n in range(1, 26)]
    add_machine(remote.vault, OTHER, "other")
    made.append(add_point(remote.vault, None, 1, at + 10**11, machine=OTHER, item=SECOND).id.hex())
    with opened(Made(remote, []), tmp_path) as page:
        found, cursor = list[str](), ""
        for _ in range(10):
            some: PointList = points(page, cursor=cursor, count=4)
            found += [row.id for row in some.points]
            if some.next is None:
                break
            cursor = some.next
        assert found == made[::-1]
        assert points(page, OTHER.hex(), SECOND.hex()).points[0].machine == OTHER.hex()
        assert points(page, HERE, bytes(16).hex()).points == []
        for bad in ({"cursor": "1.2"}, {"since": "yesterday"}, {"until": "2026-13-01"}, {"item": ITEM.hex()}):
            with pytest.raises(UsageError):
                points(page, **bad)  # type: ignore[arg-type]
        with pytest.raises(NotFound):
            points(page, "zz")


def test_machines_and_items(tmp_path: Path) -> None:
    remote = vault_with("2026-05-01T12:00:00+00:00", "2026-05-02T12:00:00+00:00")
    add_item(remote.vault, SECOND, "no points yet")
    gone = Machine(id=OTHER, name="old box", hostname="old", system="Windows", created=2, forgotten=True)
    remote.vault.add_machine(gone)
    add_point(remote.vault, None, 1, ns("2026-05-03T12:00:00+00:00"), machine=OTHER, item_name="no record")
    stray = bytes(range(80, 96))  # a machine without a record
    add_point(remote.vault, None, 1, ns("2026-05-03T12:00:00+00:00"), machine=stray)
    with opened(Made(remote, []), tmp_path) as page:
        before = remote.meter.snapshot()
        found = machines(page)
        spent = remote.spent(before)
        # Of machines, items (records, then names), what has points; and, for two machines without records of items,
        # of their points, for which the names of all machines are chosen.
        assert spent.list.requests == 4 + 2 * 2 + 2
        assert machines(page) is found
        assert remote.spent(before) == spent
    rows = {m.id: m for m in found.machines}
    assert [(i.name, i.points) for i in rows[HERE].items] == [("home", None), ("no points yet", None)]
    assert (rows[OTHER.hex()].forgotten, rows[OTHER.hex()].system) == (True, "Windows")
    assert [(i.name, i.points) for i in rows[OTHER.hex()].items] == [("no record", 1)]
    assert [i.name for i in rows[stray.hex()].items] == ["home"]


def test_forgotten_points_are_not_shown(tmp_path: Path) -> None:
    world = World()
    names = [world.backup(1)]
    for _ in range(2):
        world.later(1)
        names.append(world.backup(1))
    world.forget(names[1], days=30)
    page: Opened = opened_as(tmp_path, world.opened())
    try:
        year = datetime.fromtimestamp(names[0].time // 10**9).year
        assert [day.points for day in calendar(page, year).days] == [1, 1]
        assert [row.id for row in points(page).points] == [names[2].id.hex(), names[0].id.hex()]
        assert machines(page).machines[0].items[0].points == 2
        first = point(page, names[0].id.hex())
        assert (first.previous, first.next) == (None, names[2].id.hex())
        with pytest.raises(NotFound, match="there is no recovery point"):
            point(page, names[1].id.hex())
    finally:
        page.close()


def test_one_point_by_its_record(tmp_path: Path) -> None:
    remote = vault_with("2026-05-01T12:00:00+00:00", "2026-05-02T12:00:00+00:00")
    with opened(Made(remote, []), tmp_path) as page:
        newest, oldest = (row.id for row in points(page).points)
        found = point(page, newest)
        assert (found.previous, found.next, found.sequence) == (oldest, None, 2)
        assert (found.machine_name, found.item_name, found.kind) == ("box", "home", "files")
        assert (found.paths, found.problems, found.damaged, found.files) == (["/home"], [], 0, 0)
        before = remote.requests
        point(page, newest)
        assert remote.requests - before <= 1  # the machines' names are listed again
