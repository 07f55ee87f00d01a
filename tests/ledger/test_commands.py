"""`rpdrive forget`, `undelete`, `hold`, `release` and `points --deleted`: what they do, refuse and cost."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import rpdrive as program
from catalog.access.session import Session
from catalog.errors import AccessDenied
from catalog.format.admins import make_admin
from catalog.format.ledger import ForgottenRow, How, LedgerRecord, encode_ledger, ledger_folder
from catalog.format.sealed import Kind
from catalog.format.signed import seal_signed
from catalog.format.vaultfile import Immutable
from catalog.ledger.records import Ledger, Ledgers
from catalog.retention.slots import DAY
from catalog.signing import signing_key
from catalog.store.local import LocalStore
from catalog.store.roles import Role
from catalog.vault import Vault
from tests.commands.test_points import HOME, LAPTOP, LAPTOP_HOME, SERVER, add_machines, add_point
from tests.kit.vaults import home_of, new_vault


class Commands:
    """A vault in a folder with six points of an item, and commands that run in this process."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, shown: pytest.CaptureFixture[str]) -> None:
        for name, value in home_of(folder / "home", str(folder / "vault")).items():
            patch.setenv(name, value)
        self.folder, self.shown = folder / "vault", shown
        self.vault: Vault = new_vault(LocalStore(self.folder))
        add_machines(self.vault)
        self.points = [add_point(self.vault, f"2026-11-{10 + n}T08:00:00", n) for n in range(1, 7)]
        self.errors = ""

    def code(self, *args: str) -> int:
        self.shown.readouterr()
        code = program.run([*args])
        self.out, self.errors = self.shown.readouterr()
        return code

    def ok(self, *args: str) -> str:
        assert self.code(*args) == 0, self.errors
        return self.out

    def json(self, *args: str) -> Any:
        return json.loads(self.ok(*args, "--json"))

    def fails(self, *args: str, code: int = 2) -> str:
        assert self.code(*args) == code, (self.out, self.errors)
        assert self.errors.startswith("rpdrive: ") and self.errors.count("\n") == 1
        return self.errors.strip()

    def shows(self) -> list[int]:
        """The numbers of the points that are shown."""
        return [self.points.index(row["id"]) + 1 for row in self.json("points", "--machine", "server")["points"]]

    def ledger(self, machine: bytes = SERVER, item: bytes = HOME) -> Ledger:
        return Ledgers(self.vault).of(machine, item)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    # The machine of the points has other items, too.
    made = Commands(tmp_path, monkeypatch, capsys)
    monkeypatch.setattr(program, "protect_stderr", lambda: None)
    return made


SHORT = 8


def test_forget_and_undelete(run: Commands) -> None:
    first, second, *_ = run.points
    done = run.json("forget", first[:SHORT], "--reason", "  too\nold ")
    assert [row["id"] for row in done["forgotten"]] == [first] and done["dry_run"] is False
    assert run.shows() == [2, 3, 4, 5, 6]
    (row,) = run.ledger().forgotten.values()
    assert (row.sequence, row.how, row.reason, row.until - row.since) == (1, How.BY_HAND, "too old", 14 * DAY)
    assert run.json("forget", first)["already_forgotten"] == 1 and run.ledger().number == 1
    (listed,) = run.json("points", "--deleted")["points"]
    assert (listed["id"], listed["way"], listed["reason"]) == (first, "by hand", "too old")
    assert (listed["machine"], listed["item"], listed["held"]) == ("server", "home", False)
    assert "too old" in run.ok("points", "--deleted") and "forgotten: 1" in run.ok("points")
    assert "is not forgotten" in run.fails("undelete", second, code=4)
    assert run.json("undelete", first[:SHORT], "--dry-run")["dry_run"] is True and run.shows()[0] == 2
    assert [row["id"] for row in run.json("undelete", first)["undeleted"]] == [first]
    assert run.shows() == [1, 2, 3, 4, 5, 6] and run.ledger().forgotten == {}
    assert "could be brought back" in run.fails("undelete", "ab" * 16, code=4)


