"""The machines of a vault: which one this is, their names, and changes to their records.

A machine's id is drawn once and saved in this machine's state folder. So it survives a change of the host name, and
two machines of the same name can share a vault. Everything else about a machine is in its newest record.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec

from catalog.access.settings import Settings, write_private
from catalog.errors import (
    AmbiguousName,
    Damaged,
    LocalError,
    NotFound,
    ObjectExists,
    UsageError,
)
from catalog.format.keys import ID_BYTES
from catalog.format.records import Item, Machine, MachineName
from catalog.vault import Vault

NAME_LENGTH = 100  # characters
LOOK = 42 * 3600.0  # s
_WHOLE_ID = re.compile("[0-9a-f]{32}")
_ATTEMPTS = 100  # numbers tried for a new version
Found: TypeAlias = tuple[int, Machine]  # a version of a machine's record, and its number


class Registration(msgspec.Struct):
    """This machine's file about a vault: its own id and first name there, and its items' ids (hex) by name.

    `check` is a digest of the rest: a changed digit would make this another machine, with backups of its own. It is
    empty in files of earlier versions.
    """

    machine: str
    name: str
    registered: bool = True
    items: dict[str, str] = {}
    check: str = ""

    @classmethod
    def load(cls, state: Path, vault: Vault) -> Registration | None:
        """The saved registration; None if this machine is not registered in the vault. Raises LocalError."""
        path = _path(state, vault)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
            if found.check not in ("", found._digest()) or not all(
                len(bytes.fromhex(known)) == ID_BYTES for known in (found.machine, *found.items.values())
            ):
                raise ValueError("it has been changed")
            return found
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as e:  # msgspec's errors are ValueErrors
            raise LocalError(
                f"{path} can't be read: {e}", f"move {path} away, and name the machine with --machine"
            ) from e

    def _digest(self) -> str:
        rows = msgspec.json.encode([self.machine, self.name, self.registered, self.items])
        return hashlib.blake2b(rows, digest_size=8).hexdigest()

    def save(self, state: Path, vault: Vault) -> None:
        """Save this registration. Raises LocalError."""
        path = _path(state, vault)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.check = self._digest()
        write_private(path, msgspec.json.encode(self))


def _path(state: Path, vault: Vault) -> Path:
    return state / f"identity-{vault.id.hex()}.json"


# --- this machine -------------------------------------------------------------------------------------------


def id_here(settings: Settings, vault: Vault) -> bytes | None:
    """The id of this machine; None if it is not registered in the vault, or if that can't be read."""
    try:
        known = Registration.load(settings.where("state"), vault)
    except LocalError:
        return None
    return None if known is None else bytes.fromhex(known.machine)


def registered_here(vault: Vault, state: Path) -> Machine | None:
    """The newest record of this machine; None if it is not registered. Costs at most 2 requests."""
    known = Registration.load(state, vault)
    found = vault.machine(bytes.fromhex(known.machine)) if known is not None else None
    return found[1] if found else None


def this_machine(vault: Vault, state: Path, wanted: str | None = None, *, dry: bool = False) -> Machine:
    """This machine's newest record, after registering the machine if necessary and updating the record.

    `wanted` (a name, an id or its start) takes over a machine of the vault, e.g. after a new installation; with
    any other name this machine is registered. A renamed machine may still be called by the name it was registered
    with here. `dry` changes nothing.
    """
    known = Registration.load(state, vault)
    if known is not None:
        machine_id = bytes.fromhex(known.machine)
        found = vault.machine(machine_id, fresh=not dry and _is_due(_path(state, vault)))
        name = found[1].name if found else known.name
        if wanted in (None, name, known.name, known.machine):
            if dry:
                return found[1] if found else _new(machine_id, name)
            return _up_to_date(vault, state, known, found)
    if wanted is not None:
        taken = find_machine(vault.machines(), wanted)
        if taken is not None:
            return taken if dry else take_over(vault, state, taken)
    return _new(os.urandom(16), wanted) if dry else register(vault, state, wanted)


def _is_due(path: Path) -> bool:
    """Whether the vault's own copy of the machine's record is to be read, whatever a cache has: once in LOOK."""
    try:
        if 0 <= time.time() - path.stat().st_mtime < LOOK:
            return False
        os.utime(path)
    except OSError:
        pass  # then it is read each time
    return True


def register(vault: Vault, state: Path, name: str | None = None) -> Machine:
    """Register this machine as a new one, even if it has a registration. Raises UsageError for an invalid name."""
    machine = _new(os.urandom(16), name)
    # Saved before it is registered: if the run ends between the two, the next run completes the registration.
    known = Registration(machine.id.hex(), machine.name, registered=False)
    known.save(state, vault)
    vault.add_machine(machine)
    Registration(known.machine, known.name).save(state, vault)
    return machine


def _new(machine_id: bytes, name: str | None) -> Machine:
    return Machine(
        id=machine_id,
        name=checked_name(name or platform.node() or "machine"),
        hostname=platform.node(),
        system=platform.system(),
        created=time.time_ns(),
    )


def take_over(vault: Vault, state: Path, machine: Machine) -> Machine:
    """Continue as a machine that the vault has already, e.g. after a new installation."""
    known = Registration(machine.id.hex(), machine.name)
    known.save(state, vault)
    return _up_to_date(vault, state, known, vault.machine(machine.id))


