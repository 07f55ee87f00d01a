"""Every error that rpdrive raises on purpose, in one tree.

A message says what happened and to what; `advice` says what to do next. `exit_code` is stable: scripts may rely
on it (docs/exit-codes.md). Foreign errors are translated where they occur, with `raise … from`. A fault of the
network, or of a disk as a whole, is never reported as damage, and damage never as a network fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Exit code of a command that did its work except for some files, which its report lists. It is not an error.
WITH_PROBLEMS = 3


class RpdriveError(Exception):
    """Base of all errors meant for a person. `kind` is their name in --json output."""

    exit_code = 1
    advice = ""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        if advice:
            self.advice = advice

    @property
    def kind(self) -> str:
        return type(self).__name__


class UsageError(RpdriveError):
    """Options that can't be combined, or a malformed value."""

    exit_code = 2


class NotFound(RpdriveError):
    """A recovery point, machine, item or path does not exist."""

    exit_code = 4


class AmbiguousName(RpdriveError):
    """A name or prefix that matches more than one thing."""

    exit_code = 4


# --- the store ------------------------------------------------------------------------------------------


class StoreError(RpdriveError):
    """The object store failed to do a request. This implies nothing about the data in it."""

    exit_code = 5


class StoreUnreachable(StoreError):
    """The store gave no answer, or only transient failures, in the time allowed. A later attempt may succeed."""

    advice = "check the network and the vault's address, then run the command again"


class AccessDenied(StoreError):
    """The store refused the credentials or the operation."""

    advice = "check the credentials (docs/credentials.md)"


class FollowingCopy(AccessDenied):
    """The place is a copy of a vault, which only `rpdrive vault copy` writes to."""

    advice = "make it a vault with `rpdrive vault promote` if its source is lost"


class StoreFull(StoreError):
    """The disk or account of the vault is full."""

    advice = "free some space and run the command again; what was already stored is kept"


class ObjectNotFound(StoreError):
    """There is no object with this name."""


class ObjectExists(StoreError):
    """There is an object with this name; objects are never overwritten."""


class ObjectChanged(StoreError):
    """The object to replace is no longer the version that the change is based on."""


class ObjectImmutable(StoreError):
    """The store keeps the object by a lock, a policy or a legal hold: it can't be deleted or overwritten yet."""

    advice = "it goes when the lock ends: a later run tries again (docs/protect.md)"


class NotSupported(StoreError):
    """This kind of store, or the account, can't do what was asked of it."""


class ShortRead(StoreError):
    """The store returned fewer bytes than the object has in the range: a transport fault."""

    advice = "check the network or the vault's disk, then run the command again"


class TooLate(StoreError):
    """An object was not created, because the deadline for it had passed."""

    advice = "run the command again; what was already stored is kept"


class Paused(StoreError):
    """A limit of the vault's traffic lets nothing through at this time."""

    advice = "use what is cached, wait, or open it without a limit (--limit off)"


class WrongClock(StoreError):
    """The store's clock says what can't be."""

    advice = "set the clocks of the store and of this machine, then run the command again"


# --- the vault ------------------------------------------------------------------------------------------


class NoVault(RpdriveError):
    """There is no vault at the address."""

    exit_code = 6
    advice = "check --vault, and that its disk is mounted; `rpdrive vault create` makes a new vault"


class VaultExists(RpdriveError):
    """There already is a vault at the address."""

    exit_code = 6


class NewerFormat(RpdriveError):
    """Something in the vault, or a file, was written by a newer rpdrive."""

    exit_code = 7
    advice = "update rpdrive on this machine"


class WrongPassphrase(RpdriveError):
    """No key slot opens with this passphrase."""

    exit_code = 8
    advice = "try again; there is no way to recover a vault without its passphrase"


class WeakPassphrase(RpdriveError):
    """A new passphrase is shorter than 16 characters."""

    exit_code = 8


class Locked(RpdriveError):
    """A passphrase is needed, and none was given."""

    exit_code = 8
    advice = "set RPDRIVE_PASSPHRASE, use --passphrase-file, or run `rpdrive vault unlock --save` once"


class Damaged(RpdriveError):
    """Bytes in the vault differ from what was written: changed, moved, truncated or forged."""

    exit_code = 9
    advice = "the store's copy is damaged; other files and points are not affected"


class MissingData(Damaged):
    """An object that a recovery point refers to is missing from the store."""

    advice = "restore the missing object from a copy of the vault, or open another recovery point"


def refused_object(name: str) -> MissingData:
    """The error for an object that the store refuses, though it grants access to the vault."""
    return MissingData(f"{name} can't be read: the store refuses access to this object, though not to the vault")


class ObjectTooLarge(Damaged):
    """An object has more bytes than one with its name may have. They were not fetched."""


class Unreadable(Damaged):
    """The vault's disk can't read an object, or a part of it, though it reads others. `name`: the object's."""

    advice = "look after the disk (a sector may be bad); other files and points are not affected"

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


# --- this machine ---------------------------------------------------------------------------------------


class MountFailed(RpdriveError):
    """A drive could not be opened or closed."""

    exit_code = 10


class LocalError(RpdriveError):
    """A file or folder of this machine (state, cache, source) can't be used."""

    exit_code = 11


class HookFailed(LocalError):
    """An essential hook failed, and the job with it."""

    advice = "try it with `rpdrive hooks test` (docs/hooks.md)"


class SnapshotFailed(LocalError):
    """A snapshot of a file system could not be made, opened or removed."""

    advice = "see docs/snapshots.md, or read the live files (--snapshot never)"


class SnapshotLost(LocalError):
    """A snapshot ended, was filled up or changed while it was read: what was read from it can't be trusted."""

    advice = "no recovery point was made of it; run the backup again (docs/snapshots.md)"


class Unsuitable(LocalError):
    """What a volume was to be restored to will not do; nothing was written."""

    advice = "see docs/volumes.md"


class Unwritable(LocalError):
    """Something of this machine does not fit into the vault's format: no reader would accept it."""

    advice = "nothing was written for it; please report it"


class DeviceUnreadable(LocalError):
    """A device that is saved as an image can't read a part of itself."""


class ItemTravels(RpdriveError):
    """The first backup of an item is on its way to the vault on disks: the next one waits for it."""

    exit_code = 13
    advice = "see `rpdrive seed status`; `rpdrive seed abandon` gives it up, and backups go into the vault again"


class Undeliverable(RpdriveError):
    """A target of notifications did not take a message."""

    exit_code = 12
    advice = "mend the target in notify.toml (docs/notify.md), then run `rpdrive notify test`"


class FleetFailed(RpdriveError):
    """A fleet of workers can't be reached, or none of them can do anything, or one gave no answer that counts."""

    exit_code = 14
    advice = "see docs/fleet.md"


def without_errors(records: Sequence[T | RpdriveError]) -> list[T]:
    """The records. Raises the first error among them."""
    found = []
    for record in records:
        if isinstance(record, RpdriveError):
            raise record
        found.append(record)
    return found
