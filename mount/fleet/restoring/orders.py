"""What a restore by many says: the order, which lies in the site; the task of one part; and what a part came to.

Tasks pass through the engine and its scheduler, and hold numbers and the target's path only. The order and the
results hold names of files: they stay in the target, where these files are.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import msgspec

from catalog.errors import LocalError
from catalog.format.keys import Keys
from mount.fleet.restoring.spans import Span
from mount.restore.conflict import Policy
from mount.restore.options import Options
from mount.restore.report import LISTED, OTHER, REASONS, Problem, Renamed, Report
from mount.restore.selection import Selection
from mount.restore.source import Source
from mount.restore.temporary_names import TemporaryNames

_MARK = b"together"  # of the site's name


class SourceRow(msgspec.Struct, array_like=True, frozen=True):
    """A place in a point: the name of the point's record, and the path. `group`: the number of the point."""

    point: str
    path: bytes
    group: int


class Order(msgspec.Struct, array_like=True, frozen=True):
    """What is restored, and how. `links`: linked files are in the site."""

    sources: list[SourceRow]
    policy: str
    permissions: bool
    by_name: bool
    trust_modes: bool
    verify: bool
    include: list[str]
    exclude: list[str]
    ignore_case: bool
    own: bytes | None
    links: bool

    def options(self, target: bytes) -> Options:
        chosen = Selection(self.include, self.exclude, ignore_case=self.ignore_case)
        return Options(
            target, policy=Policy(self.policy), permissions=self.permissions, by_name=self.by_name,
            selection=chosen, verify=self.verify, own=self.own, trust_modes=self.trust_modes,
        )  # fmt: skip


class Task(msgspec.Struct, array_like=True, frozen=True):
    """One part: where the site is, and which entries of which source. `source` -1 asks only whether it is there."""

    target: bytes
    site: bytes
    token: bytes
    source: int = -1
    number: int = 0  # of the part
    first: int = 0
    end: int = 0

    @property
    def span(self) -> Span:
        return Span(self.first, self.end)


class Lost(msgspec.Struct, array_like=True, frozen=True):
    """A folder that could not be made, entered or read by the one who restored a part of it."""

    path: bytes
    reason: str
    damaged: bool


class Result(msgspec.Struct, array_like=True):
    """What a part came to: the counters of its report, and what else the last step needs to know.

    `complete`: the numbers of folders that an earlier restore had finished.
    """

    counts: dict[str, int]
    reasons: dict[str, int]
    limits: dict[str, int]
    problems: list[tuple[bytes, str]]
    renames: list[tuple[bytes, bytes]]
    folders: list[Lost]
    complete: list[int]
    found: bool


_COUNTED = (
    "entries", "files", "size", "written", "written_bytes", "same", "same_bytes", "corrected", "kept", "copies",
    "replaced", "verified", "blocked", "lost", "damaged", "renamed_count",
)  # fmt: skip


def result_of(report: Report, folders: list[Lost], complete: list[int], *, found: bool) -> Result:
    return Result(
        {name: getattr(report, name) for name in _COUNTED}, dict(report.reasons), dict(report.limits),
        [(p.path, p.reason) for p in report.problems], [(r.path, r.name) for r in report.renames],
        folders, complete, found,
    )  # fmt: skip


def add_to(report: Report, result: Result) -> None:
    """Add what a part came to, except its `folders`."""
    with report.lock:
        for name in _COUNTED:
            setattr(report, name, getattr(report, name) + result.counts.get(name, 0))
        for reason, count in result.reasons.items():
            known = reason in report.reasons or len(report.reasons) < REASONS
            report.reasons[reason if known else OTHER] += count
        new = Counter(result.limits)
        listed = [Problem(*row) for row in result.problems if row[1] not in new or not report.limits[row[1]]]
        report.limits.update(new)
        report.problems.extend(listed[: max(LISTED - len(report.problems), 0)])
        report.renames.extend(Renamed(*row) for row in result.renames[: max(LISTED - len(report.renames), 0)])


def site_name(keys: Keys, sources: list[Source], selection: Selection) -> bytes:
    """The name of the site: the same when the same is restored again, and to nobody else foreseeable."""
    what = blake2b(key=_MARK, digest_size=16)
    for part in [*(s.point.id + s.place.path for s in sources), *(t.encode() for t in selection.texts)]:
        what.update(len(part).to_bytes(8, "big") + part)
    return TemporaryNames.of(keys, what.digest()).name(_MARK)


def decoded_order(data: bytes) -> Order:
    try:
        return msgspec.msgpack.decode(data, type=Order)
    except (msgspec.DecodeError, ValueError) as e:
        raise LocalError("the order of the restore is malformed", "run the command again") from e
