"""What the vault has of this machine, by listings of its own packs.

A writer may refer only to what the vault has, and not to what is about to be deleted. Its evidence is a listing of
the machine's packs, by name and size, which is as old as its beginning by the store's clock. It is made when a run
begins; what mirror and journal say beyond it is forgotten. It is renewed before a point is written if it is older
than AGE.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from backup.mirror import Listed, Origin
from backup.run import Run
from backup.systems.base import File, Folder, Stat
from catalog.errors import Damaged, NewerFormat, ObjectNotFound, RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, pack_name, pack_named, series_folder

AGE = 42 * 3600 * 10**9  # ns; a quarter of the 7 days between hiding a pack and deleting it
SAMPLED = 0.01  # of the chunks found in a pack that this machine did not write are read back


class StartOver(RpdriveError):
    """What the point to come relies on is no longer there: the attempt must be repeated."""

    advice = "run the backup again"


class Evidence:
    """The packs of one machine, for one run. `began` is when the last listing began, by the store's clock (ns)."""

    def __init__(self, run: Run[Folder, File, Stat]) -> None:
        self._vault, self._mirror, self._machine = run.vault, run.mirror, run.machine
        self._damaged, self._problem = run.damaged, run.problems.add
        self.began = 0

    # --- looking ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """List the machine's packs: one request for 5,000 of each kind, two at least."""
        began = self._vault.store.now()
        found = self._mirror.compare(self._listed(), self._damaged.packs())
        for kind, pack in found.cut:
            self._damaged.note(kind, pack)
            name = pack_name(kind, pack)
            self._problem(name.encode(), "the vault has it with another size than was written; it is stored again")
        self.began = began

    def _listed(self) -> Iterator[Listed]:
        for kind in (PackKind.DATA, PackKind.TREE):
            for info in self._vault.store.list(series_folder(kind, self._machine.id)):
                pack = pack_named(info.name)
                if pack is not None:
                    yield Listed(pack, kind, info.size)

    def renew(self, now: int) -> None:
        """Look again before a point is written at `now`, by the store's clock. Raises StartOver."""
        if now - self.began > AGE:
            self.look()
            self.require()

    def require(self) -> None:
        """Raise StartOver if anything that the point to come refers to is gone, or was taken and is hidden."""
        bad = self._mirror.unreliable(lambda pack: False)
        if bad:
            raise StartOver(f"{len(bad)} packs vanished from the vault during the backup")

    # --- using --------------------------------------------------------------------------------------------

    def absent(self, pack: bytes) -> bool:
        """Whether a pack that an earlier point refers to is gone, or damaged."""
        return not self._mirror.has(pack)

    def find(self, chunk: bytes) -> Extent | None:
        """The extent of a data chunk that the vault has and that a point may refer to.

        Where only an index object says so, a chunk is read back: the first of each pack that is used, and one in a
        hundred of the others.
        """
        found = self._mirror.find(chunk)
        if found is None:
            return None
        at, origin = found
        if origin == Origin.INDEX or (origin == Origin.PROVEN and random.random() < SAMPLED):
            if not self._is_there(at):
                self._mirror.drop(at.pack)
                self._damaged.note(PackKind.DATA, at.pack)
                name = pack_name(PackKind.DATA, at.pack)
                self._problem(name.encode(), "it does not hold what the index says; its data is stored again")
                if origin == Origin.PROVEN:
                    raise StartOver("the index lists chunks that are not where it says")
                return None
            if origin == Origin.INDEX:
                self._mirror.proven(at.pack)
        self._mirror.rely(at.pack, taken=True)
        return at

    def _is_there(self, at: Extent) -> bool:
        try:
            sealed = self._vault.read_pack(PackKind.DATA, at.pack, at.offset, at.stored, up_to=True)
            raw = memoryview(self._vault.open_block(PackKind.DATA, at, sealed))
        except (Damaged, NewerFormat, ObjectNotFound):
            return False
        data = raw[at.inner : at.inner + at.length]
        return len(data) == at.length and self._vault.keys.chunk_id(data) == at.id
