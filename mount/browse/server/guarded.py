"""The guard in front of both origins: hosts, sessions, and what a request that changes something must carry."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mount.browse.api.answers import problem
from mount.browse.api.context import Context
from mount.browse.contents.app import HEADERS as CONTENT_HEADERS
from mount.browse.guard.headers import app_headers
from mount.browse.guard.hosts import CONTENT_NAME, Host, host_of, is_allowed

LARGEST_BODY = 256 << 10  # bytes
_OPEN = ("GET", "HEAD")


class Guarded:
    """An ASGI application. Sets `rpdrive.session`, `.body`, `.origin`, `.contents` and `.cookie` in the scope."""

    def __init__(self, app: ASGIApp, contents: ASGIApp, context: Context) -> None:
        self._app, self._contents, self._context = app, contents, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        host = host_of(headers.get(b"host", []))
        if host is None:
            await problem("UsageError", "the request names no host, or several", status=400)(scope, receive, send)
            return
        if not is_allowed(host):
            await problem(
                "AccessDenied",
                "the page does not answer to this host name",
                "use the link that rpdrive printed",
                403,
            )(scope, receive, send)
            return
        scheme = "https" if self._context.secure else "http"
        app_name = "127.0.0.1" if host.is_contents else host.name
        origin = f"{scheme}://{app_name}{host.port}"
        contents = f"{scheme}://{CONTENT_NAME}{host.port}"
        scope["rpdrive.origin"], scope["rpdrive.contents"] = origin, contents
        if host.is_contents:
            await self._contents(scope, receive, _adding(send, CONTENT_HEADERS))
            return
        send = _adding(send, app_headers(contents) | {"Cache-Control": "no-store"})
        refusal = await self._refusal(scope, receive, headers, host, origin)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _refusal(
        self, scope: Scope, receive: Receive, headers: dict[bytes, list[bytes]], host: Host, origin: str
    ) -> Response | None:
        """Why a request goes no further; None if it may."""
        path, method = scope["path"], scope["method"]
        scope["rpdrive.cookie"] = f"rpdrive-{host.port[1:] or '80'}"
        if not path.startswith("/api/"):
            if method not in _OPEN:
                return problem("UsageError", "this address only answers GET", status=405)
            return None
        begins = path == "/api/v1/session" and method == "POST"
        session = self._context.sessions.find(_cookie(headers, scope["rpdrive.cookie"]))
        if session is None and not begins:
            return problem(
                "Locked", "this browser has no session, or it has ended",
                "run `rpdrive browse --link` for a new link", 401,
            )  # fmt: skip
        scope["rpdrive.session"] = session
        if method in _OPEN:
            return None
        site, origins = headers.get(b"sec-fetch-site"), headers.get(b"origin")
        if (site is not None and site != [b"same-origin"]) or (site is None and origins != [origin.encode()]):
            return problem("AccessDenied", "this request was made by another page", status=403)
        if (
            method == "POST"
            and headers.get(b"content-type", [b""])[0].split(b";")[0].strip() != b"application/json"
        ):
            return problem("UsageError", "the request is not JSON", status=415)
        body = await _body(receive)
        if body is None:
            return problem("UsageError", "the request is too large", status=413)
        scope["rpdrive.body"] = body
        return None


async def _body(receive: Receive) -> bytes | None:
    """The body of a request; None if it is too large, or the browser went away."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _cookie(headers: dict[bytes, list[bytes]], name: str) -> str | None:
    try:
        jar = SimpleCookie("; ".join(value.decode("latin-1") for value in headers.get(b"cookie", [])))
    except CookieError:
        return None
    return jar[name].value if name in jar else None


def _adding(send: Send, headers: dict[str, str]) -> Send:
    """`send`, which adds headers that an answer does not have yet."""

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _value in message["headers"]}
            message["headers"] = list(message["headers"]) + [
                (name.lower().encode(), value.encode())
                for name, value in headers.items()
                if name.lower().encode() not in given
            ]
        await send(message)

    return adding
