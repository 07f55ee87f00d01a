"""Runs `rpdrive vault protect`: reads what keeps the vault, and changes the vault's own rules."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from catalog.access.numbers import note_admins
from catalog.access.passphrases import confirm_on_terminal
from catalog.access.session import Session
from catalog.errors import NotSupported, RpdriveError, UsageError
from catalog.format.vaultfile import VaultFile
from catalog.protect.assess import Report, assess_account, assess_folder, has_pin
from catalog.protect.folder import folder_facts
from catalog.protect.listing import FACTS, KEPT, fact_rows, immutable_text, kept_rows, missing_lines, report_json
from catalog.protect.rules import Change, changed, weakens
from catalog.screen.output import print_json, print_table, say
from catalog.signing import signing_key
from catalog.store.address import scheme_of
from catalog.store.base import LIST_PAGE, Store
from catalog.store.protection import Fact, State
from catalog.store.roles import Role
from catalog.vault import VAULT_FILE, Vault

_LOCK = "A locked vault stays immutable for ever: rpdrive never undoes or shortens it. Lock it?"


def parse_days(text: str) -> int:
    """A number of days, or `off` as 0. Raises UsageError."""
    if text.strip().lower() == "off":
        return 0
    if not (text.isascii() and text.isdecimal()) or not 1 <= len(text) <= 6 or int(text) == 0:
        raise UsageError(f"{text[:50]!r} is not a number of days, nor `off`", "e.g. --immutable 30")
    return int(text)


def protect(session: Session, change: Change, *, yes: bool, as_json: bool) -> None:
    """Make a change, if there is one, and print what keeps the vault from whom.

    Raises UsageError if the vault's rules forbid the change, and Locked if it needs the admin key's passphrase.
    """
    if change != Change():
        session.require(Role.ADMIN)
    vault = session.open_vault()
    if change != Change():
        _change(session, vault, change, yes=yes)
    report = report_of(session, vault.store, vault.file)
    if as_json:
        role = session.credentials()
        row = {"vault": session.address, "id": vault.id.hex(), "role": None if role is None else str(role.role)}
        print_json(row | report_json(report, vault.file))
        return
    print_table(FACTS, fact_rows(report))
    print()
    print_table(KEPT, kept_rows(report))
    print()
    for line in missing_lines(report):
        say(line)
    if vault.file.immutable is not None:
        say(f"The vault is immutable: {immutable_text(vault.file.immutable)}")


def _change(session: Session, vault: Vault, change: Change, *, yes: bool) -> None:
    new = changed(vault.file, change)
    if new is vault.file:
        return
    if vault.file.admins and (has_pin(vault.file) or weakens(vault.file, change)):
        signing_key(vault)  # whoever may sign what takes points away may change the rules for it
    lock = change.lock and not (vault.file.immutable is not None and vault.file.immutable.locked)
    if lock and not yes and not confirm_on_terminal(_LOCK):
        raise UsageError("the vault was not locked", "to lock it without a question, add --yes")
    vault.change_file(lambda file: changed(file, change))
    note_admins(session.settings.where("state"), vault.file, vault.state_id)


def report_of(session: Session, store: Store, file: VaultFile) -> Report:
    """What the store's place does to keep the vault, and what is missing. Reads only."""
    if session.folder is not None:
        return assess_folder(folder_facts(session.folder, Path.home()), file)
    tokens, credentials = scheme_of(session.address).tokens, session.credentials()
    facts = list(store.protection([VAULT_FILE, *_newest_points(store)]))
    facts += _open_packs(store, facts)
    if tokens is None:
        return Report(facts, [], [])
    token = credentials.token if credentials is not None else None
    rights = tokens.rights(session.address, os.environ, None if token is None else token.text)
    return assess_account(facts, file, rights)


def _newest_points(store: Store) -> list[str]:
    """The newest object among the first 5,000 of points: objects are written when backups run. One listing."""
    infos = list(islice(store.list("points/"), LIST_PAGE))
    return [max(infos, key=lambda info: info.modified).name] if infos else []


def _open_packs(store: Store, facts: list[Fact]) -> list[Fact]:
    """Packs whose lock has ended, among the first 5,000, if new objects are locked. One listing."""
    if all(fact.state is not State.ON for fact in facts if fact.name == "lock of the newest object"):
        return []
    now, name = store.now(), "packs without a lock"
    try:
        found = list(islice(store.locks("packs/"), LIST_PAGE))
    except NotSupported:
        return []
    except RpdriveError as e:
        return [Fact(name, State.UNKNOWN, detail=str(e))]
    ended = sum(lock.until is None or lock.until <= now for lock in found)
    return [Fact(name, State.ON if ended else State.OFF, detail=f"{ended:,} of the {len(found):,} looked at")]