def test_a_forgotten_point_is_chosen_by_its_id_alone(run: Commands) -> None:
    newest, day = run.points[-1], "2026-11-16"
    assert json.loads(run.ok("ls", "latest", "--json"))["point"]["id"] == newest
    run.ok("forget", newest, "--newest")
    assert run.json("ls", "latest")["point"]["id"] == run.points[-2]
    assert run.json("ls", day)["point"]["id"] == run.points[-2]
    run.ok("ls", newest)
    assert f"{newest[:SHORT]} was forgotten, and may go after " in run.errors
    assert run.json("ls", newest[:SHORT])["point"]["id"] == newest
    assert run.json("diff", run.points[0], newest)["after"]["id"] == newest
    run.ok("forget", "--all", "--item", "home", "--machine", "server", "--yes")
    assert "were forgotten" in run.fails("ls", "latest", code=4)
    assert "were forgotten" in run.ok("points")
    assert len(run.json("points", "--deleted")["points"]) == 6
    assert "no recovery points here" in run.fails(
        "forget", "--all", "--item", "home", "--machine", "server", code=4
    )
    assert len(run.json("undelete", "--all")["undeleted"]) == 6 and run.shows() == [1, 2, 3, 4, 5, 6]


def test_the_newest_point_and_many_at_once_must_be_confirmed(run: Commands) -> None:
    message = run.fails("forget", "latest")
    assert f"{run.points[-1][:SHORT]} is the newest recovery point of home" in message and "--newest" in message
    message = run.fails("forget", *run.points[:2])
    assert "2 points of 6 would go at once, more than a quarter" in message and "--yes" in message
    assert run.shows() == [1, 2, 3, 4, 5, 6]
    assert len(run.json("forget", *run.points[:2], "--dry-run")["forgotten"]) == 2 and run.ledger().number == 0
    run.ok("forget", *run.points[:2], "--yes")
    run.ok("forget", "latest", "--newest")
    # A junk name above the newest one does not make that an older one.
    name = run.vault.point_names(SERVER, HOME)[-1]
    run.vault.store.create(str(name._replace(sequence=99, id=bytes(16))), [b"junk"])
    assert run.code("forget", run.points[4]) == 2 and "is the newest recovery point" in run.errors
    run.ok("forget", "00000000")  # and it can be forgotten itself
    assert run.shows() == [3, 4, 5]


def test_a_newest_point_that_looks_encrypted_needs_a_yes(run: Commands) -> None:
    for n in range(7, 15):
        run.points.append(add_point(run.vault, f"2026-11-{10 + n}T08:00:00", n))
    more: dict[str, Any] = {"new_bytes": 2 << 20, "stored_bytes": 2 << 20, "previous": bytes(16)}
    run.points.append(add_point(run.vault, "2026-11-26T08:00:00", 15, **more))
    assert "as if its files had been encrypted" in run.fails("forget", *run.points[:2])
    run.ok("forget", run.points[0])
    run.ok("forget", *run.points[1:3], "--yes")


