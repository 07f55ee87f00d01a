"""Machines of a vault: which of them this one is, what they are called, and what can be changed about them.

A machine's id is drawn once and noted in this machine's state, so that it survives a change of the host name,
and two machines of one name can share a vault. All else about a machine stands in its newest record.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from catalog.access.settings import write_private
from catalog.errors import (
    AmbiguousName,
    LocalError,
    NotFound,
    ObjectExists,
    UsageError,
)
from catalog.format.records import Item, Machine
from catalog.vault import Vault

NAME_LENGTH = 100  # characters


class Known(msgspec.Struct):
    """What this machine notes of a vault: its own id and first name there, and its items' ids by name (hex)."""

    machine: str
    name: str
    registered: bool = True
    items: dict[str, str] = {}

    @classmethod
    def load(cls, state: Path, vault: Vault) -> Known | None:
        """None if this machine has no part in the vault. LocalError."""
        path = _path(state, vault)
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as e:
            raise LocalError(
                f"{path} can't be read: {e}", f"name the machine with --machine, after moving {path} away"
            ) from e

    def save(self, state: Path, vault: Vault) -> None:
        """LocalError."""
        path = _path(state, vault)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, msgspec.json.encode(self))


def _path(state: Path, vault: Vault) -> Path:
    return state / f"identity-{vault.id.hex()}.json"


# --- this machine -------------------------------------------------------------------------------------------


def registered_here(vault: Vault, state: Path) -> Machine | None:
    """The newest record of this machine; None if it isn't registered. 2 requests at most."""
    known = Known.load(state, vault)
    found = vault.machine(bytes.fromhex(known.machine)) if known is not None else None
    return found[1] if found else None


def this_machine(vault: Vault, state: Path, wanted: str | None = None, *, dry: bool = False) -> Machine:
    """This machine's newest record; registered in the vault if it isn't yet, and brought up to date.

    `wanted` (a name, id or prefix of an id) takes over a machine that the vault knows, as after a new
    installation, or names this one when it is registered: an unknown name is a new machine. A machine that was
    renamed still goes by the name it was registered with here. `dry` notes nothing.
    """
    known = Known.load(state, vault)
    if known is not None:
        machine_id = bytes.fromhex(known.machine)
        found = vault.machine(machine_id)
        name = found[1].name if found else known.name
        if wanted in (None, name, known.name, known.machine):
            if dry:
                return found[1] if found else _new(machine_id, name)
            return _up_to_date(vault, state, known, found is not None)
    if wanted is not None:
        taken = find_machine(vault.machines(), wanted)
        if taken is not None:
            return taken if dry else take_over(vault, state, taken)
    return _new(os.urandom(16), wanted) if dry else register(vault, state, wanted)


def register(vault: Vault, state: Path, name: str | None = None) -> Machine:
    """Make this machine a new one of the vault, whatever it was before. UsageError for a name that is none."""
    machine = _new(os.urandom(16), name)
    # Noted before it is registered: a run that ends between the two registers it when it comes back.
    known = Known(machine.id.hex(), machine.name, registered=False)
    known.save(state, vault)
    vault.add_machine(machine)
    Known(known.machine, known.name).save(state, vault)
    return machine


def _new(machine_id: bytes, name: str | None) -> Machine:
    return Machine(
        id=machine_id,
        name=checked_name(name or socket.gethostname() or "machine"),
        hostname=socket.gethostname(),
        system=platform.system(),
        created=time.time_ns(),
    )


def take_over(vault: Vault, state: Path, machine: Machine) -> Machine:
    """Be a machine that the vault knows, as after a new installation."""
    known = Known(machine.id.hex(), machine.name)
    known.save(state, vault)
    return _up_to_date(vault, state, known, True)


