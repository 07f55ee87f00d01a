"""Junk and damage among the records: what opens is shown, what does not is named, and no name is believed.

A token of role `backup` may create any object, without a key. Nothing that it creates may stop or mislead others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from catalog.errors import AccessDenied, Damaged, MissingData, NotFound
from catalog.format.numbers import HIGHEST_NUMBER
from catalog.format.records import ItemName, MachineName, Point, PointName
from catalog.ledger.listed import Listed, list_points
from catalog.ledger.records import Ledgers
from catalog.machines.registry import this_machine
from catalog.points.opening import open_point, read_points
from catalog.store.base import Store
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.vault import Vault, open_vault
from tests.kit.cli import Cli
from tests.kit.drives import ITEM, MACHINE, Maker, add_item, add_machine, add_point
from tests.kit.vaults import PASSPHRASE, new_vault

SECOND = 10**9
START = 1_790_000_000 * SECOND
OTHER = b"m" * 16
JUNK = b"junk"


class Objects:
    """The files of a vault in a folder."""

    def __init__(self, cli: Cli) -> None:
        self._folder = cli.vault

    def put(self, name: object, data: bytes = JUNK) -> None:
        path = self._folder / str(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def rot(self, name: object) -> None:
        path = self._folder / str(name)
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    def remove(self, name: object) -> None:
        (self._folder / str(name)).unlink()


@pytest.fixture
def objects(rpdrive: Cli) -> Objects:
    return Objects(rpdrive)


@pytest.fixture
def points(vault: Vault) -> list[Point]:
    """Three points of one machine, one of another."""
    add_machine(vault)
    add_item(vault)
    add_machine(vault, OTHER, "laptop", 2)
    add_item(vault, ITEM, "etc", OTHER)
    m = Maker(vault)
    made = [add_point(vault, m.root([m.file(b"file", b"x" * n)]), n, START + n * 60 * SECOND) for n in (1, 2, 3)]
    other = add_point(vault, m.root([m.file(b"file", b"other")]), 1, START, machine=OTHER, machine_name="laptop",
                      item_name="etc")  # fmt: skip
    return [*made, other]


def run(cli: Cli, *args: str, code: int = 0) -> tuple[str, str]:
    """A command's stdout and stderr."""
    done = cli.run(*args)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, (args, done.returncode, out, err)
    assert "Traceback" not in err
    return out, err


def ids(cli: Cli, *args: str, code: int = 0) -> tuple[list[str], list[str]]:
    """The points that `points --json` lists, and the names of the objects that it calls damaged."""
    row = json.loads(run(cli, "points", "--json", *args, code=code)[0])
    return [p["id"] for p in row["points"]], [d["object"] for d in row["damaged"]]


def junk_point(sequence: int, machine: bytes = MACHINE, item: bytes = ITEM, id: int = 0) -> str:
    folder = f"points/{machine.hex()}/{item.hex()}"
    return f"{folder}/20991231T235959Z-{sequence:08d}-{id:032x}"


# --- points ---------------------------------------------------------------------------------------------------


def test_one_rotten_point_hides_no_other(rpdrive: Cli, objects: Objects, points: list[Point]) -> None:
    rotten = PointName.of(points[1])
    objects.rot(rotten)
    rest = [p.id.hex() for p in sorted((p for p in points if p is not points[1]), key=lambda p: p.time)]
    out, err = run(rpdrive, "points", code=9)
    assert [line.split()[0] for line in out.splitlines()[1:]] == [i[:8] for i in rest]
    assert str(rotten) in err and err.count("\n") == 1
    assert ids(rpdrive, code=9) == (rest, [str(rotten)])
    assert "vanished" not in err
    for command in (["versions", "/file"], ["find", "-a", "file"]):
        out, err = run(rpdrive, *command, code=9)
        assert "file" in out + err and str(rotten) in err
    objects.rot(PointName.of(points[0]))
    _out, err = run(rpdrive, "points", code=9)
    assert err.count("\n") == 2 and "warning: passed over: points/" in err


