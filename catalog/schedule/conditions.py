"""What a due job waits for: mains power, a free network, a machine that is not busy, hours of the day.

Conditions only delay, each for the days that the plan allows; what can't be found out holds nothing up. They are
looked at when a job is about to begin, and never for one started by hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from catalog.format.plan import Window
from catalog.plans.effective import Conditions, Plan
from catalog.retention.slots import wall_of
from catalog.schedule.slots import DAY

ON_BATTERY, METERED, BUSY, OUTSIDE = "on battery", "metered network", "busy", "outside its hours"
REASONS = (ON_BATTERY, METERED, BUSY, OUTSIDE)
_POWER = Path("/sys/class/power_supply")
_METERED, _UNMETERED = {1, 3}, {2, 4}  # NMMetered: yes, guessed yes; no, guessed no
_PATIENCE = 5.0  # s for NetworkManager


class Facts(NamedTuple):
    """What this machine can tell of itself; None: unknown. `load` is per cent of all processors."""

    on_battery: Callable[[], bool | None]
    metered: Callable[[], bool | None]
    load: Callable[[], float | None]


def reason_to_wait(plan: Plan, facts: Facts, wanted: int, now: int) -> str | None:
    """Why a job must wait now; None if it may begin. `wanted` is the slot (ns) since which one is missing."""
    conditions: Conditions = plan.conditions
    if now - wanted > conditions.at_most * DAY:
        return None
    if conditions.windows and not any(is_within(window, wall_of(now, plan.tz)) for window in conditions.windows):
        return OUTSIDE
    if conditions.ac_power and facts.on_battery():
        return ON_BATTERY
    if conditions.load and (facts.load() or 0.0) > conditions.load:
        return BUSY
    if conditions.unmetered and facts.metered():
        return METERED
    return None


def is_within(window: Window, wall: datetime) -> bool:
    """Whether a local time is in a window. One that goes past midnight belongs to the day on which it begins."""
    minute = wall.hour * 60 + wall.minute
    days = window.weekdays or range(1, 8)
    if window.start < window.end:
        return wall.isoweekday() in days and window.start <= minute < window.end
    before = (wall - timedelta(days=1)).isoweekday()
    return (wall.isoweekday() in days and minute >= window.start) or (before in days and minute < window.end)


# --- facts ------------------------------------------------------------------------------------------------


def here() -> Facts:
    """The facts of this machine, each looked up when it is asked for."""
    return Facts(_windows_battery if os.name == "nt" else on_battery, metered, load)


def on_battery(folder: Path = _POWER) -> bool | None:
    """Whether no mains supply is online, and a battery of the machine discharges. Linux; None elsewhere."""
    try:
        supplies = sorted(folder.iterdir())
    except OSError:
        return None
    mains, discharging = list[bool](), False
    for supply in supplies:
        kind, scope = _read(supply / "type"), _read(supply / "scope")
        if scope == "Device":  # of a mouse
            continue
        if kind in ("Mains", "USB", "Wireless"):
            mains.append(_read(supply / "online") not in ("0", ""))
        elif kind == "Battery":
            discharging |= _read(supply / "status") == "Discharging"
    if any(mains):
        return False
    return discharging or None


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _windows_battery() -> bool | None:
    """By GetSystemPowerStatus: 0 is battery, 1 mains, 255 unknown."""
    import ctypes

    status = (ctypes.c_ubyte * 12)()  # SYSTEM_POWER_STATUS
    windll: Any = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GetSystemPowerStatus(ctypes.byref(status)):
        return None
    return {0: True, 1: False}.get(status[0])


def load() -> float | None:
    """The load of the last minutes, in per cent of all processors; None where the system has no such number."""
    call = getattr(os, "getloadavg", None)
    with suppress(OSError):
        return None if call is None else float(call()[1]) * 100 / (os.cpu_count() or 1)
    return None


def metered(run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> bool | None:
    """Whether NetworkManager counts the network as one that costs by the byte; None where there is none."""
    program = shutil.which("busctl")
    if program is None:
        return None
    place = ["org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager"]
    try:
        done = run(
            [program, "--system", "--auto-start=no", "get-property", *place, "Metered"], capture_output=True,
            text=True, errors="replace", check=False, timeout=_PATIENCE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    if done.returncode or len(words) != 2 or not words[1].isdecimal():
        return None
    number = int(words[1])
    return True if number in _METERED else False if number in _UNMETERED else None
