"""Plans of volumes, the system state and images: what they say, what is refused, and how they run."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup.scheduled import backup_of
from catalog.format.plan import Schedule
from catalog.format.records import ItemKind
from catalog.plans.effective import Plan
from catalog.plans.local import LocalItem, LocalPlans, LocalVault
from catalog.plans.now import words_of
from catalog.schedule.agenda import Work
from catalog.schedule.due import BACKUP, due, next_slot
from catalog.schedule.history import Ran
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.inside import Inside
from tests.kit.vaults import make_vault
from tests.plans.test_records import put_map

QUIET = ("--no-timer", "--no-backup")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return make_vault(tmp_path / "vault")


@pytest.fixture
def cli(vault: Vault, tmp_path: Path) -> Cli:
    (tmp_path / "data").mkdir()
    return Inside(tmp_path)


def copy_of(cli: Cli) -> LocalVault:
    (one,) = LocalPlans(cli.home / "state").all().vaults
    return one


def test_each_kind_is_protected_as_an_item_of_its_own(cli: Cli, vault: Vault, tmp_path: Path) -> None:
    device = tmp_path / "disk"
    device.write_bytes(b"disk")
    os.symlink(device, tmp_path / "by-name")
    cli.ok("protect", "--volume", "/proc", "--snapshot", "always", *QUIET)
    cli.ok("protect", "--system-state", *QUIET)
    cli.ok("protect", "--image", str(tmp_path / "by-name"), "--item", "disk", *QUIET)
    found = {item.name: item.plan for item in copy_of(cli).items}
    assert {name: (plan.what, plan.paths, plan.snapshot) for name, plan in found.items()} == {
        "volume-proc": ("volume", (b"/proc",), "always"),
        "system state": ("system state", (), ""),
        "disk": ("image", (os.fsencode(tmp_path / "by-name"),), ""),  # the link, not what it leads to today
    }
    (machine,) = vault.machines()
    assert {item.name: item.kind for item in vault.items(machine).values()} == {
        name: plan.what for name, plan in found.items()
    }
    shown = cli.ok("plan", "show", "--item", "volume-proc")
    assert "volume" in shown and "always" in shown
    assert {row["item"] for row in cli.json("plan", "list")["plans"]} == set(found)


def test_what_does_not_fit_together_is_refused(cli: Cli, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    for args in (
        ("protect", data, "--volume", "/proc"),
        ("protect", "--volume", "/proc", "--system-state"),
        ("protect", "--volume", "/proc", "--list"),
        ("protect", "--volume", "/proc", "--snapshot", "sometimes"),
        ("plan", "set", data, "--what", "mailbox"),
        ("plan", "set", data, str(tmp_path), "--what", "volume", "--zone", "UTC"),
        ("plan", "set", data, "--what", "system-state", "--zone", "UTC"),
        ("plan", "set", "--what", "volume", "--everywhere"),
    ):
        cli.fails(*args, code=2)
    assert "nothing is mounted at" in cli.fails("protect", "--volume", data, code=11)
    cli.ok("plan", "set", data, "--item", "data", "--at", "21:00", "--zone", "UTC")
    assert "--item" in cli.fails("plan", "set", "/proc", "--item", "data", "--what", "volume", code=2)
    assert copy_of(cli).items[0].plan.what == ""


def test_a_machine_may_allow_no_system_state(cli: Cli) -> None:
    (cli.home / "config").mkdir(mode=0o700, parents=True)
    (cli.home / "config" / "plans.toml").write_text('only_below = ["/srv"]\n')
    (cli.home / "config" / "plans.toml").chmod(0o600)
    assert "does not allow the system state" in cli.ok("protect", "--system-state", *QUIET)
    assert copy_of(cli).items == []


@pytest.mark.parametrize("field", ["what", "snapshot"])
def test_a_word_of_a_later_version_is_shown_and_not_run(cli: Cli, vault: Vault, tmp_path: Path, field: str) -> None:
    cli.ok("plan", "set", str(tmp_path / "data"), "--item", "data", "--at", "21:00", "--zone", "UTC")
    item = bytes.fromhex(copy_of(cli).items[0].id)
    put_map(vault, item, 2, paths=[b"/data"], **{field: "moonlight"})
    assert "moonlight" in cli.ok("plan", "show", "--item", "data")
    assert "does not know" in cli.ok("plan", "refresh") and copy_of(cli).items == []


def plan(what: str, **fields: object) -> Plan:
    return Plan(zone="UTC", what=what, paths=(b"/srv",) if what != "system state" else (), spread=0, **fields)  # type: ignore[arg-type]


def test_what_a_plan_means_as_a_command_and_as_a_request() -> None:
    for what, words in (
        ("", ["--", "/srv"]), ("volume", ["--volume", "/srv"]), ("image", ["--image", "/srv"]),
        ("system state", ["--system-state"]),
    ):  # fmt: skip
        made = plan(what, snapshot="never", exclude=("*.tmp",))
        assert words_of(made, "i", "Linux") == [
            "--item", "i", "--snapshot", "never", "--exclude", "*.tmp", *words
        ]  # fmt: skip
        item = LocalItem(id="00" * 16, name="i", plan=made)
        local = LocalVault(vault="", address="", machine="", machine_name="", fetched=0, items=[item])
        request = backup_of(Work(local, item, BACKUP, 0))
        assert (request.kind, request.snapshot, request.item) == (ItemKind(what), "never", "i")
        assert request.paths == [Path("/srv")] * (what != "system state") and request.excludes == ["*.tmp"]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize("schedule", [Schedule(times=[180, 900]), Schedule(every=180)])
def test_the_system_state_is_due_once_a_day(schedule: Schedule) -> None:
    first = 180 if schedule.times else 0
    state, files = plan("system state", schedule=schedule), plan("", schedule=schedule)
    day = at("2026-11-20T00:00")
    slots, now = [], day - 1
    while (slot := next_slot(state, now)) is not None and slot < day + 3 * 86_400 * 10**9:
        slots.append(slot)
        now = slot
    assert slots == [day + (n * 1_440 + first) * 60 * 10**9 for n in range(3)]
    ran = Ran(id="a", vault="", kind="backup", started=slots[0], finished=slots[0] + 1, outcome="completed")
    later = slots[0] + 13 * 3600 * 10**9
    assert not due(state, [ran], later).jobs and due(files, [ran], later).jobs
