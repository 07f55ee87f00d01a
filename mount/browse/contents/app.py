"""The content origin: it answers signed links, which the guard has checked. No cookie is read here.

`/c/<signed>/<name>`: what a link leads to. The name is for the browser alone.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from functools import partial
from typing import NamedTuple, cast

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from catalog.errors import RpdriveError
from mount.browse.api.answers import status_of
from mount.browse.api.context import Context
from mount.browse.contents.ranges import Part, Unsatisfiable, is_current, is_known, part_of, quoted
from mount.browse.contents.sending import Gone, Pieces, run, send_pieces
from mount.browse.guard.capabilities import Wanted
from mount.browse.guard.door import VISIT
from mount.browse.guard.headers import pdf_policy
from mount.browse.guard.hosts import Site
from mount.browse.resources.archives.contents import CutShort, cut
from mount.browse.resources.archives.stopping import Stopped
from mount.browse.resources.downloads import BASKET, Download, Downloads, Kind
from mount.browse.resources.names import disposition, file_name
from mount.browse.resources.preview import HEAD, kind_of
from mount.browse.resources.streams import Busy

_LAST_DATE = 253_402_300_800 * 10**9  # ns; a header has no room for later years
_PLAIN = "application/octet-stream"
_TYPES = {"tar": "application/x-tar", "zip": "application/zip"}
READERS = 8  # threads that read pieces
WALKERS = 2  # threads that measure archives
BUSY_SECONDS = "5"  # until a browser should try again


class _Answer(NamedTuple):
    """What a link leads to, and the headers that say so."""

    download: Download
    name: bytes
    headers: dict[str, str]


class _Head(NamedTuple):
    """The start of an answer, and which part of the download follows."""

    status: int
    headers: dict[str, str]
    part: Part


class ContentApp:
    """Answers signed links. An ASGI application."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._readers = ThreadPoolExecutor(READERS, "download")
        self._walkers = ThreadPoolExecutor(WALKERS, "archive")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with Gone(receive) as gone:
            try:
                answer = await self._answer(scope, send, gone)
            except Stopped:
                return
            except Busy as e:
                answer = _refused(e, 503, {"Retry-After": BUSY_SECONDS})
            except RpdriveError as e:
                answer = _refused(e, status_of(e.error if isinstance(e, CutShort) else e), {})
            if answer is not None:
                await answer(scope, receive, send)

    async def _answer(self, scope: Scope, send: Send, gone: Gone) -> Response | None:
        """The answer without a body, or None once another was sent. Raises RpdriveError before it begins."""
        visit = scope[VISIT]
        wanted: Wanted = visit.wanted
        headers = Headers(scope=scope)
        pool = self._readers if wanted.what in ("inline", "attachment") else self._walkers
        found = await run(pool, partial(_found, self._context.downloads, wanted, visit.site, gone))
        head = _head(found, headers, scope["method"])
        if scope["method"] == "HEAD" or head.status in (304, 416):
            return _bodiless(head)
        await self._send(send, gone, wanted, found, head)
        return None

    async def _send(self, send: Send, gone: Gone, wanted: Wanted, found: _Answer, head: _Head) -> None:
        """Send an answer with its body. Raises Busy, and what the first piece raises, before it begins."""
        part, download = head.part, found.download
        name = file_name(found.name)
        stream = self._context.downloads.streams.begin(name, wanted.what, part.start, part.end, download.length)
        try:
            pieces = Pieces(self._readers, cut(download.read(part.start), part.end - part.start))
            try:
                first = await pieces.take()
            except RpdriveError as e:
                stream.end("cut", str(e))
                raise
            raw = [(key.lower().encode(), value.encode("latin-1")) for key, value in head.headers.items()]
            await send({"type": "http.response.start", "status": head.status, "headers": raw})
            await send_pieces(send, pieces, first, stream, gone)
        finally:
            stream.end("stopped")  # if nothing ended it: the server stops


def _found(downloads: Downloads, wanted: Wanted, site: Site, gone: Gone) -> _Answer:
    """What a link leads to. Reads, and may walk a tree. Raises RpdriveError and Stopped."""
    places = wanted.places
    if wanted.what in _TYPES:
        if [point for point, _path in places] == [BASKET]:
            places = downloads.basket(places[0][1].decode(errors="replace"))
        kind = cast(Kind, wanted.what)
        archive, name = downloads.archive(places, kind, gone.is_set)
        return _Answer(archive, name, {"Content-Type": _TYPES[kind], **_as_file(name)})
    (place,) = places
    file = downloads.file(*place)
    headers = {"Content-Type": _PLAIN, **_as_file(file.name)}
    if 0 <= file.mtime < _LAST_DATE:
        headers["Last-Modified"] = formatdate(file.mtime // 10**9, usegmt=True)
    if wanted.what == "inline" and file.length:
        kind_, media, _why = kind_of(file.head(HEAD), file.length)
        if kind_ in ("image", "pdf"):
            headers |= {"Content-Type": media, "Content-Disposition": disposition("inline", file.name)}
        if kind_ == "pdf":
            headers["Content-Security-Policy"] = pdf_policy(site)
    return _Answer(file, file.name, headers)


def _as_file(name: bytes) -> dict[str, str]:
    return {"Content-Disposition": disposition("attachment", name)}


def _head(found: _Answer, asked: Headers, method: str) -> _Head:
    """How a request is answered (RFC 9110)."""
    download, length = found.download, found.download.length
    headers = dict(found.headers)
    if download.etag:
        headers["ETag"] = quoted(download.etag)
    headers["Accept-Ranges"] = "bytes" if download.resumable else "none"
    if is_known(asked.get("if-none-match"), download.etag):
        return _Head(304, headers, Part(0, 0))
    part = None
    if method == "GET" and download.resumable and is_current(asked.get("if-range"), download.etag):
        try:
            part = part_of(asked.get("range"), length)
        except Unsatisfiable:
            return _Head(416, headers | {"Content-Range": f"bytes */{length}", "Content-Length": "0"}, Part(0, 0))
    if part is None:
        return _Head(200, headers | {"Content-Length": str(length)}, Part(0, length))
    headers |= {
        "Content-Range": f"bytes {part.start}-{part.end - 1}/{length}",
        "Content-Length": str(part.end - part.start),
    }
    return _Head(206, headers, part)


def _bodiless(head: _Head) -> Response:
    response = Response(status_code=head.status)
    response.raw_headers = [(key.lower().encode(), value.encode("latin-1")) for key, value in head.headers.items()]
    return response


def _refused(error: RpdriveError, status: int, headers: dict[str, str]) -> Response:
    return PlainTextResponse(f"{error}\n{error.advice}\n", status, headers)


def content_app(context: Context) -> ASGIApp:
    return ContentApp(context)
