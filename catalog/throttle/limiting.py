"""Puts a gate before the vault of a session, as the options of a command or the plan say."""

from __future__ import annotations

from catalog.access.session import Session
from catalog.errors import LocalError
from catalog.throttle.gate import Throttle
from catalog.throttle.given import Given
from catalog.throttle.source import FixedLimits, PlannedLimits


def limit_traffic(
    session: Session,
    given: Given,
    item: str | None = None,
    *,
    patient: bool = True,
) -> Throttle | None:
    """Limit the vault's traffic of this session. Must be called before the store is opened. Raises UsageError.

    `given` counts in place of the plan. None, and no gate, if neither can ever limit anything: no limit was given,
    and the vault is not one that this machine knows. A plan that has no limits yet may get some while a job runs.
    """
    limits = given.limits()
    if limits is not None:
        if limits == (None, None):
            return None
        throttle = Throttle(FixedLimits(limits), patient=patient, tell=session.say)
    else:
        try:
            vault_id = session.known_id()
        except LocalError:
            vault_id = None  # the command itself reports it
        if vault_id is None:
            return None
        planned = PlannedLimits(session.settings.where("state"), vault_id, item)
        throttle = Throttle(planned, patient=patient, tell=session.say)
    session.gate = throttle
    return throttle
