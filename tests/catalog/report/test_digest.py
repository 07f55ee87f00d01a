"""The weekly digest: once a week, with what matters, and never a mail about success otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.alerts.state import Alert
from catalog.notify.event import Severity
from catalog.notify.message import message_of
from catalog.notify.notifier import Notifier
from catalog.report.digest import digest_of
from catalog.report.duties import tell
from catalog.report.series import series_of
from tests.catalog.notify.events import write
from tests.catalog.report.records import DAY, HOUR, NOW, month, plans, write_records
from tests.kit.web_server import web_server

WEEK = 7 * DAY
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\nBcc: x"


def test_it_says_what_ran_and_what_to_look_at() -> None:
    series = series_of([plans()], month(), NOW)
    alert = Alert(
        id="backup.killed", severity=Severity.WARNING, title="a backup was killed", machine_name="SRV01",
        item_name="database", opened=NOW - 5 * HOUR,
    )  # fmt: skip
    message = message_of(digest_of(series, [alert], NOW - WEEK, NOW, "SRV01"))
    assert message.subject == "SRV01: weekly report: 13 backups, 1 failed, 2 missed, 1 overdue"
    assert "To look at: backup of database (overdue)." in message.text
    assert "- warning: SRV01: database: a backup was killed (for 5 h)" in message.text
    assert "Trend: +1.9 %" in message.text and "<table" in message.html


def test_all_is_well() -> None:
    runs = [ran for ran in month() if ran.item_name != "database"]
    local = plans()
    local.items = local.items[:1]
    message = message_of(digest_of(series_of([local], runs, NOW), [], NOW - WEEK, NOW, "SRV01"))
    assert "All is well." in message.text


def test_a_machine_without_anything() -> None:
    assert "nothing is planned" in message_of(digest_of([], [], NOW - WEEK, NOW, "SRV01")).text


def test_names_do_no_harm() -> None:
    series = series_of([plans(HOSTILE, HOSTILE)], month(HOSTILE), NOW)
    message = message_of(digest_of(series, [], NOW - WEEK, NOW, HOSTILE))
    assert "<img" not in message.html and "\x1b" not in message.html + message.text and "\n" not in message.subject


@pytest.mark.parametrize("steps", [1, 12])
def test_it_comes_once_a_week(tmp_path: Path, steps: int) -> None:
    """However often a tick comes; the first one is a week after the beginning at most."""
    with web_server() as server:
        config, state = tmp_path / "config", tmp_path / "state"
        write_records(state)
        write(
            config, f'zone = "UTC"\n[targets.hook]\ntype = "webhook"\nurl = "{server.url}"\n'
            '[digest]\nday = "monday"\ntime = "15:00"\ntargets = ["hook"]\n',
        )  # fmt: skip
        tell(Notifier(config, state, 60), state, NOW)  # a Monday, 14:13
        assert server.requests == []
        for week in range(3):
            for step in range(steps):
                tell(Notifier(config, state, 60), state, NOW + week * WEEK + HOUR + step * 300 * 10**9)
            assert len(server.requests) == week + 1
        assert server.requests[0].json["alert"] == "digest"


def test_weeks_asleep_are_one_digest(tmp_path: Path) -> None:
    with web_server() as server:
        config, state = tmp_path / "config", tmp_path / "state"
        write(config, f'[targets.hook]\ntype = "webhook"\nurl = "{server.url}"\n[digest]\ntargets = ["hook"]\n')
        for now in (NOW, NOW + 5 * WEEK, NOW + 5 * WEEK + HOUR, NOW + 4 * WEEK):
            tell(Notifier(config, state, 60), state, now)
        assert len(server.requests) == 1


def test_without_a_configuration_a_tick_reads_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    tell(Notifier(tmp_path / "config", tmp_path / "state"), tmp_path / "state", NOW)
    assert not (tmp_path / "state").exists()
