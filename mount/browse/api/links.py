"""Signed links to contents: what the page lets the browser download; and how far downloads are."""

from __future__ import annotations

from typing import Literal, cast
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from catalog.errors import UsageError
from mount.browse.api.answers import body, context, endpoint, own_endpoint, path_parameter, session_of
from mount.browse.guard.capabilities import Wanted
from mount.browse.resources.downloads import BASKET, MOST_PLACES, Kind, Places
from mount.browse.resources.folders import SAFE
from mount.browse.resources.names import file_name
from mount.browse.resources.streams import StreamRow
from mount.browse.resources.wire import id_of, name_of, path_of, when


class LinkOrder(msgspec.Struct):
    """An entry (`at`: path64), and as what it is wanted."""

    at: str
    kind: Literal["inline", "attachment", "tar", "zip"] = msgspec.field(name="as")


class BasketPlace(msgspec.Struct):
    point: str
    at: str


class BasketOrder(msgspec.Struct):
    places: list[BasketPlace]
    kind: Kind = msgspec.field(name="as")


class Link(msgspec.Struct, kw_only=True):
    """A link on the content origin. `size` in bytes, null if it takes long to know: the download will say it.

    `advise`: what is better for so much: to `restore` it, or to open it as a `drive`.
    """

    url: str
    name: str
    size: int | None
    advise: Literal["restore", "drive"] | None = None


class DownloadRow(msgspec.Struct):
    """A download: `sent` says how far it came, of the bytes `start` to `end` that the browser asked for.

    `what` is inline, attachment, tar or zip; `state` is running, done, cut (`problem` says why) or stopped.
    """

    id: str
    name: str
    what: str
    start: int
    end: int
    total: int
    sent: int
    state: str
    problem: str | None
    started: str | None
    finished: str | None


class DownloadList(msgspec.Struct):
    """Downloads of this process that run or ended lately, the newest first."""

    downloads: list[DownloadRow]


@own_endpoint
def listed(request: Request) -> object:
    return DownloadList([_row(row) for row in context(request).opened.streams.recent()])


def _row(row: StreamRow) -> DownloadRow:
    return DownloadRow(
        id=row.id, name=row.name, what=row.what, start=min(row.start, SAFE), end=min(row.end, SAFE),
        total=min(row.total, SAFE), sent=min(row.sent, SAFE), state=row.state, problem=row.problem,
        started=when(row.started), finished=when(row.finished),
    )  # fmt: skip


@endpoint
def of_point(request: Request) -> object:
    order = body(request, LinkOrder)
    point, path = path_parameter(request, "point"), path_of(order.at)
    id_of(point)
    places: Places = [(point, path)]
    if order.kind in ("tar", "zip"):
        return _archive(request, places, places, order.kind)
    file = context(request).downloads.file(point, path)
    wanted = Wanted(places, order.kind)
    return Link(url=_url(request, wanted, file.name), name=name_of(file.name)[0], size=min(file.length, SAFE))


@endpoint
def of_basket(request: Request) -> object:
    order = body(request, BasketOrder)
    if not 0 < len(order.places) <= MOST_PLACES:
        raise UsageError(
            f"an archive is of 1 to {MOST_PLACES} places, not {len(order.places)}", "put their folder in the basket"
        )
    places: Places = [(place.point, path_of(place.at)) for place in order.places]
    for point, _path in places:
        id_of(point)
    key = context(request).downloads.keep_basket(places)
    return _archive(request, places, [(BASKET, key.encode())], order.kind)


def _archive(request: Request, places: Places, named: Places, kind: str) -> Link:
    """A link to an archive. `named`: the places as the link names them."""
    offer = context(request).downloads.offer(places, cast(Kind, kind))
    size = None if offer.size is None else min(offer.size, SAFE)
    url = _url(request, Wanted(named, kind), offer.name)
    return Link(url=url, name=name_of(offer.name)[0], size=size, advise=offer.advise)


def _url(request: Request, wanted: Wanted, name: bytes) -> str:
    signed = context(request).capabilities.sign(wanted, session_of(request).id)
    return f"{request.scope['rpdrive.contents']}/c/{signed}/{quote(file_name(name), safe='')}"


routes = [
    Route("/points/{point}/link", of_point, methods=["POST"]),
    Route("/basket/link", of_basket, methods=["POST"]),
    Route("/downloads", listed, methods=["GET"]),
]
