"""What keeps a vault, as text and JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.vaultfile import Immutable, VaultFile
from catalog.protect.assess import Report, has_pin
from catalog.screen.text import counted, safe_text

FACTS, KEPT = ("WHAT", "STATE", "DAYS", "SEEN BY"), ("AGAINST", "KEPT", "WHY")
_KEPT = {"on": "yes", "off": "no", "unknown": "unknown"}


def report_json(report: Report, file: VaultFile) -> dict[str, Any]:
    """A report, and the vault's own rules, for --json."""
    return {
        "soft_delete_days": file.soft_delete_days,
        "immutable": None if file.immutable is None else msgspec.structs.asdict(file.immutable),
        "admin_passphrase": has_pin(file),
        "facts": [{**fact._asdict(), "state": str(fact.state)} for fact in report.facts],
        "kept": [{"from": row.who, "kept": _KEPT[row.state], "why": row.why} for row in report.kept],
        "missing": [row._asdict() for row in report.missing],
    }


def fact_rows(report: Report) -> list[list[str]]:
    """Cells for FACTS."""
    rows = [[f.name, str(f.state), "" if f.days is None else str(f.days), f.detail] for f in report.facts]
    return [[safe_text(cell) for cell in row] for row in rows]


def kept_rows(report: Report) -> list[list[str]]:
    """Cells for KEPT."""
    return [[safe_text(cell) for cell in (row.who, _KEPT[row.state], row.why)] for row in report.kept]


def missing_lines(report: Report) -> list[str]:
    return [safe_text(f"Missing: {row.what}: {row.do}") for row in report.missing]


def immutable_text(immutable: Immutable) -> str:
    """The rule `immutable` of a vault as text."""
    locked = "locked: rpdrive never undoes or shortens it" if immutable.locked else "not locked"
    return f"every point is kept for {counted(immutable.days, 'day')}, {locked}"
