"""`rpdrive plan …` as a person runs it: on this machine, for far ones, and against what others wrote."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import LocalError
from catalog.format.numbers import written_number
from catalog.format.plan import plan_folder
from catalog.format.records import Item, Machine
from catalog.plans.local import LocalPlans, LocalVault
from catalog.plans.protecting import Wanted, protect
from catalog.plans.records import Plans
from catalog.plans.transfer import every_level
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.inside import Inside
from tests.kit.vaults import make_vault
from tests.plans.test_records import put_map

FAR = b"f" * 16
UTC = ("--zone", "UTC")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return make_vault(tmp_path / "vault")


@pytest.fixture
def cli(vault: Vault, tmp_path: Path) -> Cli:
    """A home from which a vault is reached; there is a folder to save."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("text")
    return Inside(tmp_path)


def copy_of(cli: Cli) -> LocalVault:
    """This machine's copy of its plans."""
    found = LocalPlans(cli.home / "state").all()
    assert not found.errors
    (one,) = found.vaults
    return one


def far(vault: Vault, system: str = "Linux") -> None:
    vault.add_machine(Machine(id=FAR, name="srv01", hostname="h", system=system, created=1))
    vault.add_item(Item(id=b"d" * 16, machine=FAR, name="db", paths=[b"/srv/db"], created=1))


def values(shown: Any) -> dict[str, tuple[Any, str]]:
    """The fields that some level says, from --json."""
    return {name: (f["value"], f["from"]) for name, f in shown["fields"].items() if f["from"] is not None}


