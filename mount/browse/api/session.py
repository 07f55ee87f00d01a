"""The session of a browser: begun with the token of a link, ended with the process."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mount.browse.api.answers import body, context, endpoint, json_answer, problem, session_of
from mount.browse.guard.sessions import SESSION_SECONDS, TOKEN_SECONDS


class Token(msgspec.Struct):
    token: str


class Vault(msgspec.Struct):
    id: str
    address: str


class Session(msgspec.Struct):
    """What the page knows of the server. `contents` is the origin of file contents, `zone` that of all times."""

    version: str
    hostname: str
    zone: str
    system: str
    read_only: bool
    vault: Vault
    contents: str


class Link(msgspec.Struct):
    """A link for another browser. `seconds`: how long it is valid."""

    url: str
    seconds: int


def _session(request: Request) -> Session:
    opened = context(request).opened
    try:
        number = version("rpdrive")
    except PackageNotFoundError:
        number = "not installed"
    return Session(
        version=number, hostname=platform.node(), zone=time.strftime("%Z"), system=platform.system().lower(),
        read_only=opened.read_only, vault=Vault(opened.vault.id.hex(), opened.session.address),
        contents=request.scope["rpdrive.contents"],
    )  # fmt: skip


@endpoint
def show(request: Request) -> object:
    return _session(request)


@endpoint
def begin(request: Request) -> object:
    """The guard lets this one through without a session."""
    here = context(request)
    begun = here.sessions.begin(body(request, Token).token)
    if begun is None:
        return problem(
            "AccessDenied", "this link was used before, or is older than two minutes",
            "run `rpdrive browse --link` for a new one", 403,
        )  # fmt: skip
    answer = json_answer(_session(request))
    answer.set_cookie(
        request.scope["rpdrive.cookie"], begun[0], max_age=int(SESSION_SECONDS), path="/", httponly=True,
        samesite="strict", secure=here.secure,
    )  # fmt: skip
    return answer


@endpoint
def end(request: Request) -> object:
    context(request).sessions.end(session_of(request).id)
    answer = Response(status_code=204)
    answer.delete_cookie(request.scope["rpdrive.cookie"], path="/", httponly=True, samesite="strict")
    return answer


@endpoint
def link(request: Request) -> object:
    token = context(request).sessions.new_token()
    return Link(f"{request.scope['rpdrive.origin']}/#t={token}", int(TOKEN_SECONDS))


routes = [
    Route("/session", show, methods=["GET"]),
    Route("/session", begin, methods=["POST"]),
    Route("/session", end, methods=["DELETE"]),
    Route("/session/link", link, methods=["POST"]),
]
