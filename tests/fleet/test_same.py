"""A fleet finds what a single run finds, and leaves the same records: on two vaults that are one, with damage."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.check import records
from catalog.check.options import Options
from catalog.check.show import run_check
from catalog.errors import NotFound
from catalog.format.blocks import PackKind
from catalog.format.records import Item, Machine
from catalog.prune.job import Request as PruneRequest
from catalog.prune.show import prune_vault
from catalog.store.address import open_store
from catalog.store.memory import MemoryStore
from catalog.vault import Vault, open_vault
from mount.fleet.check_show import check_fleet
from mount.fleet.engine import Fleet
from mount.fleet.pieces import Order, Piece, encode_order, own_version
from mount.fleet.pruning import prune_fleet
from mount.fleet.testing import run_tests
from mount.restoretest.job import Request as RestoreRequest
from mount.restoretest.job import RestoreTest
from mount.restoretest.show import run_and_show
from tests.kit.cli import Cli
from tests.kit.pruning import ITEM, World
from tests.kit.vaultmaker import Packer, Trees, open_empty
from tests.kit.vaults import PASSPHRASE, home_of, make_vault

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
DAMAGED, WITH_PROBLEMS = 9, 3


def session_of(home: Path, address: str) -> Session:
    environ = home_of(home, address)
    return Session(Settings(environ), vault=address, passphrases=GivenPassphrases(environ=environ))


class Place:
    """A copy of the vault, as one user of it sees it."""

    def __init__(self, cli: Cli) -> None:
        self.cli, self.folder = cli, cli.vault
        address = cli.vault.as_uri()
        self.session = session_of(cli.home, address)
        self.vault: Vault = self.session.open_vault()

    def jobs(self, kind: str, *but: str) -> list[str]:
        """What the records of jobs say, but for times and ids."""
        left = ("id", "began", "began_ns", "finished", "seconds", *but)
        rows = [
            without(row, *left) for row in self.cli.json("jobs", "--last", "100")["jobs"] if row["kind"] == kind
        ]
        return sorted(map(str, rows))

    def checks(self) -> dict[bytes, tuple[object, ...]]:
        """What the newest records of checks say of each series, but for times."""
        return {
            one.series: (
                [(row.slice, row.by, row.packs, row.bytes, row.faults) for row in one.slices],
                one.parts, one.ahead, [(row.pack, row.offset, row.reason) for row in one.bad],
                [(row.point, row.files, row.paths) for row in one.damaged],
            )
            for one in records.newest_of_all(self.vault)
        }  # fmt: skip

    def names(self, top: str) -> list[str]:
        return sorted(str(p.relative_to(self.folder)) for p in (self.folder / top).rglob("*") if p.is_file())


class Saver(World):
    """A machine that saves into a vault of a folder, now."""

    def __init__(self, vault: Vault, machine: bytes) -> None:
        self.now, self.vault, self.machine, self.store = time.time_ns(), vault, machine, vault.store
        self.rng = random.Random(machine)
        self.files, self.points, self.sequence, self._at = {}, {}, 0, {}
        self._trees = Trees(vault, machine=machine)
        name = machine.decode().rstrip(".\0")
        vault.add_machine(Machine(id=machine, name=name, hostname=name, system="Linux", created=self.now))
        vault.add_item(Item(id=ITEM, machine=machine, name="home", paths=[b"/home"], created=self.now))

    def backup_apart(self, count: int = 66) -> None:
        """Two points of so many files, each in a pack of its own: so many small packs that upkeep merges them."""
        for n in range(count):
            packer = Packer(self.vault, PackKind.DATA, machine=self.machine)
            name = b"file-%03d" % n
            self.files[name] = self.rng.randbytes(3000)
            self._at[name] = packer.block([self.files[name]])[0]
            packer.finish()
        self._commit()
        self.backup(0)


class Twin:
    """`one` for single runs, `other` for a fleet of two processes."""

    def __init__(self, folder: Path) -> None:
        from mount.fleet.local import LocalPool
        from mount.fleet.worker import Keys

        cli, other = Cli(folder / "one"), Cli(folder / "other")
        cli.home.parent.mkdir()
        other.home.parent.mkdir()
        make_vault(cli.vault)
        vault = open_vault(open_store(cli.vault.as_uri()), passphrase=PASSPHRASE)
        for name in (b"box0", b"box1"):
            Saver(vault, name.ljust(16, b".")).backup_apart()
        pack = sorted(p for p in (cli.vault / "packs").rglob("*") if p.is_file())[5]
        pack.chmod(0o600)
        data = bytearray(pack.read_bytes())
        data[1000] ^= 1
        pack.write_bytes(data)
        third = Cli(folder / "third")
        for copy in (other, third):
            shutil.copytree(cli.vault, copy.vault)
        self.one, self.other, self.third = Place(cli), Place(other), Place(third)
        self.pool = LocalPool(2, Keys(self.one.vault.keys.master), self.other.session.settings)
        self.runs = 0

    def fleet(self, place: Place | None = None) -> Fleet:
        self.runs += 1
        run, place = str(self.runs), place or self.other

        def order_of(piece: Piece | None) -> bytes:
            kind, name, body = ("", "", b"") if piece is None else piece[:3]
            return encode_order(
                Order(own_version(), run, place.vault.id, place.session.address, kind=kind, id=name, body=body)
            )

        return Fleet(self.pool, order_of, pytest.fail)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    made = Twin(tmp_path_factory.mktemp("twin"))
    yield made
    made.pool.close()


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(capsys.readouterr().out)
    return row


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_check_has_the_same_report_and_records(
    twin: Twin, level: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code = DAMAGED if level == 3 else 0
    options = Options(level, None, None)
    one, other = twin.one, twin.other
    assert run_check(one.session, one.vault, None, None, options, as_json=True) == code
    single = printed(capsys)
    fleet = twin.fleet()
    assert check_fleet(other.session, other.vault, fleet, None, None, options, as_json=True) == code
    row = printed(capsys)
    assert row["errors"] == []
    assert without(row, "vault", "fleet", "errors") == without(single, "vault")
    assert len(row["findings"]) == (level == 3)
    assert other.checks() == one.checks()
    # Trees of each machine; slices of each; at last, the files of what is bad.
    assert row["fleet"]["pieces"] == {1: 2, 2: 4, 3: 5}[level]
    if level == 3:
        assert other.jobs("check") == one.jobs("check")


def test_a_test_of_every_item_of_none_is_no_success(twin: Twin) -> None:
    request = RestoreRequest("latest", None, None, None, None, False, None, "auto")
    empty = open_empty(MemoryStore())
    with pytest.raises(NotFound, match="there are no recovery points here yet"):
        run_tests(twin.other.session, empty, twin.fleet(), request, True, as_json=True)


def test_a_restore_test_has_the_same_verdicts(twin: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    request = RestoreRequest("latest", None, None, None, 100.0, False, None, "auto")
    one, other = twin.one, twin.other
    singles = []
    for name in ("box0", "box1"):
        run_and_show(RestoreTest(one.session, request._replace(machine=name)), one.vault, as_json=True)
        singles.append(printed(capsys))
    assert run_tests(other.session, other.vault, twin.fleet(), request, True, as_json=True) == DAMAGED
    row = printed(capsys)
    left = ("job", "seconds", "error")
    assert sorted(str(without(r, *left)) for r in row["tests"]) == sorted(str(without(r, *left)) for r in singles)
    assert [len(r["failures"]) for r in singles].count(1) == 1
    assert other.jobs("restore test") == one.jobs("restore test")


def test_a_prune_does_the_same(twin: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    request = PruneRequest(None, False, None, True)
    one, other = twin.one, twin.other
    # The damaged block stays where it is, and is told of.
    assert prune_vault(one.session, one.session.open_vault(), request, as_json=True) == WITH_PROBLEMS
    single = printed(capsys)
    fleet = twin.fleet()
    assert prune_fleet(other.session, other.session.open_vault(), fleet, request, as_json=True) == WITH_PROBLEMS
    row = printed(capsys)
    assert [(one["record"], one["carriers"] > 0, one["moved_bytes"] > 0) for one in single["machines"]] == [
        (1, True, True)
    ] * 2
    # Carriers have random ids, so that their tables of contents differ by some bytes.
    assert [without(m, "moved_bytes") for m in row["machines"]] == [
        without(m, "moved_bytes") for m in single["machines"]
    ]
    assert other.jobs("prune", "stored_bytes") == one.jobs("prune", "stored_bytes")
    for top in ("points", "ledger", "places"):
        assert other.names(top) == one.names(top), top
    assert [len(place.names("packs")) for place in (one, other)] == [len(one.names("packs"))] * 2
    # Runs mix: a single run after the fleet's finds what it finds after its own.
    found = []
    for place in (one, other):
        prune_vault(place.session, place.session.open_vault(), request._replace(dry=True), as_json=True)
        found.append([row["planned"] for row in printed(capsys)["machines"]])
    assert found[0] == found[1]


def test_two_workers_with_one_piece_of_a_prune_do_no_harm(twin: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    """As when one is cut off from the scheduler but not from the store: both do it at once, each to its end."""
    place, request = twin.third, PruneRequest(None, False, None, True)
    codes: list[int] = []

    def single() -> None:
        session = session_of(place.folder.parent / "home2", place.folder.as_uri())
        codes.append(prune_vault(session, session.open_vault(), request, as_json=True))

    thread = threading.Thread(target=single)
    thread.start()
    codes.append(prune_fleet(place.session, place.vault, twin.fleet(place), request, as_json=True))
    thread.join()
    capsys.readouterr()
    assert set(codes) <= {0, WITH_PROBLEMS}
    # Each series has one or two records of places, one after the other, and all files can be read.
    assert {name.rpartition("/")[2].lstrip("0") for name in place.names("places")} <= {"1", "2"}
    session = session_of(place.folder.parent / "home3", place.folder.as_uri())
    run_check(session, session.open_vault(), None, None, Options(3, None, None), as_json=True)
    assert [row["what"] for row in printed(capsys)["findings"]] == ["damaged block"]
