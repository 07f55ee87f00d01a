"""What a due job waits for, and how this machine finds out."""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from catalog.format.plan import Window
from catalog.plans.effective import Conditions, Plan
from catalog.schedule.conditions import (
    BUSY,
    METERED,
    ON_BATTERY,
    OUTSIDE,
    Facts,
    here,
    is_within,
    metered,
    on_battery,
    reason_to_wait,
)
from catalog.schedule.slots import DAY, HOUR

NOON = 1_793_620_800 * 10**9  # 2026-11-02T12:00Z, a Monday


def facts(battery: bool | None = None, costs: bool | None = None, load: float | None = None) -> Facts:
    return Facts(lambda: battery, lambda: costs, lambda: load)


@pytest.mark.parametrize(
    ("conditions", "found", "reason"),
    [
        (Conditions(), facts(True, True, 900.0), None),
        (Conditions(ac_power=True), facts(True), ON_BATTERY),
        (Conditions(ac_power=True), facts(None, True), None),
        (Conditions(ac_power=True), facts(False), None),
        (Conditions(unmetered=True), facts(None, True), METERED),
        (Conditions(unmetered=True), facts(None, None), None),
        (Conditions(load=80), facts(load=80.5), BUSY),
        (Conditions(load=80), facts(load=80.0), None),
        (Conditions(load=80), facts(load=None), None),
        (Conditions(windows=(Window(start=1320, end=360),)), facts(), OUTSIDE),
        (Conditions(windows=(Window(start=1320, end=360), Window(start=700, end=721))), facts(), None),
    ],
)
def test_conditions_delay_for_some_days(conditions: Conditions, found: Facts, reason: str | None) -> None:
    plan = Plan(zone="UTC", conditions=conditions)
    assert reason_to_wait(plan, found, NOON - HOUR, NOON) == reason
    assert reason_to_wait(plan, found, NOON - 3 * DAY, NOON) == reason
    assert reason_to_wait(plan, found, NOON - 3 * DAY - 1, NOON) is None


def test_windows() -> None:
    night = Window(weekdays=[5], start=22 * 60, end=6 * 60)  # from Friday to Saturday

    def within(day: int, hour: int, minute: int = 0) -> bool:
        return is_within(night, datetime(2026, 11, day, hour, minute))

    assert within(6, 22) and within(7, 5, 59) and not within(7, 6) and not within(6, 21, 59)
    assert not within(6, 5) and not within(7, 22)
    assert is_within(Window(start=0, end=1440), datetime(2026, 11, 7, 23, 59))


def supply(folder: Path, name: str, **fields: str) -> None:
    (folder / name).mkdir(parents=True)
    for field, text in fields.items():
        (folder / name / field).write_text(text + "\n")


def test_the_battery(tmp_path: Path) -> None:
    assert on_battery(tmp_path / "none") is None
    tmp_path = tmp_path / "power_supply"
    tmp_path.mkdir()
    assert on_battery(tmp_path) is None, "a desktop"
    supply(tmp_path, "hidpp_battery_0", type="Battery", status="Discharging", scope="Device")
    assert on_battery(tmp_path) is None, "a mouse"
    supply(tmp_path, "BAT0", type="Battery", status="Discharging")
    assert on_battery(tmp_path) is True
    supply(tmp_path, "AC", type="Mains", online="0")
    assert on_battery(tmp_path) is True
    supply(tmp_path, "usb", type="USB", online="1")
    assert on_battery(tmp_path) is False


@pytest.mark.parametrize(
    ("said", "code", "meaning"),
    [("u 1\n", 0, True), ("u 2\n", 0, False), ("u 3\n", 0, True), ("u 4\n", 0, False), ("u 0\n", 0, None),
     ("", 1, None), ("junk", 0, None)],
)  # fmt: skip
def test_what_network_manager_says(
    said: str, code: int, meaning: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert command[-1] == "Metered" and "--auto-start=no" in command
        return subprocess.CompletedProcess(command, code, said, "")

    assert metered(run) is meaning

    def hangs(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    assert metered(hangs) is None


def test_this_machine_answers() -> None:
    found = here()
    assert found.on_battery() in (True, False, None) and found.metered() in (True, False, None)
    load = found.load()
    assert load is None or load >= 0
