"""Versions of a path, and differences between points."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route

from catalog.errors import UsageError
from mount.browse.api.answers import at, endpoint, number, opened, text
from mount.browse.resources import compare, textdiff, versions


def _path(request: Request) -> bytes:
    place = at(request)
    if isinstance(place, int):
        raise UsageError("a path is the same in several points, a number is not", "name the entry by its path")
    return place


@endpoint
def listed(request: Request) -> object:
    most = number(request, "points", versions.NEWEST, 1, 1 << 31)
    return versions.versions(opened(request), text(request, "machine"), text(request, "item"), _path(request), most)


@endpoint
def diff(request: Request) -> object:
    return textdiff.diff(opened(request), text(request, "before"), text(request, "after"), _path(request))


@endpoint
def compared(request: Request) -> object:
    start, count = number(request, "cursor", 0, 0, 1 << 31), number(request, "count", 200, 1, 500)
    before, after = text(request, "before"), text(request, "after")
    return compare.compare(opened(request), before, after, _path(request), start, count)


routes: list[Route] = [
    Route("/versions", listed, methods=["GET"]),
    Route("/diff", diff, methods=["GET"]),
    Route("/compare", compared, methods=["GET"]),
]
