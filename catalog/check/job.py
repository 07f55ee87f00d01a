"""Runs the levels of a check, machine by machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from catalog.check.finding import Finding, What
from catalog.check.ground import Ground, look
from catalog.check.level0 import check_objects, check_points
from catalog.check.level1 import read_trees, tree_findings
from catalog.check.report import Report
from catalog.errors import Damaged
from catalog.format.records import Machine
from catalog.mark.last import LastMark
from catalog.mark.run import Marked
from catalog.points.seen import Highest
from catalog.screen.phases import Follower, NoFollower
from catalog.vault import Vault

HIGHEST = 1  # level that runs all that this module knows


class Request(NamedTuple):
    """What to check: up to which level, and of whom (ids; None: all)."""

    level: int
    machine: bytes | None = None
    item: bytes | None = None


def check(
    vault: Vault, request: Request, state: Path, *, highest: Highest | None = None, follow: Follower | None = None
) -> Report:
    """Check a vault. `state` is this machine's folder for the last mark, `highest` the points that it has seen.

    Raises StoreError if the store can't be used, and LocalError if temporary files can't be.
    """
    report, following = Report(request.level), follow or NoFollower()
    machines = vault.machines()
    for error in vault.passed_over.lost("machines/"):
        report.add([Finding(0, What.OTHER, "machines/", str(error))])
    for machine in _machines(vault, request, machines):
        try:
            ground = look(vault, machine, request.item, machines, following)
        except Damaged as e:
            report.add([Finding(0, What.OTHER, f"places/{machine.hex()[:8]}/", str(e))])
            continue
        report.machines += 1
        report.points += sum(not root.name.partial for root in ground.roots.roots)
        report.objects += len(ground.objects)
        report.add(check_points(ground, highest or {}))
        _trees(ground, request, LastMark(state, vault, [machine]), report, following)
    return report


def _machines(vault: Vault, request: Request, machines: Mapping[bytes, Machine]) -> list[bytes]:
    """The machines to check: those with a record, and those of which there is nothing but points."""
    if request.machine is not None:
        return [request.machine]
    return sorted(set(machines) | set(map(bytes.fromhex, filter(_is_id, vault.store.folders("points/")))))


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def _trees(ground: Ground, request: Request, kept: LastMark, report: Report, follow: Follower) -> None:
    if request.level < 1:
        last = kept.load() if request.item is None else None
        if last is None:
            report.notes.append("no trees were read here before, so that packs were not looked for: run level 1")
            return
        with last.marked as marked:
            something = any(True for _ in check_objects(ground, marked.live))
        unknown = sum(root.name.id not in last.points for root in ground.roots.roots)
        if unknown:
            are = "recovery point is" if unknown == 1 else "recovery points are"
            report.notes.append(f"{unknown:,} {are} newer than the last check of level 1 on this machine")
        if not something:
            return  # otherwise the trees are read, for the names of the files
    with read_trees(ground, follow) as marked:
        _told(ground, marked, report)
        if request.item is None:
            kept.save(marked, ground.roots, ground.began)


def _told(ground: Ground, marked: Marked, report: Report) -> None:
    report.pages += marked.pages
    report.entries += marked.entries
    report.add(check_objects(ground, marked.live, marked.lost))
    report.add(tree_findings(ground, marked))
    report.harm(marked.harmed)
