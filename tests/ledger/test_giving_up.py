"""`rpdrive forget --missing` and `--damaged`: points that nobody can read are given up, by name and by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.errors import TooLate
from catalog.format.ledger import GoneRow, How
from catalog.format.records import PointName
from catalog.format.vaultfile import Immutable
from catalog.ledger.giving_up import _damaged
from catalog.ledger.listed import list_points
from catalog.ledger.records import Ledgers
from catalog.ledger.request import Forgetting
from catalog.ledger.state import SETTLED, Ledger, missing_in
from catalog.retention.slots import DAY
from catalog.signing import signing_key
from catalog.store.deadline import Deadline
from catalog.vault import Vault
from tests.commands.test_points import HOME, SERVER
from tests.ledger.test_commands import SHORT, Commands, run

__all__ = ["run"]  # the fixture
HERE = ["--machine", "server", "--item", "home"]


def path_of(run: Commands, number: int) -> Path:
    (path,) = run.folder.glob(f"points/{SERVER.hex()}/{HOME.hex()}/*-{number:08}-*")
    path.chmod(0o600)
    return path


def flipped(data: bytes) -> bytes:
    return data[:60] + bytes([data[60] ^ 1]) + data[61:]


@pytest.mark.parametrize("harm", [flipped, lambda data: data[:-1], lambda data: b""], ids=["bit", "cut", "empty"])
def test_a_damaged_point_is_given_up_by_its_id(run: Commands, harm: Callable[[bytes], bytes]) -> None:
    run.ok("points")  # this machine has a good copy of its record
    path, spec = path_of(run, 3), run.points[2][:SHORT]
    path.write_bytes(harm(path.read_bytes()))
    assert "would be given up for good" in run.fails("forget", "--damaged", spec)
    dry = run.json("forget", "--damaged", spec, "--dry-run")
    assert dry["dry_run"] is True and run.ledger().number == 0
    done = run.json("forget", "--damaged", spec, "--yes", "--reason", "bad disk")
    (row,) = done["given_up"]
    assert (row["id"], row["sequence"]) == (run.points[2], 3) and row["reason"]
    (gone,) = run.ledger().gone.values()
    assert (gone.sequence, gone.how, gone.reason) == (3, How.DAMAGED, "bad disk")
    assert run.ledger().given_up == gone.since > 0
    assert run.shows() == [1, 2, 4, 5, 6] and run.json("points")["warnings"] == []
    assert "home of server: removed: 1 point damaged, which was accepted" in run.ok("points")
    assert "no recovery point" in run.fails("forget", "--damaged", spec, "--yes", code=4)
    assert "could be brought back" in run.fails("undelete", spec, code=4)


def test_the_last_good_copy_in_a_cache_stays(run: Commands) -> None:
    path = path_of(run, 3)
    name, good = str(path.relative_to(run.folder)), path.read_bytes()
    path.write_bytes(b"")
    cache = {name: good}
    vault = Vault(run.vault.store, run.vault.keys, run.vault.file, cache)
    request = Forgetting.of(
        [run.points[2]], every=False, newest=False, missing=False, damaged=True, until=None, now=False, reason="",
        machine=None, item=None, dry_run=True, yes=False,
    )  # fmt: skip
    assert [str(found) for found in _damaged(vault, list_points(vault), request)] == [name]
    assert cache == {name: good}


def test_what_opens_is_not_given_up(run: Commands) -> None:
    for more in ([], ["--yes"], ["--dry-run"]):
        assert "is not damaged: its record opens" in run.fails("forget", "--damaged", run.points[2], *more)
    assert "has a damaged record" in run.fails("forget", "--damaged", *HERE, "--yes", code=4)
    path_of(run, 3).write_bytes(b"")
    said = run.fails("forget", "--damaged", run.points[2], run.points[4], "--yes")
    assert run.points[4][:SHORT] in said and run.ledger().number == 0
    assert "with the id 2026" in run.fails("forget", "--damaged", "2026-11-13", "--yes", code=4)


def test_all_damaged_points_of_an_item(run: Commands) -> None:
    for number in (2, 6):
        path_of(run, number).write_bytes(b"garbage")
    said = run.ok("forget", "--damaged", *HERE, "--yes")
    assert f"Gave up points 2 ({run.points[1][:SHORT]}), 6 ({run.points[5][:SHORT]}) of home of server" in said
    assert run.shows() == [1, 3, 4, 5]


def test_a_held_point_is_released_first(run: Commands) -> None:
    run.ok("hold", run.points[2])
    path_of(run, 3).write_bytes(b"")
    assert "is held" in run.fails("forget", "--damaged", run.points[2], "--yes")
    run.ok("release", run.points[2])
    run.ok("forget", "--damaged", run.points[2], "--yes")


def test_one_that_was_forgotten_is_given_up(run: Commands) -> None:
    run.ok("forget", run.points[2])
    path_of(run, 3).write_bytes(b"")
    run.ok("forget", "--damaged", run.points[2], "--yes")
    ledger = run.ledger()
    assert not ledger.forgotten and list(ledger.gone) == [bytes.fromhex(run.points[2])]


def test_the_name_of_junk_makes_no_gap(run: Commands) -> None:
    name = PointName.parse(str(path_of(run, 6).relative_to(run.folder)))
    assert name is not None
    for number, far in ((7, False), (99_999_999, True)):
        junk = name._replace(sequence=number, id=number.to_bytes(16, "big"))
        run.vault.store.create(str(junk), [b"junk"])
        if far:
            assert run.code("forget", "--damaged", junk.id.hex(), "--yes") == 2
            assert f"delete the object {junk}" in run.errors
        else:
            run.ok("forget", "--damaged", junk.id.hex(), "--yes")
        assert run.ledger().highest == 7


def test_in_an_immutable_vault_its_days_count(run: Commands) -> None:
    run.vault.change_file(lambda file: file.changed(immutable=Immutable(30, locked=False)))
    path_of(run, 3).write_bytes(b"")
    assert "this vault is immutable" in run.fails("forget", "--damaged", run.points[2], "--yes")
    assert run.ledger().number == 0


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--damaged"], "no recovery point is named"),
        (["--damaged", "--missing", "--item", "home"], "exclude each other"),
        (["--damaged", "x", "--now"], "at once"),
        (["--damaged", "--all", "--item", "home"], "at once"),
        (["--damaged", "x", "--newest"], "at once"),
    ],
)
def test_what_is_asked_for_is_checked_before_the_first_request(run: Commands, args: list[str], why: str) -> None:
    run.folder.rename(run.folder.with_name("away"))
    assert why in run.fails("forget", *args)


def test_all_points_of_an_item_vanished(run: Commands) -> None:
    run.ok("points")
    for number in range(1, 7):
        path_of(run, number).unlink()
    assert "6 recovery points vanished" in run.fails("forget", "--missing", *HERE)
    (row,) = run.json("forget", "--missing", *HERE, "--yes")["accepted"]
    assert (row["first"], row["last"]) == (1, 6)
    assert run.json("points")["warnings"] == [] and run.ledger().given_up > 0


def test_a_record_is_not_stored_long_after_the_time_that_it_says(run: Commands) -> None:
    def given_up(ledger: Ledger) -> Ledger:
        return ledger.give_up([GoneRow(bytes.fromhex(run.points[2]), 3, 1, How.DAMAGED, "")])

    signer = signing_key(run.vault)
    with pytest.raises(TooLate):
        Ledgers(run.vault).change(SERVER, HOME, given_up, signer, 1, until=Deadline.after(-1))
    assert run.ledger().number == 0


def test_its_row_is_folded_when_its_time_no_longer_counts() -> None:
    ledger = Ledger(SERVER, HOME).give_up([GoneRow(b"p" * 16, 3, DAY, How.DAMAGED, "")])
    assert ledger.fold([], DAY + SETTLED - 1) == ledger
    (row,) = ledger.fold([], DAY + SETTLED).past
    assert (row.first, row.last, row.removed, missing_in(row)) == (3, 3, [0, 0, 0, 0, 1], 0)
    assert ledger.fold([], DAY + SETTLED).is_gone(PointName(SERVER, HOME, 0, 3, b"p" * 16, False))
