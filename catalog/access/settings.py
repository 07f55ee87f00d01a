"""The folders for rpdrive's own files on this machine, and the choice of the vault.

RPDRIVE_HOME moves everything into subfolders of one folder; otherwise the platform's folders are used.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from catalog.errors import LocalError, UsageError
from catalog.program import HOME, VAULT, user_path
from catalog.systems.this import SYSTEM

_UNFINISHED = re.compile(r"(.+)\.([0-9]{1,9})\.tmp", re.DOTALL)  # the file, and the process that writes it
_ABANDONED = 86400.0  # s; by then no process still writes such a file
_ATTEMPTS = 3


class Settings:
    """Folders and the vault's address. Nothing is read or created before it is used.

    Each folder is created on demand with mode 0700. Raises LocalError if that fails, or if the folder belongs to
    another user, whose files could not be trusted.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    @property
    def config(self) -> Path:
        """The user's choices: known vaults, policies."""
        return self._folder("config")

    @property
    def state(self) -> Path:
        """rpdrive's own records: saved keys, journals, error logs."""
        return self._folder("state")

    @property
    def state_to_read(self) -> Path:
        """As `state`, for commands that only read: if the folder is missing and can't be made, they do without."""
        try:
            return self.state
        except LocalError:
            if self.where("state").exists():
                raise
            return self.where("state")

    @property
    def cache(self) -> Path:
        """Data that can be deleted at any time."""
        return self._folder("cache")

    @property
    def run(self) -> Path:
        """Sockets and process ids. Some platforms empty this folder when the machine starts."""
        return self._folder("run")

    def _folder(self, kind: str) -> Path:
        return private_folder(self.where(kind))

    def where(self, kind: str) -> Path:
        """The path of the folder `kind` (`config`, `state`, `cache` or `run`), which may not exist yet."""
        home = self._environ.get(HOME)
        if home:
            return user_path(home).absolute() / kind
        try:
            return self._of_platform(kind)
        except (RuntimeError, KeyError) as e:  # no HOME, and no entry for this user in the system's list
            raise LocalError(
                "this user has no home folder, where rpdrive would keep its own files",
                f"set HOME, or {HOME} to a folder for them",
            ) from e

    def _of_platform(self, kind: str) -> Path:
        import platformdirs

        if kind == "config":
            return platformdirs.user_config_path("rpdrive", appauthor=False)
        if kind == "cache":
            return platformdirs.user_cache_path("rpdrive", appauthor=False)
        # Not platformdirs' fallback in the shared temporary folder, where another user could create it first.
        given = self._environ.get("XDG_RUNTIME_DIR")
        if kind == "run" and given:
            # It warns of one that it doesn't use, e.g. another user's after `su`, and takes a shared folder then.
            with warnings.catch_warnings(), suppress(OSError):
                warnings.simplefilter("ignore")
                found = platformdirs.user_runtime_path("rpdrive", appauthor=False)
                if found.is_relative_to(given):
                    return found
        state = platformdirs.user_state_path("rpdrive", appauthor=False)
        return state / "run" if kind == "run" else state

    def remove_unfinished(self) -> None:
        """Remove what killed processes left unfinished in the folders of settings and state. Raises nothing."""
        for kind in ("config", "state"):
            remove_unfinished(self.where(kind), deep=True)

    # --- the vault ----------------------------------------------------------------------------------------

    def vault_address(self, option: str | None) -> str:
        """The vault's address: the option, else RPDRIVE_VAULT, else the only known vault. Raises UsageError."""
        given = option or self._environ.get(VAULT)
        if given:
            from catalog.store.address import normal_address

            return normal_address(given)
        known = self.known_vaults()
        if len(known) == 1:
            return next(iter(known))
        if known:
            raise UsageError(
                f"{len(known)} vaults are known here: {', '.join(known)}", f"name one with --vault or {VAULT}"
            )
        raise UsageError(
            "no vault was named",
            f"name one with --vault ADDRESS or {VAULT}, or make one with `rpdrive vault create`",
        )

    def known_vaults(self) -> dict[str, bytes]:
        """Vault ids by address: vaults created, connected to, or with a saved key. Raises LocalError."""
        path = self.where("config") / "vaults.json"
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as e:
            raise LocalError(
                f"the list of known vaults {path} can't be read: {e.strerror}", "check its permissions"
            ) from e
        import json

        try:
            return {str(address): bytes.fromhex(row["id"]) for address, row in json.loads(text).items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise LocalError(
                f"the list of known vaults {path} is malformed", "delete it, and name the vault with --vault"
            ) from e

    def remember_vault(self, address: str, vault_id: bytes) -> None:
        """Add a vault to the known ones. Raises LocalError."""
        self._write_known(self.known_vaults() | {address: vault_id})

    def forget_vault(self, address: str) -> None:
        """Remove a vault from the known ones, if it is there. Raises LocalError."""
        known = self.known_vaults()
        if known.pop(address, None) is not None:
            self._write_known(known)

    def _write_known(self, known: dict[str, bytes]) -> None:
        import json

        rows = {address: {"id": vault_id.hex()} for address, vault_id in known.items()}
        write_private(self.config / "vaults.json", json.dumps(rows, indent=2).encode() + b"\n")


def private_folder(path: Path) -> Path:
    """The folder, created with mode 0700 if it is missing. Raises LocalError, e.g. if it is another user's."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        if not SYSTEM.is_own(status):
            raise LocalError(f"{path} belongs to another user", f"set {HOME} to a folder of your own")
        SYSTEM.make_private(path, status)
    except OSError as e:
        raise LocalError(f"the folder {path} can't be used: {e.strerror}", f"set {HOME} to another folder") from e
    return path


def write_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600, whole or not at all. Raises LocalError.

    What killed processes left of the same file is removed first, and nothing else: the folder may be the user's.
    """
    try:
        remove_unfinished(path.parent, path.name)
        for attempt in range(_ATTEMPTS):
            try:
                _write_private(path, data)
                return
            except FileNotFoundError:  # to a process in another namespace this one seems to have ended
                if attempt == _ATTEMPTS - 1:
                    raise
    except OSError as e:
        raise LocalError(
            f"{path} can't be written: {e.strerror}", "check the folder's permissions and free space"
        ) from e


def _write_private(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: str | Path, name: str = "", *, deep: bool = False) -> None:
    """Remove what processes began to write in a folder before they were killed. Raises nothing.

    With `name`, only what was to be that file; otherwise the folder must be rpdrive's own. `deep`: in the folders
    below it, too.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if deep and entry.is_dir(follow_symlinks=False):
                    remove_unfinished(entry.path)
                elif (found := _UNFINISHED.fullmatch(entry.name)) is not None and name in ("", found[1]):
                    age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                    if age > _ABANDONED or SYSTEM.has_ended(int(found[2])):
                        os.unlink(entry.path)