@pytest.mark.parametrize("sequence", [4, 900_000, HIGHEST_NUMBER])
def test_a_junk_point_is_newest_of_nothing(
    rpdrive: Cli, objects: Objects, points: list[Point], sequence: int
) -> None:
    junk = junk_point(sequence)
    objects.put(junk)
    assert run(rpdrive, "ls", "latest:/")[0] == "file\n"
    for spec in ("latest", "2099-12-31", "2100-01-01 00"):
        done = rpdrive.run("ls", "--json", spec)
        assert json.loads(done.stdout)["point"]["id"] == points[2].id.hex()
        assert json.loads(done.stderr) == {
            "warning": {"object": junk, "kind": "Damaged", "message": json.loads(done.stderr)["warning"]["message"]}
        }
    assert f"warning: passed over: {junk} is truncated" in run(rpdrive, "ls", "latest")[1]
    listed, damaged = ids(rpdrive, code=9)
    assert len(listed) == 4 and damaged == [junk]
    assert "vanished" not in run(rpdrive, "points", code=9)[1]
    objects.remove(junk)
    assert run(rpdrive, "points")[1] == ""
    assert json.loads(run(rpdrive, "points", "--json")[0])["warnings"] == []


@pytest.mark.parametrize("sequence", [2**63, 2**64 - 1, 10**30])
def test_a_name_that_no_point_can_have_is_nobodys(
    rpdrive: Cli, objects: Objects, points: list[Point], sequence: int
) -> None:
    objects.put(junk_point(sequence))
    assert run(rpdrive, "points")[1] == ""
    assert run(rpdrive, "ls", "latest")[1] == ""
    assert len(ids(rpdrive)[0]) == 4


def test_junk_below_an_item_and_a_machine_that_nobody_knows(
    rpdrive: Cli, objects: Objects, points: list[Point]
) -> None:
    objects.put(junk_point(1, item=b"?" * 16))
    objects.put(junk_point(1, machine=b"!" * 16))
    assert run(rpdrive, "ls", "latest:/")[0] == "file\n"
    listed, damaged = ids(rpdrive, code=9)
    assert len(listed) == 4 and len(damaged) == 2
    assert run(rpdrive, "points", "--machine", "laptop")[1] == ""
    assert run(rpdrive, "machine", "list")[1] == ""


def test_many_junk_points(rpdrive: Cli, objects: Objects, points: list[Point]) -> None:
    for n in range(30):
        objects.put(junk_point(10 + n, id=n))
    done = rpdrive.run("ls", "--json", "latest")
    assert json.loads(done.stdout)["point"]["id"] == points[2].id.hex()
    assert len(done.stderr.splitlines()) == 30
    assert len(ids(rpdrive, code=9)[1]) == 30


def test_a_point_named_by_its_id_is_the_only_one_meant(rpdrive: Cli, objects: Objects, points: list[Point]) -> None:
    objects.rot(PointName.of(points[2]))
    assert str(PointName.of(points[2])) in rpdrive.fails("ls", points[2].id.hex(), code=9)
    assert run(rpdrive, "ls", points[1].id.hex())[0] == "file\n"
    assert run(rpdrive, "diff", "latest", points[1].id.hex())[0] == "no differences\n"


def test_nothing_opens(rpdrive: Cli, objects: Objects, points: list[Point]) -> None:
    for p in points:
        objects.rot(PointName.of(p))
    for command in (["ls", "latest"], ["points"], ["find", "-a", "x"], ["versions", "/file"], ["find", "x"]):
        _out, err = run(rpdrive, *command, code=9)
        assert all(str(PointName.of(p)) in err for p in points), command
    assert ids(rpdrive, code=9)[0] == []


# --- machines and items ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["00000002", "99999999", str(HIGHEST_NUMBER), "1" + "0" * 30])
def test_a_junk_version_of_a_machine_stops_nothing(
    rpdrive: Cli, objects: Objects, points: list[Point], number: str
) -> None:
    objects.put(f"machines/{MACHINE.hex()}/{number}")
    objects.put(f"items/{MACHINE.hex()}/{ITEM.hex()}/{number}")
    for command in (
        ["points"], ["points", "--machine", "box"], ["points", "--item", "home"], ["machine", "list"],
        ["vault", "info"], ["ls", "latest"], ["find", "-a", "file"], ["versions", "/file"], ["jobs"],
        ["machine", "rename", "box", "new"], ["machine", "forget", "new"],
    ):  # fmt: skip
        out, err = run(rpdrive, *command)
        assert out != ""
        if command[0] in ("points", "vault") and len(number) <= 19:
            assert f"warning: passed over: machines/{MACHINE.hex()}/{number}" in err
    rows = json.loads(run(rpdrive, "machine", "list", "--all", "--json")[0])
    assert [(m["name"], m["forgotten"]) for m in rows["machines"]] == [("laptop", False), ("new", True)]


