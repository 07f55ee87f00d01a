"""Data about open drives, for other processes: a drive's row in the registry, and its answer to a status request.

Both are JSON between processes, one of which may be an older version: unknown fields are ignored, and missing ones
have a default. These are dataclasses, which load in 3 ms: msgspec takes 8, and `rpdrive mounts` about 60 in all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_origin, get_type_hints

T = TypeVar("T", bound="DriveInfo")

# Names of fields in JSON, where they differ from the names here.
_NAMES = {"total": "for", "total_left": "for_left"}


@dataclass(frozen=True, kw_only=True)
class DriveInfo:
    """The recovery points that a drive shows, and its mount point. Ids in hex, times as ISO 8601.

    `point` is None for all recovery points, `machine` and `item` then say which of them. `fold` is None unless the
    drive shows names as Windows has them; restore needs it to read such paths back.
    """

    mount_point: str
    pid: int
    vault: str = ""
    vault_id: str = ""
    point: str | None = None
    point_time: str | None = None
    machine: str | None = None
    item: str | None = None
    since: str | None = None
    fold: bool | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The address of a drive: a socket's path, or a pipe's name and the token (hex) that it demands."""

    socket: str | None = None
    pipe: str | None = None
    token: str | None = None


@dataclass(frozen=True, kw_only=True)
class DriveRow(DriveInfo):
    """A drive's entry in the registry. `process_start` guards against a reused process id.

    A row has either `socket` or `pipe` and `token`, see Endpoint. `namespace` is the one in which the drive is
    mounted, where the system has several (see Processes.namespace).
    """

    process_start: str | None
    namespace: str | None = field(default=None, metadata={"optional": True})
    socket: str | None = field(default=None, metadata={"optional": True})
    pipe: str | None = field(default=None, metadata={"optional": True})
    token: str | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True, kw_only=True)
class DriveStatus(DriveInfo):
    """A drive's answer. Times in seconds, None where there is no limit; `driver` and `cache` as these report.

    `overdue` requests failed, or still wait, because nothing answered them within the read timeout.
    `forgotten_until` is the time until which the drive's point stays, if it was forgotten: `now` if it is gone.
    `reading_from` is the place of the vault that is read while the first one is away.
    """

    idle: float | int | None = None
    idle_left: float | int | None = None
    total: float | int | None = None
    total_left: float | int | None = None
    uptime: int = 0
    store_requests: int = 0
    bytes_fetched: int = 0
    bytes_served: int = 0
    calls: int = 0
    errors: int = 0
    overdue: int = 0
    recent_errors: list[dict[str, Any]] = field(default_factory=list)
    driver: dict[str, Any] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)
    forgotten_until: str | None = field(default=None, metadata={"optional": True})
    reading_from: str | None = field(default=None, metadata={"optional": True})


def to_json(value: DriveInfo) -> dict[str, Any]:
    """The fields by their names in JSON."""
    found = {}
    for known in fields(value):
        content = getattr(value, known.name)
        if content is not None or not known.metadata.get("optional"):
            found[_NAMES.get(known.name, known.name)] = content
    return found


def info_json(value: DriveInfo) -> dict[str, Any]:
    """Like to_json, but only the fields of DriveInfo, which `rpdrive mounts --json` shows."""
    own = {known.name for known in fields(DriveInfo)}
    return {name: content for name, content in to_json(value).items() if name in own}


def from_json(kind: type[T], data: bytes) -> T | None:
    """JSON as it was written by to_json; None if it is malformed, or of another kind."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    values = {}
    for name, hint in get_type_hints(kind).items():
        shown = _NAMES.get(name, name)
        if shown in found:
            if not isinstance(found[shown], get_origin(hint) if get_origin(hint) in (list, dict) else hint):
                return None
            values[name] = found[shown]
    try:
        return kind(**values)
    except TypeError:  # a field without a default is missing
        return None
