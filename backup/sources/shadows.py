"""Files of a Windows machine, read from shadow copies of their drives as far as there can be any."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from backup.selection import Selection
from backup.snapshot.base import Provider, Snapshot, Volume
from backup.snapshot.marks import JobMark, clean
from backup.snapshot.vss.choice import windows_providers
from backup.snapshot.vss.provider import Shadow
from backup.snapshot.vss.volumes import letter_of, recorded, volume_of
from backup.sources.base import Begun, LiveFiles, Source
from backup.sources.wish import ALWAYS, NEVER, Wish
from backup.systems.base import System
from backup.systems.windows import WindowsSystem
from catalog.errors import LocalError, SnapshotFailed
from catalog.format.records import ItemKind

_IN_USE = "; its files were read while they are in use"
_LETTER = re.compile(rb"(?:\\\\\?\\)?([A-Za-z]):\\?")


class ShadowFiles:
    """A Source. The first of `providers` makes the shadow copies; what any of them left behind before is removed.

    With auto, a drive that can have no shadow copy is read as it is, and that is said; with always it is an error,
    before anything is read. All drives are of one instant, if the provider's copies are.
    """

    def __init__(
        self, system: WindowsSystem, selection: Selection, providers: Sequence[Provider], state: Path, wish: Wish,
        *, kind: ItemKind = ItemKind.FILES, dry: bool = False,
    ) -> None:  # fmt: skip
        self.kind = kind
        self._system, self._selection, self._providers = system, selection, providers
        self._provider, self._state, self._wish, self._dry = providers[0], state, wish, dry
        self._mark = JobMark(state)
        self._begun: Begun | None = None
        self._made: list[Snapshot] = []

    def begin(self) -> Begun:
        """See Source. Raises SnapshotFailed with always, or if a shadow copy that was made can't be used."""
        if self._begun is None:
            self._begun = self._begin([] if self._dry else clean(self._state, self._providers))
        return self._begun

    def _begin(self, problems: list[str]) -> Begun:
        mode, volumes = self._wish.mode, self._volumes()
        excluded = {m[1].decode().upper() for path in self._wish.live if (m := _LETTER.fullmatch(path))}
        wanted = [v for v in volumes if mode != NEVER and letter_of(v.place) not in excluded]
        reasons = {v.place: reason for v in wanted if (reason := self._provider.takes(v))}
        if reasons and mode == ALWAYS:
            said = "; ".join(f"{letter_of(place)}: {reason}" for place, reason in reasons.items())
            raise SnapshotFailed(f"no shadow copy of the drive {said}", "leave these out, or use --snapshot auto")
        live = [_live(place, reason) for place, reason in reasons.items()]
        taken = [v for v in wanted if v.place not in reasons and not self._dry]
        if taken:
            problems += self._make(taken)
        times = {s.volume.place: s.time for s in self._made}
        name = self._provider.name
        rows = [
            recorded(self._system.api, v, name if v.place in times else "", times.get(v.place, 0)) for v in volumes
        ]
        asked = self._wish.is_asked
        problems += [f"{text}{_IN_USE}" for text in live] if asked else []
        return Begun(
            volumes=rows, time=min(times.values(), default=0), frozen={s.device for s in self._made},
            holds=bool(volumes) and len(times) == len(volumes),
            problems=problems, notes=[] if asked else live,
        )  # fmt: skip

    def _make(self, volumes: list[Volume]) -> list[str]:
        """Make the shadow copies, and read from them from now on. Returns what is a problem."""
        try:
            self._made = list(self._provider.make(volumes, self._mark))
        except SnapshotFailed as e:
            if self._wish.mode == ALWAYS:
                raise
            reason = f"{e}; {e.advice}" if e.advice else str(e)
            return [f"{_live(v.place, reason)}{_IN_USE}" for v in volumes]
        for snapshot in self._made:
            assert isinstance(snapshot, Shadow)
            self._system.shadows[letter_of(snapshot.volume.place)] = snapshot.path
        return list(getattr(self._provider, "problems", []))

    def _volumes(self) -> list[Volume]:
        """The volumes of the paths, each once; without drives that have no disk."""
        letters = {letter_of(path) for path in self._selection.paths}
        if "" in letters:
            letters = set(self._system.api.drives())
        found = []
        for letter in sorted(letters):
            with suppress(OSError):
                found.append(volume_of(self._system.api, letter))
        return found

    def check(self, *, final: bool = False) -> None:
        """See Source. Windows deletes shadow copies when their storage is full: asked before each point."""
        for snapshot in self._made if final else ():
            snapshot.check()

    def close(self) -> None:
        """See Source."""
        self._system.shadows.clear()
        while self._made:
            with suppress(LocalError):  # a set goes with its helper, and what is noted at the next start
                self._made.pop().remove()
        self._mark.close()


def shadow_files(
    system: System[Any, Any, Any], selection: Selection, state: Path, wish: Wish, *, kind: ItemKind, dry: bool
) -> Source:
    """The Source of a request on Windows, with the providers of Windows."""
    if not isinstance(system, WindowsSystem):
        return LiveFiles()
    providers = windows_providers(system.api, wish.options, wish.provider, state)
    return ShadowFiles(system, selection, providers, state, wish, kind=kind, dry=dry)


def _live(place: bytes, reason: str) -> str:
    return f"no shadow copy of the drive {letter_of(place)}: {reason}"
