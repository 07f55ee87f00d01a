"""Runs `rpdrive protect PATH…`: everything that lets a machine back itself up from now on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from catalog.access.session import Session
from catalog.errors import LocalError, Locked, UsageError, WrongPassphrase
from catalog.format.plan import CARE, Care, Schedule
from catalog.format.records import ItemKind
from catalog.plans.effective import Level, Plan, effective
from catalog.plans.listing import next_runs, plan_json, state_text
from catalog.plans.now import back_up
from catalog.plans.paths import shown_path
from catalog.plans.records import Plans, add_plan, refresh
from catalog.plans.setting import change
from catalog.plans.show import choose_for_paths
from catalog.plans.wording import care_text, parse_times, schedule_text
from catalog.points.opening import listed_points
from catalog.policies.listing import value_text
from catalog.policies.records import Policies, add_retention, immutable_days
from catalog.policies.setting import changed, check
from catalog.policies.setting import read_fields as read_policy
from catalog.retention.policy import Policy
from catalog.retention.policy import effective as effective_policy
from catalog.schedule.timers.this import install_timer
from catalog.screen.output import print_json, say
from catalog.screen.text import counted, local_time
from catalog.store.roles import Role
from catalog.vault import Vault

TIME = 21 * 60  # of the day, in minutes
POLICY = {"daily": "30", "weekly": "12", "monthly": "12", "yearly": "3"}
# What a machine does by itself beside backups. It prunes only if its credentials allow it.
UPKEEP = {
    "prune": Care(every=24, budget=60),
    "check_1": Care(every=7 * 24, budget=120),
    "check_2": Care(every=24, budget=60, percent=1.0),
    "restore_test": Care(every=30 * 24, budget=60),
}


class Wanted(NamedTuple):
    """What `rpdrive protect` was asked for."""

    paths: Sequence[Path]
    item: str | None = None
    at: str | None = None
    exclude: Sequence[str] = ()
    zone: str | None = None
    timer: bool = True
    backup: bool = True
    kind: ItemKind = ItemKind.FILES
    snapshot: str | None = None


class _Done(NamedTuple):
    """What is protected, and how."""

    item: Level
    machine: Level
    system: str
    plan: Plan
    paths: list[bytes]


def protect(
    session: Session,
    vault: Vault,
    wanted: Wanted,
    *,
    as_json: bool,
    install: Callable[[], list[str]] = install_timer,
) -> int:
    """Protect paths of this machine. Returns the exit code of the first backup; 0 without one.

    Doing it again changes only what is asked for. Raises UsageError, LocalError and StoreError; if only the timer
    can't be installed, that error at the end.
    """
    _check(session, wanted)
    has_key = session.saved_keys.load(vault.id) is not None
    if not has_key:
        session.save_key(vault)  # what runs by itself has nobody to ask for the passphrase
    done = _plan(session, vault, wanted)
    policy, why_none = _policy(session, vault, done)
    copy = refresh(vault, session.address, session.settings)
    faults = [] if copy is None else copy.faults
    steps, fault = _timer(install) if wanted.timer else ([], None)
    has_points = bool(list(listed_points(vault, done.machine.id.hex(), done.item.id.hex()).visible()))
    is_first = wanted.backup and not has_points
    if as_json:
        code, job = 0, None
        if is_first:
            code, job = back_up(session, done.item.name, done.plan, done.system, as_json=True)
        print_json({
            "vault": session.address, "item": done.item.name, "item_id": done.item.id.hex(),
            "machine": done.machine.name, "machine_id": done.machine.id.hex(), "saved_key": not has_key,
            "policy": None if policy is None else _policy_text(policy), "backup": job,
            "timer": bool(steps), "faults": faults, **plan_json(done.plan, time.time_ns()),
        })  # fmt: skip
        if fault is not None:
            raise fault
        return code
    shown = ", ".join(shown_path(path, done.system) for path in done.paths) or "the system state"
    say(f"Protected {shown}, as the item {done.item.name} of the machine {done.machine.name}")
    if not has_key:
        say("Saved the vault's key here, so that backups need no passphrase; `rpdrive vault lock` deletes it")
    for step in steps:
        say(step)
    code = 0
    if is_first:
        say("Making the first backup")
        code, _job = back_up(session, done.item.name, done.plan, done.system, as_json=False)
        if code not in (0, 3):
            say("The first backup failed, as said above; it is tried again at the times below")
    elif has_points:
        say("It has recovery points already; `rpdrive plan now` makes one at any time")
    _say_what_comes(done, policy, why_none, is_timed=bool(steps))
    for wrong in faults:
        say(f"But:          {wrong}")
    if fault is not None:
        raise fault
    return code


def _timer(install: Callable[[], list[str]]) -> tuple[list[str], LocalError | None]:
    """Install the timer: what was done, or the error. All else goes on: the first backup must not wait for it."""
    try:
        return install(), None
    except LocalError as e:
        return [], e


def _check(session: Session, wanted: Wanted) -> None:
    if not wanted.paths and wanted.kind is not ItemKind.SYSTEM:
        raise UsageError("no path is given", "name what to protect, e.g. `rpdrive protect /home/anna`")
    for path in wanted.paths:
        if not os.path.lexists(path):
            raise LocalError(f"there is no {path}", "check the path, and that its disk is mounted")
        if wanted.kind is ItemKind.VOLUME and not os.path.ismount(path):
            raise LocalError(
                f"nothing is mounted at {path}", "name where the volume is mounted, or protect the folder as it is"
            )
    if wanted.at is not None:
        parse_times(wanted.at)
    if wanted.timer and session.credentials() is None and session.environment_has_credentials():
        raise UsageError(
            f"the credentials for {session.address} are only in this shell's environment",
            "store them on this machine with `rpdrive vault connect`, so that backups by themselves have them",
        )


def _plan(session: Session, vault: Vault, wanted: Wanted) -> _Done:
    """Write what is missing in the plans of the machine and the item."""
    plans = Plans(vault)
    where, paths = choose_for_paths(session, vault, plans, wanted.paths, None, wanted.item, kind=wanted.kind)
    item, machine, of_vault = where.levels
    own, fields = effective([machine, of_vault]), dict[str, Any]()
    if own.schedule is None or wanted.at is not None:
        times = [TIME] if wanted.at is None else parse_times(wanted.at)
        fields["schedule"] = Schedule(times=times)
    if wanted.zone is not None:
        fields["zone"] = wanted.zone
    fields |= {name: care for name, care in UPKEEP.items() if name not in own.origins and _may(session, name)}
    if fields:
        new = change([machine, of_vault], fields, is_here=True)
        machine = machine if new.record is None else add_plan(vault, machine, new.record)
    said: dict[str, Any] = {"paths": paths} if paths else {}
    if wanted.kind:
        said["what"] = str(wanted.kind)
    if wanted.snapshot is not None:
        said["snapshot"] = wanted.snapshot
    if wanted.exclude:
        said["exclude"] = list(wanted.exclude)
    new = change([item, machine, of_vault], said, is_here=True)
    item = item if new.record is None else add_plan(vault, item, new.record)
    return _Done(item, machine, where.system, effective([item, machine, of_vault]), paths)


def _may(session: Session, care: str) -> bool:
    credentials = session.credentials()
    return care != "prune" or credentials is None or credentials.role.includes(Role.MAINTAIN)


def _policy(session: Session, vault: Vault, done: _Done) -> tuple[Policy | None, str]:
    """The policy of the item, after one was written for a vault that has none; or why there is none."""
    policies = Policies(vault)
    policy = policies.policy(done.machine.id, done.item.id)
    if policy.is_complete or policies.of_vault().number:
        return (policy, "") if policy.is_complete else (None, "no policy says for how long")
    credentials = session.credentials()
    if credentials is not None and not credentials.role.includes(Role.ADMIN):
        return None, "this machine's credentials may not set a policy; an admin does by `rpdrive policy set`"
    admins = vault.file.admins
    is_locked = bool(admins) and all(admin.slot is not None for admin in admins)
    if is_locked and session.saved_admin_keys.load(vault.id) is None:
        return None, "the admin key has a passphrase of its own; set a policy with `rpdrive policy set`"
    level, days = policies.of_vault(), immutable_days(vault)
    fields = read_policy(None, POLICY | {"zone": done.plan.zone})
    new = changed(level, fields)
    check([new], fields, effective_policy([level], days), days, locked=False, short=False)
    assert new.record is not None
    try:
        add_retention(vault, level, new.record, new.unknown)
    except (Locked, WrongPassphrase) as e:
        return None, f"{e}; set a policy with `rpdrive policy set`"
    return Policies(vault).policy(done.machine.id, done.item.id), ""


def _policy_text(policy: Policy) -> dict[str, str]:
    return {str(unit): value_text(policy, str(unit)) for unit in policy.rules}


def _say_what_comes(done: _Done, policy: Policy | None, why_none: str, *, is_timed: bool) -> None:
    plan, now = done.plan, time.time_ns()
    say("")
    state = state_text(plan, now)
    if state:
        say(f"But it is {state}: `rpdrive plan resume` starts it again")
    runs = next_runs(plan, now, 1)
    if runs and not is_timed:
        say("No timer was installed: nothing runs by itself until one is, by `rpdrive timer install`")
    if runs:
        later = f", and up to {counted(plan.spread, 'minute')} later" if plan.spread else ""
        say(f"Next backup:  {local_time(runs[0])[:16]}{later}; then {_schedule(plan)}")
        if plan.catch_up:
            say("              If this machine is off or asleep then, as soon as it is on again")
    kept = why_none if policy is None else ", ".join(_policy_text(policy).values())
    say(f"Kept:         {'all recovery points: ' if policy is None else ''}{kept}")
    upkeep = [f"{name.replace('_', ' ')} {care_text(care)}" for name in CARE if (care := getattr(plan, name)).every]
    if upkeep:
        say(f"Also:         {', '.join(upkeep)}")
    say("If it fails:  `rpdrive health` says so, and its exit code; `rpdrive notify` sends mail and other messages")
    say(f"To look:      `rpdrive points --item {done.item.name}`, `rpdrive mount`; to change: `rpdrive plan set`")
    stop = f"`rpdrive plan stop --item {done.item.name} --keep-data` (or --delete-data)"
    say(f"To undo:      {stop}, `rpdrive timer remove`")


def _schedule(plan: Plan) -> str:
    assert plan.schedule is not None
    text = schedule_text(plan.schedule)
    daily = bool(plan.schedule.times) and not plan.schedule.weekdays and plan.schedule.every_weeks == 1
    return f"{'daily at ' if daily else ''}{text} ({plan.zone})"
