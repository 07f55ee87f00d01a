"""The system state of a Windows server: its folder goes to the root of a volume, and wbadmin does the rest.

A point of it holds `/E/WindowsImageBackup`, where E was the staging volume. Restored whole with `--to D:\\`, the
folder stands at the root of D:, where Windows Server Backup finds it. Elsewhere it is only on its way there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from cache.reader import Reader
from catalog.errors import NotFound, UsageError
from catalog.format.blocks import PackKind
from catalog.format.nodes import Node
from catalog.format.records import ItemKind
from catalog.format.values import Hole, NodeKind
from catalog.format.windows import name_text
from catalog.tree import Pieces, walk
from catalog.windows.image_backup import (
    FACTS,
    FACTS_MAX,
    FOLDER,
    PATH_MAX,
    Backups,
    Facts,
    backups_in,
    faults,
    read_facts,
    steps,
    too_long,
)  # fmt: skip
from mount.restore.conflict import Policy
from mount.restore.options import Options
from mount.restore.report import Report
from mount.restore.source import Source, place_in

_FOLDER = FOLDER.encode()
_FILES = 10_000  # of a folder, which has a few dozen
_ROOT = re.compile(r"([A-Za-z]):[\\/]?")


class State(NamedTuple):
    """A system state among the sources of a restore: what is in its folder, and what was noted beside it."""

    backups: list[Backups]
    facts: Facts


class WindowsState:
    """The system states among the sources of a restore; `sources` are those to restore instead of what was asked
    for.

    `controller`: print the steps of a domain controller, whatever was noted.
    """

    def __init__(
        self, pages: Reader, sources: list[Source], options: Options, *, controller: bool = False,
        environment: Mapping[str, str] = os.environ,
    ) -> None:  # fmt: skip
        """Raises UsageError if they can't be restored as asked for; Damaged and StoreError."""
        self._pages, self._options, self._controller = pages, options, controller
        self.states: list[State] = []
        self.sources = [self._source(source) for source in sources]
        if self.states:
            self._check(environment)

    def _source(self, source: Source) -> Source:
        if source.point.kind != ItemKind.SYSTEM:
            return source
        whole = next((path for path in source.point.paths if path.endswith(b"/" + _FOLDER)), None)
        if whole is None:  # of Linux
            return source
        if source.place.found is None:
            source = place_in(self._pages, source.text, source.point, whole)
        if source.name == _FOLDER:
            paths: list[str] = []
            for found in walk(self._pages, source.place.folder):
                if found.found.entry.kind == NodeKind.FILE and len(paths) < _FILES:
                    paths.append(name_text(found.path).replace("/", "\\"))
            self.states.append(State(backups_in(paths), self._facts(source)))
        return source

    def _facts(self, source: Source) -> Facts:
        """What was noted beside the folder."""
        path = source.place.path.rpartition(b"/")[0] + b"/" + FACTS.encode()
        try:
            found = place_in(self._pages, source.text, source.point, path).place.found
        except NotFound:
            return Facts()
        if found is None or found.entry.kind != NodeKind.FILE:
            return Facts()
        return read_facts(self._bytes(found.leaf.node(found.entry)))

    def _bytes(self, node: Node) -> bytes:
        if node.size > FACTS_MAX or not isinstance(node.content, list):
            return b""
        pieces = Pieces(self._pages, node.content).all()
        return b"".join(
            bytes(p.length) if isinstance(p, Hole) else bytes(self._pages.chunk(PackKind.DATA, p)) for p in pieces
        )

    # --- before ---------------------------------------------------------------------------------------------------

    @property
    def _target(self) -> str:
        return os.fsdecode(self._options.target)

    @property
    def _drive(self) -> str:
        """`D:` if the target is the root of a drive of Windows; else empty."""
        match = _ROOT.fullmatch(self._target)
        return f"{match[1].upper()}:" if match else ""

    def _check(self, environment: Mapping[str, str]) -> None:
        options = self._options
        if options.in_place:
            raise UsageError(
                "the system state of Windows is put back by Windows itself",
                r"restore it with --to D:\, the root of a volume that Windows does not need to start",
            )
        if self._drive and self._drive == environment.get("SystemDrive", "").upper():
            raise UsageError(
                f"{self._drive} is the volume of Windows, from which it can't be recovered", "use another disk"
            )
        there = os.path.join(self._target, FOLDER)
        if options.policy == Policy.COPY and not options.dry_run and os.path.lexists(there):
            raise UsageError(
                f"{there} is there already, and two of them can't be mixed",
                "move it away, or go on with a restore that was stopped by --on-conflict overwrite",
            )

    # --- after ----------------------------------------------------------------------------------------------------

    def finish(self, report: Report, now: int) -> None:
        """Check what was restored, and say how Windows is recovered from it. `now` is ns, UTC."""
        if self._options.dry_run:
            return
        for state in self.states:
            for row in state.backups:
                self._finish(row, state.facts, report, now)
            if not state.backups:
                report.problem(_FOLDER, "it holds no backup")

    def _finish(self, row: Backups, facts: Facts, report: Report, now: int) -> None:
        said = faults(row)
        for fault in said:
            report.problem(_FOLDER, fault)
        if said:
            return
        drive = self._drive or "D:"
        for path in too_long(row, f"{drive}\\"):
            name = path.partition("\\")[2].replace("\\", "/").encode()
            report.problem(
                name, f"its path is longer than {PATH_MAX} characters: recovery from Windows's medium fails"
            )
        if report.lost or report.renamed_count:
            report.next_steps.append("NOT COMPLETE: see the problems above before you recover from it.")
        if not self._drive:
            here = os.path.join(self._target, FOLDER)
            report.next_steps.append(f"Move {here} to the root of a volume that Windows does not")
            report.next_steps.append("need to start, for example D:. Then:")
        report.next_steps += steps(row, drive, facts, now, controller=self._controller)
