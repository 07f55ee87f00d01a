"""Everything that a browser asks for passes here before anything is routed. ASGI, without a framework.

The order is: Host, form, method, origin of the request, session or link, body; the first that fails answers. Every
answer, whoever made it, gets the headers of its origin.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from catalog.errors import NotFound
from mount.browse.guard import requests
from mount.browse.guard.activity import Activity
from mount.browse.guard.capabilities import Capabilities, Wanted
from mount.browse.guard.headers import guarded
from mount.browse.guard.hosts import Hosts, RefusedHost, Site
from mount.browse.guard.requests import Asked, Refusal
from mount.browse.guard.sessions import PageSession, Sessions

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_SECONDS = 10.0  # within which a whole body must arrive
VISIT = "rpdrive.visit"  # keys in a request's scope
BODY = "rpdrive.body"
_READ_ONLY = "run `rpdrive browse` without --read-only on the machine itself"
_NO_SESSION = "run `rpdrive browse --link` where the page runs, and open the link that it prints"
_log = logging.getLogger("rpdrive.browse")


class Visit(NamedTuple):
    """What the guard knows of a request.

    `session` is None for contents, for files of the page, and at entering; `wanted` is what a link leads to.
    """

    site: Site
    session: PageSession | None
    cookies: list[str]
    wanted: Wanted | None = None


@dataclass
class Guard:
    """What all doors share. `app` and `contents` are the two ASGI applications."""

    sessions: Sessions
    capabilities: Capabilities
    app: App
    contents: App
    activity: Activity = field(default_factory=Activity)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # set in the loop when the process is to end
    ending: Callable[[], None] = lambda: None  # called then, e.g. to end streams that wait
    is_read_only: Callable[[], bool] = lambda: False
    quiet: frozenset[str] = frozenset({"/api/v1/events"})  # requests that keep nothing awake


class Door:
    """The ASGI application of a listening socket. `hosts` says under which names it answers."""

    def __init__(self, hosts: Hosts, guard: Guard, body_seconds: float = BODY_SECONDS) -> None:
        self._hosts, self._guard, self._body_seconds = hosts, guard, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"nothing of type {scope['type']} is served")
        asked = Asked.of(scope)
        site: Site | None = None
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": guarded(message.get("headers", ()), site)}
            await send(message)

        try:
            site = self._hosts.site(asked.headers.get(b"host", []))
            requests.check_form(scope.get("raw_path") or scope["path"].encode())
            requests.check_method(asked, site)
            visit = self._contents(asked, site) if site.is_contents else self._app(asked, site)
            if visit is None:
                await _redirect(scope, site, guarded_send)
                return
            if asked.is_write:
                scope[BODY] = await _body(receive, self._body_seconds)
                receive = _replayed(scope[BODY], receive)
            scope[VISIT] = visit
            scope["rpdrive.session"], scope["rpdrive.cookie"] = visit.session, site.cookie
            scope["rpdrive.origin"], scope["rpdrive.contents"] = str(site.app), str(site.contents)
            counts = (visit.session is not None or visit.wanted is not None) and not (
                asked.path in self._guard.quiet or requests.UNATTENDED in asked.headers
            )
            with self._guard.activity.noted(counts):
                app = self._guard.contents if site.is_contents else self._guard.app
                await app(scope, self._until_stop(receive), self._while_allowed(visit.wanted, guarded_send))
        except RefusedHost as e:
            await _refuse(asked, Refusal(e.status, "AccessDenied", str(e)), guarded_send)
        except Refusal as e:
            await _refuse(asked, e, guarded_send)
        except Exception:
            if started:
                raise  # the server cuts the connection: a short answer must not look whole
            _log.exception("a request failed")
            await _refuse(asked, Refusal(500, "Unexpected", "this is a bug in rpdrive"), guarded_send)

    def _app(self, asked: Asked, site: Site) -> Visit:
        """A request to the page or its API that may pass. Raises Refusal."""
        cookies = asked.cookies(site.cookie)
        if not asked.is_api:
            requests.check_body(asked)
            return Visit(site, None, cookies)
        requests.check_source(asked, site)
        session = self._guard.sessions.of(cookies)
        if (asked.method, asked.path) != ("POST", requests.ENTER):
            if session is None:
                raise Refusal(401, "Locked", "this browser has no session, or it has ended", _NO_SESSION)
            if not requests.check_key(asked, self._guard.sessions.key(session)):
                raise Refusal(401, "Locked", "this request does not have the key of its session", _NO_SESSION)
        if self._guard.is_read_only() and requests.changes_machine(asked):
            raise Refusal(403, "AccessDenied", "this page only shows and downloads", _READ_ONLY)
        requests.check_body(asked)
        return Visit(site, session, cookies)

    def _contents(self, asked: Asked, site: Site) -> Visit | None:
        """A request for contents that its link allows; None if it is for the page, at the wrong name."""
        requests.check_body(asked)
        if not asked.path.startswith(requests.CONTENTS):
            return None
        try:
            wanted = self._guard.capabilities.check(asked.path.split("/")[2])
        except NotFound as e:
            raise Refusal(404, e.kind, str(e), e.advice) from e
        return Visit(site, None, [], wanted)

    def _while_allowed(self, wanted: Wanted | None, send: Send) -> Send:
        """`send`, which cuts the stream of a link whose session has ended: a cut file doesn't look whole."""
        if wanted is None:
            return send

        async def allowed(message: Message) -> None:
            if not self._guard.capabilities.lives(wanted):
                raise ConnectionAbortedError("the session of this link has ended")
            await send(message)

        return allowed

    def _until_stop(self, receive: Receive) -> Receive:
        """`receive`, which also reports a disconnection when the process is to end: streams end at once by it."""
        stopping = self._guard.stopping

        async def either() -> Message:
            wait = asyncio.ensure_future(stopping.wait())
            message = asyncio.ensure_future(receive())
            try:
                await asyncio.wait({wait, message}, return_when=asyncio.FIRST_COMPLETED)
                return message.result() if message.done() else {"type": "http.disconnect"}
            finally:
                wait.cancel()
                message.cancel()

        return either


