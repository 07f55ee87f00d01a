"""The restore of a whole volume: looks at all first, and refuses at once; a roll-back ends with a removal."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from cache.reader import Reader
from catalog.errors import Unsuitable, UsageError
from catalog.format.records import ItemKind, Point, Volume
from catalog.names import WINDOWS
from catalog.vault import Vault
from mount.restore.disk.base import Disk, Ground
from mount.restore.disk.this import THIS_DISK
from mount.restore.options import Options
from mount.restore.report import Planned, Report
from mount.restore.run import Restore
from mount.restore.source import Source, place_in
from mount.restore.target import Target
from mount.restore.volume.borders import Borders
from mount.restore.volume.needs import Needs
from mount.restore.volume.preview import Preview
from mount.restore.volume.refusals import Refusal, Wish, ignores_case, refusals
from mount.restore.volume.removal import Removal
from mount.restore.volume.surplus import EXCLUDED, MOUNTED, OWN, LeftOut, Surplus
from mount.restore.watch import NoWatch, Watch

_SHOWN = 20  # reasons in one message
_EXPECTED = (EXCLUDED, MOUNTED, OWN)  # reasons to keep what the point has not that are no problem


class Whole(NamedTuple):
    """A point of a volume that is to be restored whole: its source, and the volume as the point knows it."""

    source: Source
    volume: Volume


class Before(NamedTuple):
    """What a look before the restore found. `surplus` is None unless for a roll-back."""

    refusals: list[Refusal]
    surplus: Surplus | None
    report: Report


def whole_volume(reader: Reader, sources: list[Source], options: Options) -> Whole | None:
    """The volume that the only source is, all of it; None for anything else.

    Raises UsageError if the options are for a volume, or for anything else; StoreError.
    """
    whole = [s for s in sources if s.point.kind == ItemKind.VOLUME and s.place.found is None]
    if not whole:
        if options.exact:
            raise UsageError(
                "--exact is for the whole recovery point of a volume",
                "name one that `rpdrive backup --volume` made, without a path",
            )
        return None
    if len(sources) > 1:
        raise UsageError(
            "a volume is restored by itself", "name its recovery point alone, or paths in it (`POINT:/srv/www`)"
        )
    (source,) = whole
    point = source.point
    place = point.paths[0] if point.paths else b"/"
    volume = next((v for v in point.volumes if v.place == place), Volume(place=place))
    return Whole(place_in(reader, source.text, point, place), volume)


def native(place: bytes, system: str) -> bytes:
    """The place of a volume, as a path of a machine with this system."""
    return place.strip(b"/")[:1] + b":\\" if system == WINDOWS else place


class WholeRestore:
    """The steps of one restore of a whole volume. `spared` are folders of rpdrive, by device and inode."""

    def __init__(
        self,
        vault: Vault,
        reader: Reader,
        options: Options,
        whole: Whole,
        *,
        home: bool,
        spared: set[tuple[int, int]],
        disk: Disk = THIS_DISK,
        fetches: Callable[[int, int], None] | None = None,
    ) -> None:
        self._fetches = fetches
        self._vault, self._reader, self._options, self._disk = vault, reader, options, disk
        self._whole, self._home, self._spared = whole, home, spared

    def look(self, report: Report | None = None) -> Before:
        """Walk the point and the target, and write nothing. `report` gets what a dry run would do.

        Raises StoreError; UsageError for what makes a roll-back impossible.
        """
        o, point = self._options, self._whole.source.point
        ground = self._ground()
        needs, surplus = Needs(block=ground.block), self._surplus(point) if o.exact else None
        walk = Restore(
            self._vault,
            self._reader,
            replace(o, dry_run=True, verify=o.verify and o.dry_run),
            self._disk,
            lambda target: Preview(target, needs, surplus, tells_twins=self._tells_twins(point, ground)),
        )
        if report is not None:
            walk.report = report
        walk.run([self._whole.source])
        volume = self._whole.volume
        wish = Wish(volume, o.target, self._home, point.system, platform.system(), o.permissions)
        if report is not None and surplus is not None:
            report.surplus = surplus.count
            for row in surplus:
                report.planned.append(Planned(row.path, "remove", row.size))
            for kept in surplus.kept:
                if kept.reason not in _EXPECTED:
                    report.problem(kept.path, f"the point has not got it, and it would stay: {kept.reason}")
        return Before(refusals(wish, ground, needs), surplus, walk.report)

    def run(self, report: Report, surplus: Surplus | None) -> None:
        """Restore, and then remove what was listed. Raises StoreError and LocalError."""
        self._restore(report, _Later() if surplus is not None else NoWatch())
        if surplus is None:
            return
        report.surplus = surplus.count
        for kept in surplus.kept:
            if kept.reason not in _EXPECTED:
                report.problem(kept.path, f"the point has not got it, and it stays: {kept.reason}")
        if report.lost and surplus.count:
            report.problem(b"", "nothing was removed, since not all files are back; run the command again")
            return
        if not surplus.count:
            return
        self._disk.sync()  # what is back is on the disk before something goes
        target = Target(self._disk, self._options.target, make=False)
        try:
            top = target.handle(target.root)
            Removal(self._disk, top, report).run(surplus)
        finally:
            target.close()
        if report.blocked:
            again = Report()
            self._restore(again, NoWatch())
            _join(report, again)

    def _restore(self, report: Report, watch: Watch) -> None:
        restore = Restore(
            self._vault, self._reader, self._options, self._disk, lambda _target: watch, self._fetches
        )
        restore.report = report
        restore.run([self._whole.source])

    def _ground(self) -> Ground:
        try:
            return self._disk.ground(self._options.target)
        except OSError as e:
            path = os.fsdecode(self._options.target)
            raise Unsuitable(f"{path} can't be looked at: {e.strerror}", "choose another folder") from e

    def _surplus(self, point: Point) -> Surplus:
        if point.problem_count > len(point.problems):
            raise UsageError(
                "the recovery point lacks files that could not be read, and lists only"
                f" {len(point.problems):,} of its {point.problem_count:,} problems, so that what it has not"
                " can't be told from these",
                "restore it without --exact, or take another point",
            )
        unknown = LeftOut.unknown(point.excludes)
        if unknown is not None:
            raise UsageError(
                f"the backup left files out by rules that the recovery point does not have ({unknown}),"
                " so that what it has not can't be told from these",
                "restore it without --exact",
            )
        borders = Borders(self._options.target, self._disk.mount_points())
        left_out = LeftOut(self._whole.volume.place, point.excludes, point.problems)
        return Surplus(self._disk, borders, self._spared, left_out)

    @staticmethod
    def _tells_twins(point: Point, ground: Ground) -> bool:
        return ignores_case(ground) and not point.distinct_names


class _Later(NoWatch):
    """What is in the way of an entry is removed later, and the entry restored then."""

    def blocked(self, *_entry: object) -> bool:
        return True


def check(before: Before, *, force: bool) -> None:
    """Raise Unsuitable with all reasons against a restore, unless each of them may be overruled and is."""
    against = [r for r in before.refusals if r.is_final or not force]
    if not against:
        return
    reasons = "; ".join(r.reason for r in against[:_SHOWN])
    advice = "choose another place" if any(r.is_final for r in against) else (
        "choose another place, or restore it nevertheless with --force"
    )  # fmt: skip
    raise Unsuitable(f"the volume is not restored: {reasons}", advice)


def _join(report: Report, more: Report) -> None:
    """Add what a further walk wrote, and the problems it met."""
    known = {(p.path, p.reason) for p in report.problems}
    report.written += more.written
    report.written_bytes += more.written_bytes
    report.corrected += more.corrected
    report.replaced += more.replaced
    report.lost += more.lost
    report.damaged += more.damaged
    for p in more.problems:
        if (p.path, p.reason) not in known:
            report.problem(p.path, p.reason)
