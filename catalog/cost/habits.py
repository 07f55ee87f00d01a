"""What the plans and policies of a vault do in a month."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from time import time_ns

from catalog.cost.look import Looked
from catalog.cost.model import Habits, Keeps
from catalog.cost.money import MONTH
from catalog.errors import Damaged, LocalError
from catalog.format.plan import DAY, Care, Schedule
from catalog.plans.effective import Plan, effective
from catalog.plans.records import Plans
from catalog.policies.records import Policies
from catalog.vault import Vault

_MOST = 16  # machines whose plans are read, and 4 items of each
_ITEMS = 4


def habits_of(vault: Vault, looked: Looked) -> tuple[Habits, list[str]]:
    """What the plans of the machines that were looked at say, and what a person should know of that.

    Two listings, and one request for each level that has a record, 81 of each kind at most. If no plan says when
    backups run, they run as often as in the last month. Raises StoreError.
    """
    plans, notes = Plans(vault), list[str]()
    machines = sorted(looked.items, key=lambda one: (not looked.items[one], one))[:_MOST]
    of_items, of_machines = list[Plan](), list[Plan]()
    now = time_ns()
    for machine in machines:
        own = plans.levels(machine, "")
        of_machines.append(effective(own))
        for item in looked.items[machine][:_ITEMS]:
            of_items.append(effective([plans.level("item", "", item), *own]))
    running = [plan for plan in of_items if plan.schedule is not None and plan.runs_at(now)]
    measured = looked.backups * MONTH / looked.days
    backups = sum(runs_of(plan.schedule) for plan in running if plan.schedule) / max(len(of_items), 1)
    if not running:
        backups = measured
        notes.append("no plan says when backups run: as many as in the last 30 days are reckoned")
    count = max(len(of_machines), 1)
    share = looked.shape.machines / count
    doers = max((sum(getattr(p, name).every > 0 for p in of_machines) for name in _UPKEEP), default=0)
    per = {name: sum(_often(getattr(p, name)) for p in of_machines) for name in _UPKEEP}
    times = 1 / doers if doers else 0.0  # runs of each machine that has any
    percents = [p.check_2.percent for p in of_machines if p.check_2.every and p.check_2.percent]
    if any(care.every and care.budget for p in of_machines for care in (p.check_2, p.check_3)):
        notes.append("a plan ends checks after some time; they are reckoned as if they read all that they may")
    if doers * share >= 2:
        notes.append(
            f"{doers * share:,.0f} machines check or prune, and each does so for the whole vault: one is enough"
        )
    return Habits(
        backups=backups, check_1=per["check_1"] * times, check_2=per["check_2"] * times,
        check_3=per["check_3"] * times, prunes=per["prune"] * times, doers=max(doers * share, 1.0),
        tests=sum(_often(p.restore_test) for p in of_machines) / count,
        percent=sum(percents) / len(percents) if percents else 1.0, keeps=_keeps(vault, looked, machines, notes),
        change=_change(looked), has_timers=bool(running),
    ), notes  # fmt: skip


_UPKEEP = ("check_1", "check_2", "check_3", "prune")


def runs_of(schedule: Schedule) -> float:
    """Runs in a month."""
    days = (len(schedule.weekdays) or 7) / 7 / schedule.every_weeks * MONTH
    return days * (DAY / schedule.every if schedule.every else len(schedule.times))


def _often(care: Care) -> float:
    return MONTH * 24 / care.every if care.every else 0.0


def _change(looked: Looked) -> float:
    """The share of the data that changes in a day, by the last month; 1 % if that says little."""
    shape = looked.shape
    if looked.days < 7 or not shape.newest or not looked.backups:
        return 0.01
    return min(looked.data / looked.days / shape.newest, 1.0)


def _keeps(vault: Vault, looked: Looked, machines: Sequence[bytes], notes: list[str]) -> Keeps:
    """The policy of most items."""
    policies = Policies(vault)
    if not policies.ids:
        return Keeps()
    found = Counter[Keeps]()
    for machine in machines:
        for item in looked.items[machine][:_ITEMS]:
            try:
                rules = policies.policy(machine, item).rules
            except (Damaged, LocalError):
                continue
            found[Keeps(**{str(unit): rule.keep for unit, rule in rules.items()})] += 1
    if len(found) > 1:
        notes.append("items have different policies: that of most of them is reckoned with")
    return found.most_common(1)[0][0] if found else Keeps()
