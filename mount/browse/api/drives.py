"""Drives."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route

from mount.browse.api.answers import body, endpoint, flag, opened, own_endpoint, path_parameter, session_of
from mount.browse.resources import drives


@own_endpoint
def every(request: Request) -> object:
    return drives.drives(opened(request))


@endpoint
def begin(request: Request) -> object:
    return drives.open_drive(opened(request), body(request, drives.DriveWish), session_of(request).id)


@endpoint
def close(request: Request) -> object:
    drives.close_drive(opened(request), path_parameter(request, "id"), lazy=flag(request, "lazy"))
    return None


routes = [
    Route("/drives", every, methods=["GET"]),
    Route("/drives", begin, methods=["POST"]),
    Route("/drives/{id}", close, methods=["DELETE"]),
]
