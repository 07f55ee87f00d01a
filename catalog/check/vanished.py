"""Signed records that were there at an earlier check on this machine, and are not any more.

The record before one that is lost looks like the newest. It may say less: that a point is not held, or was not
brought back, or that blocks may be offered again. So each machine that checks remembers the highest numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from catalog.access.settings import private_folder, write_private
from catalog.check.finding import Finding, What
from catalog.check.ground import Ground
from catalog.errors import LocalError
from catalog.format.ledger import ledger_folder
from catalog.format.numbers import written_number
from catalog.format.packs import SERIES_BYTES
from catalog.format.places import places_folder

LEVEL = 0
_ADVICE = (
    "was there at an earlier check, and vanished; bring it back from a copy of the vault; if it is lost, see "
    "`rpdrive points --deleted`, and confirm `rpdrive prune` with --yes"
)


def check_records(ground: Ground, state: Path) -> Iterator[Finding]:
    """Records of a machine that vanished. Remembers in the folder `state` those that are there."""
    path = state / f"records-{ground.vault.state_id}.json"
    noted, numbers = _read(path), _numbers(ground)
    for folder, number in noted.items():
        if _is_of(ground, folder) and number > numbers.get(folder, 0):
            yield Finding(LEVEL, What.OTHER, folder + written_number(number), _ADVICE)
    newer = {folder: number for folder, number in numbers.items() if number > noted.get(folder, 0)}
    if newer:
        try:
            private_folder(state)
            write_private(path, json.dumps({**noted, **newer}).encode() + b"\n")
        except LocalError:
            pass  # it is noted next time


def _numbers(ground: Ground) -> dict[str, int]:
    """The numbers of the newest ledgers of a machine, and of its records of places, by folder."""
    numbers = {ledger_folder(*key): ledger.number for key, ledger in ground.ledgers.items() if ledger.number}
    series = ground.machine[:SERIES_BYTES]
    numbers |= {places_folder(r.series, r.digits): r.number for r in ground.places if r.series == series}
    return numbers


def _is_of(ground: Ground, folder: str) -> bool:
    if any(folder == ledger_folder(*key) for key in ground.unread):
        return False  # that it can't be read is told by itself
    series = places_folder(ground.machine[:SERIES_BYTES]).removesuffix("/")
    return folder.startswith((f"ledger/{ground.machine.hex()}/", f"{series}/", f"{series}."))


def _read(path: Path) -> Mapping[str, int]:
    try:
        row = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(row, dict):
        return {}
    return {name: n for name, n in row.items() if type(n) is int and 0 < n < 2**63}
