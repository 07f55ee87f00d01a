"""Runs the commands `rpdrive machine …` on an open vault."""

from __future__ import annotations

from catalog.access.session import Session
from catalog.errors import UsageError
from catalog.machines import registry
from catalog.machines.listing import MACHINE_COLUMNS, machine_cells, machine_json, machine_rows
from catalog.machines.registry import Registration, choose_named
from catalog.screen.output import print_json, print_table, say
from catalog.vault import Vault


def register_here(
    session: Session, vault: Vault, name: str | None, take_over: str | None, *, as_json: bool
) -> None:
    """Register this machine, or let it continue as the machine `take_over` of the vault."""
    state = session.settings.state
    machine = registry.registered_here(vault, state)
    if take_over is not None:
        chosen = choose_named(vault.machines(), take_over, "machine")
        new, machine = machine is None or machine.id != chosen.id, registry.take_over(vault, state, chosen)
    elif machine is None:
        new, machine = True, registry.register(vault, state, name)
    else:
        if name not in (None, machine.name):
            raise UsageError(
                f"this machine is registered already, as {machine.name}",
                f"rename it with `rpdrive machine rename {machine.id.hex()[:8]} NAME`",
            )
        new, machine = False, registry.this_machine(vault, state)
    session.settings.remember_vault(session.address, vault.id)
    if as_json:
        print_json({"id": machine.id.hex(), "name": machine.name, "registered": new})
    else:
        say(f"This machine {'is now' if new else 'was already'} {machine.name} ({machine.id.hex()[:8]})")


def show_machines(session: Session, vault: Vault, *, every: bool, as_json: bool) -> None:
    """Print the machines of the vault; `every` includes forgotten ones.

    Raises the error of the first machine of which no record opens, after the others are printed.
    """
    known = Registration.load(session.settings.where("state"), vault)
    rows = [row for row in machine_rows(vault, known.machine if known else None) if every or not row.forgotten]
    lost = vault.passed_over.lost()
    if as_json:
        found = [machine_json(row) for row in rows]
        print_json({"vault": session.address, "machines": found, "damaged": vault.passed_over.json()})
    elif rows:
        print_table(MACHINE_COLUMNS, [machine_cells(row) for row in rows])
    elif not lost:
        print("There are no machines here yet; the first backup registers one, or `rpdrive machine register`")
    if lost:
        raise lost[0]


def rename_machine(vault: Vault, which: str, name: str, *, as_json: bool) -> None:
    chosen = choose_named(vault.machines(), which, "machine")
    renamed = registry.rename(vault, chosen.id, name)
    if as_json:
        print_json({"id": renamed.id.hex(), "name": renamed.name, "before": chosen.name})
    else:
        say(f"The machine {chosen.name} ({chosen.id.hex()[:8]}) is now called {renamed.name}")


def forget_machine(session: Session, vault: Vault, which: str, *, undo: bool, force: bool, as_json: bool) -> None:
    """Forget a machine, or `undo` that. Raises UsageError for the machine you are on, unless `force`."""
    chosen = choose_named(vault.machines(), which, "machine")
    here = Registration.load(session.settings.where("state"), vault)
    if here is not None and here.machine == chosen.id.hex() and not (undo or force):
        raise UsageError(
            f"{chosen.name} is the machine you are on: its next backup would bring it back",
            "forget it from another machine, or use --force if it makes no more backups",
        )
    forgotten = registry.forget(vault, chosen.id, not undo)
    if as_json:
        print_json({"id": forgotten.id.hex(), "name": forgotten.name, "forgotten": forgotten.forgotten})
    elif undo:
        say(f"The machine {forgotten.name} is shown again")
    else:
        say(f"Forgot the machine {forgotten.name} ({forgotten.id.hex()[:8]}); its points stay in the vault")
