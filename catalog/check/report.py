"""What a check has found, of all machines and levels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from catalog.check.finding import Finding, What
from catalog.format.records import PointName
from catalog.mark.faults import Harmed

_MERGED = (What.MISSING, What.SHORT)


@dataclass
class Report:
    """What was looked at, and what was found.

    `harmed` are the points that can't give back files, as far as the levels that were run can know. `notes` are for
    people, and no faults. `blocks` and `bytes` count what was read of packs (level 2 and above).
    """

    level: int
    machines: int = 0
    points: int = 0
    pages: int = 0
    entries: int = 0
    objects: int = 0
    packs_read: int = 0
    bytes_read: int = 0
    findings: list[Finding] = field(default_factory=list)
    harmed: dict[PointName, Harmed] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings. Several about one missing or short object become one, with the points of all."""
        known = {_key(f): n for n, f in enumerate(self.findings) if f.what in _MERGED}
        for finding in findings:
            at = known.get(_key(finding)) if finding.what in _MERGED else None
            if at is None:
                known[_key(finding)] = len(self.findings)
                self.findings.append(finding)
            else:
                self.findings[at] = _merged(self.findings[at], finding)

    def harm(self, harmed: dict[PointName, Harmed]) -> None:
        """Add points that can't give back files. Of two counts for a point the higher one is kept."""
        for name, harm in harmed.items():
            known = self.harmed.get(name)
            if known is None or harm.files > known.files:
                self.harmed[name] = harm

    @property
    def is_damaged(self) -> bool:
        return any(finding.is_damage for finding in self.findings)


def _key(finding: Finding) -> tuple[What, str]:
    return finding.what, finding.object


def _merged(one: Finding, other: Finding) -> Finding:
    points = tuple(dict.fromkeys(one.points + other.points))
    return one._replace(
        points=points,
        path=one.path or other.path,
        acknowledged=one.acknowledged and other.acknowledged,
        healed=one.healed and other.healed,
    )
