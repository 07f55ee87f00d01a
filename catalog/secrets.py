"""Master keys saved on this machine, so that a vault opens without its passphrase.

A key lies in `state/keys/<vault id>.json`, mode 0600. `load`, `save` and `delete` are all that callers know,
so that another keeper (the platform's keyring) can take the place of the file.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path

from catalog.errors import LocalError
from catalog.settings import Settings, private_folder, write_private


class SavedKeys:
    """The saved keys of one user on this machine, by vault id."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _path(self, vault_id: bytes) -> Path:
        return self._settings.where("state") / "keys" / f"{vault_id.hex()}.json"

    def load(self, vault_id: bytes) -> bytes | None:
        """The master key (32 bytes), or None if none is saved.

        LocalError if the file is damaged, or if somebody else could have read or written it.
        """
        path = self._path(vault_id)
        advice = f"delete {path}, and run `rpdrive vault unlock --save` again"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return None
        except OSError as e:
            raise LocalError(f"the saved key {path} can't be read: {e.strerror}", advice) from e
        with os.fdopen(descriptor, "rb") as file:
            # Of the open file, not of the path: nothing can be swapped in between.
            status = os.fstat(descriptor)
            if os.name == "posix":
                if status.st_uid != os.geteuid():
                    raise LocalError(f"the saved key {path} belongs to another user", advice)
                if stat.S_IMODE(status.st_mode) & 0o077:
                    raise LocalError(
                        f"the saved key {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})",
                        f"if nobody has copied it, `chmod 600 {path}`",
                    )
            data = file.read(4096)
        import json

        try:
            row = json.loads(data)
            master = base64.b64decode(row["master"], validate=True)
            if bytes.fromhex(row["vault"]) != vault_id or len(master) != 32:
                raise ValueError("another vault's key")
        except (ValueError, KeyError, TypeError, binascii.Error) as e:
            raise LocalError(f"the saved key {path} is damaged", advice) from e
        return master

    def save(self, vault_id: bytes, master: bytes) -> Path:
        """Keep a master key. Returns where. LocalError."""
        import json

        path = self._path(vault_id)
        private_folder(self._settings.state / "keys")
        row = {"vault": vault_id.hex(), "master": base64.b64encode(master).decode()}
        write_private(path, json.dumps(row).encode() + b"\n")
        return path

    def delete(self, vault_id: bytes) -> bool:
        """Forget a key. False if none was saved. LocalError."""
        path = self._path(vault_id)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as e:
            raise LocalError(f"the saved key {path} can't be deleted: {e.strerror}") from e
        return True
