"""Says what a restore or a check is going to cost, before it begins, if that is above a threshold.

The threshold is `RPDRIVE_COST_ABOVE`, in the currency of the price table: 5 unless it says otherwise, `off` for
never. A vault in a folder costs nothing. What is wrong with a price table is said, and stops nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from catalog.access.session import Session
from catalog.cost.money import bill
from catalog.cost.places import Priced, is_free, priced_of
from catalog.cost.use import Use
from catalog.errors import LocalError, UsageError
from catalog.program import COST_ABOVE
from catalog.screen.text import counted, size_text

ABOVE = 5.0  # units of the currency


class Before:
    """The prices of a session's vault, which are read when they are needed first."""

    def __init__(self, session: Session, environ: Mapping[str, str] = os.environ) -> None:
        self._session, self._environ = session, environ
        self._priced: Priced | str | None = None
        self._is_said = False

    def line(self, what: str, use: Use) -> str:
        """What `use` costs, as a line, if that is above the threshold; otherwise, or if it was said, "".

        Raises nothing.
        """
        if self._is_said or is_free(self._session.address):
            return ""
        above = self._above()
        if above is None:
            return ""
        priced = self._read()
        if isinstance(priced, str):
            self._is_said = True
            return f"what {what} costs is not known: {priced}"
        money = bill(priced.tariff, use, leaves=priced.leaves).total
        if money <= above:
            return ""
        self._is_said = True
        amount = f"{counted(round(use.requests), 'request')}, {size_text(int(use.received))} fetched"
        return f"{what} costs about {self._text(money)}{self._of(priced)}: {amount}"

    def price(self, use: Use) -> str:
        """What `use` costs, to follow a sentence; "" for a vault that costs nothing. Raises nothing."""
        if is_free(self._session.address):
            return ""
        priced = self._read()
        if isinstance(priced, str):
            return f"; what that costs is not known: {priced}"
        money = bill(priced.tariff, use, leaves=priced.leaves)
        transfer = (
            f", {self._text(money.transfer)} of it for the transfer out of the region" if money.transfer else ""
        )
        return f"; about {self._text(money.total)}{transfer}{self._of(priced)}"

    def _text(self, money: float) -> str:
        priced = self._read()
        assert isinstance(priced, Priced)
        return f"{money:,.2f} {priced.tariff.currency}"

    def _of(self, priced: Priced) -> str:
        assumed = ", which is assumed" if priced.is_assumed else ""
        return f" (prices of {priced.tariff.date}, {priced.tariff.name}{assumed})"

    def _read(self) -> Priced | str:
        if self._priced is None:
            try:
                self._priced = priced_of(self._session)
            except (UsageError, LocalError) as e:
                self._priced = str(e)
        return self._priced

    def _above(self) -> float | None:
        """The threshold; None: nothing is ever said."""
        text = self._environ.get(COST_ABOVE)
        if text is None:
            return ABOVE
        if text == "off":
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        return value if value >= 0 else ABOVE
