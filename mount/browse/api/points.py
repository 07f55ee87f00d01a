"""Machines, points, folders and entries."""

from __future__ import annotations

from datetime import datetime

from starlette.requests import Request
from starlette.routing import Route

from mount.browse.api.answers import at, choice, endpoint, flag, number, opened, path_parameter, text
from mount.browse.resources import calendar, entries, folders, points, preview
from mount.browse.resources.table import ORDERS

_ROWS = 500  # in an answer
_FILTER = 255  # characters
_LAST = (1 << 53) - 1


def _point(request: Request) -> str:
    return path_parameter(request, "point")


def _choice(request: Request) -> folders.Choice:
    only = text(request, "filter", "", _FILTER)
    return folders.Choice(order=choice(request, "order", ORDERS), desc=flag(request, "desc"), filter=only)


@endpoint
def machines(request: Request) -> object:
    return points.machines(opened(request))


@endpoint
def listed(request: Request) -> object:
    return points.points(
        opened(request), text(request, "machine"), text(request, "item"), text(request, "from", "", 40),
        text(request, "to", "", 40), text(request, "cursor", "", 100), number(request, "count", 100, 1, _ROWS),
    )  # fmt: skip


@endpoint
def year(request: Request) -> object:
    which = number(request, "year", datetime.now().year, 1, 9999)
    return calendar.calendar(opened(request), which, text(request, "machine"), text(request, "item"))


@endpoint
def point(request: Request) -> object:
    return points.point(opened(request), _point(request))


@endpoint
def folder(request: Request) -> object:
    start, count = number(request, "from", 0, 0, _LAST), number(request, "count", 200, 0, _ROWS)
    return folders.folder(
        opened(request),
        _point(request),
        at(request),
        _choice(request),
        start,
        count,
        descend=flag(request, "descend"),
    )


@endpoint
def rank(request: Request) -> object:
    prefix = text(request, "prefix", "", _FILTER)
    return folders.rank(opened(request), _point(request), at(request), _choice(request), prefix)


@endpoint
def entry(request: Request) -> object:
    return entries.entry(opened(request), _point(request), at(request))


@endpoint
def seen(request: Request) -> object:
    return preview.preview(opened(request), _point(request), at(request))


@endpoint
def as_text(request: Request) -> object:
    return preview.text(opened(request), _point(request), at(request), number(request, "from", 0, 0, _LAST))


@endpoint
def as_hex(request: Request) -> object:
    start, count = number(request, "from", 0, 0, _LAST), number(request, "count", 4096, 1, preview.HEX_PAGE)
    return preview.hex_page(opened(request), _point(request), at(request), start, count)


routes: list[Route] = [
    Route("/machines", machines, methods=["GET"]),
    Route("/points", listed, methods=["GET"]),
    Route("/calendar", year, methods=["GET"]),
    Route("/points/{point}", point, methods=["GET"]),
    Route("/points/{point}/folder", folder, methods=["GET"]),
    Route("/points/{point}/rank", rank, methods=["GET"]),
    Route("/points/{point}/entry", entry, methods=["GET"]),
    Route("/points/{point}/preview", seen, methods=["GET"]),
    Route("/points/{point}/text", as_text, methods=["GET"]),
    Route("/points/{point}/hex", as_hex, methods=["GET"]),
]
