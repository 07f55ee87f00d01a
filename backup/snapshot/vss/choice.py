"""The providers of Windows, that to be used first."""

from __future__ import annotations

from pathlib import Path

from backup.snapshot.base import Options, Provider
from backup.snapshot.marks import FOLDER
from backup.snapshot.vss.provider import Vss
from backup.snapshot.vss.staging import Staging
from backup.snapshot.vss.wmi import Wmi
from catalog.access.settings import Settings
from catalog.windows.api import Api
from catalog.windows.console import Run, run


def windows_providers(
    api: Api, options: Options, first: str = "", state: Path | None = None, runner: Run = run
) -> list[Provider]:
    """All providers, as each may have left something behind; the first is used. `state` is the state folder."""
    notes = (state or Settings().where("state")) / FOLDER
    found: list[Provider] = [Vss(api, options), Wmi(api, notes, options, runner)]
    return [*(found[::-1] if first == Wmi.name else found), Staging(api, runner)]