def test_a_plan_is_set_shown_listed_and_copied(cli: Cli, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    made = cli.json(
        "plan", "set", data, "--item", "data", "--at", "21:00,13:00", "--zone", "UTC", "--exclude", "*.tmp"
    )
    assert made["level"] == "item" and made["number"] == 1 and made["changed"]
    cli.ok("plan", "set", "--check-2-every", "1d for 1h 1%", "--spread", "5m", "--ac-power")
    shown = cli.json("plan", "show", "--item", "data")
    machine = f"machine {shown['levels'][1]['name']}"
    assert values(shown) == {
        "paths": ([data], "item data"),
        "zone": ("UTC", "item data"),
        "schedule": ("13:00, 21:00", "item data"),
        "exclude": (["*.tmp"], "item data"),
        "spread": ("5m", machine),
        "ac_power": (True, machine),
        "check_2": ("every 1d for 1h 1%", machine),
    }
    assert len(shown["next_runs"]) == 3 and all(
        run[11:] in ("13:00:00Z", "21:00:00Z") for run in shown["next_runs"]
    )
    copy = copy_of(cli)
    (item,) = copy.items
    assert (item.name, item.plan.paths, item.plan.spread) == ("data", (os.fsencode(data),), 5)
    assert copy.plan.check_2.percent == 1.0 and copy.address == f"file://{cli.vault}"
    (row,) = cli.json("plan", "list")["plans"]
    assert (row["item"], row["fields"]["schedule"]["value"]) == ("data", "13:00, 21:00")
    text = cli.ok("plan", "show", "--item", "data")
    assert "schedule  13:00, 21:00" in text and "at most   3d " in text and "Next backups: " in text
    again = cli.json("plan", "set", "--item", "data", "--at", "13:00, 21:00")
    assert not again["changed"] and again["number"] == 1
    again = cli.json("plan", "set", data, "--item", made["id"])
    assert again["id"] == made["id"] and not again["changed"]


def test_a_backup_by_hand_is_of_the_same_item(cli: Cli, tmp_path: Path) -> None:
    made = cli.json("plan", "set", str(tmp_path / "data"), "--at", "21:00")
    cli.ok("backup", str(tmp_path / "data"))
    (point,) = cli.json("points")["points"]
    assert point["item_id"] == made["id"]


def test_off_and_inherit(cli: Cli, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    cli.ok("plan", "set", data, "--item", "data", "--at", "21:00", "--on", "mon-fri", "--window", "22:00-06:00")
    cli.ok("plan", "set", "--every", "4h")
    cli.ok("plan", "set", "--item", "data", "--window", "off", "--every-weeks", "2")
    found = values(cli.json("plan", "show", "--item", "data"))
    assert found["windows"] == ([], "item data")
    assert found["schedule"][0].startswith("21:00 on mon-fri every 2 weeks from ")
    cli.ok("plan", "set", "--item", "data", "--at", "inherit", "--inherit", "windows")
    found = values(cli.json("plan", "show", "--item", "data"))
    assert found["schedule"][0] == "every 4h" and found["schedule"][1].startswith("machine ")
    assert "windows" not in found
    cli.ok("plan", "set", "--item", "data", "--at", "off")
    shown = cli.json("plan", "show", "--item", "data")
    assert values(shown)["schedule"] == ("off", "item data") and shown["next_runs"] == []


def test_a_wider_level_names_those_that_say_otherwise(cli: Cli, vault: Vault, tmp_path: Path) -> None:
    far(vault)
    cli.ok("plan", "set", str(tmp_path / "data"), "--item", "data", "--at", "21:00")
    cli.ok("plan", "set", "--machine", "srv01", "--at", "1:00", "--zone", "UTC")
    text = cli.ok("plan", "set", "--everywhere", "--at", "3:00", "--zone", "UTC")
    *_plan, said = text.splitlines()
    assert said.startswith("These say otherwise, and keep that: ")
    assert "the item data of " in said and "the machine srv01" in said
    found = cli.json("plan", "set", "--everywhere", "--spread", "3m")
    assert found["saying_otherwise"] == []
    assert values(cli.json("plan", "show", "--machine", "srv01"))["spread"] == ("3m", "vault")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--at", "25:00"], "time '25:00' can't be used"),
        (["--at", "21:00", "--every", "4h"], "exclude each other"),
        (["--on", "mon"], "no time of day yet"),
        (["--zone", "Mars/Olympus"], "zone: this machine has no data"),
        (["--exclude", "[z-a"], "malformed exclude pattern"),
        (["--exclude", b"\xff*"], "exclude"),
        (["--at-most", "400d"], "at_most"),
        (["--limit", "fast"], "throttle: limit 'fast'"),
        (["--prune-every", "often"], "prune"),
        (["--inherit", "colour"], "no plan has a field 'colour'"),
        (["--item", "data", "--check-1-every", "7d"], "check_1 is of a machine or the vault"),
        (["--everywhere", "--item", "data", "--spread", "1m"], "--everywhere means the whole vault"),
        (["--spread", "1m", "--machine", "nobody"], "there is no machine 'nobody'"),
        ([], "no field is given"),
    ],
)
def test_what_can_not_be_set_changes_nothing(cli: Cli, tmp_path: Path, args: list[str | bytes], why: str) -> None:
    cli.ok("plan", "set", str(tmp_path / "data"), "--item", "data")
    before = cli.json("plan", "export")
    done = cli.run("plan", "set", *args)
    assert done.returncode in (2, 4, 5) and why in done.stderr.decode(errors="replace"), done
    assert done.stderr.count(b"\n") == 1
    assert cli.json("plan", "export") == before


def test_an_admin_changes_the_plan_of_a_machine_that_is_far_or_dead(cli: Cli, vault: Vault) -> None:
    far(vault, "Windows")
    cli.fails("plan", "set", "C:\\Users", "--machine", "srv01", "--at", "21:00", code=2)
    text = cli.ok("plan", "set", "C:\\Users", "--machine", "srv01", "--at", "21:00", "--zone", "Europe/Berlin")
    assert "C:\\Users" in text and "srv01 takes it over" in text
    cli.fails("plan", "set", "/srv", "--machine", "srv01", code=2)
    cli.ok("plan", "set", "--machine", "srv01", "--item", "db", "--load", "80%")
    rows = {row["item"]: row for row in cli.json("plan", "list")["plans"]}
    assert set(rows) == {"C-Users"} and rows["C-Users"]["machine"] == "srv01"
    cli.ok("plan", "pause", "--machine", "srv01", "--until", "3d", "--reason", "it is on a ship")
    (row,) = cli.json("plan", "list", "--machine", "srv01")["plans"]
    assert row["paused"]["reason"] == "it is on a ship"
    assert not (cli.home / "state" / "plans").exists(), "this machine is not registered"
    assert "not registered" in cli.fails("plan", "show", code=4)