def _up_to_date(vault: Vault, state: Path, known: Known, is_there: bool) -> Machine:
    """The record, after what changed of the host was noted. A machine that works is no forgotten one."""
    new = _new(bytes.fromhex(known.machine), known.name)
    if not is_there:  # the run before ended between note and record; or the vault is an older copy of itself
        try:
            vault.add_machine(new)
        except ObjectExists:
            pass
    if not known.registered:
        known.registered = True
        known.save(state, vault)
    now = {"hostname": new.hostname, "system": new.system, "forgotten": False}
    return revise(vault, new.id, lambda m: msgspec.structs.replace(m, **now))


# --- all machines -------------------------------------------------------------------------------------------


def revise(vault: Vault, machine_id: bytes, change: Callable[[Machine], Machine]) -> Machine:
    """A new version of a machine's record, unless `change` leaves it as it is. Returns what stands now.

    When two do so at once, the second sees what the first wrote. NotFound.
    """
    while True:
        found = vault.machine(machine_id)
        if found is None:
            raise NotFound(f"there is no machine {machine_id.hex()} in the vault")
        version, machine = found
        changed = change(machine)
        if changed == machine:
            return machine
        try:
            vault.add_machine(changed, version + 1)
            return changed
        except ObjectExists:
            continue  # somebody else's version: look at it, then make the next


def rename(vault: Vault, machine_id: bytes, name: str) -> Machine:
    """Give a machine another name. Its points show it at once. UsageError, NotFound."""
    checked = checked_name(name)
    return revise(vault, machine_id, lambda m: msgspec.structs.replace(m, name=checked))


def forget(vault: Vault, machine_id: bytes, forgotten: bool = True) -> Machine:
    """Leave a machine out of lists and drives that aren't asked for it; or take that back. Points stay."""
    return revise(vault, machine_id, lambda m: msgspec.structs.replace(m, forgotten=forgotten))


def find_machine(machines: Mapping[bytes, Machine], wanted: str) -> Machine | None:
    """A machine by name, id or prefix of an id of 8 digits or more. AmbiguousName."""
    by_name = [m for m in machines.values() if m.name == wanted]
    # A new machine may have a name such as `db`: that must not be some other machine's id.
    by_id = [m for m in machines.values() if len(wanted) >= 8 and m.id.hex().startswith(wanted.lower())]
    found = by_name or by_id
    if len(found) > 1:
        raise AmbiguousName(f"{len(found)} machines of this vault are called {wanted}", "give the machine's id")
    return found[0] if found else None


def machine_names(machines: Mapping[bytes, Machine]) -> dict[bytes, str]:
    """What to show for each machine: its name, and where several have it `name (id8)`."""
    count = Counter(m.name for m in machines.values())
    return {i: m.name if count[m.name] == 1 else f"{m.name} ({i.hex()[:8]})" for i, m in machines.items()}


def checked_name(name: str) -> str:
    """A name for a machine. UsageError if it can't be shown on a line, or is longer than NAME_LENGTH."""
    name = name.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise UsageError(
            f"{name[:NAME_LENGTH]!r} can't be a machine's name",
            f"use 1 to {NAME_LENGTH} characters, without control characters",
        )
    return name


Named = TypeVar("Named", Machine, Item)


def choose_named(records: Mapping[bytes, Named], text: str, what: str, advice: str = "") -> Named:
    """The machine or item (`what`) of this name, or of this id or unique prefix of one. NotFound, AmbiguousName.

    Of several machines of one name, one that is not forgotten; `name (id8)`, as lists show them, tells them apart.
    """
    found = [r for r in records.values() if text in (r.name, f"{r.name} ({r.id.hex()[:8]})")]
    if len(found) > 1:
        found = [r for r in found if not getattr(r, "forgotten", False)] or found
    if not found and text:
        found = [r for r in records.values() if r.id.hex().startswith(text.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(sorted(f"{r.name} ({r.id.hex()[:8]})" for r in found))
        raise AmbiguousName(f"{len(found)} {what}s fit {text!r}: {ids}", advice or "name one by its id")
    names = ", ".join(sorted({r.name for r in records.values()})) or "none yet"
    raise NotFound(f"there is no {what} {text!r} in the vault", f"{what}s: {names}")
