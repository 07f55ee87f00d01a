"""Events and configurations to test with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalog.notify.event import Event, Severity, What

HOUR = 3600 * 10**9  # ns
NOW = 1_790_000_000 * 10**9  # 2026-09-21 14:13:20 UTC, a Monday


def event(what: What = What.OPENED, **fields: Any) -> Event:
    """A backup that failed."""
    known: dict[str, Any] = {
        "alert": "backup.failed", "severity": Severity.WARNING, "time": NOW, "title": "backup failed",
        "text": "The vault could not be reached: no route to host.", "machine": "SRV01", "item": "home",
        "key": "k1", "opened": NOW, "advice": "Check the network, then run the backup again.",
        "command": "rpdrive backup --item home", "fields": {"Error": "StoreUnreachable"},
    }  # fmt: skip
    return Event(what=what, **(known | fields))


def write(folder: Path, main: str, secrets: str | None = None) -> None:
    """Write a configuration, out of reach of others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in (("notify.toml", main), ("notify-secrets.toml", secrets)):
        if text is not None:
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