def test_what_an_item_can_not_have_makes_no_item(cli: Cli, tmp_path: Path) -> None:
    said = cli.fails("plan", "set", str(tmp_path / "data"), "--at", "21:00", "--prune-every", "1d", code=2)
    assert "prune is of a machine or the vault" in said
    assert cli.json("machine", "list")["machines"] == []


def test_plans_go_out_as_toml_and_in_again(cli: Cli, vault: Vault, tmp_path: Path) -> None:
    far(vault)
    odd = os.fsencode(tmp_path / "data") + b"/\xff"
    os.mkdir(odd)
    cli.ok("plan", "set", str(tmp_path / "data"), odd, "--item", "data", "--at", "21:00", "--exclude", 'a"b')
    cli.ok("plan", "set", "--machine", "srv01", "--limit", "mon 8:00-9:00 up 1M", "--limit", "down 0", *UTC)
    cli.ok("plan", "set", "--everywhere", "--prune-every", "1d for 1h", "--no-catch-up")
    cli.ok("plan", "pause", "--machine", "srv01")
    text = cli.ok("plan", "export")
    file = tmp_path / "plans.toml"
    file.write_text(text)
    assert {row["changed"] for row in cli.json("plan", "import", file)["levels"]} == {False}
    cli.ok("plan", "set", "--machine", "srv01", "--load", "50%", "--inherit", "throttle")
    cli.ok("plan", "set", "--item", "data", "--at", "off")
    assert cli.ok("plan", "export") != text
    changes = cli.json("plan", "import", file, "--dry-run")["levels"]
    assert [row["level"] for row in changes if row["changed"]] == ["machine", "item"]
    assert cli.ok("plan", "export") != text
    cli.ok("plan", "import", file)
    assert cli.ok("plan", "export") == text
    assert cli.json("plan", "show", "--machine", "srv01")["paused"] is not None, "a pause is no part of it"


def test_a_bad_document_changes_nothing(cli: Cli, vault: Vault, tmp_path: Path) -> None:
    far(vault)
    file = tmp_path / "plans.toml"
    for text, why, code in (
        ('[vault]\nspread = "1m"\n\n[[machine]]\nname = "srv01"\nspread = "13h"\n', "[[machine]] 1 of ", 2),
        ('[vault]\nspread = "1m"\n\n[[machine]]\nname = "nobody"\n', "no machine 'nobody'", 4),
        ('[[machine]]\nname = "srv01"\npaths = ["/x"]\n', "paths are of an item", 2),
        ('[[machine]]\nname = "srv01"\n[[machine]]\nname = "srv01"\n', "is there twice", 2),
        ('[[machine]]\nname = "srv01"\nschedule = "21:00"\n', "time zone", 2),
    ):
        file.write_text(text)
        assert why in cli.fails("plan", "import", file, code=code)
    assert cli.ok("plan", "export") == ""
    assert "can't be read" in cli.fails("plan", "import", tmp_path / "none", code=11)


def test_pause_and_resume(cli: Cli, tmp_path: Path) -> None:
    cli.ok("plan", "set", str(tmp_path / "data"), "--item", "data", "--at", "21:00")
    cli.ok("policy", "set", "--daily", "7", "--zone", "UTC")
    cli.ok("backup", str(tmp_path / "data"), "--item", "data")
    before = time.time_ns()
    made = cli.json("plan", "pause", "--until", "12h", "--reason", "moving")
    assert made["level"] == "machine" and made["paused"]["reason"] == "moving"
    pause = copy_of(cli).items[0].plan.paused
    assert pause is not None and pause.until >= before + 12 * 3600 * 10**9
    assert "is held by the machine" in cli.fails("plan", "resume", "--item", "data", code=2)
    cli.ok("plan", "pause", "--item", "data")
    text = cli.ok("plan", "resume", "--item", "data")
    assert "Resumed the item data" in text and "A wider level still holds it: it is paused until" in text
    text = cli.ok("plan", "resume")
    assert "Resumed the machine" in text and "recovery point" in text
    assert copy_of(cli).items[0].plan.paused is None
    assert "neither paused nor stopped" in cli.fails("plan", "resume", code=2)
    for bad in ("yesterday", "2020-01-01", "-3d"):
        cli.fails("plan", "pause", f"--until={bad}", code=2)