def test_a_machine_and_an_item_of_which_no_record_opens(
    rpdrive: Cli, objects: Objects, points: list[Point]
) -> None:
    machine, item = MachineName(MACHINE, 1), ItemName(MACHINE, ITEM, 1)
    objects.rot(machine)
    objects.rot(item)
    out, err = run(rpdrive, "points")
    assert out.count("box") == 3 and str(machine) in err
    assert ids(rpdrive)[1] == [str(machine)]
    out, err = run(rpdrive, "machine", "list", code=9)
    assert "laptop" in out and "box" not in out and str(machine) in err and err.count("\n") == 1
    row = json.loads(run(rpdrive, "vault", "info", "--json", code=9)[0])
    assert [m["name"] for m in row["machines"]] == ["laptop"] and row["points"] == 4
    assert [d["object"] for d in row["damaged"]] == [str(item), str(machine)]
    assert "laptop" in run(rpdrive, "vault", "info", code=9)[0]
    assert run(rpdrive, "jobs", code=0)[0] != ""
    # Their points have their names, and can be chosen by them.
    for by in ("box", MACHINE.hex()[:10]):
        assert len(ids(rpdrive, "--machine", by)[0]) == 3
    for by in ("home", ITEM.hex()[:10]):
        assert len(ids(rpdrive, "--machine", "box", "--item", by)[0]) == 3
    assert "no machine 'none'" in run(rpdrive, "points", "--machine", "none", code=4)[1]
    assert "box/home" in run(rpdrive, "find", "-a", "file")[0]


def test_a_machine_writes_its_damaged_record_anew(vault: Vault, objects: Objects, tmp_path: Path) -> None:
    first = this_machine(vault, tmp_path, "box")
    objects.rot(MachineName(first.id, 1))
    objects.put(MachineName(first.id, 2))
    objects.put(MachineName(first.id, 5))
    again = this_machine(open_vault(vault.store, passphrase=PASSPHRASE), tmp_path)
    assert (again.id, again.name) == (first.id, "box")
    assert vault.machines() == {first.id: again}
    assert vault.machine(first.id) == (3, again)
    found = vault.passed_over.lost("machines/")
    assert found == []  # those that do not open have a version in their place


def test_a_junk_machine_hides_none(rpdrive: Cli, objects: Objects, points: list[Point]) -> None:
    objects.put(MachineName(b"?" * 16, 1))
    assert "laptop" in run(rpdrive, "machine", "list", code=9)[0]
    assert "laptop" in run(rpdrive, "points")[0]
    objects.put(f"machines/{MACHINE.hex()}/00000001x")
    objects.put("machines/x/00000001")
    objects.put("items/x")
    assert "laptop" in run(rpdrive, "points")[0]


# --- jobs -----------------------------------------------------------------------------------------------------


