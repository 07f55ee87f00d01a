"""A store that reads from another place of its vault while the first one does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from catalog.errors import RpdriveError, StoreUnreachable
from catalog.store.base import Loan, ObjectInfo, Store
from catalog.store.wrapper import Request, StoreWrapper, T

PATIENCE = 10.0  # seconds, at most, for which a request to the first place is repeated before another one is asked
AWAY = 60.0  # seconds for which a place that did not answer is not asked again
_WITNESS = "vault.json"


class Place(Protocol):
    """Another place of the same vault."""

    url: str

    def store(self) -> Store:
        """Its store. Raises RpdriveError if it does not answer, or what is there is not this vault: it says so."""


class FallbackStore(StoreWrapper):
    """Reads from the first place of a vault; while that does not answer, from the next one that does.

    `first` is the store for writes, which never go anywhere else. `quick` is the same place for reads: it gives up
    after a short time; `once` asks it once. All raise StoreUnreachable if there is no answer. Then the other places
    are asked, in their order, and for AWAY seconds at once; after that one thread finds out whether the first place
    is there again, while others go on. What a place says counts: only silence leads to the next one. A listing that
    breaks off is continued elsewhere, after the last name that was returned.

    `away` is called with the place that answers and the first one's error, `back` when the first one answers again:
    once each, by the thread that notices. No lock is held during a request or these calls.
    """

    def __init__(
        self,
        first: Store,
        places: Sequence[Place],
        *,
        quick: Store,
        once: Store,
        away: Callable[[Place, RpdriveError], None] = lambda place, error: None,
        back: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(first)
        self._places = places
        self._quick, self._once = quick, once
        self._on_away, self._on_back = away, back
        self._clock = clock
        self._lock = threading.Lock()
        self._error: RpdriveError | None = None  # of the first place, while it is away
        self._again = 0.0  # when the first place is asked again
        self._trying = False  # whether a thread asks it now
        self._told = False
        self._answering = ""  # the address of the place that answered last in its stead

    @property
    def is_away(self) -> bool:
        """Whether the first place did not answer when it was asked last."""
        return self._error is not None

    @property
    def why_away(self) -> str:
        """What the first place's error was; "" if it answered when it was asked last."""
        return "" if self._error is None else str(self._error)

    @property
    def reading_from(self) -> str:
        """The place that was read instead last; "" while the first one answers."""
        return self._answering if self.is_away else ""

    # --- reads --------------------------------------------------------------------------------------------

    def now(self) -> int:
        return self._asked(lambda store: store.now())

    def get(self, name: str, most: int) -> bytes:
        return self._asked(lambda store: store.get(name, most))

    def get_tagged(self, name: str, most: int) -> tuple[bytes, str]:
        return self._asked(lambda store: store.get_tagged(name, most))

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        return self._asked(lambda store: store.read(name, offset, length, up_to=up_to))

    def read_parts(self, name: str, offset: int, lengths: Sequence[int]) -> list[bytes]:
        return self._asked(lambda store: store.read_parts(name, offset, lengths))

    def pour(self, name: str, offset: int, length: int, file: int, at: int) -> int:
        return self._asked(lambda store: store.pour(name, offset, length, file, at))

    def lend(self, name: str) -> Loan | None:
        return self._asked(lambda store: store.lend(name))

    def size(self, name: str) -> int:
        return self._asked(lambda store: store.size(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._listed(lambda store: store.list(prefix), lambda info: info.name)

    def folders(self, prefix: str) -> Iterator[str]:
        return self._listed(lambda store: store.folders(prefix), lambda name: name + "/")

    def _asked(self, ask: Callable[[Store], T]) -> T:
        first = self._asks_first()
        if first:
            try:
                return ask(self._quick)
            except StoreUnreachable as e:
                self.give_up(e)
        for place in self._places:
            store = _opened(place)
            if store is not None:
                try:
                    result = ask(store)
                except StoreUnreachable:
                    continue
                except RpdriveError:
                    self._say(place)
                    raise
                self._say(place)
                return result
        if not first:
            return ask(self._quick)  # no other place answers
        raise self._unreachable()

    def _listed(self, listing: Callable[[Store], Iterator[T]], key: Callable[[T], str]) -> Iterator[T]:
        last = ""
        places: list[Place | None] = [*self._places]
        places.insert(0 if self._asks_first() else len(places), None)
        for place in places:
            store = self._quick if place is None else _opened(place)
            if store is None:
                continue
            try:
                rows = listing(store)
                row = next(rows, None)
                if place is not None:
                    self._say(place)
                while row is not None:
                    if key(row) > last:  # names come in order
                        last = key(row)
                        yield row
                    row = next(rows, None)
                return
            except StoreUnreachable as e:
                if place is None:
                    self.give_up(e)
        raise self._unreachable()

    # --- writes -------------------------------------------------------------------------------------------

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        """Writes, and what else only the first place can do. While that is known to be away, fail at once."""
        with self._lock:
            error = self._error if self._clock() < self._again else None
        if error is not None:
            raise StoreUnreachable(f"{error}; nothing is written anywhere else") from error
        return call()

    # --- whether the first place answers ------------------------------------------------------------------

    def give_up(self, error: RpdriveError, *, told: bool = False) -> None:
        """Read elsewhere for a while, because of this error of the first place. `told`: the person knows it."""
        with self._lock:
            self._told = self._told or told
            # A copy: an error that was raised keeps all that its frames refer to.
            self._error = StoreUnreachable(str(error), error.advice)
            self._again, self._trying = self._clock() + AWAY, False

    def _asks_first(self) -> bool:
        """Whether the first place is to be asked. Finds out whether it is there again, if that is due.

        It is if it has a vault.json: a folder whose disk is not mounted may be there, and empty.
        """
        with self._lock:
            if self._error is None:
                return True
            if self._trying or self._clock() < self._again:
                return False
            self._trying = True
        try:
            self._once.size(_WITNESS)
        except RpdriveError as e:
            self.give_up(e)
            return False
        except BaseException:
            with self._lock:
                self._trying = False
            raise
        with self._lock:
            back = self._told
            self._error, self._trying, self._told = None, False, False
        if back:
            self._on_back()
        return True

    def _say(self, place: Place) -> None:
        with self._lock:
            self._answering = place.url
            error = None if self._told else self._error
            self._told = self._told or error is not None
        if error is not None:
            self._on_away(place, error)

    def _unreachable(self) -> RpdriveError:
        error = self._error
        if error is None:
            return StoreUnreachable(f"no place of the vault {self.url} answers")
        return StoreUnreachable(str(error), error.advice)


def _opened(place: Place) -> Store | None:
    """The store of a place; None if it can't be read."""
    try:
        return place.store()
    except RpdriveError:
        return None
