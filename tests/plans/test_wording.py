"""What people write in plans is read as it is shown; TOML goes out and in without a change."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.documents import document, entries, value_text
from catalog.errors import UsageError
from catalog.format.plan import PlanRecord, Schedule, decode_plan, encode_plan, plan_folder
from catalog.plans.effective import Plan
from catalog.plans.fields import SETTABLE, checked, field_text, toml_value, value_of
from catalog.plans.paths import path_on, shown_path
from catalog.plans.setting import Times, read_fields, schedule_from
from catalog.plans.transfer import own_fields
from catalog.plans.wording import parse_care, parse_limit, parse_schedule, parse_window, schedule_text
from tests.kit.format_values import FEW, MANY
from tests.plans.plans import FIELDS, records

TEXTS = [
    ("schedule", "21:00", "21:00"),
    ("schedule", "at 21:00 and 9:00", "09:00, 21:00"),
    ("schedule", "21:00,13:00 on Fri, monday", "13:00, 21:00 on mon, fri"),
    ("schedule", "21:00 on mon - fri", "21:00 on mon-fri"),
    ("schedule", "21:00 on sat-mon", "21:00 on mon, sat, sun"),
    ("schedule", "21:00 on mon-sun", "21:00"),
    ("schedule", "21:00 every 2 weeks from 2026-11-27", "21:00 every 2 weeks from 2026-11-23"),
    ("schedule", "21:00 every 1 week", "21:00"),
    ("schedule", "every 240m on tue", "every 4h on tue"),
    ("schedule", "every 1d", "every 1d"),
    ("schedule", "OFF", "off"),
    ("spread", "90m", "90m"),
    ("spread", "0", "0m"),
    ("grace", "2d", "2d"),
    ("load", "80 %", "80%"),
    ("load", "off", "off"),
    ("at_most", "3 days", "3d"),
    ("windows", ["22:00-6:00", "Sat,Sun 0:00 - 24:00"], "22:00-06:00, sat, sun 00:00-24:00"),
    ("windows", ["18:00-00:00"], "18:00-24:00"),
    ("windows", "off", "any time"),
    ("throttle", ["up 500K"], "00:00-24:00 up 500K"),
    ("throttle", ["mon-fri 08:00-18:00 up 2 MiB down 0"], "mon-fri 08:00-18:00 up 2M down 0"),
    ("throttle", ["12:00-13:00 unlimited", "down 1000"], "12:00-13:00 unlimited, 00:00-24:00 down 1000"),
    ("prune", "1d", "every 1d"),
    ("check_2", "24h for 60m 1%", "every 1d for 1h 1%"),
    ("check_2", "every 36h 0.5 %", "every 36h 0.5%"),
    ("restore_test", "4w", "every 28d"),
]


@pytest.mark.parametrize(("name", "given", "plain"), TEXTS)
def test_values_are_read_and_written(name: str, given: Any, plain: str) -> None:
    value = value_of(name, given)
    assert field_text(name, value) == plain
    assert value_of(name, toml_value(name, value)) == value


BAD = [
    ("schedule", "25:00", "schedule '25:00' can't be used"),
    ("schedule", "24:00", "times '24:00' can't be used"),
    ("schedule", "24:30", "can't be used"),
    ("schedule", "21:00 on caturday", "weekdays 'caturday'"),
    ("schedule", "21:00 on t", "weekdays 't'"),
    ("schedule", "every 5m", "every 5m is not from 15m to 24h"),
    ("schedule", "every 2d", "every 2d is not from 15m"),
    ("schedule", "every 4h at 21:00", "can't be used"),
    ("schedule", "21:00 every 99 weeks", "every 99 weeks is not from 1 to 52"),
    ("schedule", "21:00 every 2 weeks from 2026-13-01", "date '2026-13-01'"),
    ("schedule", "21:00 every 2 weeks from 9999-12-31", "9999-12-31 is too far away"),
    ("schedule", "21:00 every 2 weeks from 1969-12-31", "date '1969-12-31'"),
    ("schedule", ",".join(f"00:{m:02}" for m in range(25)), "can't be used"),
    ("schedule", 21, "'21' is no text"),
    ("schedule", "x" * 10_000, "can't be used"),
    ("zone", "Mars/Olympus", "no data for the time zone"),
    ("zone", "../../etc/passwd", "no data for the time zone"),
    ("spread", "13h", "more than 12h"),
    ("spread", "90s", "whole minutes"),
    ("grace", "soon", "not a length of time"),
    ("load", "80", "'80' can't be used"),
    ("load", "0%", "'0%' can't be used"),
    ("at_most", "0d", "'0d' can't be used"),
    ("at_most", "3h", "'3h' can't be used"),
    ("ac_power", "yes", "neither true nor false"),
    ("ac_power", 1, "neither true nor false"),
    ("exclude", "*.tmp", "no list"),
    ("exclude", ["a", 1], "not all of them are texts"),
    ("paths", "off", "no list"),
    ("paths", [{"hex": "zz"}], "neither a text"),
    ("paths", [{"hexes": "00"}], "neither a text"),
    ("windows", ["22:00"], "window '22:00'"),
    ("windows", ["22:00-22:00"], "must not end when it begins"),
    ("windows", ["24:00-01:00"], "must not end when it begins"),
    ("windows", ["00:00-24:00"] * 65, "no list of at most 64"),
    ("throttle", ["08:00-18:00"], "limit '08:00-18:00'"),
    ("throttle", ["up 1 up 2"], "limit 'up 1 up 2'"),
    ("throttle", ["up 1 unlimited"], "limit 'up 1 unlimited'"),
    ("throttle", ["up -1"], "limit 'up -1'"),
    ("throttle", ["up 9999T"], "at most 10"),
    ("prune", "30m", "whole hours"),
    ("prune", "1d for 30d", "whole hours"),
    ("prune", "often", "prune 'often'"),
    ("check_2", "1d 101%", "a share is from 0 to 100%"),
    ("check_2", "1d 1.2.3%", "check_2 '1d 1.2.3%'"),
]


@pytest.mark.parametrize(("name", "given", "why"), BAD)
def test_what_is_wrong_with_a_value_is_said_with_its_field(name: str, given: Any, why: str) -> None:
    with pytest.raises(UsageError) as raised:
        value_of(name, given)
    assert str(raised.value).startswith(f"{name}: ") and raised.value.advice
    assert why in f"{raised.value}; {raised.value.advice}"


@pytest.mark.parametrize(
    "text", ["", " ", "-", "on mon", "21:00 on", "every", "up", "down", "for 1h", "%", ":", "0"]
)
def test_what_is_no_value_is_refused_by_all(text: str) -> None:
    for parse in (parse_schedule, parse_window, parse_limit, lambda t: parse_care(t, "prune")):
        with pytest.raises(UsageError):
            parse(text)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"paths": [b"etc"]}, r"paths\[0\] can't be used: not a path from the root"),
        ({"paths": []}, "paths can't be used: empty"),
        ({"exclude": ["a\nb"]}, r"exclude\[0\]"),
        ({"exclude": ["x" * 5_000]}, "exclude"),
        ({"ignore_files": "a/b"}, "ignore_files can't be used: not a name of files"),
        ({"ignore_files": "x" * 300}, "ignore_files"),
    ],
)
def test_values_that_have_no_meaning_are_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        checked(fields)


@settings(MANY)
@given(st.data())
def test_every_field_is_read_as_it_is_written(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    value = data.draw(FIELDS[name])
    text = f"{name} = {value_text(toml_value(name, value))}\n"
    assert value_of(name, tomllib.loads(text)[name]) == value
    assert field_text(name, value).isprintable() or name in ("paths", "exclude")


@settings(FEW)
@given(records(), st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_document_goes_out_and_in_unchanged(
    tmp_path_factory: pytest.TempPathFactory, record: Any, name: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "plans.toml"
    fields = own_fields(record)
    file.write_bytes(document([("machine", {"id": "00" * 16, "name": name}, fields)]).encode())
    (entry,) = entries(file, SETTABLE)
    assert (entry.id, entry.name) == (bytes(16), name)
    found = {key: value_of(key, value) for key, value in entry.fields.items()}
    wanted = {key: getattr(record, key) for key in SETTABLE if getattr(record, key) is not None}
    assert found == wanted
    checked(found)


@settings(FEW)
@given(records(), records())
def test_records_are_read_as_they_are_written(one: PlanRecord, other: PlanRecord) -> None:
    name = plan_folder(bytes(16)) + "00000001"
    first = decode_plan(encode_plan(one), name)
    assert first.record == one
    assert decode_plan(encode_plan(other, first), name).record == other


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[vault\n", "is not TOML"),
        ("zone = 'UTC'\n", "unknown table or key 'zone'"),
        ("vault = 3\n", "is no table"),
        ("[machine]\nname = 'x'\n", "is no array of tables"),
        ("[[machine]]\nzone = 'UTC'\n", "neither id nor name"),
        ("[[machine]]\nname = 'x'\ncolour = 'red'\n", "unknown field 'colour'"),
        ("[[machine]]\nname = 3\n", "name in .* is no text"),
        ("[[machine]]\nid = 'xyz'\n", "not 32 hex digits"),
        ("[[machine]]\nname = 'x'\nmachine = 'y'\n", "unknown field 'machine'"),
        ("[vault]\nname = 'x'\n", "unknown field 'name'"),
        ("a = " + "[" * 5_000, "is not TOML"),
    ],
)
def test_a_document_is_read_strictly(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=why):
        entries(file, SETTABLE)


def test_options_come_before_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('spread = "1h"\nload = "80%"\nexclude = ["a"]\n')
    options = {"spread": "5m", "exclude": ["off"], "grace": None}
    assert read_fields(file, options, ["load"]) == {"spread": 5, "load": None, "exclude": []}
    assert read_fields(None, {"windows": ["inherit"], "exclude": ["off", "b"]}) == {
        "windows": None,
        "exclude": ["off", "b"],
    }
    for file_text, inherit, why in (
        ("colour = 1\n", [], "unknown field 'colour'"),
        ("paused = 1\n", [], "unknown field 'paused'"),
        ("", ["colour"], "no plan has a field 'colour'"),
        ("", [], "no field is given"),
    ):
        file.write_text(file_text)
        with pytest.raises(UsageError, match=why):
            read_fields(file, {}, inherit, needed=True)


DAILY = Plan(zone="Europe/Berlin", schedule=Schedule(times=[1_260]))
NOW = 1_795_784_400 * 10**9  # Friday, 2026-11-27 13:00 UTC


@pytest.mark.parametrize(
    ("times", "plain"),
    [
        (Times(at="9:00"), "09:00"),
        (Times(on="mon-fri"), "21:00 on mon-fri"),
        (Times(every="4h", on="sat"), "every 4h on sat"),
        (Times(every_weeks=2), "21:00 every 2 weeks from 2026-11-23"),
        (Times(every_weeks=2, start="2026-12-04"), "21:00 every 2 weeks from 2026-11-30"),
        (Times(at="off"), "off"),
    ],
)
def test_options_change_a_schedule(times: Times, plain: str) -> None:
    found = schedule_from(times, DAILY, NOW)
    assert found is not None and schedule_text(found) == plain


def test_options_that_make_no_schedule() -> None:
    assert schedule_from(Times(every="inherit"), DAILY, NOW) is None
    for times, why in (
        (Times(on="mon"), "no time of day yet"),
        (Times(at="21:00", every="4h"), "exclude each other"),
        (Times(at="off", on="mon"), "stand alone"),
    ):
        with pytest.raises(UsageError, match=why):
            schedule_from(times, Plan(), NOW)


@pytest.mark.parametrize(
    ("system", "text", "path"),
    [
        ("Linux", "/home/anna/", b"/home/anna"),
        ("Linux", "/", b"/"),
        ("Linux", "//srv", b"/srv"),
        ("Windows", "c:\\Users\\anna", b"/C/Users/anna"),
        ("Windows", "\\\\?\\D:\\", b"/D"),
    ],
)
def test_paths_of_far_machines(system: str, text: str, path: bytes) -> None:
    assert path_on(system, text) == path
    assert path_on(system, shown_path(path, system)) == path


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("Linux", "home"),
        ("Linux", "/a/../b"),
        ("Windows", "/home"),
        ("Windows", "C:users"),
        ("Windows", "\\\\srv\\x"),
    ],
)
def test_paths_that_are_not_whole(system: str, text: str) -> None:
    with pytest.raises(UsageError, match="no whole path"):
        path_on(system, text)
