"""Runs the commands `rpdrive vault …`; session.py opens the vault."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from catalog.access.copies import KnownCopies
from catalog.access.credentials import Connections, Credentials, issue, read_credentials
from catalog.access.issued import note_issued
from catalog.access.listing import MANY, vault_json, vault_text
from catalog.access.passphrases import Passphrases, confirm_on_terminal
from catalog.access.session import Session
from catalog.access.settings import write_private
from catalog.copies.missing import last_run
from catalog.errors import LocalError, UsageError
from catalog.new_vault import check_no_vault, create_vault
from catalog.screen.output import print_json
from catalog.screen.stderr import warn
from catalog.screen.text import iso_time, parse_duration, safe_text
from catalog.store.roles import Role
from catalog.vault import Vault

_LONGEST_FILE = 64 << 10  # bytes of vault credentials


def make_vault(session: Session) -> Vault:
    """Create the session's vault and remember it. VaultExists is raised before a passphrase is asked for."""
    check_no_vault(session.open_store())
    passphrase = session.passphrases.new("Passphrase (16 characters or more)")
    vault = create_vault(session.open_store(), passphrase)
    try:
        session.settings.remember_vault(session.address, vault.id)
    except LocalError as e:
        warn(f"the vault was made, but this machine will not know it by itself: {e}")
    return vault


def change_passphrase(session: Session, new: Passphrases) -> Vault:
    """Open the vault and change its passphrase."""
    session.require(Role.ADMIN)
    vault = session.open_vault()
    vault.change_passphrase(new.new("New passphrase"))
    return vault


def show_vault(session: Session, *, sizes: bool, count: bool, as_json: bool) -> None:
    """Print what the vault is and holds. As text, points are counted up to MANY, unless `count` asks for all.

    Raises the error of the first machine or item of which no record opens, after the others are printed.
    """
    vault = session.open_vault()
    row = vault_json(vault, sizes=sizes, most=None if count or sizes or as_json else MANY)
    row["copies"] = _known_copies(session, vault)
    behind = None if session.noting is None else session.noting(session, vault)
    row["behind"] = None if behind is None else behind.json()
    lost = vault.passed_over.lost()
    if as_json:
        print_json({**row, "damaged": vault.passed_over.json()})
    else:
        print(vault_text(row))
        if behind is not None:
            print(safe_text(f"note      {behind}"))
    if lost:
        raise lost[0]


def _known_copies(session: Session, vault: Vault) -> list[dict[str, Any]]:
    """The copies of a vault that this machine knows, but not the one that is looked at, as the last runs ended."""
    try:
        known = [at for at in KnownCopies(session.settings).of(vault.id) if at != session.address]
    except LocalError as e:
        warn(f"{e}; {e.advice}")
        return []
    state = session.settings.where("state")
    runs = {address: last_run(state, vault.id, address) for address in known}
    return [
        {
            "address": address,
            "copied": None if run is None else iso_time(run.finished),
            "points": None if run is None else run.points - run.behind,
            "behind": None if run is None else run.behind,
            "problems": None if run is None else bool(run.problems),
        }
        for address, run in runs.items()
    ]


def write_credentials(
    session: Session, role: Role, lifetime: str | None, file: Path | None, *, locks: bool = False
) -> tuple[Path, Credentials]:
    """Issue vault credentials and write them to `file`, by default a new file in the current folder.

    `lifetime` is a duration, e.g. 12h, or None (see `issue`). Raises UsageError if it is malformed, and for `locks`
    with a role that may not lock objects.
    """
    if locks and not role.includes(Role.MAINTAIN):
        raise UsageError(f"the role {role} locks no objects", "leave --locks out, or give --role maintain")
    session.require(role)
    seconds = None if lifetime is None else parse_duration(lifetime)
    vault_id = session.read_vault_file().vault_id
    longest = None if seconds is None else timedelta(seconds=seconds)
    made = issue(session.address, vault_id, role, longest, locks=locks)
    path = file or Path(f"rpdrive-{role}-{vault_id.hex()[:8]}.json")
    write_private(path, json.dumps(made.to_json(), indent=2).encode() + b"\n")
    expires = int(made.expires.timestamp()) * 10**9
    note_issued(session.settings.where("state"), vault_id, str(role), expires, locks=locks)
    return path, made


def connect(session: Session, file: Path, *, save_key: bool, accept_endpoint: bool = False) -> Credentials:
    """Connect this machine to a vault with a vault credentials file. `save_key` also saves the vault's key.

    A person is asked whether an endpoint that the address does not name is right, unless `accept_endpoint`. Raises
    UsageError if it is not, or nobody can answer.
    """
    try:
        with file.open("rb") as f:
            data = f.read(_LONGEST_FILE)
    except OSError as e:
        raise LocalError(
            f"the vault credentials file {file} can't be read: {e.strerror}", "check its path and permissions"
        ) from e
    credentials = read_credentials(data, str(file))
    if not accept_endpoint:
        _check_endpoint(session, credentials)
    vault = session.connect(credentials)
    if save_key:
        session.save_key(vault)
    return credentials


def _check_endpoint(session: Session, new: Credentials) -> None:
    endpoint = new.foreign_endpoint
    if endpoint is None:
        return
    earlier = Connections(session.settings).load(new.vault_id, new.address)
    if earlier and (earlier.address, earlier.foreign_endpoint) == (new.address, endpoint):
        return  # accepted before
    shown = safe_text(endpoint)
    question = f"These credentials send the token and all requests to {shown}, not to {new.address}. Is that right?"
    if not confirm_on_terminal(question):
        raise UsageError(
            f"the credentials are for the endpoint {shown}, which the address {new.address} does not name",
            "if the vault's administrator confirms it, use --accept-endpoint",
        )
