"""Makes a copy of a vault a vault in its own right, once its source is lost, and lets this machine use it.

In vault.json alone is written: from then on the copy is a vault like any other. The time that it says stands
between the points that came with the copy and those that are stored later (docs/format.md, "Copies of a vault"),
so it must be apart from both by the store's own clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from catalog.access.copies import KnownCopies
from catalog.access.passphrases import confirm_on_terminal
from catalog.access.session import Session
from catalog.errors import AccessDenied, LocalError, ObjectChanged, RpdriveError, UsageError, WrongClock
from catalog.format.vaultfile import VaultFile
from catalog.plans.local import LocalPlans
from catalog.screen.text import safe_text
from catalog.seeds.disk import read_twin_file
from catalog.store.address import local_folder, normal_address
from catalog.store.roles import Role
from catalog.vault import Vault
from catalog.vault_json import read_vault_file

ANSWER = 10.0  # s for which a source is asked whether it is still there
_LONGEST = 60.0  # s to wait for the store's clock
_S = 10**9  # ns
Moved = Callable[[str, str], list[str]]  # from one address to another: what was changed, in lines


class Promoted(NamedTuple):
    """A promoted copy: since when (s since 1970, UTC), whether it was before, and what changed on this machine."""

    vault: Vault
    since: int
    was_before: bool
    lines: list[str]


def promote(session: Session, *, yes: bool, drives: Moved = lambda old, new: []) -> Promoted:
    """Promote the session's vault, which must be a copy; a copy that is promoted already only gets used here.

    `drives` changes the drives that open by themselves. Raises UsageError if it is no copy, or if its source still
    answers or it has no point, and nobody says yes, or for a twin; and as `Session.open_vault`.
    """
    session.require(Role.ADMIN)
    if session.folder is not None and read_twin_file(session.folder) is not None:
        raise UsageError(
            f"{session.folder} is the twin of a first backup that travels: it has nothing else of the vault",
            "if the vault is lost, make a copy of the twin with `rpdrive vault copy`, and promote that",
        )
    vault = session.open_vault(copying=True)
    mark, known = vault.file.copy, _known(session, vault)
    if mark is None:
        raise UsageError(
            f"the vault at {session.address} is no copy of one", "`rpdrive vault copy` makes copies of a vault"
        )
    was_before = mark.promoted is not None
    if not was_before:
        if not yes:
            _ask_for_points(session, vault)
            _ask(session, vault, known, mark.of)
        at = moment_of(vault)
        vault.change_file(lambda file: _promoted(file, at))
    lines = _use_here(session, vault, known)
    for address in known:
        lines += drives(address, session.address)
    since = vault.file.copy.promoted if vault.file.copy is not None else None
    return Promoted(vault, since or 0, was_before, lines)


def _promoted(file: VaultFile, at: int) -> VaultFile:
    if file.copy is None:
        raise ObjectChanged("vault.json was changed meanwhile: it is no copy's any more", "run the command again")
    return file if file.copy.promoted is not None else file.changed(copy=replace(file.copy, promoted=at))


def _known(session: Session, vault: Vault) -> list[str]:
    """The other addresses by which this machine knows the vault."""
    known = session.settings.known_vaults()
    return [at for at, one in known.items() if one == vault.id and at != session.address]


def _ask_for_points(session: Session, vault: Vault) -> None:
    """Raise UsageError if the copy has no point, as after a first run that did not end, and nobody confirms."""
    if any(not name.partial for name in vault.each_point_name()):
        return
    if not confirm_on_terminal(f"The copy at {safe_text(session.address)} has no recovery points. Promote?"):
        raise UsageError(
            f"the copy at {session.address} has no recovery points: its first run has not ended",
            "promote another copy, or add --yes to begin anew with this one",
        )


def _ask(session: Session, vault: Vault, known: list[str], of: str) -> None:
    """Raise UsageError if a source still answers, and nobody confirms. `of` is what vault.json says it is."""
    for address in dict.fromkeys([*known, of]):
        there = _answer(session, vault, address, is_known=address in known)
        if there is None:
            continue
        question = (
            f"{safe_text(address)} {there}. Two vaults would then take backups, each without the other's. Promote?"
        )
        if not confirm_on_terminal(question):
            raise UsageError(
                f"{address}, which {session.address} is a copy of, {there}: two vaults would take backups",
                "if nobody is to back up there any more, add --yes",
            )


def _answer(session: Session, vault: Vault, address: str, *, is_known: bool) -> str | None:
    """What a source says, in words; None if there is no such vault any more.

    A store that this machine does not know is not asked: it would get what is in the environment to log on with.
    """
    try:
        if normal_address(address) == session.address:
            return None
        if not is_known and local_folder(normal_address(address)) is None:
            return "is not known to this machine, and may still be there"
        other = session.another(normal_address(address))
        try:
            file = read_vault_file(other.open_store(patience=ANSWER))
        finally:
            other.close()
    except AccessDenied:
        return "is there, and refuses this machine"
    except RpdriveError:
        return None
    return "still answers" if file.vault_id == vault.id else None


def moment_of(vault: Vault) -> int:
    """A time (s) that all points have been stored before, and that is over by the store's clock."""
    newest = max((modified for _name, modified in vault.stored_points()), default=0)
    now = vault.store.now()
    at = max(-(-newest // _S), now // _S - 1)
    if at > now // _S + _LONGEST:
        raise WrongClock("a recovery point in the copy is younger than its store's time")
    # A store may tell the time more finely than it stamps objects: Azure's have whole seconds, those on FAT two.
    over = (at + 2) * _S if newest and newest % _S == 0 else at * _S + 1
    while now < over:
        time.sleep(min(0.05 + (over - now) / _S, 1.0))
        now = vault.store.now()
    return at


# --- this machine -------------------------------------------------------------------------------------------


def _use_here(session: Session, vault: Vault, known: list[str]) -> list[str]:
    """Let this machine know the vault here and no longer there, and its jobs go here. Returns what changed."""
    settings, lines = session.settings, list[str]()
    settings.remember_vault(session.address, vault.id)
    for address in known:
        settings.forget_vault(address)
        lines.append(f"This machine knows the vault at {session.address} now, and no longer at {address}")
    KnownCopies(settings).forget(session.address)
    plans = LocalPlans(settings.where("state"))
    try:
        plan = plans.of(vault.id)
    except LocalError:
        plan = None  # the next job writes it anew
    if plan is not None and plan.address != session.address and (plan.address in known or not known):
        before, plan.address = plan.address, session.address
        plans.save(plan)
        lines.append(f"Jobs of this machine go to {session.address} now, and no longer to {before}")
    return lines
