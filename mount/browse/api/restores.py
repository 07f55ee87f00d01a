"""Restores."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route

from mount.browse.api.answers import body, endpoint, opened, own_endpoint, path_parameter, session_of
from mount.browse.resources import restores


@endpoint
def plan(request: Request) -> object:
    return restores.plan(opened(request), body(request, restores.RestoreWish), session_of(request).id)


@own_endpoint
def every(request: Request) -> object:
    return restores.restores(opened(request))


@own_endpoint
def one(request: Request) -> object:
    return restores.restore(opened(request), path_parameter(request, "id"))


@endpoint
def start(request: Request) -> object:
    return restores.start(opened(request), path_parameter(request, "id"))


@own_endpoint
def stop(request: Request) -> object:
    return restores.stop(opened(request), path_parameter(request, "id"))


routes = [
    Route("/restores", plan, methods=["POST"]),
    Route("/restores", every, methods=["GET"]),
    Route("/restores/{id}", one, methods=["GET"]),
    Route("/restores/{id}/start", start, methods=["POST"]),
    Route("/restores/{id}", stop, methods=["DELETE"]),
]
