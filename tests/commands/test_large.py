"""What commands cost on large vaults: an item of 10,000 points, and 2,000 machines. Exact requests."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import Damaged
from catalog.format.records import Machine, MachineName, PointName
from catalog.points.opening import listed_points, open_point
from catalog.points.show import Wanted, show_points
from catalog.store.metered import Traffic
from catalog.vault import Vault
from tests.kit.made.fleet import Fleet
from tests.kit.made.shape import HOUR, SECOND, item_id, machine_id

MACHINES, EACH = 2000, 3
DAY = 24 * HOUR
START = 1_700_000_000 * SECOND  # 2023-11-14T22:13:20Z


class Large(Fleet):
    """A vault in memory, and commands on it that count their requests."""

    def __init__(self, home: Path, machines: int, points: int, *, interval: int = HOUR) -> None:
        super().__init__(machines, points, start=START, interval=interval, stagger=SECOND)
        self._settings = Settings({"RPDRIVE_HOME": str(home)})

    def run(self, command: Callable[..., object], *args: Any, **options: Any) -> tuple[str, Traffic]:
        """What a command (of a session and an open vault) prints, and its requests: without that of vault.json."""
        session = Session(
            self._settings, vault="azure://account/large", opener=lambda url, **options: self.store,
            records_factory=lambda session, vault: None,
        )  # fmt: skip
        vault = session.open_vault(master=self.vault.keys.master, reading=True)
        assert session.meter is not None
        before, out = session.meter.snapshot(), io.StringIO()
        with contextlib.redirect_stdout(out):
            command(session, vault, *args, **options)
        return out.getvalue(), session.meter.snapshot() - before

    @contextlib.contextmanager
    def forgets_the_last_machine(self) -> Iterator[None]:
        """The machine whose points are the newest is forgotten, and has another name."""
        newest = machine_id(self.store.shape.machines - 1)
        self.vault.add_machine(
            Machine(id=newest, name="gone", hostname="h", system="Linux", created=1, forgotten=True), 2
        )
        try:
            yield
        finally:
            self.store.delete(str(MachineName(newest, 2)))


@pytest.fixture(scope="module")
def item(tmp_path_factory: pytest.TempPathFactory) -> Large:
    """One machine, with an item of 10,000 points."""
    return Large(tmp_path_factory.mktemp("item"), 1, 10_000)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Large:
    """2,000 machines with three points each, made on three days one after the other."""
    return Large(tmp_path_factory.mktemp("fleet"), MACHINES, EACH, interval=DAY)


def listed(text: str) -> Sequence[str]:
    """The ids in a table of points."""
    return [line.split()[0] for line in text.splitlines()[1:] if line and line.split()[1].startswith("20")]


# --- points -------------------------------------------------------------------------------------------------


def test_points_of_a_large_item_cost_a_request_for_each_that_is_shown(item: Large) -> None:
    text, spent = item.run(show_points, None, None, Wanted(), as_json=False)
    # points and ledgers (three requests for the points), machines, checks
    assert (spent.get.requests, spent.list.requests, spent.requests) == (101, 5, 106)
    names = item.vault.point_names()
    assert len(listed(text)) == 100 and listed(text)[-1] == names[-1].id.hex()[:8]
    assert "9,900 older points not listed: `--last N` lists more, `--last 0` all" in text
    text, spent = item.run(show_points, None, None, Wanted(last=7), as_json=False)
    assert (spent.get.requests, len(listed(text))) == (8, 7) and "9,993 older points" in text
    rows, spent = item.run(show_points, None, None, Wanted(last=2), as_json=True)
    assert [row["sequence"] for row in json.loads(rows)["points"]] == [9999, 10_000]
    assert spent.get.requests == 3


def test_points_of_a_time_are_read_and_no_others(item: Large) -> None:
    text, spent = item.run(show_points, None, None, Wanted(since="2023-11-20", until="2023-11-21"), as_json=False)
    assert len(listed(text)) == 48 and spent.get.requests == 49 and "older" not in text
    text, spent = item.run(show_points, None, None, Wanted(last=5, until="2023-11-21"), as_json=False)
    assert len(listed(text)) == 5 and spent.get.requests == 6 and "older points not listed" in text
    text, spent = item.run(show_points, None, None, Wanted(until="2022-01-01"), as_json=False)
    assert (text, spent.get.requests) == ("There are no recovery points of that time here\n", 0)


def test_json_has_all_points_in_order(item: Large) -> None:
    text, spent = item.run(show_points, None, None, Wanted(), as_json=True)
    found = json.loads(text)
    assert [row["sequence"] for row in found["points"]] == list(range(1, 10_001))
    assert found["removed"] == found["warnings"] == found["damaged"] == [] and found["behind"] is None
    assert spent.get.requests == 10_001


def test_points_are_the_same_where_few_names_are_held(item: Large, monkeypatch: pytest.MonkeyPatch) -> None:
    names = item.vault.point_names()
    monkeypatch.setattr("catalog.points.shown._HELD", 7)
    wanted = Wanted(since="2023-11-20", until="2023-11-21")
    rows, _spent = item.run(show_points, None, None, wanted, as_json=True)
    found = [row["id"] for row in json.loads(rows)["points"]]
    assert len(found) == 48 and found == [n.id.hex() for n in names if n.id.hex() in found]
    text, _spent = item.run(show_points, None, None, Wanted(last=20), as_json=False)
    assert listed(text)[-1] == names[-1].id.hex()[:8] and len(listed(text)) == 20


def test_points_that_are_not_shown_count_for_why(item: Large) -> None:
    text, spent = item.run(show_points, None, None, Wanted(last=3, why=True), as_json=False)
    assert spent.get.requests == 4 and text.count("no policy") == 3


def test_points_of_a_fleet_cost_no_more_for_machines_that_are_not_shown(fleet: Large) -> None:
    text, spent = fleet.run(show_points, None, None, Wanted(last=50), as_json=False)
    # the records of 50 points and of their machines; points (two requests), ledgers, machines, checks
    assert (spent.get.requests, spent.list.requests) == (100, 5)
    assert len(listed(text)) == 50
    assert "machine-01999" in text.splitlines()[50] and "machine-01950" in text.splitlines()[1]
    assert "5,950 older points not listed" in text


def test_forgotten_machines_are_passed_over_without_their_points(fleet: Large) -> None:
    with fleet.forgets_the_last_machine():
        text, spent = fleet.run(show_points, None, None, Wanted(last=2), as_json=False)
        assert "machine-01998" in text.splitlines()[2] and "gone" not in text
        assert spent.get.requests == 2 + 4  # two points at a time, until there are two
        text, _spent = fleet.run(show_points, None, None, Wanted(last=2, every=True), as_json=False)
        assert "gone" in text.splitlines()[2]


def test_a_slow_store_lets_no_point_of_a_forgotten_machine_through(tmp_path: Path) -> None:
    """Where all are shown, two threads want records of machines: neither goes on without them."""
    fleet = Large(tmp_path, 50, EACH, interval=DAY)
    read = fleet.store.get

    def slowly(name: str, most: int) -> bytes:
        time.sleep(0.05 if name.startswith("machines/") else 0)
        return read(name, most)

    fleet.store.get = slowly  # type: ignore[method-assign]
    with fleet.forgets_the_last_machine():
        late = Wanted(last=1, since="2023-11-16T22:14:09+00:00")  # of the last machine alone
        text, _spent = fleet.run(show_points, None, None, late, as_json=False)
        assert text == "There are only recovery points of forgotten machines; --all shows them\n"


def test_names_that_are_no_points_take_the_place_of_none(item: Large) -> None:
    later = START + 9 * 365 * DAY
    junk = [str(PointName(machine_id(0), item_id(0), later + n * HOUR, n, bytes(16), False)) for n in range(150)]
    for name in junk:
        item.store.create(name, [b"junk"])
    try:
        text, _spent = item.run(shown_despite, Wanted(last=10))
        assert len(listed(text)) == 10
    finally:
        for name in junk:
            item.store.delete(name)


def shown_despite(session: Session, vault: Vault, wanted: Wanted) -> None:
    with pytest.raises(Damaged):
        show_points(session, vault, None, None, wanted, as_json=False)


def test_a_machine_named_by_its_whole_id_costs_one_record(fleet: Large) -> None:
    def latest(_session: Session, vault: Vault, machine: str) -> None:
        print(open_point(vault, listed_points(vault, machine), "latest").sequence)

    text, spent = fleet.run(latest, machine_id(7).hex())
    assert (text, spent.get.requests, spent.list.requests) == ("3\n", 2, 3)
    _text, spent = fleet.run(latest, "machine-00007")
    assert spent.get.requests == MACHINES + 1  # once: records of machines are cached
