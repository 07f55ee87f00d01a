"""The points of machines as they are listed while a drive is open: only of machines that somebody looks at."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from typing import NamedTuple

from catalog.format.records import PointName
from catalog.ledger.listed import Listed, list_points
from catalog.ledger.records import Ledgers
from catalog.vault import Vault
from mount.view.listing import Listing
from mount.view.renewed import Renewed

LISTED = 100_000  # points of machines whose listings are kept, some 500 bytes each
WHOLE = 12  # times as long as a listing serves: ledgers are read again, and long listings listed as a whole
_PAGE = 5000  # names that one request lists
_BACK = 2 * 86_400  # seconds: the time of a point is when its backup began
_AHEAD = 3600  # seconds by which the clock of a machine may be ahead
_log = logging.getLogger(__name__)


class _Month(NamedTuple):
    """A month (UTC): from `start` up to `end`, in ns since the epoch, and how names of points in it begin."""

    start: int
    end: int
    text: str


def _month(year: int, month: int) -> _Month:
    start, end = datetime(year, month, 1, tzinfo=UTC), datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return _Month(int(start.timestamp()) * 10**9, int(end.timestamp()) * 10**9, f"{year:04d}{month:02d}")


class _Kept:
    """What is kept of a machine beside its listing."""

    def __init__(self) -> None:
        self.ledgers: Ledgers | None = None
        self.whole = -math.inf  # when the ledgers, and all points, were listed last


class Listings:
    """The points of machines, or of one `item` (its id), seconds old at most if the store answers. Thread-safe.

    `fresh` and `after_failure` in seconds, see Renewed. `listed` is called with points in their order, before they
    are in a listing. A listing of more than one page is read again as a whole once a minute only: in between, it is
    listed what is new, by the month in which the names of new points begin. So a new point appears within seconds,
    and one that was deleted is gone within a minute, as one that was forgotten is.
    """

    def __init__(
        self,
        vault: Vault,
        item: bytes | None,
        listed: Callable[[list[PointName]], object],
        *,
        fresh: float,
        after_failure: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` returns seconds since the epoch (UTC)."""
        self._vault, self._item, self._listed = vault, item, listed
        self._fresh, self._after_failure, self._clock = fresh, after_failure, clock
        self._lock = threading.Lock()
        self._listings: dict[bytes, Renewed[Listing]] = {}  # the most recently used last
        self._kept: dict[bytes, _Kept] = {}

    def of(self, machine: bytes) -> Listing:
        """The points of a machine that are not hidden. Raises StoreError if they can't be listed the first time."""
        with self._lock:
            renewed = self._listings.pop(machine, None)
            if renewed is None:

                def read(last: Listing | None) -> Listing:
                    return self._read(machine, last)

                what = f"the list of points of machine {machine.hex()}"
                renewed = Renewed(read, what, fresh=self._fresh, after_failure=self._after_failure)
            self._listings[machine] = renewed
        return renewed.get()

    def known(self, machine: bytes) -> Listing | None:
        """The listing of a machine as it was last, without a request; None if there is none."""
        renewed = self._listings.get(machine)
        return renewed.last if renewed is not None else None

    def _read(self, machine: bytes, last: Listing | None) -> Listing:
        names = self._names(machine, last)
        if last is not None and names == last.names:
            return last
        self._listed(names)
        with self._lock:
            self._drop_unused(machine, len(names))
        return Listing(names)

    def _names(self, machine: bytes, last: Listing | None) -> list[PointName]:
        """The points of a machine that are not hidden. 1 listing; now and then a second one, at the same time."""
        now, kept = time.monotonic(), self._kept.setdefault(machine, _Kept())
        if kept.ledgers is None or now - kept.whole >= WHOLE * self._fresh:
            found = list_points(self._vault, machine, self._item, kept.ledgers)
            names = found.visible()
            kept.ledgers, kept.whole = found.ledgers, now
            for row in self._vault.passed_over.report():
                _log.warning("%s", row)
            return names
        months = self._months()
        items = [self._item] if self._item is not None else list(last.items) if last is not None else []
        if last is None or len(items) * len(months) >= math.ceil(len(last.names) / _PAGE):
            return Listed(self._vault, self._vault.stored_points(machine, self._item), kept.ledgers).visible()
        places = ((item, month.text) for item in items for month in months)
        new = chain.from_iterable(self._vault.stored_points(machine, *place) for place in places)
        before = ((name, 0) for name in last.names if not months[0].start <= name.time < months[-1].end)
        return Listed(self._vault, chain(before, new), kept.ledgers).visible()

    def _months(self) -> list[_Month]:
        """The months in which points are that backups store now: one, or two that are neighbours."""
        now = self._clock()
        days = [datetime.fromtimestamp(at, UTC) for at in (now - _BACK, now + _AHEAD)]
        return sorted({_month(day.year, day.month) for day in days})

    def _drop_unused(self, machine: bytes, kept: int) -> None:
        """Forget the listings that were used longest ago, so that few points beyond LISTED are kept."""
        for other in reversed([one for one in self._listings if one != machine]):
            last = self._listings[other].last
            kept += len(last.names) if last is not None else 0
            if kept > LISTED:
                del self._listings[other]
                self._kept.pop(other, None)
