"""`rpdrive policy list|export|import`: what all levels say, and TOML out and in without a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.documents import document, entries
from catalog.format.numbers import written_number
from catalog.format.records import Item, Machine
from catalog.format.retention import RetentionRule, policy_folder
from catalog.policies.setting import values_of
from catalog.policies.transfer import own_fields
from catalog.retention.policy import FIELDS
from catalog.vault import Vault
from tests.catalog.test_retention_slots import rules
from tests.kit.cli import Cli
from tests.kit.format_values import FEW
from tests.kit.inside import Inside
from tests.kit.vaults import make_vault
from tests.plans.test_records import put_map

MACHINE, ITEM = b"m" * 16, b"i" * 16


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = make_vault(tmp_path / "vault")
    made.add_machine(Machine(id=MACHINE, name="srv01", hostname="h", system="Linux", created=1))
    made.add_item(Item(id=ITEM, machine=MACHINE, name="db", paths=[b"/srv/db"], created=1))
    return made


@pytest.fixture
def cli(vault: Vault, tmp_path: Path) -> Cli:
    return Inside(tmp_path)


def filled(cli: Cli) -> str:
    """Set a policy at each level. The export of them."""
    cli.ok(
        "policy", "set", "--zone", "UTC", "--daily", "30 at 0:00, 18:00", "--yearly", "10 on last saturday of march"
    )
    cli.ok("policy", "set", "--machine", "srv01", "--weekly", "12", "--last", "9", "--hourly", "off")
    cli.ok("policy", "set", "--item", "db", "--daily", "60", "--erase-after", "400 days")
    return cli.ok("policy", "export")


def test_policies_go_out_and_in_unchanged(cli: Cli, tmp_path: Path) -> None:
    text, file = filled(cli), tmp_path / "policies.toml"
    file.write_text(text)
    assert text.count('name = "') == 2 and 'machine = "srv01"' in text and "[vault]" in text
    assert {row["changed"] for row in cli.json("policy", "import", file)["levels"]} == {False}
    cli.ok("policy", "set", "--daily", "40", "--monthly", "12")
    cli.ok("policy", "set", "--item", "db", "--erase-after", "off", "--daily", "inherit")
    before = cli.ok("policy", "export")
    tried = cli.json("policy", "import", file, "--dry-run")["levels"]
    assert [(row["level"], row["changed"]) for row in tried] == [
        ("vault", True),
        ("machine", False),
        ("item", True),
    ]
    assert tried[0]["shortened"] == ["daily", "monthly"] and cli.ok("policy", "export") == before
    said = cli.ok("policy", "import", file)
    assert "Set the policy of the vault, which keeps less than before (daily, monthly)" in said
    assert "Unchanged: the machine srv01" in said
    assert cli.ok("policy", "export") == text


def test_one_level_alone(cli: Cli, tmp_path: Path) -> None:
    filled(cli)
    file = tmp_path / "one.toml"
    file.write_text(cli.ok("policy", "export", "--item", "db"))
    assert file.read_text().startswith("[[item]]\n") and "[vault]" not in file.read_text()
    assert not cli.json("policy", "import", file)["levels"][0]["changed"]
    file.write_text('[[machine]]\nname = "srv01"\n')
    assert cli.json("policy", "import", file)["levels"][0]["changed"], "it says nothing any more"
    assert 'weekly = "' not in cli.ok("policy", "export", "--machine", "srv01")


def test_list_names_what_each_level_says(cli: Cli) -> None:
    assert "There is no policy yet" in cli.ok("policy", "list")
    filled(cli)
    rows = cli.json("policy", "list")["levels"]
    assert [(row["level"], row["machine"]) for row in rows] == [
        ("vault", None),
        ("machine", "srv01"),
        ("item", "srv01"),
    ]
    assert rows[1]["fields"] == {"weekly": "12 weeks on monday", "last": "9 points", "hourly": "off"}
    text = cli.ok("policy", "list")
    assert "the item db of srv01" in text and "daily: 60 days; erase after: 400 days" in text


GOOD = '[vault]\nzone = "UTC"\ndaily = "30"\n'


@pytest.mark.parametrize(
    ("text", "why", "code"),
    [
        (GOOD + '[[machine]]\nname = "srv01"\nweekly = "often"\n', "[[machine]] 1 of", 2),
        (GOOD + '[[machine]]\nname = "nobody"\n', "no machine 'nobody'", 4),
        ('[vault]\nzone = "UTC"\ndaily = "3"\n', "daily 3 is less than 7 days", 2),
        ('[vault]\nzone = "UTC"\n', "no rule by which points are kept", 2),
        ('[vault]\nzone = "Mars/Olympus"\ndaily = "30"\n', "no data for the time zone", 11),
        ("[vault]\ndaily = [30]\n", "neither a text nor a number", 2),
        ('[vault]\nschedule = "21:00"\n', "unknown field 'schedule'", 2),
        (GOOD + '[[item]]\nname = "db"\ndaily = "9"\n[[item]]\nname = "db"\ndaily = "8"\n', "is there twice", 2),
    ],
)
def test_a_bad_document_changes_nothing(cli: Cli, tmp_path: Path, text: str, why: str, code: int) -> None:
    file = tmp_path / "policies.toml"
    file.write_text(text)
    before = cli.ok("policy", "export")
    assert why in cli.fails("policy", "import", file, code=code)
    assert cli.ok("policy", "export") == before


def test_short_policies_need_the_word_for_it(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "policies.toml"
    file.write_text('[vault]\nzone = "UTC"\ndaily = "3"\n')
    cli.ok("policy", "import", file, "--unsafe-short")
    assert 'daily = "3 days"' in cli.ok("policy", "export")


def test_a_record_that_can_not_be_read_is_said(cli: Cli, vault: Vault) -> None:
    filled(cli)
    name = policy_folder(ITEM) + written_number(1)
    path = cli.vault / name
    path.chmod(0o600)
    path.write_bytes(b"x" * 90)
    for command in (["list"], ["export"]):
        assert name in cli.fails("policy", *command, code=9)
    put_map(vault, MACHINE, 1, spread=1)  # a plan is no policy


@settings(FEW)
@given(st.lists(rules(), max_size=4), st.integers(0, 99), st.sampled_from(["last", "hourly", "erase_after"]))
def test_every_policy_is_read_as_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[str, RetentionRule]], number: int, name: str
) -> None:
    from catalog.format.retention import Retention

    fields: dict[str, Any] = {str(unit): rule for unit, rule in made} | {name: number, "zone": "Europe/Berlin"}
    said = own_fields(Retention(id=bytes(16), number=1, written=0, **fields))
    file = tmp_path_factory.getbasetemp() / "policies.toml"
    file.write_text(document([("vault", {}, said)]))
    (entry,) = entries(file, FIELDS)
    found = values_of(entry.fields)
    assert own_fields(Retention(id=bytes(16), number=1, written=0, **found)) == said
