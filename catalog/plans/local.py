"""This machine's copy of its plans: one private file for each vault, so that what is due needs no request.

A copy is replaced as a whole each time that the vault is opened for a job. Reading one imports little.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from catalog.errors import LocalError
from catalog.plans.effective import Plan

FOLDER = "plans"
MOST_BYTES = 4 << 20  # of the items of a vault: a timer reads them every five minutes
_LONGEST = 4 * MOST_BYTES  # of a file, with the machine's own plan
_MOST = 1_000  # files that are read


class LocalItem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An item of this machine: its id (hex), its name and its plan.

    `since` is when this machine first knew that the item is backed up by itself (ns): earlier times don't count.
    """

    id: str
    name: str
    plan: Plan
    since: int = 0


class LocalVault(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What this machine is to do for one vault, as of the time `fetched` (ns, this machine's clock).

    `vault` and `machine` are ids (hex). The vault opens again at `address` with the saved key and the credentials
    of this user. `since` is when this machine had a copy first. `items` are those whose plan has paths, and `plan`
    is the machine's own, for upkeep. `numbers` are those of the records that count, by the ids (hex) of their
    levels. `faults` are records that were passed over, for people.
    """

    vault: str
    address: str
    machine: str
    machine_name: str
    fetched: int
    plan: Plan = Plan()
    since: int = 0
    items: list[LocalItem] = []
    numbers: dict[str, int] = {}
    faults: list[str] = []
    check: str = ""

    def digest(self) -> str:
        """A digest of all other fields: a changed digit could make a plan save other paths, or nothing."""
        data = msgspec.json.encode(msgspec.structs.replace(self, check=""))
        return hashlib.blake2b(data, digest_size=8).hexdigest()


class Found(NamedTuple):
    """The copies that could be read, and the errors of the others."""

    vaults: list[LocalVault]
    errors: list[LocalError]


class LocalPlans:
    """The copies in a state folder, which may be missing."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER

    def all(self) -> Found:
        """Each copy, by vault id. A malformed file costs only itself. Raises nothing."""
        found = Found([], [])
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            return found
        except OSError as e:
            found.errors.append(LocalError(f"{self._folder} can't be read: {e.strerror}", "check its permissions"))
            return found
        for path in paths[:_MOST]:
            try:
                found.vaults.append(_read(path))
            except LocalError as e:
                found.errors.append(e)
        return found

    def of(self, vault_id: bytes) -> LocalVault | None:
        """The copy of one vault; None if there is none. Raises LocalError."""
        try:
            return _read(self._path(vault_id.hex()))
        except LocalError as e:
            if isinstance(e.__cause__, FileNotFoundError):
                return None
            raise

    def save(self, vault: LocalVault) -> None:
        """Replace the copy of a vault, whole or not at all. Raises LocalError."""
        from catalog.access.settings import private_folder, write_private

        private_folder(self._folder)
        vault.check = vault.digest()
        write_private(self._path(vault.vault), msgspec.json.encode(vault))

    def remove(self, vault_id: bytes) -> bool:
        """Remove the copy of a vault: nothing runs by itself for it. False if there was none. Raises LocalError."""
        path = self._path(vault_id.hex())
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as e:
            raise LocalError(f"{path} can't be deleted: {e.strerror}", "check its permissions") from e
        return True

    def _path(self, vault: str) -> Path:
        return self._folder / f"{vault}.json"


def _read(path: Path) -> LocalVault:
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
        if len(data) > _LONGEST:
            raise ValueError("it is too long")
        found = msgspec.json.decode(data, type=LocalVault)
        if found.check != found.digest():
            raise ValueError("it has been changed")
        if path.stem != found.vault:
            raise ValueError("it is of another vault")
        return found
    except (OSError, ValueError, RecursionError) as e:  # msgspec's errors are ValueErrors
        raise LocalError(
            f"the copy of the plans {path} can't be read: {e}", "write it anew with `rpdrive plan refresh`"
        ) from e
