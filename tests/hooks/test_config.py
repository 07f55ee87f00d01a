"""hooks.toml: strict, local, and out of reach of other users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalog.access.settings import Settings
from catalog.errors import LocalError
from catalog.hooks.config import Hooks, Mode, Stage, read_hooks
from tests.kit.cli import Cli

GOOD = """
[[hook]]
name = "dump"
stage = "before"
run = ["/bin/echo", "$HOME; rm -rf /"]
items = ["db"]

[[hook]]
name = "tell"
stage = "after"
run = ["/bin/true"]
mode = "optional"
timeout = 5
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings({"RPDRIVE_HOME": str(tmp_path / "home")})


def write(settings: Settings, text: str | bytes) -> Path:
    path = settings.config / "hooks.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o600)
    return path


def test_hooks_are_read(settings: Settings) -> None:
    assert read_hooks(settings).rows == []
    write(settings, GOOD)
    hooks = read_hooks(settings)
    assert [(h.name, h.stage, h.mode, h.timeout) for h in hooks.rows] == [
        ("dump", Stage.BEFORE, Mode.ESSENTIAL, 300.0), ("tell", Stage.AFTER, Mode.OPTIONAL, 5.0),
    ]  # fmt: skip
    assert [h.name for h in hooks.of(Stage.BEFORE, "db")] == ["dump"] and not hooks.of(Stage.BEFORE, "other")
    assert [h.name for h in hooks.of(Stage.AFTER, "other")] == ["tell"]
    assert isinstance(hooks.of_items({"other"}), Hooks)
    assert [h.name for h in hooks.of_items({"other", "x"}).rows] == ["tell"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("stage", "stag"), "unknown field `stag`"),
        (GOOD.replace('"before"', '"never"'), "$.hook[0].stage"),
        (GOOD.replace('["/bin/true"]', '"/bin/true"'), "$.hook[1].run"),
        (GOOD.replace('["/bin/true"]', "[]"), "$.hook[1].run"),
        (GOOD.replace("timeout = 5", "timeout = 0"), "$.hook[1].timeout"),
        (GOOD.replace('"tell"', '"dump"'), "more than one hook 'dump'"),
        (GOOD.replace('["/bin/true"]', '["true"]'), "can't run 'true'"),
        (GOOD.replace("/bin/true", "/no/such"), "can't be used"),
        (GOOD.replace("/bin/true", "/etc/passwd"), "may not be run"),
        (GOOD.replace('"after"', '"hold"').replace("optional", "async"), "can't be async"),
        ("[[hook]\n", "malformed"),
        (b"\xff", "malformed"),
        ('hooks = "/bin/true"', "unknown field `hooks`"),
    ],
)
def test_a_malformed_file_is_refused_and_the_field_is_named(
    settings: Settings, text: str | bytes, says: str
) -> None:
    write(settings, text)
    with pytest.raises(LocalError) as error:
        read_hooks(settings)
    assert says in str(error.value)


@pytest.mark.needs_root
@pytest.mark.parametrize("what", ["file", "folder", "program", "its folder"])
@pytest.mark.parametrize("how", ["owner", "group", "others"])
def test_nothing_that_other_users_may_change_is_used(
    settings: Settings, tmp_path: Path, what: str, how: str
) -> None:
    folder = tmp_path / "programs"
    folder.mkdir(mode=0o755)
    program = folder / "dump"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = write(settings, GOOD.replace("/bin/true", str(program)))
    read_hooks(settings)
    changed = {"file": path, "folder": path.parent, "program": program, "its folder": folder}[what]
    if how == "owner":
        os.chown(changed, 12345, 0)
    else:
        changed.chmod(changed.stat().st_mode | (0o020 if how == "group" else 0o002))
    with pytest.raises(LocalError, match=r"other users|another user"):
        read_hooks(settings)


def test_a_link_to_a_program_counts_as_what_it_leads_to(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    program = tmp_path / "open" / "x"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "link").symlink_to(program)
    write(settings, GOOD.replace("/bin/true", str(tmp_path / "link")))
    with pytest.raises(LocalError, match="other users may put files into"):
        read_hooks(settings)


def test_the_commands_show_and_test_hooks(rpdrive: Cli) -> None:
    assert rpdrive.ok("hooks", "show").startswith("no hooks in ")
    settings = Settings(rpdrive.environ)
    write(
        settings,
        GOOD + '[[hook]]\nname = "bad"\nstage = "on_failure"\nmode = "optional"\n'
        'run = ["/bin/sh", "-c", "echo oh; exit 3"]\n',
    )
    shown = rpdrive.ok("hooks", "show")
    assert "dump  before" in shown and "'$HOME; rm -rf /'" in shown
    assert [row["name"] for row in rpdrive.json("hooks", "show")["hooks"]] == ["dump", "tell", "bad"]
    assert rpdrive.ok("hooks", "test", "dump").startswith("the hook dump succeeded")
    said = rpdrive.fails("hooks", "test", "bad", code=11)
    assert "the hook 'bad' (on_failure) failed with exit code 3: oh" in said
    rpdrive.fails("hooks", "test", "no", code=4)
