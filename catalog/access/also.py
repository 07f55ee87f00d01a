"""The other places of a vault that `--also` names: from them is read what the first one can't give. docs/also.md.

Nothing here asks another place for anything before it is needed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from catalog.access.copies import KnownCopies
from catalog.access.settings import Settings
from catalog.errors import Damaged, LocalError, NewerFormat, NoVault, RpdriveError, StoreUnreachable, UsageError
from catalog.store.fallback import AWAY, PATIENCE, FallbackStore

if TYPE_CHECKING:
    from catalog.format.keys import Keys
    from catalog.format.vaultfile import VaultFile
    from catalog.store.base import Store
    from catalog.store.metered import MeteredStore, Traffic
    from catalog.store.stack import StoreStack
    from catalog.store.throttled import Gate
    from catalog.vault import Vault


class OneSession(Protocol):
    """What a session (session.py) does for one place."""

    settings: Settings
    gate: Gate | None

    @property
    def address(self) -> str: ...
    @property
    def meter(self) -> MeteredStore | None: ...
    def open_store(self) -> Store: ...
    def state_id(self, file: VaultFile) -> str: ...
    def another(self, address: str) -> OneSession: ...
    def close(self) -> None: ...


class Asking(OneSession, Protocol):
    """A session to which other places were given."""

    also_given: tuple[str, ...]
    also_required: bool


class OtherPlace:
    """Another place of a vault. It is believed once its vault.json is authentic under the keys of the vault.

    That is found out when it is needed, in one request, by one thread for all; an error is kept for a minute.
    `say` gets a line if the place can't be used: once for each reason.
    """

    def __init__(self, session: OneSession, first: OneSession, say: Callable[[str], None]) -> None:
        self.session, self.url = session, session.address
        self._first, self._say = first, say
        self._keys: Keys | None = None
        self._lock = threading.Lock()
        self._opening: Future[Vault] | None = None
        self._until = 0.0  # for how long an error is kept
        self._told: set[str] = set()

    def trust(self, keys: Keys) -> None:
        """Believe what is authentic under these keys."""
        self._keys = keys

    def file(self) -> VaultFile:
        """Its vault.json, parsed but not authenticated. Raises NoVault, NewerFormat, Damaged or StoreError."""
        from catalog.vault_json import read_vault_file

        return read_vault_file(self._store())

    def _store(self) -> Store:
        self.session.gate = self._first.gate  # what is read here is traffic of this vault, too
        return self.session.open_store()

    def store(self) -> Store:
        return self.vault().store

    def vault(self) -> Vault:
        """The vault as it is there. Raises StoreError, NoVault if it is another one, or Damaged if it is forged."""
        keys = self._keys
        if keys is None:
            raise StoreUnreachable(f"{self.url} can't be read before the vault is open")
        with self._lock:
            opening = self._opening
            if opening is not None and opening.done() and opening.exception() and time.monotonic() >= self._until:
                opening = None
            mine = opening is None
            if opening is None:
                opening = self._opening = Future()
        if mine:
            try:
                opening.set_result(self._opened(keys))
            except BaseException as e:  # noqa: BLE001 - raised in each thread that waits
                self._until = time.monotonic() + AWAY
                opening.set_exception(e)
                if isinstance(e, RpdriveError):
                    self.tell(e)
        return opening.result()

    def _opened(self, keys: Keys) -> Vault:
        from catalog.vault import Vault

        file = self.file()
        self.check_id(file, keys.vault_id)
        try:
            file.verify(keys)
        except Damaged as e:
            raise Damaged(
                f"vault.json at {self.url} was not written with the keys of this vault: nothing is read there",
                "see docs/also.md",
            ) from e
        vault = Vault(self._store(), keys, file)
        vault.state_id = self.session.state_id(file)
        return vault

    def check_id(self, file: VaultFile, vault_id: bytes) -> None:
        """Raise NoVault if it is that of another vault."""
        if file.vault_id != vault_id:
            raise NoVault(
                f"the vault at {self.url} is {file.vault_id.hex()[:8]}, and not {vault_id.hex()[:8]} as at "
                f"{self._first.address}: nothing is read there",
                "name a copy of the same vault with --also",
            )

    def tell(self, error: RpdriveError) -> None:
        text = str(error)
        if text not in self._told:
            self._told.add(text)
            self._say(f"{text} (--also)" if self.url in text else f"{self.url} (--also): {text}")


def with_advice(error: RpdriveError, session: OneSession, vault_id: bytes | None) -> RpdriveError:
    """The error of a vault that can't be had; its advice names the copies of it that this machine knows."""
    try:
        known = KnownCopies(session.settings).all()
    except LocalError:
        return error
    there = [at for at, copy in known.items() if copy.vault_id == vault_id or copy.of == session.address]
    copies = [at for at in there if at != session.address]
    if copies:
        error.advice += f"; or read from the copy at {' or '.join(copies)}: --also {copies[0]}"
    return error


def other_places(session: Asking) -> list[OtherPlace]:
    """The places that `--also` names, for a command that asks them itself, and closes them. No request.

    Raises UsageError as `Also`.
    """
    if not session.also_given:
        return []
    strict, session.also_required = session.also_required, False
    return Also(session, session.also_given, lambda text: None, lambda settings, place: "", strict=strict).places