def _up_to_date(vault: Vault, state: Path, known: Registration, found: Found | None) -> Machine:
    """Update the record `found` from the host, and return it. A machine that is in use is no longer forgotten.

    Without one that opens, a new one is written: the previous run ended too early, the vault is an older copy of
    itself, or its record is damaged.
    """
    new = _new(bytes.fromhex(known.machine), known.name)
    if found is None:
        write_anew(lambda version: vault.add_machine(new, version), f"the machine {known.name}")
    if not known.registered:
        known.registered = True
        known.save(state, vault)
    if found is None:
        return new
    now = {"hostname": new.hostname, "system": new.system, "forgotten": False}
    return revise(vault, new.id, lambda m: msgspec.structs.replace(m, **now), found)


def write_anew(write: Callable[[int], object], what: str) -> None:
    """Write a record of which no version opens, under the first number that is free. Raises Damaged if none is."""
    for version in range(1, _ATTEMPTS + 1):
        try:
            write(version)
            return
        except ObjectExists:
            continue
    raise Damaged(f"{_ATTEMPTS} records of {what} do not open", "delete them from the vault")


# --- all machines -------------------------------------------------------------------------------------------


def revise(
    vault: Vault, machine_id: bytes, change: Callable[[Machine], Machine], found: Found | None = None
) -> Machine:
    """Add a new version of a machine's record, unless `change` changes nothing. Returns the current record.

    `found` is the newest version, if it was read just now. If two machines do this at once, the second applies
    `change` to the record of the first. Raises NotFound, and Damaged if no number is free.
    """
    number = 0
    for _attempt in range(_ATTEMPTS):
        found = found or vault.machine(machine_id)
        if found is None:
            raise NotFound(
                f"there is no machine {machine_id.hex()} in the vault", "see `rpdrive machine list --all`"
            )
        version, machine = found
        changed = change(machine)
        if changed == machine:
            return machine
        number = max(number, version) + 1
        try:
            vault.add_machine(changed, number)
            return changed
        except ObjectExists:
            found = None  # another machine was faster, or it is a record that does not open
    raise Damaged(
        f"the {_ATTEMPTS} records up to {MachineName(machine_id, number)} do not open", "delete them from the vault"
    )


def rename(vault: Vault, machine_id: bytes, name: str) -> Machine:
    """Rename a machine. Its points show the new name at once. Raises UsageError and NotFound."""
    checked = checked_name(name)
    return revise(vault, machine_id, lambda m: msgspec.structs.replace(m, name=checked))


def forget(vault: Vault, machine_id: bytes, forgotten: bool = True) -> Machine:
    """Hide a machine from lists and drives that do not name it, or undo that. Its points are kept."""
    return revise(vault, machine_id, lambda m: msgspec.structs.replace(m, forgotten=forgotten))


def find_machine(machines: Mapping[bytes, Machine], wanted: str) -> Machine | None:
    """A machine by its name, or by 8 or more digits of its id; None if there is none. Raises AmbiguousName."""
    by_name = [m for m in machines.values() if m.name == wanted]
    # A new machine may be called e.g. `db`: that must not match another machine's id.
    by_id = [m for m in machines.values() if len(wanted) >= 8 and m.id.hex().startswith(wanted.lower())]
    found = by_name or by_id
    if len(found) > 1:
        raise AmbiguousName(f"{len(found)} machines in this vault are called {wanted}", "give the machine's id")
    return found[0] if found else None


def machine_names(machines: Mapping[bytes, Machine]) -> dict[bytes, str]:
    """The name to show for each machine: `name`, or `name (id8)` if several machines have that name."""
    count = Counter(m.name for m in machines.values())
    return {i: m.name if count[m.name] == 1 else f"{m.name} ({i.hex()[:8]})" for i, m in machines.items()}


def checked_name(name: str) -> str:
    """A machine's name, stripped. Raises UsageError if it is not printable or longer than NAME_LENGTH."""
    name = name.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise UsageError(
            f"{name[:NAME_LENGTH]!r} is not a valid machine name",
            f"use 1 to {NAME_LENGTH} characters without control characters",
        )
    return name


def machine_named(vault: Vault, text: str) -> Machine:
    """The machine with this name or id, as `choose_named`. With its whole id no records of others are read."""
    return with_whole_id(vault, text) or choose_named(vault.machines(), text, "machine")


def with_whole_id(vault: Vault, text: str) -> Machine | None:
    """The machine with this id, if the text is one, and the machine has a record that opens."""
    found = vault.machine(bytes.fromhex(text)) if _WHOLE_ID.fullmatch(text) else None
    return found[1] if found else None


Named = TypeVar("Named", Machine, Item)


def choose_named(records: Mapping[bytes, Named], text: str, what: str, advice: str = "") -> Named:
    """The machine or item (`what`) with this name, or with this id or a unique prefix of it.

    `name (id8)`, as in lists, also works. Among machines of the same name, a forgotten one is
    chosen only if all of them are forgotten. Raises NotFound and AmbiguousName.
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
        raise AmbiguousName(f"{len(found)} {what}s match {text!r}: {ids}", advice or "name one by its id")
    names = ", ".join(sorted({r.name for r in records.values()})) or "none yet"
    raise NotFound(f"there is no {what} {text!r} in the vault", f"{what}s: {names}")