def test_how_long(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third, *_ = run.points
    for until, why in (
        ("2020-01-01", "is over"),
        ("tomorrow", "no date or time"),
        ("9999-01-01", "more than 180 days away"),
    ):
        assert why in run.fails("forget", first, "--until", until)
    soon = run.vault.store.now() + 2 * DAY

    def date(ns: int) -> str:
        return datetime.fromtimestamp(ns // 10**9).strftime("%Y-%m-%d")

    assert "--until is sooner" in run.fails("forget", first, "--until", date(soon))
    run.ok("forget", first, "--until", date(soon + 98 * DAY))
    row = run.ledger().forgotten[bytes.fromhex(first)]
    assert 99 * DAY < row.until - row.since < 102 * DAY
    run.vault.change_file(lambda file: file.changed(soft_delete_days=30))
    run.ok("forget", second)
    row = run.ledger().forgotten[bytes.fromhex(second)]
    assert row.until - row.since == 30 * DAY
    assert "exclude each other" in run.fails("forget", third, "--now", "--until", "2099-01-01")
    assert "can't be brought back" in run.ok("forget", third, "--now")
    row = run.ledger().forgotten[bytes.fromhex(third)]
    assert row.until == row.since
    assert (
        run.json("points", "--deleted")["points"][-1]["until"]
        == run.json("points", "--deleted")["points"][-1]["forgotten"]
    )
    assert "the next prune" in run.ok("points", "--deleted")
    run.ok("forget", first, "--now")  # what can be brought back is then not kept any longer
    row = run.ledger().forgotten[bytes.fromhex(first)]
    assert row.until == row.since


def test_held_points_stay(run: Commands) -> None:
    first, second, *_ = run.points
    run.ok("hold", first, "--reason", "a case at court")
    assert "is held (a case at court)" in run.fails("forget", first)
    assert "is held" in run.fails("forget", first, "--now", "--yes")
    (kept,) = [row for row in run.json("points", "--why")["points"] if row["id"] == first]
    assert ("hold", "a case at court") in [(r["why"], r["note"]) for r in kept["reasons"]]
    # One that was forgotten is held, too: it stays hidden.
    run.ok("forget", second)
    run.ok("hold", second, "--until", "2099-12-31")
    assert "2100-01-01 00:00 (held)" in run.ok("points", "--deleted") and run.shows() == [1, 3, 4, 5, 6]
    ledger = run.ledger()
    assert not ledger.is_due(bytes.fromhex(second), ledger.forgotten[bytes.fromhex(second)].until + 400 * DAY)
    run.ok("release", first, second)
    assert run.ledger().held == {} and "is not held" in run.fails("release", first, code=4)
    assert "is over" in run.fails("hold", first, "--until", "2020-01-01")


def test_an_immutable_vault(run: Commands) -> None:
    run.ok("policy", "set", "--daily", "7", "--zone", "UTC")
    run.vault.change_file(lambda file: file.changed(immutable=Immutable(1, locked=False)))
    # The points are new by the store's clock, so its days keep all of them.
    assert "this vault is immutable, and its policy keeps" in run.fails("forget", run.points[0])
    assert "immutable" in run.fails("forget", run.points[0], "--now")
    assert run.ledger().number == 0


def test_what_is_asked_for_is_checked_before_the_first_request(run: Commands) -> None:
    run.folder.rename(run.folder.with_name("away"))
    for args, why in (
        (["forget"], "no recovery point is named"),
        (["forget", "--all"], "--all needs a machine or an item"),
        (["forget", "latest", "--all", "--item", "home"], "--all means all points"),
        (["forget", "latest", "--missing", "--item", "home"], "--missing is for points that are not there"),
        (["forget", "--missing"], "--missing needs a machine or an item"),
        (["forget", "latest", "--reason", "x" * 501], "501 characters"),
        (["undelete"], "no recovery point is named"),
        (["hold"], "no recovery point is named"),
        (["release"], "no recovery point is named"),
    ):
        assert why in run.fails(*args), args


def test_points_that_vanished_are_named_until_that_is_accepted(run: Commands) -> None:
    run.ok("points")  # this machine has seen them
    run.ok("forget", run.points[0])
    for number in (2, 3, 5):
        (path,) = run.folder.glob(f"points/*/*/*-{number:08}-*")
        path.unlink()
    assert run.json("points")["warnings"] == [
        f"recovery points 2 to 3 of item {HOME.hex()[:8]} vanished from the vault",
        f"recovery point 5 of item {HOME.hex()[:8]} vanished from the vault",
    ]
    here = ["--missing", "--item", "home", "--machine", "server"]
    assert "3 recovery points vanished, and would be given up" in run.fails("forget", *here)
    done = run.json("forget", *here, "--yes")["accepted"]
    assert [(row["first"], row["last"]) for row in done] == [(2, 3), (5, 5)]
    assert run.json("points")["warnings"] == []
    (row,) = run.json("points")["removed"]
    assert row["gone"] == {"missing, which was accepted": 3} and row["forgotten"] == 1
    assert "home of server: removed: 3 points missing, which was accepted; forgotten: 1" in run.ok("points")
    assert "no recovery point is missing" in run.fails("forget", *here, "--yes", code=4)


def test_points_that_are_gone_are_explained_and_not_shown(run: Commands) -> None:
    """Also while the store still has their objects."""
    run.ok("points")
    run.ok("forget", *run.points[:3], "--now", "--yes")
    signer, ids = signing_key(run.vault), [bytes.fromhex(p) for p in run.points[:3]]
    now = run.vault.store.now()
    Ledgers(run.vault).change(SERVER, HOME, lambda ledger: ledger.take(ids, now), signer, now)
    assert run.shows() == [4, 5, 6] and run.json("points", "--deleted")["points"] == []
    assert run.json("points", "--deleted")["gone"][0]["ways"] == {"by hand": 3}
    assert "could be brought back" in run.fails("undelete", run.points[0], code=4)
    assert "no recovery point" in run.fails("ls", run.points[0], code=4)
    for path in [*run.folder.glob("points/*/*/*-0000000[12]-*")]:
        path.unlink()
    said = "home of server: removed: 3 points by hand"
    assert run.json("points")["warnings"] == [] and said in run.ok("points")
    # The numbers of those whose objects are away become a range.
    later, names = now + 8 * DAY, run.vault.point_names(SERVER, HOME)
    Ledgers(run.vault).change(SERVER, HOME, lambda ledger: ledger.fold(names, later), signer, later)
    assert run.json("points")["warnings"] == [] and said in run.ok("points")
    assert [(row.first, row.last) for row in run.ledger().past] == [(1, 2)]


def test_a_whole_machine(run: Commands) -> None:
    mine = add_point(run.vault, "2026-11-17T08:00:00", 1, LAPTOP, LAPTOP_HOME)
    assert "would go at once" in run.fails("forget", "--all", "--machine", "server")
    run.ok("forget", "--all", "--machine", "server", "--yes")
    assert [row["id"] for row in run.json("points")["points"]] == [mine]
    machines = {row["name"]: row["points"] for row in run.json("machine", "list")["machines"]}
    assert machines == {"laptop": 1, "server": 0}
    (server,) = [m for m in run.json("vault", "info")["machines"] if m["name"] == "server"]
    assert [item["points"] for item in server["items"]] == [0, 0]


# --- who may, and what counts -------------------------------------------------------------------------------


def test_a_backup_credential_can_not_forget(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """rpdrive refuses before the first request; and what somebody stores all the same, nobody signed."""

    def require(self: Session, role: Role) -> None:
        if not Role.BACKUP.includes(role):
            raise AccessDenied(f"this needs the role {role}")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "require", require)
        patch.setattr(Session, "open_store", lambda self: pytest.fail("a request was made"))
        for args in (["forget", "latest"], ["undelete", "--all"], ["hold", "latest"], ["release", "latest"]):
            assert "needs the role maintain" in run.fails(*args, code=5)
        assert "needs the role admin" in run.fails("forget", "latest", "--now", code=5)
    rows = [ForgottenRow(bytes.fromhex(p), 1, 0, 0, How.BY_HAND, "", "") for p in run.points]
    private = os.urandom(32)
    stranger = make_admin(run.vault.keys, private, "")
    (admin,) = run.vault.file.admins
    for number, who in enumerate((stranger, admin), 1):  # the second signature is wrong, under the id of the admin
        name = f"{ledger_folder(SERVER, HOME)}{number:08}"
        record = LedgerRecord(machine=SERVER, item=HOME, number=number, written=0, forgotten=rows)
        sealed = seal_signed(run.vault.keys, who, private, Kind.LEDGER, name, encode_ledger(record))
        run.vault.store.create(name, [sealed])
    assert run.shows() == [1, 2, 3, 4, 5, 6]
    run.ok("forget", run.points[0])
    assert run.ledger().number == 3 and run.shows() == [2, 3, 4, 5, 6]


def test_a_malformed_ledger_hides_nothing_and_blocks(run: Commands) -> None:
    name = f"{ledger_folder(SERVER, HOME)}00000001"
    run.vault.store.create(name, [seal_signed(run.vault.keys, *signing_key(run.vault), Kind.LEDGER, name, b"\xc1")])
    assert run.code("points") == 0 and len(run.out.splitlines()) == 7
    assert "00000001 is malformed" in run.errors
    assert "is malformed" in run.fails("forget", run.points[0], code=9)
    assert "is malformed" in run.fails("hold", run.points[0], code=9)
    assert run.code("points", "--deleted") == 9


def test_requests(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def requests(*args: str) -> int:
        assert run.code("-v", *args) == 0, run.errors
        return int(run.errors.rpartition("rpdrive: ")[2].split()[0])

    # vault.json; points and ledgers at the same time; the newest point, which must stay; the new ledger.
    assert requests("forget", run.points[0], "--json") == 1 + 2 + 1 + 1
    assert requests("forget", run.points[1], "--json") == 1 + 2 + 1 + 1 + 1, "and the ledger that it follows"
    assert requests("undelete", run.points[1], "--json") == 1 + 2 + 1 + 1
    assert requests("hold", run.points[1], "--json") == 1 + 2 + 1 + 1
    assert requests("release", run.points[1], "--json") == 1 + 2 + 1 + 1