class Also:
    """The other places that a session reads from.

    `say` gets lines for the person; `lacking` says in words what another place does not have yet, by what this
    machine has seen: "" if nothing is known to be missing.
    """

    def __init__(
        self, session: OneSession, addresses: Sequence[str], say: Callable[[str], None],
        lacking: Callable[[Settings, Vault], str], *, strict: bool = True,
    ) -> None:  # fmt: skip
        """Raises UsageError if an address is malformed, or one place is named twice. No request.

        Places that a variable names for all commands may be the one that this command is for: that is left out.
        """
        from catalog.store.address import normal_address

        self._session, self._say, self._lacking = session, say, lacking
        self.places: list[OtherPlace] = []
        known = [session.address]
        for text in addresses:
            address = normal_address(text)
            other = next((one for one in known if _same(address, one)), None)
            if other is not None:
                if not strict:
                    continue
                what = address if address == other else f"{address}, which is {other},"
                raise UsageError(f"the place {what} is named twice", "--also takes another copy of the vault")
            known.append(address)
            self.places.append(OtherPlace(session.another(address), session, say))
        self.gave_file = False  # whether the vault was opened by the vault.json of another place
        self._fronts: dict[float, FallbackStore] = {}
        self._known_away = ""

    # --- the store ----------------------------------------------------------------------------------------

    def front(self, stack: StoreStack, patience: float, usual: float) -> FallbackStore:
        """The vault's store that reads elsewhere while the first place is away.

        A request is repeated for `patience` seconds, for a write; `usual` is that of this kind of store.
        """
        front = self._fronts.get(patience)
        if front is None:
            quick = min(PATIENCE, usual, patience / 2)
            front = self._fronts[patience] = FallbackStore(
                stack.front(patience), self.places, quick=stack.front(quick), once=stack.front(0.0),
                away=self._away, back=self._back,
            )  # fmt: skip
            if self._known_away:
                front.give_up(StoreUnreachable(self._known_away), told=True)
        return front

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses, in their normal spelling."""
        return tuple(place.url for place in self.places)

    @property
    def is_away(self) -> bool:
        """Whether the first place did not answer when it was asked last."""
        return any(front.is_away for front in self._fronts.values())

    @property
    def why_away(self) -> str:
        """The first place's error while it is away; else "". Set in a process of which the starter knows it."""
        return next((text for front in self._fronts.values() if (text := front.why_away)), self._known_away)

    @why_away.setter
    def why_away(self, text: str) -> None:
        self._known_away = text

    @property
    def reading_from(self) -> str:
        """The place that is read in the stead of the first one, while that is away; else ""."""
        return next((url for front in self._fronts.values() if (url := front.reading_from)), "")

    def traffic(self) -> Traffic:
        """The requests to all other places so far."""
        from catalog.store.metered import Traffic

        meters = [place.session.meter for place in self.places]
        return sum((meter.snapshot() for meter in meters if meter is not None), Traffic())

    def _away(self, place: object, error: RpdriveError) -> None:
        assert isinstance(place, OtherPlace)
        text = f"{self._session.address} does not answer ({error}): reading from {place.url}"
        try:
            lacking = self._lacking(self._session.settings, place.vault())
        except RpdriveError:
            lacking = ""
        self._say(f"{text}; {lacking}" if lacking else text)

    def _back(self) -> None:
        self._say(f"{self._session.address} answers again, and is read from now on")

    # --- the vault ----------------------------------------------------------------------------------------

    def file(self, error: RpdriveError, vault_id: bytes | None) -> VaultFile:
        """vault.json of the first other place that has one, as the vault's own could not be had for `error`.

        Raises `error` if none has one of this vault (None: its id is not known here). Not authenticated.
        """
        for place in self.places:
            try:
                file = place.file()
                if vault_id is not None:
                    place.check_id(file, vault_id)
            except (StoreUnreachable, NoVault, Damaged, NewerFormat) as e:
                place.tell(e)
                continue
            for front in self._fronts.values():
                front.give_up(error)
            self.gave_file = True
            return file
        raise error

    def opened(
        self, store: Store, keys: Keys, file: VaultFile, records: MutableMapping[str, bytes] | None
    ) -> Vault:
        """The vault, open: it reads from the other places what the first one has lost."""
        from catalog.elsewhere import CopiedVault, Elsewhere

        for place in self.places:
            place.trust(keys)
        elsewhere = Elsewhere([place.vault for place in self.places], self._lost, lambda: self.is_away)
        return CopiedVault(store, keys, file, records, elsewhere)

    def _lost(self, number: int) -> None:
        place = self.places[number].url
        self._say(
            f"{self._session.address} has lost or damaged data, which is read from {place}: "
            f"run `rpdrive repair --also {place}`"
        )

    def close(self) -> None:
        for place in self.places:
            place.session.close()


def _same(address: str, other: str) -> bool:
    """Whether two addresses are of one place: also a folder under two names."""
    from catalog.store.address import local_folder

    if address == other:
        return True
    folder, there = local_folder(address), local_folder(other)
    if folder is None or there is None:
        return False
    try:
        return os.path.samefile(folder, there)
    except OSError:
        return False  # one of them is away
