"""From what is known of a vault: who is kept from what, and what is missing. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from catalog.format.vaultfile import VaultFile
from catalog.store.protection import Fact, State
from catalog.store.scheme import Rights

ON, OFF, UNKNOWN = State.ON, State.OFF, State.UNKNOWN


class Kept(NamedTuple):
    """Somebody, or a mistake: whether the vault is kept from it, and why, or why not."""

    who: str
    state: State
    why: str


class Missing(NamedTuple):
    """Something that would protect the vault and is off, or can't be seen; and what to do."""

    what: str
    do: str


class Report(NamedTuple):
    """What `rpdrive vault protect` says. `facts` are those of the store's place."""

    facts: Sequence[Fact]
    kept: Sequence[Kept]
    missing: Sequence[Missing]


def has_pin(file: VaultFile) -> bool:
    """Whether signing needs a passphrase of its own, under every key that counts."""
    return bool(file.admins) and all(not admin.wrapped for admin in file.admins)


def assess_account(facts: Sequence[Fact], file: VaultFile, rights: Rights) -> Report:
    """A vault in a store that is somebody else's, with tokens."""
    by_name = {fact.name: fact for fact in facts}

    def state(name: str) -> State:
        return by_name[name].state if name in by_name else UNKNOWN

    lock = by_name.get("fixed lock", Fact("", UNKNOWN))
    fixed = lock.state
    undo = _any(state("versions"), state("soft delete"), fixed)
    days = max((f.days or 0 for f in (lock, by_name.get("soft delete", lock)) if f.state is ON), default=0)
    kept = [
        _machine(rights, file),
        Kept(
            "a stolen `maintain` or `admin` token",
            undo,
            _said(
                undo,
                "what it deletes can be brought back" + (f", for {days} days" if days else ""),
                "what it deletes is gone: the account keeps no versions, and has no soft delete",
                "whether the account keeps what is deleted can't be read",
            ),
        ),
        Kept(
            "the owner of the account, or a stolen account key",
            fixed,
            _said(
                fixed,
                f"new objects are locked for {lock.days} days, which nobody can shorten",
                "they can switch off versions and soft delete, and delete everything",
                "whether objects have fixed locks can't be read",
            ),
        ),
        _container(state("container soft delete"), state("locked versions")),
        *_people(file),
    ]
    return Report(facts, kept, [*_account_missing(by_name, fixed), *_vault_missing(file)])


def assess_folder(facts: Sequence[Fact], file: VaultFile) -> Report:
    """A vault in a folder."""
    by_name = {fact.name: fact.state for fact in facts}
    other, disk, snapshots = (
        by_name.get(n, UNKNOWN) for n in ("another user's folder", "another disk", "snapshots")
    )
    kept = [
        Kept(
            "a program of your user, e.g. ransomware",
            other,
            _said(
                other,
                "it can't write in the folder",
                "it can delete and encrypt the vault like any other file; roles bind honest tools only",
                "the folder's permissions can't be read",
            ),
        ),
        Kept("root on this machine, or the file server's owner", OFF, "they can delete everything"),
        Kept(
            "the loss of the disk",
            disk,
            _said(
                disk,
                "the vault is on another disk than your home folder",
                "the vault is on the disk of your home folder",
                "which disk the vault is on can't be read",
            ),
        ),
        *_people(file),
    ]
    missing = []
    if other is not ON:
        missing.append(
            Missing("a folder that your user can't write to", "see docs/protect.md, A vault in a folder")
        )
    if disk is OFF:
        missing.append(Missing("another disk", "copy the vault to another disk, or make a second one"))
    if snapshots is not ON:
        missing.append(
            Missing(
                "snapshots that your user can't delete", "set them up on the file system or server, if it has any"
            )
        )
    return Report(facts, kept, [*missing, *_vault_missing(file)])


def _machine(rights: Rights, file: VaultFile) -> Kept:
    who = "a program on this machine, e.g. ransomware"
    delete = _opposite(rights.delete)
    why = _said(
        delete,
        f"{rights.what} can add objects at most: it can't delete or overwrite",
        f"{rights.what} may delete",
        f"what {rights.what} may do can't be read",
    )
    if delete is ON and not has_pin(file):
        why += "; but with the vault's key it can sign policies, as the admin key has no passphrase of its own"
    return Kept(who, delete, why)


def _container(soft: State, versions: State) -> Kept:
    state = _any(soft, versions)
    return Kept(
        "somebody who deletes the whole container",
        state,
        _said(
            state,
            "Azure deletes it only when it is empty" if versions is ON else "it can be brought back",
            "it can't be brought back",
            "whether it could be brought back can't be read from here",
        ),
    )


def _people(file: VaultFile) -> list[Kept]:
    immutable = file.immutable
    rows = [
        Kept(
            "a mistake with `rpdrive forget`, or a policy made shorter", ON,
            f"points can be brought back for {file.soft_delete_days} days",
        )
    ]  # fmt: skip
    who = "somebody who takes points away with rpdrive"
    if immutable is None:
        pin = "they need the passphrase of the admin key" if has_pin(file) else "the admin key has no passphrase"
        rows.append(Kept(who, ON if has_pin(file) else OFF, pin))
    else:
        how = "locked" if immutable.locked else "not locked"
        why = f"the vault is immutable for {immutable.days} days, {how}; this binds rpdrive, and no other program"
        rows.append(Kept(who, ON, why))
    return rows


def _account_missing(facts: Mapping[str, Fact], fixed: State) -> list[Missing]:
    def state(name: str) -> State:
        return facts[name].state if name in facts else UNKNOWN

    rows = []
    if state("versions") is not ON:
        rows.append(Missing("versions of blobs", "switch on versioning of the account (docs/protect.md, step 1)"))
    if state("soft delete") is not ON:
        rows.append(Missing("soft delete of blobs", "docs/protect.md, step 2"))
    if state("container soft delete") is not ON:
        rows.append(Missing("soft delete of containers", "docs/protect.md, step 2"))
    if fixed is not ON:
        rows.append(Missing("locks that nobody can shorten", "docs/protect.md, step 3"))
    if state("container policy") is ON:
        rows.append(
            Missing("the right to overwrite vault.json", "the container's policy forbids it: use versions instead")
        )
    if state("public access") is ON:
        rows.append(Missing("a container that is not public", "set its public access to none"))
    return rows


def _vault_missing(file: VaultFile) -> list[Missing]:
    rows = []
    if not has_pin(file):
        rows.append(Missing("a passphrase of the admin key", "run `rpdrive vault admin passphrase`"))
    if file.immutable is None:
        rows.append(Missing("an immutable vault", "run `rpdrive vault protect --immutable DAYS`"))
    return rows


def _any(*states: State) -> State:
    return ON if ON in states else UNKNOWN if UNKNOWN in states else OFF


def _opposite(state: State) -> State:
    return {ON: OFF, OFF: ON, UNKNOWN: UNKNOWN}[state]


def _said(state: State, on: str, off: str, unknown: str) -> str:
    return {ON: on, OFF: off, UNKNOWN: unknown}[state]
