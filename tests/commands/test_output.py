"""What commands print where the output can't hold it, or names hold what acts on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import AmbiguousName, NotFound
from catalog.format.records import Machine, PointName
from catalog.points.choice import choose_point, split_place, time_ends
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.drives import ITEM, MACHINE, Maker, add_point

SECOND = 10**9
TITLE = "\x1b]0;owned\x07"  # sets the title of a terminal


# --- encodings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_names_that_the_output_cannot_hold_are_escaped(
    rpdrive: Cli, vault: Vault, tmp_path: Path, encoding: str
) -> None:
    source = tmp_path / "日本"
    source.mkdir()
    (source / "ä€").write_text("a")
    (source / os.fsdecode(b"\xff")).write_text("b")
    rpdrive.ok("backup", source)
    env = {"PYTHONIOENCODING": encoding}
    for command in (["points"], ["jobs"], ["ls", f"latest:{source}"], ["ls", "-l", f"latest:{tmp_path}"],
                    ["find", "*"], ["find", "-a", "*"], ["versions", str(source / "ä€")], ["machine", "list"],
                    ["vault", "info"], ["diff", "latest", "latest"]):  # fmt: skip
        done = rpdrive.run(*command, env=env)
        assert (done.returncode, done.stderr) == (0, b""), command
    listed = rpdrive.run("ls", f"latest:{source}", env=env).stdout.splitlines()
    euro = b"\x80" if encoding == "cp1252" else b"\\u20ac"
    assert listed == [(b"\\xe4" if encoding == "ascii" else b"\xe4") + euro, b"\xff"]
    assert rb"\u65e5\u672c" in rpdrive.run("points", env=env).stdout


# --- terminals ------------------------------------------------------------------------------------------------


def test_nothing_that_a_name_holds_acts_on_a_terminal(rpdrive: Cli, vault: Vault) -> None:
    """Another machine of the vault chooses its names, those of its items, and of its files."""
    machine = Machine(id=MACHINE, name=f"box{TITLE}", hostname=TITLE, system=TITLE, created=1)
    vault.add_machine(machine)
    m = Maker(vault)
    root = m.root([m.file(b"file\x1b[2J", b"x")])
    add_point(vault, root, 1, machine_name=machine.name, item_name=TITLE)
    add_point(vault, root, 2, machine_name=machine.name, item_name=TITLE)
    for command in (
        ["points"], ["points", "--machine", "none"], ["points", "--item", "none"], ["machine", "list"],
        ["machine", "rename", MACHINE.hex(), "new"], ["machine", "forget", MACHINE.hex()], ["vault", "info"],
        ["find", "-a", "none"], ["ls", "latest:/none\x1b[2J"], ["versions", "/none\x1b[2J"], ["jobs"],
        ["ls", "x\x1b[2J"], ["restore", "latest:/none\x1b[2J", "--to", "/nowhere"],
    ):  # fmt: skip
        done = rpdrive.run(*command)
        assert done.stdout + done.stderr != b"", command
        assert b"\x1b" not in done.stdout + done.stderr and b"\x07" not in done.stdout + done.stderr, command


def test_the_summary_of_a_backup_is_safe(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = rpdrive.run("backup", tmp_path / "file", "--item", f"item{TITLE}")
    assert done.returncode == 0 and b"item" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr


# --- paths through symlinks -----------------------------------------------------------------------------------


def test_a_path_through_a_symlink_is_found_by_the_advice(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    real, link, inner = tmp_path / "real", tmp_path / "link", tmp_path / "real" / "inner"
    (real / "folder").mkdir(parents=True)
    (real / "folder" / "file").write_text("x")
    link.symlink_to(real)
    inner.symlink_to("folder")
    rpdrive.ok("backup", link)
    said = rpdrive.fails("ls", f"latest:{link}/folder", code=4)
    assert f"there is no {link} in this recovery point" in said and f"it is {real}/folder: try that path" in said
    assert f"it is {real}/folder/file" in rpdrive.fails("versions", link / "folder" / "file", code=4)
    assert f"it is {real}/folder" in rpdrive.fails("diff", "latest", "latest", link / "folder", code=4)
    said = rpdrive.fails("ls", f"latest:{inner}/file", code=4)
    assert f"{inner} is not a folder in this recovery point, but a symlink to folder" in said
    assert f"it is {real}/folder/file" in said
    inner.unlink()
    assert "the path that the link leads to" in rpdrive.fails("ls", f"latest:{inner}/file", code=4)
    assert "see `rpdrive ls`" in rpdrive.fails("ls", f"latest:{real}/none", code=4)
    rpdrive.ok("versions", real / "folder" / "file")


# --- times ----------------------------------------------------------------------------------------------------


@pytest.fixture
def berlin() -> Iterator[None]:
    """This process is in Berlin, where the clock shows 02:00 to 03:00 twice on 2025-10-26."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


SUMMER_0210 = 1_761_437_400  # 2025-10-26 02:10 +02:00
WINTER_0210 = SUMMER_0210 + 3600


def point(seconds: int, sequence: int = 1) -> PointName:
    return PointName(MACHINE, ITEM, seconds * SECOND, sequence, sequence.to_bytes(16, "big"), False)


@pytest.mark.usefixtures("berlin")
def test_a_time_that_came_twice() -> None:
    summer, winter = point(SUMMER_0210, 1), point(WINTER_0210, 2)
    # Of the two, only one has a point at or before it: 02:15 was refused as "not made before".
    assert choose_point([winter], "2025-10-26 02:15") == winter
    assert choose_point([winter], "2025-10-26 02:10:00") == winter
    assert choose_point([winter], "2025-10-26T02:10:00") == winter
    with pytest.raises(NotFound):
        choose_point([winter], "2025-10-26 02:09")
    # Both readings mean the same point.
    assert choose_point([point(SUMMER_0210 - 3600)], "2025-10-26 02:15") == point(SUMMER_0210 - 3600)
    assert choose_point([summer], "2025-10-26 02:15") == summer
    # They mean different points: nobody guesses, and the advice works.
    for spec in ("2025-10-26 02:10", "2025-10-26 02:10:00", "2025-10-26 02:59", "2025-10-26T02:10:00"):
        with pytest.raises(AmbiguousName) as error:
            choose_point([summer, winter], spec)
        zones = error.value.advice.removeprefix("write ").removesuffix(", or the id of the point").split(" or ")
        assert [choose_point([summer, winter], zone) for zone in zones] == [summer, winter]
        assert split_place(zones[0] + ":/etc/hosts") == (zones[0], b"/etc/hosts")
    # An hour and a day mean all of it; the minute before is not ambiguous.
    assert choose_point([summer, winter], "2025-10-26 02") == winter
    assert choose_point([summer, winter], "2025-10-26") == winter
    assert choose_point([point(SUMMER_0210 - 601), summer], "2025-10-26 01:59") == point(SUMMER_0210 - 601)
    assert choose_point([summer, winter], "2025-10-26 03:00") == winter


@pytest.mark.usefixtures("berlin")
def test_a_time_that_the_clock_skipped() -> None:
    assert time_ends("2026-03-29 02:30") == [(1_774_747_800 + 60) * SECOND]  # as 03:30 +02:00
    assert len(time_ends("2026-03-29")) == len(time_ends("2026-03-29 02")) == 1


@pytest.mark.parametrize(
    "spec", ["", "now", "2026-13-01", "2026-02-30 10:00", "99999-01-01", "0000-00-00", "２０２６-01-01x", "1 2 3"]
)
def test_what_is_no_time(spec: str) -> None:
    assert time_ends(spec) == []
