"""What each route takes and answers; openapi.py makes the specification of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, get_type_hints

from mount.browse.api import links, session
from mount.browse.resources import (
    alerts,
    backups,
    bus,
    calendar,
    compare,
    drives,
    entries,
    folders,
    health,
    jobs,
    local_folders,
    points,
    policies,
    preview,
    restores,
    searches,
    storage,
    textdiff,
    versions,
)

Schema: TypeAlias = "dict[str, Any]"
_SAFE = (1 << 53) - 1


class Query(NamedTuple):
    """A parameter of the query, which may always be left out."""

    name: str
    schema: Schema


class Operation(NamedTuple):
    """`body`: the type of the JSON that a write takes. `answer`: that of the answer; None: there is none (204)."""

    summary: str
    answer: Any = None
    query: tuple[Query, ...] = ()
    body: Any = None
    media: str = "application/json"


def _text(name: str, longest: int = 4096) -> Query:
    return Query(name, {"type": "string", "maxLength": longest})


def _number(name: str, low: int, high: int) -> Query:
    return Query(name, {"type": "integer", "minimum": low, "maximum": high})


def _flag(name: str) -> Query:
    return Query(name, {"type": "integer", "enum": [0, 1]})


def _word(name: str, *words: str) -> Query:
    return Query(name, {"type": "string", "enum": list(words)})


def _of(function: Callable[..., Any]) -> Any:
    """The type that a function of the resources returns."""
    return get_type_hints(function)["return"]


_PATH = _text("at", 100_000)
_AT = (_PATH, _number("n", 0, _SAFE))
_TWO = (_text("before"), _text("after"), _PATH)
_ORDER = (_word("order", "name", "size", "time", "kind"), _flag("desc"), _text("filter", 255))
_FROM, _COUNT = _number("from", 0, _SAFE), _number("count", 1, 500)
_ITEM = (_text("machine"), _text("item"))
_WAIT = _number("wait", 0, 10)
_STORAGE = (_word("by", "day", "item", "machine"), _number("days", 1, 366), _WAIT)

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/session"): Operation("Who asks, and what is served", session.Session),
    ("POST", "/session"): Operation(
        "Begin a session with the token of a link", session.Begun, body=session.Token
    ),
    ("DELETE", "/session"): Operation("End the session, and its links to contents"),
    ("POST", "/session/link"): Operation("A link for another browser or device", session.Link),
    ("GET", "/machines"): Operation("Machines and their items", _of(points.machines)),
    ("GET", "/points"): Operation(
        "Recovery points, the newest first", _of(points.points),
        (*_ITEM, _text("from", 40), _text("to", 40), _text("cursor", 100), _COUNT),
    ),
    ("GET", "/calendar"): Operation(
        "The days of a year that have points", _of(calendar.calendar), (*_ITEM, _number("year", 1, 9999))
    ),
    ("GET", "/points/{point}"): Operation("A recovery point", _of(points.point)),
    ("GET", "/points/{point}/folder"): Operation(
        "A part of a folder", _of(folders.folder),
        (*_AT, *_ORDER, _FROM, _number("count", 0, 500), _flag("descend")),
    ),
    ("GET", "/points/{point}/rank"): Operation(
        "Where in a folder names begin so", _of(folders.rank), (*_AT, *_ORDER, _text("prefix", 255))
    ),
    ("GET", "/points/{point}/entry"): Operation("All that is kept of an entry", _of(entries.entry), _AT),
    ("GET", "/points/{point}/preview"): Operation("How a file can be shown", _of(preview.preview), _AT),
    ("GET", "/points/{point}/text"): Operation("A part of a file as text", _of(preview.text), (*_AT, _FROM)),
    ("GET", "/points/{point}/hex"): Operation(
        "A part of a file as bytes", _of(preview.hex_page), (*_AT, _FROM, _number("count", 1, 65536))
    ),
    ("POST", "/points/{point}/link"): Operation("A link to contents", links.Link, body=links.LinkOrder),
    ("POST", "/basket/link"): Operation("A link to an archive", links.Link, body=links.BasketOrder),
    ("GET", "/downloads"): Operation("Downloads that run or ended lately", links.DownloadList),
    ("GET", "/searches"): Operation("Searches that are kept", _of(searches.Searches.recent)),
    ("POST", "/searches"): Operation("Start a search", searches.Started, body=searches.Wanted),
    ("GET", "/searches/{search}"): Operation(
        "A search and some of its hits", _of(searches.Searches.page),
        (_number("after", 0, 1 << 31), _number("count", 0, 500)),
    ),
    ("DELETE", "/searches/{search}"): Operation("End a search"),
    ("GET", "/versions"): Operation(
        "The versions of a path", _of(versions.versions), (*_ITEM, _PATH, _number("points", 1, 1 << 31))
    ),
    ("GET", "/diff"): Operation("How two versions of a text differ", _of(textdiff.diff), _TWO),
    ("GET", "/compare"): Operation(
        "What differs between two points", _of(compare.compare), (*_TWO, _number("cursor", 0, 1 << 31), _COUNT)
    ),
    ("GET", "/restores"): Operation("Restores", _of(restores.restores)),
    ("POST", "/restores"): Operation(
        "Plan a restore by a dry run", _of(restores.plan), body=restores.RestoreWish
    ),
    ("GET", "/restores/{id}"): Operation("A restore", restores.Restore),
    ("POST", "/restores/{id}/start"): Operation("Start a restore that was planned", restores.Restore),
    ("DELETE", "/restores/{id}"): Operation("Stop a restore, or drop its plan", restores.Restore),
    ("GET", "/drives"): Operation("Open drives", _of(drives.drives)),
    ("POST", "/drives"): Operation("Open a drive", _of(drives.open_drive), body=drives.DriveWish),
    ("DELETE", "/drives/{id}"): Operation("Close a drive", None, (_flag("lazy"),)),
    ("GET", "/local/folders"): Operation(
        "A folder of this machine", _of(local_folders.folders), (_text("at", 100_000),)
    ),
    ("POST", "/local/folders"): Operation(
        "Make a folder on this machine", _of(local_folders.make_folder), body=local_folders.NewFolder
    ),
    ("GET", "/health"): Operation(
        "How well machines are protected", _of(health.health),
        (_number("from", 0, 10_000_000), _number("count", 0, 200), _text("filter", 200), _text("only", 20), _WAIT),
    ),
    ("POST", "/backups"): Operation(
        "Back up an item of this machine now", backups.BackupRow, body=backups.BackupWish
    ),
    ("GET", "/alerts"): Operation("What is wrong, and what mends it", _of(alerts.alerts), (_WAIT,)),
    ("GET", "/jobs"): Operation(
        "Jobs, the newest first", _of(jobs.jobs),
        (_text("cursor", 80), _COUNT, _text("kind", 40), _text("outcome", 40), _text("machine", 32)),
    ),
    ("GET", "/jobs/{job}"): Operation("A job", _of(jobs.job)),
    ("GET", "/policies"): Operation(
        "What is backed up, when, and how long it is kept", _of(policies.policies),
        (_number("from", 0, 10_000_000), _number("count", 1, 100), _text("filter", 200)),
    ),
    ("GET", "/storage"): Operation("What backups store", _of(storage.storage), _STORAGE),
    ("GET", "/storage/chart.svg"): Operation(
        "The same as a chart", bytes, (*_STORAGE, _number("width", 320, 1600)), media="image/svg+xml"
    ),
    ("GET", "/events"): Operation("What has changed", bus.Notice, media="text/event-stream"),
    ("GET", "/openapi.json"): Operation("This specification", dict),
}  # fmt: skip
