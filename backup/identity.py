"""Which machine this is to a vault, and which item a backup belongs to.

A machine's id is drawn once and noted in this machine's state, so that it survives a change of the host name
and two machines of one name can share a vault.
"""

from __future__ import annotations

import os
import platform
import socket
import tempfile
import time
from pathlib import Path

import msgspec

from catalog.errors import AmbiguousName, LocalError, NotFound, ObjectExists
from catalog.format.records import Item, Machine
from catalog.vault import Vault


class Known(msgspec.Struct):
    """What is noted of a vault: this machine's id and name, and its items' ids by name (ids in hex)."""

    machine: str
    name: str
    registered: bool = True
    items: dict[str, str] = {}


def _path(state: Path, vault: Vault) -> Path:
    return state / f"identity-{vault.id.hex()}.json"


def _load(path: Path) -> Known | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Known)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as e:
        raise LocalError(
            f"{path} can't be read: {e}", f"name the machine with --machine, after moving {path} away"
        ) from e


def _save(path: Path, known: Known) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as f:
            f.write(msgspec.json.encode(known))
            f.flush()
            os.fsync(f.fileno())
        Path(f.name).replace(path)
    except OSError as e:
        raise LocalError(f"{path} can't be written: {e.strerror}") from e


def this_machine(vault: Vault, state: Path, wanted: str | None = None, *, dry: bool = False) -> Machine:
    """This machine's record, registered in the vault at the first backup.

    `wanted` (a name, id or prefix of an id) takes over a machine that the vault knows, as after a new
    installation, or names this one at its first backup; an unknown name is a new machine. `dry` notes nothing.
    """
    path = _path(state, vault)
    known = _load(path)
    if known is not None and wanted in (None, known.name, known.machine):
        machine = _record(bytes.fromhex(known.machine), known.name)
        if not known.registered and not dry:
            _register(vault, machine, path)
        return machine
    if wanted is not None:
        found = find_machine(vault.machines(), wanted)
        if found is not None:
            if not dry:
                _save(path, Known(found.id.hex(), found.name))
            return _record(found.id, found.name)
    machine = _record(os.urandom(16), wanted or socket.gethostname() or "machine")
    if dry:
        return machine
    # Noted before it is registered: a run that ends between the two registers it when it comes back.
    _save(path, Known(machine.id.hex(), machine.name, registered=False))
    _register(vault, machine, path)
    return machine


def _register(vault: Vault, machine: Machine, path: Path) -> None:
    try:
        vault.add_machine(machine)
    except ObjectExists:
        pass  # the run before did, and ended
    _save(path, Known(machine.id.hex(), machine.name))


def _record(id: bytes, name: str) -> Machine:
    return Machine(
        id=id, name=name, hostname=socket.gethostname(), system=platform.system(), created=time.time_ns()
    )


def find_machine(machines: dict[bytes, Machine], wanted: str) -> Machine | None:
    """A machine by name, id or prefix of an id of 8 digits or more. AmbiguousName."""
    by_name = [m for m in machines.values() if m.name == wanted]
    # A new machine may have a name such as `db`: that must not be some other machine's id.
    by_id = [m for m in machines.values() if len(wanted) >= 8 and m.id.hex().startswith(wanted.lower())]
    found = by_name or by_id
    if len(found) > 1:
        raise AmbiguousName(f"{len(found)} machines of this vault are called {wanted}", "give the machine's id")
    return found[0] if found else None


def this_item(
    vault: Vault, state: Path, machine: Machine, name: str, paths: list[bytes], *, dry: bool = False
) -> Item:
    """The item of this name, made at its first backup. `dry` notes nothing."""
    path = _path(state, vault)
    known = _load(path)
    if known is None or known.machine != machine.id.hex():
        if not dry:
            raise NotFound(f"machine {machine.name} is not registered here")
        known = Known(machine.id.hex(), machine.name)
    if name in known.items:
        item_id = bytes.fromhex(known.items[name])
        return Item(id=item_id, machine=machine.id, name=name, paths=paths, created=0)
    for item in vault.items().values():
        if item.machine == machine.id and item.name == name:
            break
    else:
        item = Item(id=os.urandom(16), machine=machine.id, name=name, paths=paths, created=time.time_ns())
        if not dry:
            vault.add_item(item)
    known.items[name] = item.id.hex()
    if not dry:
        _save(path, known)
    return item


def item_name(paths: list[bytes]) -> str:
    """The name of an item nobody named: its paths, with dashes for slashes."""
    names = [os.fsdecode(p).strip("/").replace("/", "-") or "root" for p in paths]
    text = "+".join(names).encode(errors="replace").decode()
    return text if len(text) <= 80 else text[:77] + "..."
