"""Searches."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route

from mount.browse.api.answers import body, endpoint, number, opened, own_endpoint, path_parameter
from mount.browse.resources.searches import Started, Wanted, searches

_LAST = 1 << 31


@endpoint
def start(request: Request) -> object:
    return Started(id=searches(opened(request)).start(body(request, Wanted)))


@own_endpoint
def recent(request: Request) -> object:
    return searches(opened(request)).recent()


@own_endpoint
def show(request: Request) -> object:
    after, count = number(request, "after", 0, 0, _LAST), number(request, "count", 500, 0, 500)
    return searches(opened(request)).page(path_parameter(request, "search"), after, count)


@own_endpoint
def cancel(request: Request) -> object:
    searches(opened(request)).cancel(path_parameter(request, "search"))
    return None


routes: list[Route] = [
    Route("/searches", start, methods=["POST"]),
    Route("/searches", recent, methods=["GET"]),
    Route("/searches/{search}", show, methods=["GET"]),
    Route("/searches/{search}", cancel, methods=["DELETE"]),
]
