"""Imports run one way only, between packages and between the rooms in them (tests/kit/rooms.py), and starting the
command loads nothing that it may not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.kit.imports import (
    PACKAGES,
    ROOT,
    circles,
    graph,
    imported,
    long_files,
    main,
    room_arrows,
    room_of,
    sources,
    wrong_arrows,
)
from tests.kit.rooms import LONG, ROOMS

# Which packages each package may import, whatever the rooms say.
BELOW = {"catalog": set(), "cache": {"catalog"}, "mount": {"cache", "catalog"}, "backup": {"cache", "catalog"}}


def test_every_module_has_a_room() -> None:
    homeless = {module for module in graph() if room_of(module) is None}
    assert homeless == set(PACKAGES), "add a row to tests/kit/rooms.py"


def test_no_row_of_the_table_points_up() -> None:
    rows = list(ROOMS)
    up = {(room, other) for room in rows for other in ROOMS[room].split() if other not in rows[: rows.index(room)]}
    assert up == set()


def test_no_row_of_the_table_is_without_a_room() -> None:
    assert {room for room in ROOMS if not any(room_of(module) == room for module in graph())} == set()


def test_rooms_keep_to_their_packages_imports() -> None:
    for room, others in ROOMS.items():
        mine = room.split(".")[0]
        theirs = {other.split(".")[0] for other in others.split()} - {mine}
        assert theirs <= BELOW.get(mine, set(PACKAGES)), room


def test_errors_import_nothing_of_ours() -> None:
    assert graph()["catalog.errors"] == set()


def test_imports_run_one_way() -> None:
    assert sorted(wrong_arrows(graph())) == []


def test_every_arrow_of_the_table_is_there() -> None:
    arrows = room_arrows(graph())
    unused = {room: set(others.split()) - arrows[room] for room, others in ROOMS.items()}
    assert {room: others for room, others in unused.items() if others} == {}, "remove these from tests/kit/rooms.py"


def test_no_modules_import_each_other() -> None:
    assert circles(graph()) == set()


def test_no_file_is_long_without_a_reason() -> None:
    found = long_files(sources())
    assert {path: count for path, count in found.items() if path not in LONG} == {}
    assert set(LONG) - set(found) == set(), "remove these from LONG in tests/kit/rooms.py"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("catalog.format.packs", "from catalog.store.base import Store"),
        ("catalog.store.local", "def f():\n    import catalog.format.packs"),
        ("catalog.vault", "import cache.reader"),
        ("cache.reader", "from mount import view"),
        ("mount.view.nodes", "if True:\n    from backup.run import x"),
        ("backup.run", "import mount"),
        ("catalog.errors", "from .vault import Vault"),
        ("catalog.store.local", "from .. import format"),
        ("catalog.store.local", "from catalog import format"),
        ("backup.run", "import rpdrive"),
        ("mount.view.nodes", "if TYPE_CHECKING:\n    from mount.drivers.base import Driver"),
        ("mount.restore.disk.base", "import_module('mount.restore.run')"),
        ("catalog.store.base", "from catalog.store.azure import store"),
        ("backup.walk", "from backup import job"),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, text: str) -> None:
    assert wrong_arrows({module: imported(text, module, False, set(graph()))})


def test_an_arrow_that_a_row_names_is_allowed() -> None:
    text = "from catalog.store.base import Store\nfrom catalog.store import base\nfrom . import tree\nimport os"
    found = imported(text, "catalog.vault", False, set(graph()))
    assert found == {"catalog.store.base", "catalog.tree"}
    assert wrong_arrows({"catalog.vault": found}) == {("catalog.vault", "catalog.tree")}


def test_circles_are_seen() -> None:
    modules = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set[str](), "e": {"a"}}
    assert circles(modules) == {frozenset("abc")}
    assert circles({"a": {"b"}, "b": set[str]()}) == set()


def test_the_graph_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    text = capsys.readouterr().out
    assert all(f" {room}: " in text for room in ROOMS if room != "rpdrive")
    assert "circles: none" in text
    assert "arrows up, or not in the table: none" in text


def test_every_source_is_walked() -> None:
    walked = {path.relative_to(ROOT).as_posix() for path in sources().values()}
    assert {"catalog/errors.py", "catalog/store/base.py", "catalog/format/packs.py", "rpdrive.py"} <= walked


@pytest.mark.unmeasured
def test_starting_the_command_loads_no_sdk_and_no_driver() -> None:
    code = (
        "import importlib, sys, rpdrive\n"
        "for package in rpdrive.PACKAGES: importlib.import_module(package)  # as `rpdrive --help` does\n"
        "heavy = {'azure', 'requests', 'fuse', 'winfspy', 'diskcache', 'pyfastcdc', 'sqlite3'}\n"
        "heavy |= {'starlette', 'uvicorn', 'anyio', 'jinja2', 'h11', 'asyncio'}\n"
        "page = {m for m in sys.modules if m.startswith('mount.browse.')} - {'mount.browse.commands'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules) | page)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"import rpdrive loads {done.stderr}"
