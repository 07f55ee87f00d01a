"""The alerts that a machine raises about itself, from its own records alone: no request, and few imports.

Every tick calls `step_here`. What only the vault can tell, `rpdrive watch` looks for, on this machine or another.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from catalog.access.issued import Issued, issued, issued_vaults
from catalog.alerts.jobs import Names, job_facts, running_since
from catalog.alerts.keeping import Kept
from catalog.alerts.overdue import Protected, clock_fact, hours, overdue_facts
from catalog.alerts.rules import DAY
from catalog.alerts.state import Alert, Fact, Facts, Key, step
from catalog.alerts.telling import tell
from catalog.errors import LocalError
from catalog.notify.event import Failing, Notifications, Severity
from catalog.plans.local import LocalPlans, LocalVault
from catalog.schedule.history import RUNNING, History, Ran
from catalog.schedule.marks import Marks
from catalog.systems.this import SYSTEM

SCOPE = "local"
SOON = 14 * DAY  # ns before a token ends
_log = logging.getLogger("rpdrive.alerts")


def step_here(
    state: Path, now: int, notifications: Notifications | None = None, runs: Sequence[Ran] | None = None
) -> list[Alert]:
    """Look at this machine's records, keep the alerts in its state folder, and tell of changes.

    Returns the alerts that are open. Raises nothing: what can't be read or written is logged. Without
    `notifications`, those of this machine's settings are told. `runs` are those of the history, if it was read.
    """
    try:
        if notifications is None:
            notifications = _notifier(state)
        failing = notifications.failing(now)
        vaults = LocalPlans(state).all().vaults
        runs = History(state).all() if runs is None else runs
        kept, open_ = Kept(state), list[Alert]()
        by_vault: dict[str, LocalVault | None] = {ran.vault: None for ran in runs if ran.vault}
        by_vault |= {one.vault: one for one in vaults}
        by_vault |= {
            vault: None for vault in (*kept.vaults(), *issued_vaults(state)) if vault not in {"", *by_vault}
        }
        for vault, plan in by_vault.items():
            some = [ran for ran in runs if ran.vault == vault]
            opened = {alert.key for alert in kept.of(vault) if alert.is_open}
            facts = local_facts(vault, plan, some, now, Marks.read(state).resumed, opened)
            facts = facts._replace(facts=(*facts.facts, *issued_facts(vault, issued(state, vault))))
            open_ += _stepped(kept, vault, facts, now, notifications)
        facts = Facts((*target_facts(failing), *clock_fact(runs, SCOPE, now)), frozenset([SCOPE]))
        return [*open_, *_stepped(kept, "", facts, now, notifications)]
    except LocalError as e:
        _log.warning("the alerts of this machine: %s", e)
        return []


def _notifier(state: Path) -> Notifications:
    from catalog.access.settings import Settings
    from catalog.notify.notifier import Notifier

    return Notifier(Settings().where("config"), state)


def _stepped(kept: Kept, vault: str, facts: Facts, now: int, notifications: Notifications) -> list[Alert]:
    """The open alerts about a vault after these facts."""
    result = tell(kept, vault, lambda before: step(before, facts, now), now, notifications)
    return [alert for alert in result.alerts if alert.is_open]


def local_facts(
    vault: str,
    plan: LocalVault | None,
    runs: Sequence[Ran],
    now: int,
    resumed: int = 0,
    opened: Collection[Key] = (),
) -> Facts:
    """What this machine's runs and plans say of one vault. For `resumed` and `opened`, see `overdue_facts`."""
    machine = plan.machine if plan is not None else next((ran.machine for ran in runs if ran.machine), "")
    runs = [ran if ran.machine else msgspec.structs.replace(ran, machine=machine) for ran in runs]
    names = Names(
        {machine: plan.machine_name} if plan is not None else {},
        {(machine, item.id): item.name for item in plan.items} if plan is not None else {},
    )
    scope = f"{SCOPE}/{vault}"
    # Whether a run's process still is at work, the history knows: it calls the others killed.
    boots, alive = {machine: SYSTEM.boot_id()}, {(ran.machine, ran.item) for ran in runs if ran.outcome == RUNNING}
    found = job_facts(runs, scope, names, now, boots, alive=alive)
    if plan is not None:
        own = [ran for ran in runs if ran.machine == machine]
        protected = []
        for item in plan.items:
            some = [ran for ran in own if ran.item == item.id]
            running = running_since(some, now, boots, alive=True)
            protected.append(Protected(vault, machine, item.id, item.plan, some, item.since, running))
        protected.append(Protected(vault, machine, "", plan.plan, own, plan.since))
        found += overdue_facts(protected, scope, names, now, resumed, opened)
    return Facts(tuple(found), frozenset([scope]))


def target_facts(failing: Sequence[Failing]) -> list[Fact]:
    """What can't be delivered, and so is told to the other targets."""
    return [
        Fact(
            "target.failing", SCOPE, cause=one.target, title="messages can't be delivered",
            text=f"{one.waiting:,} messages wait for the target {one.target}: {one.error}",
            details={"target": one.target, "waiting": one.waiting},
        )
        for one in failing
    ]  # fmt: skip


def issued_facts(vault: str, rows: Sequence[Issued]) -> list[Fact]:
    """Credentials that this machine has issued."""
    if not rows:
        return []
    newest = rows[-1]
    text = f"the last ones have the role {newest.role}" + (", and may lock objects" if newest.locks else "")
    marks = tuple(str(one.time) for one in rows)
    title = "vault credentials were issued on this machine"
    return [Fact("credentials.issued", f"{SCOPE}/{vault}", vault, title=title, text=text, marks=marks)]


def token_facts(vault: str, expires: int | None, issued_at: int | None, scope: str, now: int) -> list[Fact]:
    """A fact if the access token of a vault ends soon (`expires`, ns; None: it has none).

    Of one that was made for a short time (`issued_at`, ns; None: unknown) soon is the last quarter of it.
    """
    if expires is None:
        return []
    soon = SOON if issued_at is None else min(SOON, max(expires - issued_at, 0) // 4)
    if expires > now + soon:
        return []
    gone = expires <= now
    text = f"it ended {hours(now - expires)} ago" if gone else f"it ends in {hours(expires - now)}"
    severity = Severity.CRITICAL if gone else None
    return [Fact("token.expiring", scope, vault, severity=severity, title="the access token ends", text=text)]