async def _body(receive: Receive, seconds: float) -> bytes:
    """The whole body. Raises Refusal if it is too long or too slow, or the browser has gone."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "UsageError", "the body was cut off")
                body += message.get("body", b"")
                if len(body) > requests.MOST_BODY:
                    raise Refusal(413, "UsageError", f"the body is longer than {requests.MOST_BODY >> 10} KiB")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as e:
        raise Refusal(408, "UsageError", "the body did not arrive in time") from e


def _replayed(body: bytes, receive: Receive) -> Receive:
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return left.pop() if left else await receive()

    return replayed


async def _redirect(scope: Scope, site: Site, send: Send) -> None:
    """Send a browser that came to the name of contents to the page. The link's fragment goes with it."""
    query = scope.get("query_string", b"")
    target = str(site.app).encode() + (scope.get("raw_path") or b"/") + (b"?" + query if query else b"")
    headers = [(b"location", target), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 307, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(asked: Asked, refusal: Refusal, send: Send) -> None:
    if asked.is_api:
        row = {"kind": refusal.kind, "message": str(refusal), "advice": refusal.advice}
        body, kind = json.dumps(row).encode(), b"application/json"
    else:
        body, kind = f"rpdrive: {refusal}\n".encode(), b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if refusal.allow:
        headers.append((b"allow", refusal.allow.encode()))
    if refusal.wait is not None:
        headers.append((b"retry-after", str(refusal.wait).encode()))
    if asked.has_body or asked.method not in ("GET", "HEAD"):
        headers.append((b"connection", b"close"))  # otherwise the server would read on to the end of the body
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if asked.method == "HEAD" else body})
