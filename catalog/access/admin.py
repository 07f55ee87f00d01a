"""The admin key of a vault, which signs what upkeep may take away: its passphrase, and saving it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalog.access.admin_key import AdminUnlock
from catalog.access.numbers import known_admins, note_admins
from catalog.access.passphrases import Passphrases
from catalog.access.secrets import SavedAdminKeys
from catalog.access.session import Session
from catalog.errors import UsageError
from catalog.format.admins import Admin

if TYPE_CHECKING:
    from catalog.signing import Replaced
    from catalog.vault import Vault

_DIGITS = 8  # of an id, at least


def change_admin_passphrase(
    session: Session, new: Passphrases, *, remove: bool = False, forgotten: bool = False
) -> tuple[Vault, Replaced]:
    """Put a new admin key, with a new passphrase (`remove`: with none), in place of the vault's.

    The present key is opened first, unless its passphrase was `forgotten`. A key saved on this machine is replaced.
    """
    from catalog.signing import replace_admins, signing_key
    from catalog.store.roles import Role

    session.require(Role.ADMIN)
    vault = session.open_vault()
    if not forgotten:
        signing_key(vault)
    done = replace_admins(vault, None if remove else new.new("New passphrase of the admin key"))
    saved = SavedAdminKeys(session.settings)
    if remove:
        saved.delete(vault.id)
    elif saved.load(vault.id) is not None:
        saved.save(vault.id, done.private)
    note_admins(session.settings.where("state"), vault.file, vault.state_id)
    return vault, done


def unlock_admin(session: Session, *, save: bool) -> tuple[Vault, str | None]:
    """Open the admin key with its passphrase and, with `save`, save it. Returns the file. Raises Locked, …"""
    from catalog.signing import signing_key

    vault = session.open_vault()
    saved = SavedAdminKeys(session.settings)
    vault.unlock_admin = AdminUnlock(None, session.admin_passphrases, vault.keys, session.address)
    admin, private = signing_key(vault)
    if not save or admin.slot is None:
        return vault, None
    session.remember(vault)
    return vault, str(saved.save(vault.id, private))


def accept_admins(session: Session, specs: list[str]) -> list[str]:
    """Note on this machine that a person knows the admin keys. Returns the ids that were not known here.

    Each of these must be among `specs`, by its id or its first digits. Raises UsageError, and as `open_vault`.
    """
    vault, state = session.open_vault(), session.settings.where("state")
    known, ids = known_admins(state, vault.state_id), [admin.id.hex() for admin in vault.file.admins]
    texts = [spec.lower() for spec in specs]
    for spec in texts:
        if len(spec) < _DIGITS or not any(one.startswith(spec) for one in ids):
            raise UsageError(
                f"the vault has no admin key {spec[:50]}: it has {' '.join(ids) or 'none'}",
                "compare it with what `rpdrive vault admin show` says on the machine where it was changed",
            )
    new = [one for one in ids if one not in known]
    for one in new:
        if not any(one.startswith(spec) for spec in texts):
            raise UsageError(f"{one} is another admin key of the vault", "name it, too, if you know it")
    note_admins(state, vault.file, vault.state_id)
    return new


def wrapped_by(admin: Admin) -> str:
    """What opens an admin's private key."""
    if admin.slot is not None:
        return "passphrase"
    return "master key" if admin.wrapped else "unknown"


def admin_json(admin: Admin) -> dict[str, Any]:
    """An admin for --json."""
    return {"id": admin.id.hex(), "created": admin.created, "opened_by": wrapped_by(admin)}


_OPENED_BY = {
    "passphrase": "has a passphrase of its own",
    "master key": "opens with the vault's key: every machine of the vault can sign",
    "unknown": "is wrapped in a way that this rpdrive does not know",
}


def admin_text(row: dict[str, Any]) -> str:
    """The result of `admin_json` as text."""
    return f"{row['id']}, of {row['created']}: {_OPENED_BY[row['opened_by']]}"
