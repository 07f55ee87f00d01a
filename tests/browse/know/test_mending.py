"""Each kind of alert has a command that mends it, and the command line takes it."""

from __future__ import annotations

import shlex
from typing import Any

import typer

from catalog.alerts.rules import DAY, RULES
from catalog.alerts.state import Alert
from mount.browse.resources.mending import BACKUPS, MENDS, acknowledging, command_text, mend
from rpdrive import app

MACHINE, ITEM = "ab" * 16, "cd" * 16


def alert(kind: str, **fields: object) -> Alert:
    values: dict[str, object] = {
        "id": kind, "vault": "ef" * 16, "machine": MACHINE, "item": ITEM, "machine_name": "SRV 01",
        "item_name": "home", "severity": RULES[kind].severity, "title": "t", "opened": DAY,
    }  # fmt: skip
    return Alert(**(values | fields))  # type: ignore[arg-type]


def parsed(command: str) -> tuple[str, ...]:
    """The words of a command line for rpdrive, which must take them. Nothing runs."""
    program, *words = shlex.split(command)
    assert program == "rpdrive"
    found: Any = typer.main.get_command(app)
    path = list[str]()
    while hasattr(found, "resolve_command"):
        context = found.make_context(found.name or program, words)
        rest = [*context._protected_args, *context.args]
        if not rest:
            break  # a group that does something by itself
        name, found, words = found.resolve_command(context, rest)
        path.append(name)
    else:
        found.make_context(found.name, words)
    return tuple(path)


def test_every_kind_of_alert_has_one() -> None:
    assert {*MENDS, *BACKUPS} == {*RULES}


def test_the_command_line_takes_each() -> None:
    commands = {
        command_text(mend(alert(kind, cause=cause, machine=machine, item=item), "file:///srv/vault", paths))
        for kind in RULES
        for cause in ("", "level 2", "vanished", "plan")
        for machine, item in ((MACHINE, ITEM), (MACHINE, ""), ("", ""))
        for paths in (None, ["/home/anna", "-odd name"], [])
    }
    assert len(commands) > len(RULES)
    for command in commands:
        assert parsed(command), command
    assert parsed(acknowledging(alert("point.deleted"))) == ("alerts", "ack")


def test_names_that_strangers_chose_stay_words() -> None:
    one = alert("point.deleted", item_name="x; rm -rf /", machine_name="--all")
    assert command_text(mend(one)) == f"rpdrive points --deleted --machine {MACHINE} --item {ITEM}"
    assert "'SRV 01'" in command_text(mend(alert("point.deleted")))


def test_an_item_without_a_plan_is_backed_up_by_its_paths() -> None:
    one = alert("backup.failed")
    assert command_text(mend(one)) == "rpdrive plan now --item home"
    assert command_text(mend(one, "", ["/home/anna", "/srv/a b"])) == (
        "rpdrive backup --item home -- /home/anna '/srv/a b'"
    )
    assert mend(one).there


def test_a_kind_of_a_later_version() -> None:
    one = Alert(id="new.kind", severity=RULES["clock.skew"].severity, title="t", opened=DAY)
    assert parsed(command_text(mend(one))) == ("alerts",)
