"""The rules in vault.json that protect points from people, and how they may be changed."""

from __future__ import annotations

from typing import NamedTuple

from catalog.errors import UsageError
from catalog.format.vaultfile import MAX_IMMUTABLE_DAYS, SOFT_DELETE_DAYS, Immutable, VaultFile

_LOCKED = "a locked vault is never unlocked; it keeps its points until the policy lets them go"


class Change(NamedTuple):
    """What a person wants to change. None: leave it; `immutable` 0: no longer."""

    immutable: int | None = None
    lock: bool = False
    soft_delete: int | None = None


def changed(file: VaultFile, change: Change) -> VaultFile:
    """vault.json after a change. Raises UsageError if it is out of bounds, or weakens a locked vault."""
    before = file.immutable
    locked = before is not None and before.locked
    if change.soft_delete is not None:
        least, most = SOFT_DELETE_DAYS
        if not least <= change.soft_delete <= most:
            raise UsageError(f"points can be brought back for {least} to {most} days, not {change.soft_delete}")
        if locked and change.soft_delete < file.soft_delete_days:
            raise UsageError(f"this vault is locked, so it can't keep deleted points for fewer days: {_LOCKED}")
        file = file.changed(soft_delete_days=change.soft_delete)
    immutable = before
    if change.immutable is not None:
        if not 0 <= change.immutable <= MAX_IMMUTABLE_DAYS:
            raise UsageError(f"a vault can be immutable for 1 to {MAX_IMMUTABLE_DAYS:,} days, or `off`")
        if locked and before is not None and change.immutable < before.days:
            raise UsageError(f"this vault is locked for {before.days} days, which can't become fewer", _LOCKED)
        immutable = Immutable(change.immutable, locked) if change.immutable else None
    if change.lock:
        if immutable is None:
            raise UsageError("there is nothing to lock: the vault is not immutable", "give --immutable DAYS, too")
        immutable = Immutable(immutable.days, True)
    return file if immutable == before else file.changed(immutable=immutable)


def weakens(file: VaultFile, change: Change) -> bool:
    """Whether a change makes it easier to take points away."""
    days = 0 if file.immutable is None else file.immutable.days
    return (change.immutable is not None and change.immutable < days) or (
        change.soft_delete is not None and change.soft_delete < file.soft_delete_days
    )
