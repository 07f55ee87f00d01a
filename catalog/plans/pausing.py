"""Runs `rpdrive plan pause|resume|stop` on an open vault."""

from __future__ import annotations

import time
from typing import NamedTuple

from catalog.access.passphrases import confirm_on_terminal
from catalog.access.session import Session
from catalog.errors import NotFound, UsageError
from catalog.format.plan import Pause, Stop
from catalog.ledger.actions import forget_points
from catalog.ledger.request import Forgetting, reason_of, time_of
from catalog.plans.effective import Level, effective
from catalog.plans.listing import level_json, pause_text, plan_json, state_text
from catalog.plans.records import Plans, add_plan, next_record
from catalog.plans.show import Chosen, choose, refresh_if_here
from catalog.points.opening import listed_points
from catalog.policies.coming import Coming, coming
from catalog.policies.listing import going_json, going_lines
from catalog.screen.output import print_json, say
from catalog.screen.text import counted, parse_duration
from catalog.vault import Vault

_AHEAD = 30  # days for which `resume` says what would go


class Scope(NamedTuple):
    """The vault (`everywhere`), a machine or an item; none of them: this machine."""

    machine: str | None = None
    item: str | None = None
    everywhere: bool = False


def until_of(text: str | None) -> int:
    """The end of a pause (ns) from a date, a time or a length of time; 0: none. Raises UsageError."""
    if text is None:
        return 0
    try:
        return time.time_ns() + int(parse_duration(text)) * 10**9
    except UsageError:
        return time_of(text)


def confirm_deletion() -> None:
    """Ask whether all recovery points are to be forgotten. Raises UsageError if they are not, or nobody can say."""
    answer = confirm_on_terminal("Forget all recovery points of what is stopped?")
    if not answer:
        raise UsageError("nothing was changed", "confirm with --yes, or keep the points with --keep-data")


def pause(session: Session, vault: Vault, scope: Scope, until: int, reason: str, *, as_json: bool) -> None:
    """Pause what runs by itself."""
    plans, now = Plans(vault), time.time_ns()
    where = _chosen(session, vault, plans, scope)
    paused = Pause(since=now, until=until, reason=reason_of(reason))
    level = add_plan(vault, where.nearest, next_record(where.nearest, paused=paused))
    refresh_if_here(session, vault)
    if as_json:
        plan = effective([level, *where.levels[1:]])
        print_json({"vault": session.address, **level_json(level), **plan_json(plan, now)})
        return
    say(f"Paused {level} {pause_text(paused)}: nothing runs by itself, and recovery points stop ageing")
    if not until:
        say("It stays so until `rpdrive plan resume`")
    _say_far(where)


def resume(session: Session, vault: Vault, scope: Scope, *, as_json: bool) -> None:
    """End a pause, or start protection again after a stop; say what would go by policy then."""
    plans, now = Plans(vault), time.time_ns()
    where = _chosen(session, vault, plans, scope)
    nearest, *wider = where.levels
    record = nearest.record
    if record is None or (record.paused is None and record.stopped is None):
        held = next((level for level in wider if _is_held(level)), None)
        if held is not None:
            raise UsageError(f"{nearest} is held by {held}", f"resume {held}")
        raise UsageError(f"{nearest} is neither paused nor stopped", "`rpdrive plan list` shows what is")
    level = add_plan(vault, nearest, next_record(nearest, paused=None, stopped=None))
    refresh_if_here(session, vault)
    plan = effective([level, *wider])
    going = _coming(vault, where)
    if as_json:
        rows = [{"item": row.point.item_name, "going": going_json(row.going, row.by_id)} for row in going]
        print_json({"vault": session.address, **level_json(level), **plan_json(plan, now), "going": rows})
        return
    say(f"Resumed {level}")
    state = state_text(plan, now)
    if state:
        say(f"A wider level still holds it: it is {state}")
    number = sum(len(decisions) for row in going for _day, decisions in row.going)
    if not number:
        say(f"No recovery point would go by policy within {_AHEAD} days of daily backups")
    else:
        say(f"{counted(number, 'recovery point')} would go by policy within {_AHEAD} days of daily backups:")
    for row in going:
        if row.going:
            say(f"{row.point.item_name} of {row.point.machine_name}:")
        for line in going_lines(row.going, row.by_id):
            say(f"  {line}")
    _say_far(where)


def _coming(vault: Vault, where: Chosen) -> list[Coming]:
    machine = None if where.machine is None else where.machine.id.hex()
    item = where.nearest.id.hex() if where.nearest.what == "item" else None
    try:
        return coming(vault, machine, item, {}, _AHEAD)[0]
    except NotFound:
        return []


def stop(session: Session, vault: Vault, scope: Scope, *, keep: bool, reason: str, as_json: bool) -> None:
    """Stop protection: no more jobs. Unless the data is to be kept, forget all points of it, which can be undone.

    Raises as `forget_points`; protection is stopped then all the same.
    """
    plans, now = Plans(vault), time.time_ns()
    where = _chosen(session, vault, plans, scope)
    if not keep and where.machine is None:
        raise UsageError("the data of the whole vault can't be deleted so", "name a machine or an item")
    nearest = where.nearest
    level = add_plan(vault, nearest, next_record(nearest, stopped=Stop(since=now, keep=keep)))
    refresh_if_here(session, vault)
    plan = effective([level, *where.levels[1:]])
    if keep or not _has_points(vault, where):
        if as_json:
            print_json({"vault": session.address, **level_json(level), **plan_json(plan, now)})
            return
        say(f"Stopped the protection of {level}")
        say(
            "Its recovery points stay: they go neither by age nor otherwise"
            if keep
            else "It has no recovery points"
        )
        say("`rpdrive plan resume` starts it again")
        _say_far(where)
        return
    if not as_json:
        say(f"Stopped the protection of {level}")
        _say_far(where)
    assert where.machine is not None
    request = Forgetting.of(
        [], every=True, newest=True, missing=False, damaged=False, until=None, now=False,
        reason=reason or "protection was stopped", machine=where.machine.id.hex(),
        item=nearest.id.hex() if nearest.what == "item" else None, dry_run=False, yes=True,
    )  # fmt: skip
    forget_points(session, vault, request, as_json=as_json)


def _has_points(vault: Vault, where: Chosen) -> bool:
    assert where.machine is not None
    item = where.nearest.id.hex() if where.nearest.what == "item" else None
    return bool(list(listed_points(vault, where.machine.id.hex(), item).visible()))


def _chosen(session: Session, vault: Vault, plans: Plans, scope: Scope) -> Chosen:
    return choose(session, vault, plans, scope.machine, scope.item, everywhere=scope.everywhere)


def _is_held(level: Level) -> bool:
    return level.record is not None and (level.record.paused is not None or level.record.stopped is not None)


def _say_far(where: Chosen) -> None:
    if not where.is_here and where.machine is not None:
        say(f"{where.machine.name} takes it over the next time that it opens the vault")
