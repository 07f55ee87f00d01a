"""`rpdrive policy set|show|preview` and `rpdrive points --why`: what they print, who may, and how many requests."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import Damaged
from catalog.format.numbers import written_number
from catalog.format.retention import policy_folder
from catalog.format.sealed import Kind
from catalog.points.show import Wanted, show_points
from catalog.policies.setting import read_fields
from catalog.policies.show import preview, set_policy, show_policy
from catalog.signing import signing_key
from catalog.store.local import LocalStore
from catalog.vault import Vault
from tests.commands.test_points import DATA, HOME, LAPTOP, LAPTOP_HOME, SERVER, add_machines, add_point
from tests.kit.cli import Cli
from tests.kit.vaults import home_of, new_vault

NOW = time.time_ns()
DAY = 24 * 3600 * 10**9
GOOD = {"zone": "UTC", "daily": "30", "weekly": "12 on saturday"}


def iso(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class World:
    """A vault in a folder; each command opens it anew, as a process would. `requests` are those of the last one."""

    def __init__(self, folder: Path, shown: pytest.CaptureFixture[str]) -> None:
        self.vault = new_vault(LocalStore(folder / "vault"))
        self.environ = home_of(folder / "home", str(folder / "vault"))
        self.shown = shown
        self.requests = 0

    def _run(self, command: Any, *args: Any, **options: Any) -> str:
        session = Session(Settings(self.environ), passphrases=Given(self.environ["RPDRIVE_PASSPHRASE"]))
        self.shown.readouterr()
        try:
            command(session, session.open_vault(), *args, **options)
        finally:
            assert session.meter is not None
            self.requests = session.meter.snapshot().requests
            session.close()
        return self.shown.readouterr().out

    def set(self, given: dict[str, str], machine: str | None = None, item: str | None = None, **more: bool) -> Any:
        fields, anew = read_fields(None, given), more.get("anew", False)
        return json.loads(self._run(set_policy, machine, item, fields, anew=anew, short=False, as_json=True))

    def show(self, machine: str | None = None, item: str | None = None) -> str:
        return self._run(show_policy, machine, item, as_json=False)

    def fields(self, machine: str | None = None, item: str | None = None) -> dict[str, tuple[str, str]]:
        return fields(json.loads(self._run(show_policy, machine, item, as_json=True)))

    def why(self, item: str | None = None, *, as_json: bool = True) -> Any:
        text = self._run(show_points, None, item, Wanted(why=True), as_json=as_json)
        return json.loads(text)["points"] if as_json else text

    def preview(self, item: str | None = None, days: int = 90, *, as_json: bool = True, **given: str) -> Any:
        text = self._run(preview, None, item, read_fields(None, given), days, as_json=as_json)
        return json.loads(text)["items"] if as_json else text


class Given:
    """A passphrase that is known."""

    def __init__(self, passphrase: str) -> None:
        self._passphrase = passphrase

    def existing(self, address: str) -> str:
        return self._passphrase

    def new(self, prompt: str) -> str:
        raise AssertionError(prompt)


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> World:
    return World(tmp_path, capsys)


def cells(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in text.splitlines()]


def fields(row: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        name: (f["value"], f"{f['from']['level']} {f['from']['name']}".strip())
        for name, f in row["fields"].items()
        if f["value"] is not None
    }


def test_each_value_is_shown_with_its_origin(world: World) -> None:
    add_machines(world.vault)
    assert "all are; see `rpdrive policy set --help`" in world.show()
    world.set(GOOD)
    world.set({"daily": "60", "monthly": "12 months on last saturday at 18:00", "last": "5"}, "server")
    row = world.set({"weekly": "off", "daily": "7"}, item="data")
    assert (row["level"], row["name"], row["number"]) == ("item", "data", 1)
    assert row["shortened"] == ["daily", "weekly"]
    assert fields(row) == world.fields(item="data")
    assert fields(row) == {
        "zone": ("UTC", "vault"),
        "daily": ("7 days", "item data"),
        "weekly": ("off", "item data"),
        "monthly": ("12 months on last saturday at 18:00", "machine server"),
        "last": ("5 points", "machine server"),
    }
    assert cells(world.show("server")) == [
        ["FIELD", "VALUE", "FROM"],
        ["zone", "UTC", "the vault"],
        ["daily", "60 days", "the machine server"],
        ["weekly", "12 weeks on saturday", "the vault"],
        ["monthly", "12 months on last saturday at 18:00", "the machine server"],
        ["yearly", "-"],
        ["last", "5 points", "the machine server"],
        ["hourly", "-"],
        ["erase after", "-"],
        ["There is 1 other machine or item with a policy of its own: name it with --machine or --item"],
    ]
    assert world.set({"daily": "inherit"}, item="data")["fields"]["daily"]["value"] == "60 days"


def test_points_say_why_they_are_kept(world: World) -> None:
    """All are stored now: one that claims an earlier time is not believed, and holds no slot."""
    add_machines(world.vault)
    old = add_point(world.vault, iso(NOW - 40 * DAY), 1, SERVER, DATA)
    new = add_point(world.vault, iso(NOW), 2, SERVER, DATA)
    assert [row["reasons"][0]["why"] for row in world.why()] == ["no policy"] * 2
    world.set(GOOD)
    world._run(show_points, None, None, Wanted(), as_json=True)
    plain = world.requests
    first, second = world.why()
    assert world.requests == plain + 2, "one listing, and one record"
    assert (first["id"], first["keep"], [r["why"] for r in first["reasons"]]) == (old, True, ["time", "recent"])
    assert (second["id"], second["keep"], second["until"]) == (new, True, None)
    assert [r["why"] for r in second["reasons"]] == ["daily", "weekly", "recent", "newest"]
    assert second["reasons"][0]["slot"] == iso(NOW)[:10] + "T00:00:00Z"
    head, *rows = cells(world.why("data", as_json=False))
    assert head == ["POINT", "TIME", "MACHINE", "ITEM", "KEPT UNTIL", "WHY"]
    assert [row[0] for row in rows] == [old[:8], new[:8]]
    assert "its time is not the store's until " in rows[0][-1] and "the newest" in rows[1][-1]


def test_a_preview_says_what_goes_and_changes_nothing(world: World) -> None:
    add_machines(world.vault)
    # Of an item's points made in the same second, all but the first hold no slot; midnight is no matter.
    for machine, item in ((SERVER, HOME), (SERVER, DATA), (LAPTOP, LAPTOP_HOME)):
        for sequence in (1, 2, 3):
            add_point(world.vault, iso(NOW), sequence, machine, item)
    world.set(GOOD)
    before = sorted(i.name for i in world.vault.store.list(""))
    items = world.preview(days=40)
    # vault.json, policies, the lists of points and ledgers, each point; machines, and what checks have found
    assert world.requests == 1 + 2 + 2 + 9 + 3 + 1
    assert {(i["machine"], i["item"], i["points"], i["kept"]) for i in items} == {
        ("server", "home", 3, 1), ("server", "data", 3, 1), ("laptop", "home", 3, 1),
    }  # fmt: skip
    (more,) = world.preview("data", 40, weekly="off")
    assert (more["item"], more["kept"]) == ("data", 0)
    *others, last = [p for going in more["going"] for p in going["points"]]
    assert len(others) == 2 and len(more["going"][-1]["points"]) == 1
    assert [r["why"] for r in last["ended"]] == ["daily"] and last["keep"] is False
    text = world.preview("data", 40, as_json=False)
    assert "data of server: 3 points, 1 of them are left after 40 days" in text
    assert "in no slot of a rule" in text and "`rpdrive prune` removes them" in text
    assert sorted(i.name for i in world.vault.store.list("")) == before


def test_requests_of_each_command(world: World) -> None:
    for run, requests in (
        (world.show, 2),
        (lambda: world.set(GOOD), 3),
        (lambda: world.set({"daily": "31"}), 4),
        (world.show, 3),
    ):
        run()
        assert world.requests == requests


def test_only_an_admin_sets_a_policy_and_others_are_refused_before_any_request(
    rpdrive: Cli, vault: Vault, tmp_path: Path
) -> None:
    file = tmp_path / "credentials.json"
    rpdrive.ok("vault", "credentials", "--role", "backup", "--output", file)
    rpdrive.ok("vault", "connect", file)
    rpdrive.vault.rename(tmp_path / "away")
    text = rpdrive.fails("policy", "set", "--daily", "7", code=5)
    assert "this needs the role admin" in text and "have the role backup" in text


def test_the_command_line(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('zone = "Europe/Berlin"\nmonthly = "12 months on last saturday at 18:00"\nlast = 5\n')
    text = rpdrive.ok("policy", "set", "--file", file, "--daily", "1", "--unsafe-short")
    assert text.startswith("Set the policy of the vault\n") and "12 months on last saturday at 18:00" in text
    assert "no recovery points here yet" in rpdrive.ok("policy", "preview", "--daily", "30", "--days", "5")
    said = "daily 6 is less than 7 days; add --unsafe-short"
    assert said in rpdrive.fails("policy", "set", "--daily", "6", code=2)


def test_what_is_wrong_is_said_before_the_vault_is_opened(rpdrive: Cli) -> None:
    said = "'caturday' is not a weekday; write e.g. 12 weeks on saturday at 18:00"
    assert said in rpdrive.fails("policy", "set", "--weekly", "4 on caturday", code=2)
    assert "no field is given; give e.g. --daily 30" in rpdrive.fails("policy", "set", code=2)


def test_a_record_that_cannot_be_read_is_named_and_keeps_everything(world: World) -> None:
    add_machines(world.vault)
    add_point(world.vault, iso(NOW), 1)
    world.set(GOOD)
    admin, private = signing_key(world.vault)
    folder = policy_folder(world.vault.id)
    content = msgspec.msgpack.encode({"id": world.vault.id, "number": 2, "written": 0, "yearly": {"keep": 100}})
    world.vault.signed.add(Kind.RETENTION, folder, content, admin, private, after=1)
    said = f"{folder}{written_number(2)} is malformed in the field yearly.keep: 100 is more than 99"
    for run in (world.show, world.preview, lambda: world.set({"daily": "40"}), lambda: world.why(as_json=False)):
        with pytest.raises(Damaged, match=said):
            run()
    assert "the policy can't be understood" in world.shown.readouterr().out
    assert world.set(GOOD, anew=True)["number"] == 3
    assert world.why()[0]["reasons"][0]["why"] == "daily"
