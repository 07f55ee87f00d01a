"""A vault that reads from other places what the first one has lost, or has in other bytes than were written.

Another place is a copy of the vault, with the same names and the same sealed bytes. What is read there is proven as
everything is: it opens with the vault's keys, under its own name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import TypeVar

from catalog.errors import Damaged, MissingData, NewerFormat, ObjectNotFound, RpdriveError, StoreUnreachable
from catalog.format.blocks import Buffer, PackKind
from catalog.format.keys import Keys
from catalog.format.packs import Extent, pack_name
from catalog.format.sealed import Kind, open_object
from catalog.format.vaultfile import VaultFile
from catalog.store.base import Store
from catalog.vault import Vault

KNOWN_LOST = 60.0  # seconds for which a pack that was lost is looked for elsewhere first
_MOST = 10_000  # packs that are remembered so
T = TypeVar("T")


class Elsewhere:
    """The other places of a vault. Thread-safe.

    Each of `places` opens one when it is needed; it raises RpdriveError if it can't be read. `told` is called once,
    with the number of a place, when something is read there because the first place does not have it. `is_away`
    says whether the first place does not answer, so that others are read in its stead anyway.
    """

    def __init__(
        self,
        places: Sequence[Callable[[], Vault]],
        told: Callable[[int], None] = lambda place: None,
        is_away: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places, self._told, self.is_away, self._clock = places, told, is_away, clock
        self._lost: dict[tuple[PackKind, bytes], float] = {}  # packs, and until when they are known to be lost
        self._lock = threading.Lock()
        self._has_told = False

    def first(self, ask: Callable[[Vault], T]) -> T | None:
        """The answer of the first place that has one: of the others, each raises RpdriveError. None if all do."""
        for number, opened in enumerate(self._places):
            try:
                found = ask(opened())
            except RpdriveError:
                continue
            with self._lock:
                told, self._has_told = self._has_told or self.is_away(), True
            if not told:
                self._told(number)
            return found
        return None

    def note_lost(self, kind: PackKind, pack: bytes) -> None:
        """Remember a pack that the first place has lost, for a while."""
        with self._lock:
            if len(self._lost) >= _MOST:
                self._lost.clear()
            self._lost[kind, pack] = self._clock() + KNOWN_LOST

    def known_lost(self, kind: PackKind, pack: bytes) -> bool:
        """Whether a pack was lost in the first place a short while ago."""
        return self._clock() < self._lost.get((kind, pack), 0.0) if self._lost else False


class CopiedVault(Vault):
    """A vault of which there are other places. Thread-safe."""

    looks = (False,)

    def __init__(
        self,
        store: Store,
        keys: Keys,
        file: VaultFile,
        records: MutableMapping[str, bytes] | None,
        elsewhere: Elsewhere,
    ) -> None:
        super().__init__(store, keys, file, records)
        self._elsewhere = elsewhere

    def fetch_sealed(self, kind: Kind, name: str) -> bytes:
        """The same; if the object is lost, or does not open, that of another place, where it does."""
        data: bytes | None = None
        error: RpdriveError | None = None
        try:
            data = super().fetch_sealed(kind, name)
            if _opens(self.keys, kind, name, data):
                return data
        except (Damaged, ObjectNotFound) as e:
            error = e

        def sealed(place: Vault) -> bytes:
            found = place.fetch_sealed(kind, name)
            if not _opens(self.keys, kind, name, found):
                raise Damaged(f"{name} is damaged there, too")
            return found

        other = self._elsewhere.first(sealed)
        if other is not None:
            return other
        if error is not None:
            raise error
        assert data is not None
        return data

    def read_pack(self, kind: PackKind, pack: bytes, offset: int, length: int, *, up_to: bool = False) -> bytes:
        """The same; if the vault does not have the pack any more, from another place that has it."""

        return self._anywhere(
            kind,
            pack,
            lambda: super(CopiedVault, self).read_pack(kind, pack, offset, length, up_to=up_to),
            lambda place: place.read_pack(kind, pack, offset, length, up_to=up_to),
        )

    def read_parts(self, kind: PackKind, pack: bytes, offset: int, lengths: Sequence[int]) -> list[bytes]:
        return self._anywhere(
            kind,
            pack,
            lambda: super(CopiedVault, self).read_parts(kind, pack, offset, lengths),
            lambda place: place.read_parts(kind, pack, offset, lengths),
        )

    def _anywhere(self, kind: PackKind, pack: bytes, here: Callable[[], T], read: Callable[[Vault], T]) -> T:
        if self._elsewhere.known_lost(kind, pack) and (data := self._elsewhere.first(read)) is not None:
            return data
        try:
            return here()
        except MissingData as e:
            data = self._elsewhere.first(read)
            if data is not None:
                self._elsewhere.note_lost(kind, pack)
                return data
            if self._elsewhere.is_away():
                name = pack_name(kind, pack)
                raise StoreUnreachable(f"the vault does not answer, and its copy does not have {name} yet") from e
        self.places.look(pack, wait=True)  # the listing may have been behind
        return here()

    def lost_block(self, kind: PackKind, at: Extent, error: RpdriveError, taken: Callable[[bytes], T]) -> T:
        """The same, of another place's bytes: those of the first for which `taken` does not raise Damaged."""
        found = self._elsewhere.first(lambda place: (taken(place.fetch_block(kind, at)),))
        if found is None:
            raise error
        return found[0]


def _opens(keys: Keys, kind: Kind, name: str, data: Buffer) -> bool:
    """Whether an object is what was written under this name. A bit may have flipped in the version, too."""
    try:
        open_object(keys, kind, name, data)
    except (Damaged, NewerFormat):
        return False
    return True
