"""The alerts that this machine knows: a private file for each vault in its state folder, and one for the rest.

A file is replaced whole. A malformed row costs itself; a malformed file is moved aside, and the alerts open again.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from catalog.access.settings import private_folder, write_private
from catalog.alerts.state import Alert, Step
from catalog.errors import LocalError
from catalog.systems.this import SYSTEM

FOLDER = "alerts"
HERE = "here"  # the name of the file for alerts that are about no vault
_LONGEST = 64 << 20  # bytes of a file
_NAMED = re.compile(r"(here|[0-9a-f]{32})\.json")
_log = logging.getLogger("rpdrive.alerts")
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(Alert)


class Kept:
    """The alerts in a state folder, which may be missing. `vault` is an id in hex, "" for those about none."""

    def __init__(self, state: Path) -> None:
        self._state, self._folder = state, state / FOLDER

    def vaults(self) -> list[str]:
        """The vaults, and "", that have a file. Raises nothing."""
        try:
            names = sorted(entry.name for entry in self._folder.iterdir())
        except OSError:
            return []
        found = (_NAMED.fullmatch(name) for name in names)
        return ["" if m[1] == HERE else m[1] for m in found if m]

    def of(self, vault: str) -> tuple[Alert, ...]:
        """The alerts about a vault. Raises LocalError if the file is there and can't be opened."""
        path = self._path(vault)
        try:
            with path.open("rb") as file:
                data = file.read(_LONGEST + 1)
        except FileNotFoundError:
            return ()
        except OSError as e:
            raise LocalError(f"the alerts in {path} can't be read: {e.strerror}", "check its permissions") from e
        try:
            if len(data) > _LONGEST:
                raise ValueError("it is too long")
            rows = _rows.decode(data)
        except (ValueError, RecursionError) as e:  # msgspec's errors are ValueErrors
            _log.warning("the alerts in %s are malformed, and open again: %s", path, e)
            self._move_aside(path)
            return ()
        return tuple(alert for row in rows if (alert := _decoded(row, vault)) is not None)

    def all(self) -> list[Alert]:
        """All alerts. Raises as `of`."""
        return [alert for vault in self.vaults() for alert in self.of(vault)]

    def change(self, vault: str, change: Callable[[tuple[Alert, ...]], Step]) -> Step:
        """Replace the alerts about a vault by what `change` makes of them; no other process comes between.

        Raises LocalError, e.g. if the disk is full: nothing has changed then.
        """
        try:
            private_folder(self._folder)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | _CLOSED, 0o600)
            try:
                SYSTEM.lock(descriptor)
                before = self.of(vault)
                result = change(before)
                if result.alerts != before:
                    write_private(self._path(vault), _encoded(result.alerts))
                return result
            finally:
                os.close(descriptor)
        except OSError as e:
            raise LocalError(f"{self._folder} can't be used: {e.strerror}", "check its permissions") from e

    def _path(self, vault: str) -> Path:
        return self._folder / f"{vault or HERE}.json"

    def _move_aside(self, path: Path) -> None:
        try:
            path.replace(path.with_suffix(".malformed"))
        except OSError as e:
            _log.warning("%s can't be moved aside: %s", path, e.strerror)


def _decoded(row: msgspec.Raw, vault: str) -> Alert | None:
    try:
        alert = _row.decode(row)
        return alert if alert.vault == vault else None
    except (ValueError, RecursionError) as e:
        _log.warning("an alert is malformed: %s", e)
        return None


def _encoded(alerts: Iterable[Alert]) -> bytes:
    return b"[" + b",\n".join(msgspec.json.encode(_writable(alert)) for alert in alerts) + b"]\n"


def _writable(alert: Alert) -> Alert:
    """An alert with texts that are UTF-8: names of files need not be."""
    texts = {
        name: getattr(alert, name) for name in ("title", "text", "machine_name", "item_name", "cause", "reason")
    }
    clean = {name: _plain(text) for name, text in texts.items()}
    details = {_plain(k): _plain(v) if isinstance(v, str) else v for k, v in alert.details.items()}
    if clean == texts and details == alert.details:
        return alert
    return msgspec.structs.replace(alert, **clean, details=details)


def _plain(text: str) -> str:
    return text.encode(errors="replace").decode()


_CLOSED = getattr(os, "O_CLOEXEC", 0)
