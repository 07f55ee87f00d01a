"""Secrets kept on this machine: master keys, so that a vault opens without its passphrase, and access tokens.

A secret lies in the platform's keyring, if the extra `rpdrive[keyring]` is installed and finds one that works;
else in a file below `state/`, mode 0600. The file is there either way: with a keyring it says so, and holds no
secret. A keyring that is missing or fails when something is to be kept counts as absent.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from pathlib import Path
from typing import Any

from catalog.access.settings import Settings, private_folder, write_private
from catalog.errors import LocalError
from catalog.systems.this import SYSTEM

SERVICE = "rpdrive"
_IN_KEYRING = "keyring"
_LONGEST = 16 << 10  # bytes


class Secrets:
    """Secrets of one sort, by vault id: JSON objects. `what` they are called, `again` makes one anew."""

    def __init__(self, settings: Settings, folder: str, what: str, again: str) -> None:
        self._settings = settings
        self._folder = folder
        self._what = what
        self._again = again

    def _path(self, vault_id: bytes) -> Path:
        return self._settings.where("state") / self._folder / f"{vault_id.hex()}.json"

    def load(self, vault_id: bytes) -> dict[str, Any] | None:
        """None if none is kept.

        LocalError if the file is damaged, or if somebody else could have read or written it, or if the keyring
        does not give it out.
        """
        path = self._path(vault_id)
        data = self._read(path)
        if data is None:
            return None
        row = self._parsed(path, vault_id, data)
        if row.get(_IN_KEYRING) is True:
            row = self._parsed(path, vault_id, self._from_keyring(path))
        return row

    def _read(self, path: Path) -> bytes | None:
        try:
            descriptor = os.open(path, SYSTEM.read_flags | SYSTEM.no_follow)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise LocalError(f"the {self._what} {path} can't be read: {e.strerror}", self._advice(path)) from e
        with os.fdopen(descriptor, "rb") as file:
            # Of the open file, not of the path: nothing can be swapped in between.
            status = os.fstat(descriptor)
            if not SYSTEM.is_own(status):
                raise LocalError(f"the {self._what} {path} belongs to another user", self._advice(path))
            if not SYSTEM.is_private(status):
                raise LocalError(
                    f"the {self._what} {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})",
                    f"if nobody has copied it, `chmod 600 {path}`",
                )
            return file.read(_LONGEST)

    def _parsed(self, path: Path, vault_id: bytes, data: bytes | str) -> dict[str, Any]:
        try:
            row = json.loads(data)
            if not isinstance(row, dict) or bytes.fromhex(row["vault"]) != vault_id:
                raise ValueError("another vault's")
        except (ValueError, KeyError, TypeError) as e:
            raise self.damaged(vault_id) from e
        return row

    def damaged(self, vault_id: bytes) -> LocalError:
        """The error for one that can't be understood."""
        path = self._path(vault_id)
        return LocalError(f"the {self._what} {path} is damaged", self._advice(path))

    def _advice(self, path: Path) -> str:
        return f"delete {path}, and run `{self._again}` again"

    def save(self, vault_id: bytes, row: dict[str, Any]) -> Path:
        """Keep one in place of what there was. Returns its file. LocalError."""
        path = self._path(vault_id)
        private_folder(self._settings.state / self._folder)
        row = {"vault": vault_id.hex()} | row
        if _put(_name(path), json.dumps(row)):
            row = {"vault": vault_id.hex(), _IN_KEYRING: True}
        write_private(path, json.dumps(row).encode() + b"\n")
        return path

    def delete(self, vault_id: bytes) -> bool:
        """Forget one. False if none was kept. LocalError."""
        path = self._path(vault_id)
        try:
            noted = path.read_bytes()
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as e:
            raise LocalError(f"the {self._what} {path} can't be deleted: {e.strerror}") from e
        if f'"{_IN_KEYRING}"'.encode() in noted:
            _drop(_name(path))
        return True

    def _from_keyring(self, path: Path) -> str:
        backend = _keyring()
        try:
            text = backend.get_password(SERVICE, _name(path)) if backend is not None else None
        except Exception as e:
            raise LocalError(f"the keyring does not give out the {self._what}: {e}", self._advice(path)) from e
        if text is None:
            raise LocalError(
                f"the {self._what} was put into a keyring, which is not there or has lost it", self._advice(path)
            )
        return str(text)


class SavedKeys:
    """The saved master keys of one user on this machine, by vault id."""

    def __init__(self, settings: Settings) -> None:
        self.secrets = Secrets(settings, "keys", "saved key", "rpdrive vault unlock --save")

    def load(self, vault_id: bytes) -> bytes | None:
        """The master key (32 bytes), or None if none is saved. LocalError, as `Secrets.load`."""
        row = self.secrets.load(vault_id)
        if row is None:
            return None
        try:
            master = base64.b64decode(row["master"], validate=True)
        except (KeyError, TypeError, binascii.Error, ValueError) as e:
            raise self.secrets.damaged(vault_id) from e
        if len(master) != 32:
            raise self.secrets.damaged(vault_id)
        return master

    def save(self, vault_id: bytes, master: bytes) -> Path:
        """Keep a master key. Returns its file. LocalError."""
        return self.secrets.save(vault_id, {"master": base64.b64encode(master).decode()})

    def delete(self, vault_id: bytes) -> bool:
        """Forget a key. False if none was saved. LocalError."""
        return self.secrets.delete(vault_id)


# --- the keyring --------------------------------------------------------------------------------------------


def _name(path: Path) -> str:
    return str(path)  # homes of one user are apart in the keyring, too


def _keyring() -> Any:
    """The platform's keyring; None if there is none that can be used."""
    try:
        import keyring

        backend = keyring.get_keyring()
        return backend if backend.priority >= 1 else None  # below 1: fails always, or keeps plain text
    except Exception:  # noqa: BLE001 - whatever a backend meets, such as no D-Bus, means that there is none
        return None


def _put(name: str, text: str) -> bool:
    """Put a secret into the keyring, and see that it is there."""
    backend = _keyring()
    if backend is None:
        return False
    try:
        backend.set_password(SERVICE, name, text)
        return bool(backend.get_password(SERVICE, name) == text)
    except Exception:  # noqa: BLE001 - as above
        return False


def _drop(name: str) -> None:
    backend = _keyring()
    try:
        if backend is not None:
            backend.delete_password(SERVICE, name)
    except Exception:  # noqa: BLE001 - it is no longer there, or can't be reached any more
        pass
