"""The session of a browser: begun with the token of a link, ended with the process."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.errors import RpdriveError
from mount.browse.api.answers import body, context, json_answer, own_endpoint, problem, session_of
from mount.browse.guard.door import VISIT
from mount.browse.guard.hosts import Site
from mount.browse.guard.sessions import SESSION_SECONDS, TOKEN_SECONDS, BadToken, TooManyBadTokens
from mount.drivers.choice import check_system


class Token(msgspec.Struct):
    """The token of a link. `attempt`: a secret of the browser's, the same when it asks again without an answer."""

    token: str
    attempt: str = ""


class Vault(msgspec.Struct):
    id: str
    address: str


class Session(msgspec.Struct):
    """What the page knows of the server.

    `contents` is the origin of file contents, `zone` that of all times. `driver`: whether drives can be opened.
    `fingerprint`: the SHA-256 of the certificate for other devices, null if the page is for this machine only.
    """

    version: str
    hostname: str
    zone: str
    system: str
    read_only: bool
    vault: Vault
    contents: str
    driver: bool
    fingerprint: str | None


class Begun(Session):
    """The session that has begun. `key` is its other half: the header X-Rpdrive-Key of every later request."""

    key: str


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
        contents=request.scope["rpdrive.contents"], driver=_has_driver(),
        fingerprint=context(request).fingerprint,
    )  # fmt: skip


def _has_driver() -> bool:
    try:
        check_system()
    except RpdriveError:
        return False
    return True


@own_endpoint
def show(request: Request) -> object:
    return _session(request)


@own_endpoint
def begin(request: Request) -> object:
    """The guard lets this one through without a session."""
    visit = request.scope[VISIT]
    try:
        sessions = context(request).sessions
        asked = body(request, Token)
        begun, cookie = sessions.enter(asked.token, visit.cookies, asked.attempt)
    except BadToken as e:
        return problem("AccessDenied", str(e), "run `rpdrive browse --link` for a new one", 403)
    except TooManyBadTokens as e:
        answer = problem("AccessDenied", str(e), "wait a moment, and try again", 429)
        answer.headers["Retry-After"] = str(e.wait)
        return answer
    answer = json_answer(Begun(**msgspec.structs.asdict(_session(request)), key=sessions.key(begun)))
    if cookie is not None:
        _set_cookie(answer, visit.site, cookie, SESSION_SECONDS)
    return answer


@own_endpoint
def end(request: Request) -> object:
    """End the session: its cookie, and its links to contents, are worth nothing then."""
    context(request).sessions.end(session_of(request))
    answer = Response(status_code=204)
    _set_cookie(answer, request.scope[VISIT].site, "", 0)
    return answer


def _set_cookie(answer: Response, site: Site, value: str, seconds: int) -> None:
    answer.set_cookie(
        site.cookie, value, max_age=seconds, path="/", httponly=True, samesite="strict",
        secure=site.app.scheme == "https",
    )  # fmt: skip


@own_endpoint
def link(request: Request) -> object:
    here = context(request)
    return Link(f"{here.listened or request.scope['rpdrive.origin']}/#t={here.sessions.new_token()}", TOKEN_SECONDS)


routes = [
    Route("/session", show, methods=["GET"]),
    Route("/session", begin, methods=["POST"]),
    Route("/session", end, methods=["DELETE"]),
    Route("/session/link", link, methods=["POST"]),
]