def test_stop_keeps_the_data_or_forgets_it(cli: Cli, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    cli.ok("plan", "set", data, "--item", "data", "--at", "21:00")
    cli.ok("backup", data, "--item", "data")
    assert "--keep-data or --delete-data" in cli.fails("plan", "stop", "--item", "data", code=2)
    assert "confirm with --yes" in cli.fails("plan", "stop", "--item", "data", "--delete-data", code=2)
    assert not cli.json("plan", "list")["plans"][0]["stopped"]
    cli.ok("plan", "stop", "--item", "data", "--keep-data")
    (row,) = cli.json("plan", "list")["plans"]
    assert row["stopped"]["keep"] is True and row["next_runs"] == []
    assert len(cli.json("points")["points"]) == 1
    cli.ok("plan", "resume", "--item", "data")
    text = cli.ok("plan", "stop", "--item", "data", "--delete-data", "--yes")
    assert "Forgot 1 point of data" in text and "rpdrive undelete" in text
    assert cli.json("points")["points"] == []
    cli.ok("undelete", "--all", "--item", "data")
    assert len(cli.json("points")["points"]) == 1
    cli.ok("plan", "resume", "--item", "data")
    assert copy_of(cli).items[0].plan.stopped is None


def test_a_hostile_record_costs_itself(cli: Cli, vault: Vault, tmp_path: Path) -> None:
    made = cli.json("plan", "set", str(tmp_path / "data"), "--item", "data", "--at", "21:00", "--zone", "UTC")
    item = bytes.fromhex(made["id"])
    name = put_map(vault, item, 2, schedule={"times": list(range(1_000))}, paths=[b"/"])
    text = cli.run("plan", "show", "--item", "data")
    assert text.returncode == 0 and "21:00" in text.stdout.decode()
    assert f"warning: passed over: {name} is malformed in the field schedule.times" in text.stderr.decode()
    assert cli.json("plan", "list")["damaged"][0]["object"] == name
    put_map(
        vault, item, 3, by="\x1b[2J\u202e", schedule={"times": [60]}, exclude=["\x1b]0;x\x07"], zone="Mars/Olympus"
    )
    text = cli.run("plan", "show", "--item", "data")
    assert text.returncode == 0 and b"\x1b" not in text.stdout
    assert b"no data for the time zone Mars/Olympus" in text.stdout
    end = 2**63 - 1
    far_off = {"times": [0, 1_439], "every_weeks": 52, "anchor": 2_499_991}
    put_map(vault, item, 4, written=end, schedule=far_off, paused={"since": end}, stopped={"since": end})
    assert "every 52 weeks from 8814-09-29" in cli.ok("plan", "show", "--item", "data")
    put_map(vault, item, 5, schedule=far_off, paused={"since": 0, "until": end}, grace=86_400)
    for command in (["show", "--item", "data"], ["list"], ["export"]):
        cli.ok("plan", *command)
        cli.json("plan", *command)
    cli.ok("plan", "refresh")
    cli.run("timer", "show")
    copy = copy_of(cli)
    assert copy.items == [], "its paths went with the record that has none"


def test_a_level_without_a_record_that_opens_ends_with_an_error(cli: Cli, vault: Vault, tmp_path: Path) -> None:
    made = cli.json("plan", "set", str(tmp_path / "data"), "--item", "data", "--at", "21:00")
    name = plan_folder(bytes.fromhex(made["id"])) + written_number(1)
    (cli.vault / name).chmod(0o600)
    (cli.vault / name).write_bytes(b"x" * 99)
    assert name in cli.fails("plan", "show", "--item", "data", code=9)
    assert name in cli.fails("plan", "export", code=9)
    done = cli.json("plan", "refresh")
    assert done["items"] == ["data"] and name in done["faults"][0], "the copy stays as it was"
    shown = cli.run("timer", "show")
    text = shown.stdout.decode()
    assert shown.returncode == 3 and "next       data: " in text
    assert f"in the plans of file://{cli.vault}: passed over: {name}" in text


def connect(cli: Cli, tmp_path: Path, role: str) -> None:
    """Connect the home to the vault with credentials for a role, and nothing else."""
    cli.run("vault", "disconnect")
    file = tmp_path / f"{role}.json"
    cli.ok("vault", "credentials", "--role", role, "--output", file)
    cli.ok("vault", "connect", file)


def test_a_machine_changes_its_plan_with_the_role_backup(cli: Cli, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    connect(cli, tmp_path, "backup")
    cli.ok("plan", "set", data, "--item", "data", "--at", "21:00")
    cli.ok("plan", "pause")
    cli.ok("plan", "resume")
    cli.ok("plan", "stop", "--item", "data", "--keep-data")
    said = cli.fails("plan", "stop", "--item", "data", "--delete-data", "--yes", code=5)
    assert "this needs the role maintain" in said
    made = cli.json("protect", data, "--item", "data", "--no-timer", "--no-backup")
    assert made["fields"]["prune"]["value"] is None and made["fields"]["check_1"]["value"] is not None
    assert made["policy"] is None and made["stopped"]["keep"] is True
    text = cli.ok("protect", data, "--item", "data", "--no-timer", "--no-backup")
    assert "credentials may not set a policy" in text and "But it is stopped since" in text
    connect(cli, tmp_path, "restore")
    assert cli.json("plan", "list")["plans"]
    for command in (["set", "--spread", "1m"], ["pause"], ["resume"], ["import", "x"]):
        assert "this needs the role backup" in cli.fails("plan", *command, code=5)
    assert "this needs the role backup" in cli.fails("protect", data, code=5)


def test_a_backup_now_is_as_the_plan_says(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "left.tmp").write_text("x")
    assert "nothing is planned" in cli.fails("plan", "now", code=4)
    cli.ok("plan", "set", str(data), "--item", "data", "--exclude", "*.tmp", "--window", "00:00-00:01", *UTC)
    assert "key is not saved" in cli.fails("plan", "now", code=11)
    cli.ok("vault", "unlock", "--save")
    assert "items: data" in cli.fails("plan", "now", "--item", "other", code=4)
    (row,) = cli.json("plan", "now", "--item", "data")["backups"]
    assert row["exit_code"] == 0 and row["backup"]["files"] == 1
    assert cli.ok("ls", f"latest:{data}").split() == ["file"]


def test_a_vault_that_is_disconnected_has_no_plans_here(cli: Cli, tmp_path: Path) -> None:
    cli.ok("plan", "set", str(tmp_path / "data"), "--item", "data", "--at", "21:00")
    cli.ok("vault", "unlock", "--save")
    assert copy_of(cli).items
    cli.ok("vault", "disconnect")
    assert LocalPlans(cli.home / "state").all() == ([], [])


def test_listing_plans_takes_few_requests(vault: Vault) -> None:
    for n in range(5):
        machine = bytes([n]) * 16
        vault.add_machine(Machine(id=machine, name=f"m{n}", hostname="h", system="Linux", created=1))
        for k in range(3):
            item = bytes([n, k]) * 8
            vault.add_item(Item(id=item, machine=machine, name=f"i{k}", paths=[b"/x"], created=1))
            put_map(vault, item, 1, paths=[b"/x"])
    vault.store = meter = MeteredStore(vault.store)
    assert len(every_level(vault, Plans(vault))) == 1 + 5 + 15
    assert meter.snapshot().list.requests == 3, "of plans, machines and items"
    assert meter.snapshot().requests == 3 + 5 + 15 + 15


# --- rpdrive protect ------------------------------------------------------------------------------------------


def test_protect_does_all_that_is_needed_and_says_what_comes(cli: Cli, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    text = Cli(tmp_path).ok("protect", data, "--item", "data", "--no-timer")
    for line in (
        "as the item data of the machine",
        "Making the first backup",
        "Next backup:",
        "then daily at 21:00",
    ):
        assert line in text
    assert "Kept:         30 days, 12 weeks on monday, 12 months on day 1, 3 years on day 1 of january" in text
    assert text.index("Making the first backup") < text.index("Recovery point ") < text.index("Next backup:")
    without = {"RPDRIVE_PASSPHRASE": None}
    (point,) = cli.json("points", env=without)["points"]
    assert point["item"] == "data"
    before = cli.ok("plan", "export", env=without), cli.ok("policy", "show", env=without)
    again = cli.ok("protect", data, "--item", "data", "--no-timer", env=without)
    assert "It has recovery points already" in again and "Making" not in again and "Saved" not in again
    assert (cli.ok("plan", "export", env=without), cli.ok("policy", "show", env=without)) == before


def test_protect_installs_the_timer_and_goes_on_without_one(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in cli.environ.items():
        monkeypatch.setenv(name, value)
    session = Session(Settings(cli.environ))
    wanted = Wanted([tmp_path / "data"], "data", backup=False)
    code = protect(session, session.open_vault(), wanted, as_json=False, install=lambda: ["Installed it"])
    said = capsys.readouterr().out
    assert code == 0 and "\nInstalled it\n" in said and "No timer" not in said

    def fails() -> list[str]:
        raise LocalError("there is neither systemd nor cron here")

    with pytest.raises(LocalError, match="neither systemd nor cron"):
        protect(session, session.open_vault(), wanted, as_json=False, install=fails)
    said = capsys.readouterr().out
    assert "No timer was installed" in said and "To undo:" in said
    session.close()


def test_protect_keeps_what_plans_and_policies_say(cli: Cli, tmp_path: Path) -> None:
    cli.ok("plan", "set", str(tmp_path / "data"), "--item", "data", "--exclude", "*.tmp")
    cli.ok("plan", "set", "--every", "4h", "--zone", "Europe/Berlin", "--check-2-every", "off")
    cli.ok("policy", "set", "--daily", "9", "--zone", "UTC")
    made = cli.json("protect", str(tmp_path / "data"), "--item", "data", "--no-timer", "--no-backup")
    found = {name: field["value"] for name, field in made["fields"].items() if field["value"] is not None}
    assert (found["schedule"], found["exclude"], found["zone"]) == ("every 4h", ["*.tmp"], "Europe/Berlin")
    assert (found["check_1"], found["check_2"], found["prune"]) == ("every 7d for 2h", "off", "every 1d for 1h")
    assert made["policy"] == {"daily": "9 days"} and made["backup"] is None and made["saved_key"]
    made = cli.json("protect", str(tmp_path), "--item", "more", "--at", "12:00,3:00", "--no-timer", "--no-backup")
    assert made["fields"]["schedule"]["value"] == "03:00, 12:00"
    assert [item.name for item in copy_of(cli).items] == ["data", "more"]
    assert {row["item"] for row in cli.json("protect", "--list")["plans"]} == {"data", "more"}


def test_protect_says_what_this_machine_does_not_allow(cli: Cli, tmp_path: Path) -> None:
    (cli.home / "config").mkdir(mode=0o700, parents=True)
    (cli.home / "config" / "plans.toml").write_text('only_below = ["/srv"]\n')
    (cli.home / "config" / "plans.toml").chmod(0o600)
    text = cli.ok("protect", str(tmp_path / "data"), "--item", "data", "--no-timer", "--no-backup")
    assert f"But:          plans.toml does not allow '{tmp_path / 'data'}' of the item data" in text
    assert "nothing is planned" in cli.fails("plan", "now", code=4)


def test_what_protect_refuses_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    for args, why, code in (
        ([str(tmp_path / "none")], "there is no ", 11),
        ([], "no path is given", 2),
        ([data, "--at", "noon"], "time 'noon'", 2),
        ([data, "--zone", "Mars/Olympus"], "no data for the time zone", 2),
        ([data, "--exclude", "[z-a"], "malformed exclude pattern", 2),
        ([data, "--list"], "--list changes nothing", 2),
    ):
        assert why in cli.fails("protect", *args, code=code)
    assert cli.ok("plan", "export") == "" and not cli.json("machine", "list")["machines"]


def test_protect_leaves_the_policy_to_the_admin_whose_key_has_a_passphrase(cli: Cli, tmp_path: Path) -> None:
    admin = {"RPDRIVE_NEW_ADMIN_PASSPHRASE": "the admin's own passphrase"}
    cli.ok("vault", "admin", "passphrase", env=admin)
    text = cli.ok("protect", str(tmp_path / "data"), "--no-timer", "--no-backup")
    assert "Kept:         all recovery points: the admin key has a passphrase of its own" in text
    assert not cli.json("policy", "show")["complete"]
