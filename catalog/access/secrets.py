"""Secrets stored on this machine: master keys, which open a vault without passphrase, admin keys, access tokens.

A secret is stored in the platform's keyring if `rpdrive[keyring]` is installed and finds a working one; otherwise
in a file with mode 0600 below `state/`. The file exists in both cases: with a keyring, it refers to that and
contains no secret. A keyring that fails when a secret is saved is treated as missing.
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
    """Secrets of one kind, by vault id, and a suffix if a vault has several: JSON objects.

    Messages name the `kind` and the `command` that makes a new secret.
    """

    def __init__(self, settings: Settings, folder: str, kind: str, command: str) -> None:
        self._settings = settings
        self._folder = folder
        self._kind = kind
        self._command = command

    def _path(self, vault_id: bytes, suffix: str) -> Path:
        return self._settings.where("state") / self._folder / f"{vault_id.hex()}{suffix}.json"

    def load(self, vault_id: bytes, suffix: str = "") -> dict[str, Any] | None:
        """The secret; None if there is none.

        Raises LocalError if the file is damaged, if another user could have read or written it, or if the
        keyring refuses to return it.
        """
        path = self._path(vault_id, suffix)
        data = self._read(path)
        if data is None:
            return None
        row = self._parsed(path, vault_id, data, suffix)
        if row.get(_IN_KEYRING) is True:
            row = self._parsed(path, vault_id, self._from_keyring(path), suffix)
        return row

    def load_bytes(self, vault_id: bytes, field: str) -> bytes | None:
        """32 bytes that the secret has in a field, in base64; None if there is no secret. Raises LocalError."""
        row = self.load(vault_id)
        if row is None:
            return None
        try:
            found = base64.b64decode(row[field], validate=True)
        except (KeyError, TypeError, binascii.Error, ValueError) as e:
            raise self.damaged(vault_id) from e
        if len(found) != 32:
            raise self.damaged(vault_id)
        return found

    def _read(self, path: Path) -> bytes | None:
        descriptor = -1
        try:
            descriptor = os.open(path, SYSTEM.read_flags | SYSTEM.no_follow)
            opened = os.fdopen(descriptor, "rb")
        except FileNotFoundError:
            return None
        except OSError as e:
            if descriptor >= 0:  # a folder
                os.close(descriptor)
            raise LocalError(f"the {self._kind} {path} can't be read: {e.strerror}", self._advice(path)) from e
        with opened as file:
            # fstat of the open file, not of the path, which may be replaced in between.
            status = os.fstat(descriptor)
            if not SYSTEM.is_own(status):
                raise LocalError(f"the {self._kind} {path} belongs to another user", self._advice(path))
            if not SYSTEM.is_private(status):
                raise LocalError(
                    f"the {self._kind} {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})",
                    f"run `chmod 600 {path}`, unless another user may have copied it",
                )
            return file.read(_LONGEST)

    def _parsed(self, path: Path, vault_id: bytes, data: bytes | str, suffix: str) -> dict[str, Any]:
        try:
            row = json.loads(data)
            if not isinstance(row, dict) or bytes.fromhex(row["vault"]) != vault_id:
                raise ValueError("a secret of another vault")
        except (ValueError, KeyError, TypeError, RecursionError) as e:
            raise self.damaged(vault_id, suffix) from e
        return row

    def damaged(self, vault_id: bytes, suffix: str = "") -> LocalError:
        """The error for a malformed secret."""
        path = self._path(vault_id, suffix)
        return LocalError(f"the {self._kind} {path} is damaged", self._advice(path))

    def _advice(self, path: Path) -> str:
        return f"delete {path} and run `{self._command}` again"

    def save(self, vault_id: bytes, row: dict[str, Any], suffix: str = "") -> Path:
        """Store a secret in place of the earlier one. Returns its file. Raises LocalError."""
        path = self._path(vault_id, suffix)
        private_folder(self._settings.state / self._folder)
        row = {"vault": vault_id.hex()} | row
        if _put(_name(path), json.dumps(row)):
            row = {"vault": vault_id.hex(), _IN_KEYRING: True}
        write_private(path, json.dumps(row).encode() + b"\n")
        return path

    def delete(self, vault_id: bytes, suffix: str = "") -> bool:
        """Delete a secret. False if there was none. Raises LocalError."""
        path = self._path(vault_id, suffix)
        try:
            noted = path.read_bytes()
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as e:
            raise LocalError(
                f"the {self._kind} {path} can't be deleted: {e.strerror}", "check its permissions"
            ) from e
        if f'"{_IN_KEYRING}"'.encode() in noted:
            _drop(_name(path))
        return True

    def _from_keyring(self, path: Path) -> str:
        backend = _keyring()
        try:
            text = backend.get_password(SERVICE, _name(path)) if backend is not None else None
        except Exception as e:
            raise LocalError(f"the keyring does not return the {self._kind}: {e}", self._advice(path)) from e
        if text is None:
            raise LocalError(
                f"the {self._kind} was stored in a keyring that is missing or has lost it", self._advice(path)
            )
        return str(text)


class SavedKeys:
    """The saved master keys of this user, by vault id."""

    def __init__(self, settings: Settings) -> None:
        self.secrets = Secrets(settings, "keys", "saved key", "rpdrive vault unlock --save")

    def load(self, vault_id: bytes) -> bytes | None:
        """The master key (32 bytes); None if none is saved. Raises LocalError, like `Secrets.load`."""
        return self.secrets.load_bytes(vault_id, "master")

    def save(self, vault_id: bytes, master: bytes) -> Path:
        """Save a master key. Returns its file. Raises LocalError."""
        return self.secrets.save(vault_id, {"master": base64.b64encode(master).decode()})

    def delete(self, vault_id: bytes) -> bool:
        """Delete a key. False if none was saved. Raises LocalError."""
        return self.secrets.delete(vault_id)


class SavedAdminKeys:
    """The saved keys of admins, which sign records of upkeep, by vault id."""

    def __init__(self, settings: Settings) -> None:
        self.secrets = Secrets(settings, "admin-keys", "saved admin key", "rpdrive vault admin unlock --save")

    def load(self, vault_id: bytes) -> bytes | None:
        """The private key (32 bytes); None if none is saved. Raises LocalError, like `Secrets.load`."""
        return self.secrets.load_bytes(vault_id, "private")

    def save(self, vault_id: bytes, private: bytes) -> Path:
        """Save a private key. Returns its file. Raises LocalError."""
        return self.secrets.save(vault_id, {"private": base64.b64encode(private).decode()})

    def delete(self, vault_id: bytes) -> bool:
        """Delete a key. False if none was saved. Raises LocalError."""
        return self.secrets.delete(vault_id)


# --- the keyring --------------------------------------------------------------------------------------------


def _name(path: Path) -> str:
    return str(path)  # so that several homes of one user have separate secrets in the keyring


def _keyring() -> Any:
    """The platform's keyring; None if there is no usable one."""
    try:
        import keyring

        backend = keyring.get_keyring()
        return backend if backend.priority >= 1 else None  # below 1: it always fails, or stores plain text
    except Exception:  # noqa: BLE001 - any error of a backend, e.g. that there is no D-Bus, means that there is none
        return None


def _put(name: str, text: str) -> bool:
    """Put a secret into the keyring and read it back. False if that fails."""
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
    except Exception:  # noqa: BLE001 - it is gone already, or the keyring can't be reached
        pass
