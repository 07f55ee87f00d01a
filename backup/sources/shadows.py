"""Files of a Windows machine, read from shadow copies of their drives as far as there can be any."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from backup.selection import Selection
from backup.snapshot.base import Mark, Provider, Snapshot, Volume
from backup.snapshot.vss.provider import Shadow
from backup.snapshot.vss.volumes import letter_of, recorded, volume_of
from backup.sources.base import Begun
from backup.systems.windows import WindowsSystem
from catalog.errors import LocalError, SnapshotFailed
from catalog.format.records import ItemKind

AUTO, ALWAYS, NEVER = "auto", "always", "never"


class ShadowFiles:
    """A Source. `mode` is auto, always or never; `live` are letters of drives that are read as they are.

    With auto, a drive that can have no shadow copy is read as it is, and that is a problem of the run; with always
    it is an error, before anything is read. All drives are of one instant, if the provider's copies are.
    """

    def __init__(
        self, system: WindowsSystem, selection: Selection, provider: Provider, mark: Mark, *,
        mode: str = AUTO, live: frozenset[str] = frozenset(), kind: ItemKind = ItemKind.FILES,
        close: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.kind = kind
        self._system, self._selection, self._provider, self._mark = system, selection, provider, mark
        self._mode, self._live, self._close = mode, live, close
        self._begun: Begun | None = None
        self._made: list[Snapshot] = []

    def begin(self) -> Begun:
        """See Source. Raises SnapshotFailed with always, or if a shadow copy that was made can't be used."""
        if self._begun is not None:
            return self._begun
        volumes = self._volumes()
        wanted = [v for v in volumes if self._mode != NEVER and letter_of(v.place) not in self._live]
        reasons = {v.place: reason for v in wanted if (reason := self._provider.takes(v))}
        if reasons and self._mode == ALWAYS:
            said = "; ".join(f"{letter_of(place)}: {reason}" for place, reason in reasons.items())
            raise SnapshotFailed(f"no shadow copy of {said}", "leave these out, or use --snapshot auto")
        problems = [_live(place, reason) for place, reason in reasons.items()]
        taken = [v for v in wanted if v.place not in reasons]
        if taken:
            try:
                self._made = list(self._provider.make(taken, self._mark))
            except SnapshotFailed as e:
                if self._mode == ALWAYS:
                    raise
                problems += [_live(v.place, f"{e}; {e.advice}" if e.advice else str(e)) for v in taken]
            problems += getattr(self._provider, "problems", [])
        times = {s.volume.place: s.time for s in self._made}
        for snapshot in self._made:
            assert isinstance(snapshot, Shadow)
            self._system.shadows[letter_of(snapshot.volume.place)] = snapshot.path
        name = self._provider.name
        self._begun = Begun(
            volumes=[
                recorded(self._system.api, v, name if v.place in times else "", times.get(v.place, 0))
                for v in volumes
            ],
            time=min(times.values(), default=0),
            frozen={s.device for s in self._made},
            holds=bool(volumes) and len(times) == len(volumes),
            problems=problems,
        )
        return self._begun

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
        self._close()


def _live(place: bytes, reason: str) -> str:
    return f"{letter_of(place)}: was read while it is in use, without a shadow copy: {reason}"
