"""Which targets hear of what."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from catalog.notify.config import Config, Window, parse
from catalog.notify.event import Ping, PingWhat, Severity, What
from catalog.notify.matching import newest_digest, pings_of, targets_of, within
from tests.catalog.notify.events import NOW, event

TARGETS = """
[targets.mail]
type = "smtp"
host = "h"
to = ["ops@example.org"]
[targets.hook]
type = "webhook"
url = "https://example.org/"
[targets.alive]
type = "ping"
url = "https://example.org/ping"
kinds = ["backup"]
items = ["home*"]
"""
BERLIN = ZoneInfo("Europe/Berlin")


def config(text: str = "") -> Config:
    made = parse(tomllib.loads(TARGETS + text), {})
    assert made.faults == []
    return made


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()) * 10**9


def test_without_matchers_all_hear_of_what_needs_somebody() -> None:
    assert targets_of(event(), config(), UTC) == ["mail", "hook"]
    assert targets_of(event(severity=Severity.INFO), config(), UTC) == []
    assert targets_of(event(severity=Severity.INFO, security=True), config(), UTC) == ["mail", "hook"]
    all_ = config('[[matchers]]\ntargets = ["mail"]')
    assert targets_of(event(severity=Severity.INFO), all_, UTC) == ["mail"]


@pytest.mark.parametrize(
    ("rules", "heard"),
    [
        ("", True),
        ('severity = ["warning", "critical"]', True),
        ('severity = ["critical"]', False),
        ('alerts = ["backup.*"]', True),
        ('alerts = ["prune.overdue"]', False),
        ('what = ["resolved"]', False),
        ('machines = ["SRV*"]\nitems = ["home"]', True),
        ('machines = ["srv01"]', False),
        ('items = ["other", "home"]', True),
        ('window = {days = ["monday"], from = "14:00", to = "15:00"}', True),
        ('window = {days = ["tuesday"]}', False),
        ('severity = ["warning"]\nmachines = ["WEB"]', False),
    ],
)
def test_all_rules_of_a_matcher_count(rules: str, heard: bool) -> None:
    made = config(f'[[matchers]]\ntargets = ["mail"]\n{rules}')
    assert targets_of(event(), made, UTC) == (["mail"] if heard else [])


def test_a_missing_field_is_no_match() -> None:
    assert targets_of(event(item=""), config('[[matchers]]\ntargets = ["mail"]\nitems = ["*"]'), UTC) == []


def test_each_target_hears_once() -> None:
    twice = '[[matchers]]\ntargets = ["mail", "mail"]\n' * 2
    assert targets_of(event(), config(twice), UTC) == ["mail"]


def test_security_goes_to_all_targets() -> None:
    made = config('[[matchers]]\ntargets = ["mail"]\nseverity = ["info"]')
    assert targets_of(event(security=True), made, UTC) == ["mail", "hook"]


def test_a_target_with_a_fault_is_kept_waiting() -> None:
    made = config()._replace(faulty=frozenset({"broken"}))
    assert targets_of(event(), made, UTC) == ["mail", "hook", "broken"]


def test_the_digest_goes_by_mail_or_where_it_is_told() -> None:
    digest = event(What.DIGEST, alert="digest")
    assert targets_of(digest, config(), UTC) == ["mail"]
    assert targets_of(digest, config('[digest]\ntargets = ["hook"]'), UTC) == ["hook"]
    assert targets_of(digest, config("[digest]\noff = true"), UTC) == []


@pytest.mark.parametrize(
    ("kind", "item", "heard"), [("backup", "home", True), ("backup", "homes", True), ("prune", "home", False),
                                ("backup", "etc", False), ("backup", "", False)]
)  # fmt: skip
def test_pings_go_by_kind_and_item(kind: str, item: str, heard: bool) -> None:
    ping = Ping(what=PingWhat.SUCCESS, kind=kind, item=item, time=NOW)
    assert pings_of(ping, config()) == (["alive"] if heard else [])


@pytest.mark.parametrize(
    ("time", "inside"),
    [
        ("2026-11-23 21:59", False),  # Monday
        ("2026-11-23 22:00", True),
        ("2026-11-24 05:59", True),  # of the night that began on Monday
        ("2026-11-24 06:00", False),
        ("2026-11-24 22:00", False),
        ("2026-11-23 05:00", False),  # of the night that began on Sunday
    ],
)
def test_a_window_over_midnight_belongs_to_its_first_day(time: str, inside: bool) -> None:
    assert within(Window(days=["monday"], start="22:00", to="06:00"), at(time), BERLIN) is inside


def test_a_window_is_in_its_zone() -> None:
    window = Window(start="08:00", to="09:00")
    assert within(window, at("2026-07-01 08:30"), BERLIN)
    assert not within(window, at("2026-07-01 08:30"), ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        ("2026-11-23 08:00", "2026-11-23 08:00"),
        ("2026-11-23 07:59", "2026-11-16 08:00"),
        ("2026-11-29 23:59", "2026-11-23 08:00"),
    ],
)
def test_the_digest_is_due_once_a_week(now: str, slot: str) -> None:
    assert newest_digest(config(), at(now), BERLIN) == at(slot)


def test_the_digest_in_a_skipped_and_in_a_repeated_hour() -> None:
    sunday = config('[digest]\nday = "sunday"\ntime = "02:30"')
    assert newest_digest(sunday, at("2026-03-29 12:00"), BERLIN) == at("2026-03-29 03:30")
    first, second = at("2026-10-25 02:30"), at("2026-10-25 02:30", fold=1)
    assert second - first == 3600 * 10**9
    assert newest_digest(sunday, first, BERLIN) == newest_digest(sunday, second, BERLIN) == first


@pytest.mark.parametrize("now", [0, 2**62, -(10**18)])
def test_any_clock_gives_a_digest_time(now: int) -> None:
    assert newest_digest(config(), now, BERLIN) <= max(now, 0)
