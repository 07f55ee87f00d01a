"""Copying many objects from one store to another: several at a time, and in bounded memory.

Nothing is kept between two runs: what was copied is found at the target, so a transfer that was stopped anywhere
goes on where it was. Each object is durable, and whole, before it is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from catalog.errors import AccessDenied, StoreError
from catalog.screen.phases import Follower, NoFollower, Phase
from catalog.store.base import WHOLE, Store
from catalog.transfer.one import Done, Refused, Result, copy_one
from catalog.transfer.outcome import Conflict, Fault, Outcome, Wanted

NEAR, FAR = 8, 32  # objects at a time: between folders, and where a store is another machine
LARGE = 160 << 20  # bytes of objects at a time, as far as they fit into memory: four packs, or many small ones
DENIED = 16  # objects in a row, none of them copied or found: access to the whole store is denied


def transfer(
    source: Store,
    target: Store,
    wanted: Iterable[Wanted],
    *,
    parallel: int = 0,
    verify: bool = False,
    on_copied: Callable[[Wanted], None] = lambda wanted: None,
    follow: Follower | None = None,
    total: int | None = None,
    into: Outcome | None = None,
) -> Outcome:
    """Copy what the target lacks, and return the counts, which are added to `into`, if that is given.

    `parallel`: objects at a time; 0: by the kind of the stores. With `verify`, what is copied, or found at the
    target, is read there and compared: with its hash if that is known, else with the source. `on_copied` is called
    for each object that this call has copied, durably, from the caller's thread. `total`: bytes, for `follow`.

    An object that the target has with the same size is done; a different one is a conflict, and left alone. An
    error of one object costs that object. The order of `wanted` is kept only roughly: what must come first is a
    call of its own. Raises StoreError if a store is unreachable, full, or denies everything; `into` then has what
    was done until then. Memory is bounded whatever the sizes of the objects.
    """
    outcome = Outcome() if into is None else into
    run = _Run(source, target, outcome, verify, on_copied, follow or NoFollower(), total)
    run.all(wanted, parallel or (NEAR if source.is_near and target.is_near else FAR))
    return outcome


class _Run:
    def __init__(
        self,
        source: Store,
        target: Store,
        outcome: Outcome,
        verify: bool,
        on_copied: Callable[[Wanted], None],
        follow: Follower,
        total: int | None,
    ) -> None:
        self._source, self._target, self._outcome, self._verify = source, target, outcome, verify
        self._on_copied, self._follow, self._total = on_copied, follow, total
        self._ended: SimpleQueue[tuple[Wanted, Result | BaseException | None]] = SimpleQueue()
        self._going, self._bytes = 0, 0
        self._passed = 0  # bytes of objects that are done
        self._error: BaseException | None = None  # the first that ends the run
        self._denied: list[tuple[Wanted, AccessDenied]] = []  # since the last object that was no fault
        self._trusted = False  # some object was copied or found: a refusal is about one object

    def all(self, wanted: Iterable[Wanted], parallel: int) -> None:
        with ThreadPoolExecutor(parallel, "transfer") as pool:
            try:
                for one in wanted:
                    load = min(one.size, WHOLE)
                    while self._going and (self._going >= 2 * parallel or self._bytes + load > LARGE):
                        self._take_one()
                    if self._error is not None:
                        break
                    self._going += 1
                    self._bytes += load
                    pool.submit(self._work, one)
                self._drain()
                if self._denied and not self._trusted:
                    raise self._denied[0][1]
                self._settle_denied()
            except BaseException as error:
                self._error = self._error or error
                pool.shutdown(wait=False, cancel_futures=True)
                if not isinstance(error, Exception):  # Ctrl-C: don't wait for what a limit holds back
                    self._source.stop_waiting()
                    self._target.stop_waiting()
                raise

    def _drain(self) -> None:
        while self._going:
            self._take_one()
        if self._error is not None:
            raise self._error

    def _work(self, wanted: Wanted) -> None:
        """In a thread of the pool."""
        if self._error is not None:
            self._ended.put((wanted, None))
            return
        try:
            self._ended.put((wanted, copy_one(self._source, self._target, wanted, verify=self._verify)))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._ended.put((wanted, error))

    def _take_one(self) -> None:
        wanted, result = self._ended.get()
        self._going -= 1
        self._bytes -= min(wanted.size, WHOLE)
        if result is None:
            return
        if isinstance(result, BaseException):
            self._fail(wanted, result)
            return
        self._count(wanted, result)

    def _fail(self, wanted: Wanted, error: BaseException) -> None:
        if type(error) is StoreError:  # of this object: no kind of its own
            self._outcome.add_damaged(Fault(wanted.name, wanted.size, str(error)))
        else:
            self._error = self._error or error

    def _count(self, wanted: Wanted, result: Result) -> None:
        outcome = self._outcome
        match result:
            case Conflict():
                outcome.add_conflict(result)
            case Fault():
                outcome.add_damaged(result)
            case Refused(error):
                self._denied.append((wanted, error))
                if len(self._denied) >= DENIED:
                    self._error = self._error or error
                return
            case Done.GONE:
                outcome.add_gone(wanted.name)
            case Done.PRESENT:
                outcome.present += 1
            case Done.COPIED:
                outcome.copied += 1
                outcome.copied_bytes += wanted.size
        if result in (Done.COPIED, Done.PRESENT):
            self._trusted = True
            self._settle_denied()
        self._passed += wanted.size
        self._follow.phase(Phase("copying", self._passed, self._total))
        if result is Done.COPIED:
            self._on_copied(wanted)

    def _settle_denied(self) -> None:
        for wanted, error in self._denied:
            self._outcome.add_damaged(Fault(wanted.name, wanted.size, str(error)))
        self._denied.clear()
