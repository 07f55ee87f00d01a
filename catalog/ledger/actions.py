"""Runs `rpdrive forget`, `undelete`, `hold` and `release` on an open vault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from catalog.access.session import Session
from catalog.author import who
from catalog.errors import NotFound, UsageError
from catalog.format.ledger import ForgottenRow, HeldRow, How
from catalog.format.records import PointName
from catalog.ledger.chosen import Group, choose, choose_forgotten, read_groups
from catalog.ledger.expiry import soft_delete
from catalog.ledger.forgetting import check_forgetting
from catalog.ledger.giving_up import accept_missing, give_up_damaged, item_text
from catalog.ledger.listed import Listed, list_points
from catalog.ledger.records import Ledger
from catalog.ledger.request import Choice, Forgetting, reason_of
from catalog.points.opening import scope
from catalog.retention.slots import DAY
from catalog.screen.output import print_json, say
from catalog.screen.text import counted, iso_time, local_time
from catalog.signing import signing_key
from catalog.store.reading import time_to_read
from catalog.vault import Vault

MOST_DAYS = 180  # of soft delete


def forget_points(session: Session, vault: Vault, request: Forgetting, *, as_json: bool) -> None:
    """Forget points. Raises NotFound, AmbiguousName, UsageError, Locked, Damaged and StoreError."""
    if request.missing:
        accept_missing(session, vault, request, as_json=as_json)
        return
    if request.damaged:
        give_up_damaged(session, vault, request, as_json=as_json)
        return
    listed = _listed(vault, request.choice)
    now = _now(vault, dry=request.dry_run)
    groups = read_groups(listed, choose(vault, listed, request.choice))
    until = _until(vault, request, now)
    new, before = [], 0
    for group in groups:
        wanted = [n for n in group.names if _ends_later(group.ledger.forgotten.get(n.id), until)]
        before += len(group.names) - len(wanted)
        if wanted:
            new.append(group._replace(names=wanted))
    check_forgetting(vault, listed, new, request, now)
    by = who()

    def rows(group: Group) -> list[ForgottenRow]:
        return [ForgottenRow(n.id, n.sequence, now, until, How.BY_HAND, request.reason, by) for n in group.names]

    def forget(group: Group, ledger: Ledger) -> Ledger:
        return ledger.forget(row for row in rows(group) if not ledger.is_held(row.point, now))

    if not request.dry_run:
        _change(vault, listed, new, forget, now)
    names = [name for group in new for name in group.names]
    if as_json:
        done = {"until": iso_time(until), "dry_run": request.dry_run, "already_forgotten": before}
        print_json({"vault": session.address, "forgotten": _json(names), **done})
        return
    machines = vault.machines()
    for group in new:
        what = f"{counted(len(group.names), 'point')} of {item_text(vault, machines, group.key)}"
        say(f"{'Would forget' if request.dry_run else 'Forgot'} {what}")
    if before:
        say(f"{counted(before, 'point')} had been forgotten before")
    if new and request.now:
        say("The next run of `rpdrive prune` removes them: they can't be brought back after that")
    elif new:
        say(f"They can be brought back until {local_time(until)[:16]} with `rpdrive undelete`")


def _until(vault: Vault, request: Forgetting, now: int) -> int:
    """Until when points can be brought back. Raises UsageError if that is not allowed."""
    if request.now:
        if vault.file.immutable is not None:
            raise UsageError(
                "this vault is immutable: points can't be forgotten with --now", "forget them without --now"
            )
        return now
    least, days = now + soft_delete(vault), vault.file.soft_delete_days
    if request.until is None:
        return least
    if request.until < least:
        raise UsageError(
            f"points of this vault can be brought back for {days} days: --until is sooner",
            "give a later date, or none",
        )
    if request.until > now + MOST_DAYS * DAY:
        raise UsageError(f"--until is more than {MOST_DAYS} days away", "give a sooner date, or none")
    return request.until


def _ends_later(row: ForgottenRow | None, until: int) -> bool:
    return row is None or row.until > until


# --- bringing back, holding --------------------------------------------------------------------------------


def undelete_points(session: Session, vault: Vault, choice: Choice, *, dry_run: bool, as_json: bool) -> None:
    """Bring forgotten points back. Raises as `forget_points`."""
    listed = _listed(vault, choice)
    now = _now(vault, dry=dry_run)
    groups = read_groups(listed, choose_forgotten(listed, choice))
    if not dry_run:
        _change(vault, listed, groups, lambda group, ledger: ledger.undelete({n.id for n in group.names}), now)
    names = [name for group in groups for name in group.names]
    rows = [group.ledger.forgotten[name.id] for group in groups for name in group.names]
    if as_json:
        print_json({"vault": session.address, "undeleted": _json(names), "dry_run": dry_run})
        return
    machines = vault.machines()
    for group in groups:
        what = f"{counted(len(group.names), 'point')} of {item_text(vault, machines, group.key)}"
        say(f"{'Would bring' if dry_run else 'Brought'} back {what}")
    policy = sum(1 for row in rows if row.how in (How.BY_POLICY, How.SHORTENED))
    if policy:
        say(
            f"{counted(policy, 'point')} of them went by policy, and will again: "
            "change it with `rpdrive policy set`, or use `rpdrive hold`"
        )


def hold_points(
    session: Session, vault: Vault, choice: Choice, until: int | None, reason: str, *, as_json: bool
) -> None:
    """Hold points until a time (ns), or until they are released. Raises as `forget_points`."""
    why = reason_of(reason)
    listed = _listed(vault, choice)
    now, by = vault.store.now(), who()
    groups = read_groups(listed, choose(vault, listed, choice))

    def hold(group: Group, ledger: Ledger) -> Ledger:
        return ledger.hold(HeldRow(n.id, n.sequence, now, until, why, by) for n in group.names)

    _change(vault, listed, groups, hold, now)
    names = [name for group in groups for name in group.names]
    if as_json:
        end = None if until is None else iso_time(until)
        print_json({"vault": session.address, "held": _json(names), "until": end})
        return
    end = "until released" if until is None else f"until {local_time(until)[:16]}"
    for group in groups:
        what = f"{counted(len(group.names), 'point')} of {item_text(vault, vault.machines(), group.key)}"
        say(f"Holding {what} {end}")


def release_points(session: Session, vault: Vault, choice: Choice, *, as_json: bool) -> None:
    """Release points that are held. Raises as `forget_points`."""
    listed = _listed(vault, choice)
    groups = read_groups(listed, choose(vault, listed, choice))
    free = [name for group in groups for name in group.names if name.id not in group.ledger.held]
    if free:
        raise NotFound(f"the recovery point {free[0].id.hex()[:8]} is not held", "see `rpdrive points --why`")
    _change(
        vault, listed, groups, lambda group, ledger: ledger.release({n.id for n in group.names}), vault.store.now()
    )
    names = [name for group in groups for name in group.names]
    if as_json:
        print_json({"vault": session.address, "released": _json(names)})
        return
    for group in groups:
        say(f"Released {counted(len(group.names), 'point')} of {item_text(vault, vault.machines(), group.key)}")


# --- shared ---------------------------------------------------------------------------------------------------


def _listed(vault: Vault, choice: Choice) -> Listed:
    return list_points(vault, *scope(vault, choice.machine, choice.item))


def _now(vault: Vault, *, dry: bool) -> int:
    """The store's time (ns); for a dry run, this machine's if the store's takes a write."""
    return time_to_read(vault.store) if dry else vault.store.now()


def _change(
    vault: Vault, listed: Listed, groups: Sequence[Group], change: Callable[[Group, Ledger], Ledger], now: int
) -> None:
    """Write the ledger of each group. One that was changed meanwhile is changed again."""
    signer = signing_key(vault) if groups else None
    for group in groups:
        assert signer is not None

        def changed(ledger: Ledger, group: Group = group) -> Ledger:
            return change(group, ledger)

        listed.ledgers.change(*group.key, changed, signer, now)


def _json(names: Iterable[PointName]) -> list[dict[str, Any]]:
    return [
        {
            "id": n.id.hex(), "sequence": n.sequence, "time": iso_time(n.time), "machine_id": n.machine.hex(),
            "item_id": n.item.hex(),
        }
        for n in names
    ]  # fmt: skip
