"""`rpdrive points` and `rpdrive ls`: what is listed, how points are named, and the number of requests."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from catalog.check.records import News, add
from catalog.format.checks import DamagedRow, SliceRow
from catalog.format.nodes import Node
from catalog.format.records import Item, Machine, Point, PointName, Problem, Root
from catalog.format.values import NodeKind, Owner, Totals
from catalog.points.choice import split_place
from catalog.store.address import open_store
from catalog.vault import Vault, open_vault
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import Cli, Terminal
from tests.kit.vaultmaker import Trees, file_node, folder_node
from tests.kit.vaults import PASSPHRASE

SERVER, LAPTOP = b"\xaa" * 16, b"\xab" * 16
HOME, DATA, LAPTOP_HOME = b"\x11" * 16, b"\x12" * 16, b"\x21" * 16
NAMES = {SERVER: "server", LAPTOP: "laptop", HOME: "home", DATA: "data", LAPTOP_HOME: "home"}


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text + "+00:00").timestamp()) * 10**9


def add_point(
    vault: Vault, when: str, sequence: int = 1, machine: bytes = SERVER, item: bytes = HOME, **more: Any
) -> str:
    """Add a point made at a time in UTC. Returns its id."""
    point = Point(
        **{
            "id": os.urandom(16), "machine": machine, "item": item, "machine_name": NAMES[machine],
            "item_name": NAMES[item], "hostname": NAMES[machine], "system": "Linux", "sequence": sequence,
            "time": ns(when), "finished": ns(when) + 90 * 10**9, "paths": [b"/home"], **more,
        }
    )  # fmt: skip
    vault.add_point(point)
    return point.id.hex()


def add_machines(vault: Vault) -> None:
    for machine in (SERVER, LAPTOP):
        vault.add_machine(Machine(id=machine, name=NAMES[machine], hostname="h", system="Linux", created=1))
    for item, machine in ((HOME, SERVER), (DATA, SERVER), (LAPTOP_HOME, LAPTOP)):
        vault.add_item(Item(id=item, machine=machine, name=NAMES[item], paths=[], created=1))


def requests(cli: Cli, *args: str) -> int:
    """The number of requests of a command, as reported with -v."""
    done = cli.run("-v", *args)
    assert done.returncode == 0, done
    said = re.search(rb"rpdrive: (\d+) requests", done.stderr)
    assert said is not None, done
    return int(said[1])


# --- points -------------------------------------------------------------------------------------------------


def test_no_points_yet(rpdrive: Cli, vault: Vault) -> None:
    assert "rpdrive backup" in rpdrive.ok("points")
    nothing: dict[str, Any] = {"points": [], "removed": [], "warnings": [], "behind": None, "damaged": []}
    assert rpdrive.json("points") == {"vault": rpdrive.vault.as_uri()} | nothing


def test_points_are_listed_by_time_and_partial_ones_never(rpdrive: Cli, vault: Vault) -> None:
    root = Root(0, b"p" * 16, 8, 100, 0, 100, b"c" * 16, Totals(1300, 1200, 5_000_000_000, 0))
    problem = Problem(b"/home/x", "unreadable")
    late = add_point(
        vault, "2026-11-17T08:30:05", 2, root=root, new_bytes=2048, problems=[problem], problem_count=1
    )
    early = add_point(vault, "2026-11-16T08:30:05", 1)
    between = add_point(vault, "2026-11-16T20:00:00", 1, LAPTOP, LAPTOP_HOME)
    add_point(vault, "2026-11-17T09:00:00", 3, partial=True)

    lines = rpdrive.ok("points").splitlines()
    assert lines[0].split() == ["POINT", "TIME", "MACHINE", "ITEM", "FILES", "SIZE", "NEW", "WARNINGS"]
    assert [line.split()[0] for line in lines[1:]] == [early[:8], between[:8], late[:8]]
    assert re.split(r"\s{2,}", lines[3]) == [
        late[:8], "2026-11-17 08:30:05", "server", "home", "1,200", "4.7 GiB", "2.0 KiB", "1"
    ]  # fmt: skip
    local = rpdrive.ok("points", env={"TZ": "Asia/Kathmandu"})
    assert "2026-11-17 14:15:05" in local

    rows = rpdrive.json("points")["points"]
    assert [row["id"] for row in rows] == [early, between, late]
    assert rows[2] | {"machine_id": "", "item_id": ""} == {
        "id": late, "time": "2026-11-17T08:30:05Z", "finished": "2026-11-17T08:31:35Z", "machine": "server",
        "machine_id": "", "item": "home", "item_id": "", "sequence": 2, "paths": ["/home"],
        "kind": "files", "volumes": [], "entries": 1300,
        "files": 1200, "bytes": 5_000_000_000, "new_bytes": 2048, "stored_bytes": 0, "warnings": 1,
        "verified": False, "damaged_files": 0, "damaged_paths": [],
    }  # fmt: skip


def test_points_of_a_machine_or_an_item(rpdrive: Cli, vault: Vault) -> None:
    add_machines(vault)
    home = add_point(vault, "2026-11-16T08:00:00", item=HOME)
    data = add_point(vault, "2026-11-16T09:00:00", item=DATA)
    laptop = add_point(vault, "2026-11-16T10:00:00", machine=LAPTOP, item=LAPTOP_HOME)

    def listed(*args: str) -> list[str]:
        return [row["id"] for row in rpdrive.json("points", *args)["points"]]

    assert listed() == [home, data, laptop]
    assert listed("--machine", "server") == [home, data]
    assert listed("--machine", "ab") == listed("--machine", LAPTOP.hex()) == [laptop]
    assert listed("--item", "data") == listed("--item", "12") == [data]
    assert listed("--machine", "server", "--item", "home") == listed("--item", HOME.hex()) == [home]
    assert "--machine" in rpdrive.fails("points", "--item", "home", code=4)
    assert "laptop" in rpdrive.fails("points", "--machine", "a", code=4)
    assert "server" in rpdrive.fails("points", "--machine", "nobody", code=4)
    rpdrive.fails("points", "--machine", "laptop", "--item", "data", code=4)


def test_points_that_a_check_found_damaged_are_named(rpdrive: Cli, vault: Vault) -> None:
    add_machines(vault)
    good, bad = add_point(vault, "2026-11-16T08:00:00", 1), add_point(vault, "2026-11-17T08:00:00", 2)
    row = DamagedRow(SERVER, HOME, bytes.fromhex(bad), 70_000, [b"etc/passwd", b"srv/"])
    checked = News([SliceRow(n, time.time_ns(), SERVER, 0, 0, 0) for n in range(256)], damaged=[row])
    add(vault, SERVER, SERVER, 1, checked)
    lines = rpdrive.ok("points").splitlines()
    assert lines[0].split()[-1] == "DAMAGED"
    assert lines[2].endswith("70,000 files")
    assert f"{bad[:8]} is damaged: 70,000 files can't be given back: /etc/passwd, /srv/ …" in lines
    assert "docs/repair.md" in lines[-1]
    rows = rpdrive.json("points")["points"]
    assert [row["id"] for row in rows] == [good, bad]
    assert [(row["verified"], row["damaged_files"]) for row in rows] == [(True, 0), (False, 70_000)]
    assert rows[1]["damaged_paths"] == [{"path": "/etc/passwd"}, {"path": "/srv/"}]
    assert f"{bad[:8]} is damaged" in rpdrive.ok("points", "--why")


@pytest.mark.parametrize("count", [1, 120])
def test_points_cost_a_request_each_and_five_more(rpdrive: Cli, vault: Vault, count: int) -> None:
    for n in range(count):
        point = datetime.fromtimestamp(1_700_000_000 + 3600 * n, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        add_point(vault, point, n + 1)
    # vault.json, points, ledgers (at the same time), machines, checks (with the points)
    assert requests(rpdrive, "points", "--last", "0") == count + 5
    assert len(rpdrive.ok("points", "--last", "0").splitlines()) == count + 1
    assert requests(rpdrive, "points", "--last", "1") == 6
    assert requests(rpdrive, "points", "--since", "2023-11-14", "--until", "2023-11-14 22:59:59") == 6
    assert "not a time" in rpdrive.fails("points", "--since", "yesterday", code=2)


def test_points_in_azure_are_fetched_once(rpdrive: Cli, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    azurite.container("fetched-once")
    rpdrive.environ |= azurite.environ | {"RPDRIVE_VAULT": f"azure://{ACCOUNT}/fetched-once/a/prefix"}
    rpdrive.fails("points", code=6)
    rpdrive.ok("vault", "create")
    assert "already" in rpdrive.fails("vault", "create", code=6)
    for name, value in azurite.environ.items():
        monkeypatch.setenv(name, value)
    vault = open_vault(open_store(rpdrive.environ["RPDRIVE_VAULT"]), passphrase=PASSPHRASE)
    for n in range(20):
        add_point(vault, f"2026-11-17T08:30:{n:02d}", n + 1)
    assert requests(rpdrive, "points") == 25
    assert requests(rpdrive, "points") == 5
    add_point(vault, "2026-11-17T08:31:00", 21)
    assert requests(rpdrive, "points") == 6
    rpdrive.ok("cache", "clear")
    assert requests(rpdrive, "points") == 26
    assert len(rpdrive.json("points")["points"]) == 21


def test_a_damaged_point_hides_no_other(rpdrive: Cli, vault: Vault) -> None:
    first, second = add_point(vault, "2026-11-16T08:00:00", 1), add_point(vault, "2026-11-17T08:00:00", 2)
    [path] = rpdrive.vault.glob(f"points/*/*/*{first}")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    done = rpdrive.run("points", "--json")
    assert [row["id"] for row in json.loads(done.stdout)["points"]] == [second]
    assert (done.returncode, json.loads(done.stderr)["error"]["kind"]) == (9, "Damaged")
    done = rpdrive.run("points")
    assert second[:8].encode() in done.stdout and done.returncode == 9 and done.stderr.count(b"\n") == 1


def test_a_hostile_name_does_not_reach_the_terminal(rpdrive: Cli, vault: Vault) -> None:
    add_point(vault, "2026-11-16T08:00:00", machine_name="evil\x1b]0;title\x07")
    assert "\x1b" not in rpdrive.ok("points")
    assert rpdrive.json("points")["points"][0]["machine"] == "evil\x1b]0;title\x07"


# --- POINT[:PATH] -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "point", "path"),
    [
        ("latest", "latest", b""),
        ("latest:", "latest", b""),
        ("latest:/", "latest", b"/"),
        ("latest:usr/share", "latest", b"usr/share"),
        ("latest:a:b", "latest", b"a:b"),
        ("latest:a:/b", "latest", b"a:/b"),
        ("5f3a", "5f3a", b""),
        ("5F3A:12:30", "5F3A", b"12:30"),
        ("2026-11-17", "2026-11-17", b""),
        ("2026-11-17:30", "2026-11-17", b"30"),
        ("2026-11-17 08:30", "2026-11-17 08:30", b""),
        ("2026-11-17 08:30:/usr/share", "2026-11-17 08:30", b"/usr/share"),
        ("2026-11-17 08:30:usr/share", "2026-11-17 08:30", b"usr/share"),
        ("2026-11-17 08:30:15", "2026-11-17 08:30:15", b""),
        ("2026-11-17 08:30:15:/15", "2026-11-17 08:30:15", b"/15"),
        ("2026-11-17T08:30:15+01:00", "2026-11-17T08:30:15+01:00", b""),
        ("2026-11-17T08:30:15+01:00:/etc", "2026-11-17T08:30:15+01:00", b"/etc"),
        ("2026-11-17T08:30:15Z:etc", "2026-11-17T08:30:15Z", b"etc"),
        ("latest:/\udcff\udcfe", "latest", b"/\xff\xfe"),
        ("latest:C:\\Users\\anna", "latest", b"/C/Users/anna"),
        ("5f3a:c:\\", "5f3a", b"/C/"),
        ("latest:C:Users", "latest", b"C:Users"),
        ("latest:/C:\\x", "latest", b"/C:\\x"),
        ("no such:/x", "no such", b"/x"),
        (":/x", "", b"/x"),
        ("", "", b""),
    ],
)
def test_points_and_paths_are_told_apart(text: str, point: str, path: bytes) -> None:
    assert split_place(text) == (point, path)


# --- ls -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(vault: Vault) -> Callable[[str, int], str]:
    """A function that adds a point with every kind of entry, and returns its id."""
    add_machines(vault)
    rng, owner = random.Random(1), Owner(1000, 100, "someone", "")
    when = ns("2026-11-17T08:30:05") + 123_456_789

    def node(name: bytes, kind: NodeKind, mode: int, size: int, content: Any) -> Node:
        return Node(name, kind, mode, owner, size, when, when, 7, content=content)

    def write(moment: str, sequence: int) -> str:
        trees = Trees(vault)
        deep = trees.folder([file_node(b"five.txt", [], 0, rng)])
        for name in (b"four", b"three", b"two"):
            deep = trees.folder([folder_node(name, deep, rng)])
        many = trees.folder([node(b"f%05d" % n, NodeKind.FILE, 0o644, 10, []) for n in range(3000)])
        top = trees.folder(
            [
                node(b"caf\xc3\xa9", NodeKind.FIFO, 0o600, 0, None),
                node(b"console", NodeKind.CHAR_DEVICE, 0o620, 0, (5, 1)),
                node(b"empty", NodeKind.FOLDER, 0o1777, 0, None),
                node(b"link", NodeKind.SYMLINK, 0o777, 9, b"to/\xff/dev"),
                node(b"many", NodeKind.FOLDER, 0o755, 0, many),
                node(b"not\xff\xfetext", NodeKind.FILE, 0o644, 0, []),
                node(b"one", NodeKind.FOLDER, 0o755, 0, deep),
                node(b"setuid", NodeKind.FILE, 0o4755, 0, []),
                node(b"with\nnewline", NodeKind.FILE, 0o644, 0, []),
            ]
        )
        return add_point(vault, moment, sequence, root=Root.of(trees.root(top)))

    return write


def test_ls_lists_names_as_the_bytes_they_are(rpdrive: Cli, tree: Callable[[str, int], str]) -> None:
    tree("2026-11-17T08:30:05", 1)
    names = [
        b"caf\xc3\xa9",
        b"console",
        b"empty",
        b"link",
        b"many",
        b"not\xff\xfetext",
        b"one",
        b"setuid",
        b"with\nnewline",
    ]
    for place in ("latest", "latest:/", "latest:", "latest:./", "2026-11-17:/"):
        done = rpdrive.run("ls", place)
        assert done.stdout == b"".join(n + b"\n" for n in names), (place, done)
    assert rpdrive.ok("ls", "latest:empty") == ""
    many = rpdrive.ok("ls", "latest:/many/").split()
    assert many == [f"f{n:05d}" for n in range(3000)]
    assert rpdrive.ok("ls", "latest:one/two/three/four") == "five.txt\n"
    assert rpdrive.ok("ls", "latest:one//two/./three/four/five.txt") == "five.txt\n"
    assert rpdrive.run("ls", b"latest:/not\xff\xfetext").stdout == b"not\xff\xfetext\n"


def test_ls_on_a_terminal_shows_nothing_that_would_act_on_it(rpdrive: Cli, tree: Callable[[str, int], str]) -> None:
    tree("2026-11-17T08:30:05", 1)
    for args in (["ls", "latest"], ["ls", "-l", "latest"]):
        terminal = Terminal(rpdrive, *args, env={})
        assert terminal.end() == 0
        assert "not??text\r\n" in terminal.shown and "with?newline\r\n" in terminal.shown
        assert "café" in terminal.shown


def test_ls_long(rpdrive: Cli, tree: Callable[[str, int], str]) -> None:
    tree("2026-11-17T08:30:05", 1)
    text = rpdrive.run("ls", "-l", "latest").stdout.decode(errors="surrogateescape")
    lines = {line.split(" 2026-11-17 08:30:05 ", 1)[-1]: line.split()[:5] for line in text.split("\n")}
    assert lines["many"] == ["drwxr-xr-x", "1", "someone", "100", "30000"]
    assert lines["empty"] == ["drwxrwxrwt", "1", "someone", "100", "0"]
    assert lines["link -> to/\udcff/dev"][0] == "lrwxrwxrwx"
    assert lines["console"] == ["crw--w----", "1", "someone", "100", "5,"]
    assert lines["setuid"][0] == "-rwsr-xr-x"
    assert lines["café"][0] == "prw-------"


def test_ls_json(rpdrive: Cli, tree: Callable[[str, int], str]) -> None:
    point = tree("2026-11-17T08:30:05", 1)
    listed = rpdrive.json("ls", "latest:/")
    assert (listed["point"]["id"], listed["path"]) == (point, "/")
    rows = {row["name"]: row for row in listed["entries"]}
    assert len(rows) == 9
    assert rows["many"]["kind"] == "folder" and (rows["many"]["size"], rows["many"]["files"]) == (30000, 3000)
    assert rows["setuid"] == {
        "name": "setuid", "kind": "file", "mode": "4755", "size": 0, "mtime": "2026-11-17T08:30:05Z",
        "mtime_ns": ns("2026-11-17T08:30:05") + 123_456_789, "uid": 1000, "gid": 100, "user": "someone",
        "group": "", "nlink": 1,
    }  # fmt: skip
    assert rows["café"]["kind"] == "fifo" and rows["console"]["device"] == [5, 1]
    assert base64.b64decode(rows["link"]["target_bytes"]) == b"to/\xff/dev"
    [name] = [row for row in rows.values() if "name_bytes" in row]
    assert base64.b64decode(name["name_bytes"]) == b"not\xff\xfetext" and name["name"] == "not\ufffd\ufffdtext"
    assert rpdrive.json("ls", "latest:empty")["entries"] == []
    assert [row["name"] for row in rpdrive.json("ls", "latest:one/two")["entries"]] == ["three"]
    assert len(rpdrive.json("ls", "latest:many")["entries"]) == 3000


def test_ls_of_what_is_not_there(rpdrive: Cli, tree: Callable[[str, int], str]) -> None:
    tree("2026-11-17T08:30:05", 1)
    assert "/one/too" in rpdrive.fails("ls", "latest:one/too/three", code=4)
    assert "not a folder" in rpdrive.fails("ls", "latest:setuid/x", code=4)
    assert "not a folder" in rpdrive.fails("ls", "latest:link/x", code=4)
    for place in (
        "latest:..",
        "latest:one/..",
        "latest:\x00",
        "latest:" + "x" * 300,
        "ffffffff",
        "2026-11-16",
        "x:/y",
    ):
        if "\x00" not in place:
            rpdrive.fails("ls", place, code=4)


def test_ls_names_the_point_in_every_way(rpdrive: Cli, tree: Callable[[str, int], str]) -> None:
    first, second = tree("2026-11-16T08:30:05", 1), tree("2026-11-17T20:00:00", 2)

    def chosen(*args: str) -> str:
        return str(rpdrive.json("ls", *args)["point"]["id"])

    assert chosen("latest") == chosen("2026-11-17") == chosen("2026-11-17 20:00:/one") == second
    assert (
        chosen(first)
        == chosen(first[:9] + ":one")
        == chosen("2026-11-17 19:59:59")
        == chosen("2026-11-16")
        == first
    )
    assert chosen("latest", "--machine", "server", "--item", "home") == second
    rpdrive.fails("ls", "latest", "--machine", "laptop", code=4)


def test_ls_costs_five_requests(rpdrive: Cli, tree: Callable[[str, int], str]) -> None:
    for sequence in (1, 2, 3):
        tree(f"2026-11-1{sequence}T08:30:05", sequence)
    # vault.json, the listings of points and ledgers (at the same time), the point, and one block of its tree
    assert requests(rpdrive, "ls", "latest") == 5
    assert requests(rpdrive, "ls", "latest:one/two/three/four") == 5


def test_ls_of_a_point_whose_tree_is_damaged_or_gone(rpdrive: Cli, tree: Callable[[str, int], str]) -> None:
    tree("2026-11-17T08:30:05", 1)
    [pack] = [p for p in rpdrive.vault.glob("meta/*/*/*") if p.is_file()]
    good = pack.read_bytes()
    pack.chmod(0o600)
    pack.write_bytes(good[:20] + bytes([good[20] ^ 1]) + good[21:])
    rpdrive.fails("ls", "latest", code=9)
    pack.unlink()
    assert "missing" in rpdrive.fails("ls", "latest", code=9)


def test_a_chunk_in_the_wrong_place_is_damage(rpdrive: Cli, vault: Vault, tree: Callable[[str, int], str]) -> None:
    tree("2026-11-16T08:30:05", 1)
    [point_name] = vault.point_names()
    root = vault.point(point_name).root
    assert root is not None
    root.id = b"\x00" * 16
    wrong = add_point(vault, "2026-11-17T08:30:05", 2, root=root)
    assert "chunk" in rpdrive.fails("ls", wrong, code=9)


def test_times_mean_this_machines_zone(rpdrive: Cli, vault: Vault) -> None:
    point = add_point(vault, "2026-11-17T02:00:00")
    names = vault.point_names()
    assert [PointName.parse(str(n)) for n in names] == names
    new_york: dict[str, str | None] = {"TZ": "America/New_York"}
    assert rpdrive.json("ls", "2026-11-16 21:00", env=new_york)["point"]["id"] == point
    rpdrive.fails("ls", "2026-11-16 20:59", code=4, env=new_york)
    rpdrive.fails("ls", "2026-11-16 21:00", code=4)
