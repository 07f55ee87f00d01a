"""The result of a check, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from catalog.check.finding import Finding, What
from catalog.check.report import Report
from catalog.cost.before import Before
from catalog.cost.use import Use
from catalog.format.checks import SLICES
from catalog.format.records import Machine, PointName
from catalog.format.vaultfile import VaultFile
from catalog.machines.registry import machine_names
from catalog.mark.faults import Harmed
from catalog.screen.text import counted, local_time, safe_text, size_text, text_json

SHOWN = 100  # lines for faults, and for points
NAMED = 3  # points, or paths, that a line names
_CONTENTS = (
    "no file needs it, and what else is bad is told by itself; look after the disk, and put the object of another "
    "copy of the vault in its place, if there is one"
)


def lines(report: Report, machines: Mapping[bytes, Machine], file: VaultFile | None = None) -> Iterator[str]:
    """One line for each finding, one for each point that can't give back files, and what was checked.

    `file` is that of the vault: a copy that follows is not repaired, it gets the object again.
    """
    names = machine_names(machines)
    for finding in report.findings[:SHOWN]:
        yield _finding(finding)
    if len(report.findings) > SHOWN:
        yield f"… and {len(report.findings) - SHOWN:,} more faults, which --json lists"
    for name, harm in list(report.harmed.items())[:SHOWN]:
        yield _harmed(name, harm, names)
    if len(report.harmed) > SHOWN:
        yield f"… and {len(report.harmed) - SHOWN:,} more recovery points"
    yield from report.notes
    yield _summary(report)
    if report.is_damaged and file is not None and file.copy is not None and file.is_following:
        of = safe_text(file.copy.of)
        yield f"What is whole at {of} (check that, too), delete here: the next `rpdrive vault copy` brings it again"
    elif report.is_damaged:
        yield "What to do about damage: docs/repair.md; `rpdrive repair --dry-run` says what can be made whole"
        yield "If there is a copy of the vault, `rpdrive repair --also COPY` takes from it what is lost"


class Planned(Protocol):
    """What is going to be read of a series."""

    @property
    def slices(self) -> Sequence[int]: ...

    @property
    def packs(self) -> int: ...

    @property
    def bytes(self) -> int: ...


def plan_line(plans: Sequence[Planned]) -> str:
    """What is going to be read of packs."""
    packs, size = sum(plan.packs for plan in plans), sum(plan.bytes for plan in plans)
    slices = sum(len(plan.slices) for plan in plans)
    what = f"reading {slices} of {len(plans) * SLICES} slices"
    return f"{what}: {size_text(size)}, at least {counted(packs, 'request')}"


def cost_line(plans: Sequence[Planned], before: Before) -> str:
    """The same, and what it is going to cost, if anything."""
    use = Use(read=sum(plan.packs for plan in plans), received=sum(plan.bytes for plan in plans))
    return plan_line(plans) + before.price(use)


def _finding(finding: Finding) -> str:
    where = "" if finding.object in finding.reason else f"{finding.object}: "
    parts = [f"{finding.what}: {where}{finding.reason}"]
    if finding.path:
        parts.append(f"e.g. {_path(finding.path)}")
    if finding.points:
        parts.append(_points(finding.points))
    if finding.healed:
        parts.append("other copies are read instead")
    elif finding.acknowledged:
        parts.append("known to be lost")
    elif finding.what is What.CONTENTS:
        parts.append(_CONTENTS)
    elif finding.what is What.UNSOUND:
        parts.append("nothing is known to be lost")
    return "; ".join(parts)


def _points(points: tuple[PointName, ...]) -> str:
    some = ", ".join(p.id.hex()[:8] + (" (partial)" if p.partial else "") for p in points[:NAMED])
    more = f" and {len(points) - NAMED:,} more" if len(points) > NAMED else ""
    return f"recovery {'point' if len(points) == 1 else 'points'} {some}{more}"


def _harmed(name: PointName, harm: Harmed, machines: Mapping[bytes, str]) -> str:
    paths = ", ".join(map(_path, harm.paths[:NAMED]))
    more = " …" if harm.files > NAMED or len(harm.paths) > NAMED else ""
    machine = machines.get(name.machine, name.machine.hex()[:8])
    what = f"recovery point {name.id.hex()[:8]} of {machine}, {local_time(name.time)}"
    return f"{what}: {counted(harm.files, 'file')} can't be given back: {paths}{more}"


def _path(path: bytes) -> str:
    return "/" + path.decode(errors="replace").removeprefix("/")


def _summary(report: Report) -> str:
    what = [counted(report.machines, "machine"), counted(report.points, "recovery point")]
    what.append(counted(report.objects, "pack"))
    if report.pages:
        what.append(f"{counted(report.pages, 'page')} with {counted(report.entries, 'entry', 'entries')}")
    if report.packs_read:
        what.append(f"{counted(report.packs_read, 'pack')} read, {size_text(report.bytes_read)}")
    damage = sum(finding.is_damage for finding in report.findings)
    result = f"{counted(damage, 'fault')}" if damage else "no damage found"
    return f"Level {report.level}: {result}; {', '.join(what)}"


def report_json(report: Report) -> dict[str, Any]:
    """The result for --json."""
    return {
        "level": report.level,
        "damaged": report.is_damaged,
        "machines": report.machines,
        "points": report.points,
        "objects": report.objects,
        "pages": report.pages,
        "entries": report.entries,
        "packs_read": report.packs_read,
        "bytes_read": report.bytes_read,
        "findings": [_finding_json(finding) for finding in report.findings],
        "damaged_points": [
            {
                "point": name.id.hex(),
                "machine_id": name.machine.hex(),
                "item_id": name.item.hex(),
                "files": harm.files,
                "paths": [text_json("path", path) for path in harm.paths],
            }
            for name, harm in report.harmed.items()
        ],
        "notes": report.notes,
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    row: dict[str, Any] = {
        "level": finding.level,
        "what": finding.what,
        "damage": finding.is_damage,
        "object": finding.object,
        "reason": finding.reason,
        "acknowledged": finding.acknowledged,
        "healed": finding.healed,
        "points": [name.id.hex() for name in finding.points],
    }
    if finding.kind is not None:
        row |= {"pack": finding.pack.hex(), "offset": finding.offset, "stored": finding.stored}
    return row | (text_json("path", finding.path) if finding.path else {})