def test_junk_jobs_hide_none(rpdrive: Cli, vault: Vault, objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for _ in range(3):
        rpdrive.ok("backup", tmp_path / "file")
        time.sleep(1.1)  # names of jobs have whole seconds: of two in one second, either may count as the last
    good = [row["id"] for row in rpdrive.json("jobs")["jobs"]]
    assert len(good) == 3
    for n in range(5):
        objects.put(f"jobs/{MACHINE.hex()}/2099123{n % 2}T235959Z-{n:032x}")
    for last in ("2", "3", "50", "0"):
        row = json.loads(run(rpdrive, "jobs", "--json", "--last", last, code=9)[0])
        assert [job["id"] for job in row["jobs"]] == (good[-2:] if last == "2" else good)
        assert len(row["damaged"]) == 5
    out, err = run(rpdrive, "jobs", code=9)
    assert len(out.splitlines()) == 4 and err.count("\n") == 5
    assert run(rpdrive, "jobs", good[0][:8])[1] == ""


# --- what the store refuses for one object ----------------------------------------------------------------------


class RefusingStore(StoreWrapper):
    """Refuses some objects, and grants the rest; or is without any access."""

    def __init__(self, inner: Store, error: Callable[[str], Exception]) -> None:
        super().__init__(inner)
        self.error = error
        self.refused: Collection[str] = ()
        self.all_refused = False

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind in ("get", "size") and (request.name in self.refused or self.all_refused):
            raise self.error(request.name)
        return call()


def refused(name: str) -> Exception:
    return AccessDenied(f"no access to {name}")


def archived(name: str) -> Exception:
    return MissingData(f"{name} can't be read: it is in the archive tier")


@pytest.mark.parametrize("error", [refused, archived])
def test_an_object_that_is_archived_or_refused_is_that_object_alone(error: Callable[[str], Exception]) -> None:
    store = RefusingStore(MemoryStore(), error)
    vault = new_vault(store)
    add_machine(vault)
    made = [add_point(vault, None, n, START + n * SECOND) for n in (1, 2, 3)]
    store.refused = {str(PointName.of(made[2])), str(MachineName(MACHINE, 1))}
    vault = open_vault(store, passphrase=PASSPHRASE)
    found, damaged = read_points(vault, vault.point_names())
    assert [p.id for p in found] == [made[0].id, made[1].id] and len(damaged) == 1
    assert open_point(vault, list_points(vault), "latest").id == made[1].id
    assert vault.machines() == {} and len(vault.passed_over.lost("machines/")) == 1


def test_a_store_that_refuses_everything_is_no_damage() -> None:
    store = RefusingStore(MemoryStore(), refused)
    vault = new_vault(store)
    add_machine(vault)
    add_point(vault, None, 1, START)
    vault = open_vault(store, passphrase=PASSPHRASE)
    store.all_refused = True
    with pytest.raises(AccessDenied):
        read_points(vault, vault.point_names())
    with pytest.raises(AccessDenied):
        open_point(vault, list_points(vault), "latest")
    with pytest.raises(AccessDenied):
        vault.machines()
    assert vault.passed_over.report() == []


def test_a_point_that_vanishes_while_it_is_read() -> None:
    vault = new_vault(MemoryStore())
    made = [add_point(vault, None, n, START + n * SECOND) for n in (1, 2)]
    names, listed = vault.point_names(), list_points(vault)
    vault.store.delete(str(names[1]))
    fresh = open_vault(vault.store, passphrase=PASSPHRASE)
    assert open_point(fresh, listed, "latest").id == made[0].id
    found, damaged = read_points(fresh, names)
    assert len(found) == 1 and isinstance(damaged[0], MissingData)
    with pytest.raises(NotFound):
        open_point(fresh, list_points(fresh, bytes(16)), "latest")
    vanished = Listed(fresh, [(names[1], 0)], Ledgers(fresh))
    with pytest.raises(Damaged):
        open_point(fresh, vanished, "latest")


# --- what it costs --------------------------------------------------------------------------------------------


def test_requests_for_the_newest_point(rpdrive: Cli, vault: Vault, points: list[Point]) -> None:
    assert isinstance(vault.store, LocalStore)
    spent: list[str] = []

    class Counting(StoreWrapper):
        def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
            spent.append(request.kind)
            return call()

    counted = open_vault(Counting(vault.store), passphrase=PASSPHRASE)
    spent.clear()
    assert open_point(counted, list_points(counted), "latest").id == points[2].id
    assert sorted(spent) == ["get", "list", "list"]  # points, and ledgers at the same time
    for n in range(20):
        vault.store.create(junk_point(10 + n, id=n), [JUNK])
    counted = open_vault(Counting(vault.store), passphrase=PASSPHRASE)
    spent.clear()
    assert open_point(counted, list_points(counted), "latest").id == points[2].id
    assert sorted(spent) == ["get"] * 24 + ["list"] * 2  # the first, then eight at a time, and there are no more


def test_the_warning_is_shown_once(rpdrive: Cli, objects: Objects, points: list[Point], tmp_path: Path) -> None:
    """Also by commands that know nothing of it: a backup, a restore."""
    objects.put(MachineName(MACHINE, 9))
    objects.put(junk_point(77))
    _out, err = run(rpdrive, "restore", "latest:/file", "--to", str(tmp_path / "out"))
    assert err.count(junk_point(77)) == 1
