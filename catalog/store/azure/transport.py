"""HTTP for the Azure SDK: every answer is fetched within its request, and no more of it than was asked for."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ProtocolError

from catalog.errors import Damaged, ShortRead, StoreError, StoreUnreachable
from catalog.store.base import Buffer
from catalog.store.bounded import check_size
from catalog.store.deadline import steady
from catalog.store.flow import LARGE, flow_here, paced

CONNECTIONS = 32  # kept open; more threads than that make new ones
FRESH = 60.0  # seconds
ANSWER_MOST = 24 * 2**20  # bytes of an answer that is no object: 5,000 rows of a listing take 20 MiB at most
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_OURS = "x-ms-request-id"  # in every answer of Azure, and in none of a captive portal


class Told(NamedTuple):
    """The time by the store's clock (ns since the epoch), and by both clocks of this machine when it was heard."""

    time: int
    steady: float
    wall: int

    def is_fresh(self) -> bool:
        """Whether it is at most FRESH old by both clocks: one may stand still, the other may be set."""
        return steady() - self.steady <= FRESH and abs(time.time_ns() - self.wall) <= FRESH * 10**9


class Transport(RequestsTransport):  # type: ignore[misc]
    """Fetches each answer whole, within the request.

    By default the SDK reads the body later, and sends up to two more requests if the transfer breaks.
    """

    def __init__(self, connect_timeout: float, read_timeout: float) -> None:
        self._bounded = _Session()
        super().__init__(
            session=self._bounded,
            connection_timeout=connect_timeout,
            read_timeout=read_timeout,
            connection_data_block_size=2**20,
        )

    @property
    def told(self) -> Told | None:
        """The time in the last answer; None before the first."""
        return self._bounded.told

    @contextmanager
    def object_of(self, name: str, most: int | None) -> Iterator[None]:
        """This thread's requests are for the object `name`, whose whole may have `most` bytes (None: any)."""
        self._bounded.asked.name, self._bounded.asked.most = name, most
        try:
            yield
        finally:
            self._bounded.asked.name, self._bounded.asked.most = "", None


class _Asked(threading.local):
    """What this thread has asked for: an object, or something else when `name` is empty."""

    name = ""
    most: int | None = None


class _Session(requests.Session):
    """Fetches the body of each answer at once, without decoding it.

    A Content-Encoding is refused: whoever may create an object may give it one, and a few bytes would become many.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = _Asked()
        self.told: Told | None = None
        for scheme in ("https://", "http://"):
            self.mount(scheme, HTTPAdapter(pool_connections=2, pool_maxsize=CONNECTIONS))

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        options["stream"] = True
        options["headers"] = {**(options.get("headers") or {}), "Accept-Encoding": "identity"}
        flow, data = flow_here(), options.get("data")
        if isinstance(data, Streamed):
            options["data"] = data.body()
        elif isinstance(data, bytes) and data and (flow is not None or len(data) > LARGE):
            options["data"] = _Pieces(data)
        response = super().request(method, url, *args, **options)
        try:
            body = self._body(str(method), response, options["headers"])
        except BaseException:
            response.close()
            raise
        response._content = body
        response._content_consumed = True
        return response

    def _body(self, method: str, response: requests.Response, headers: Any) -> bytes:
        host = urlsplit(response.url).hostname
        genuine = _OURS in response.headers
        if genuine:
            self._note_time(response.headers.get("Date", ""))
        asked = _RANGE.fullmatch(headers.get("x-ms-range") or headers.get("Range") or "")
        of_object = asked is not None and response.status_code in (200, 206)
        if encoding := response.headers.get("Content-Encoding"):
            if not genuine:
                raise StoreUnreachable(f"{host}: something else answered in its place")
            if of_object:
                raise Damaged(
                    f"{self.asked.name} has the Content-Encoding {encoding[:20]!r}, which no object of a vault has"
                )
            if method != "HEAD":
                raise StoreError(f"{host}: the answer has the Content-Encoding {encoding[:20]!r}")
        most = ANSWER_MOST
        if of_object and asked is not None:
            most = int(asked[2]) + 1 - int(asked[1])
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if self.asked.most is not None and total.isdigit():
                check_size(self.asked.name, int(total), self.asked.most)
        length = response.headers.get("Content-Length", "")
        raw = response.raw
        raw.enforce_content_length = True
        try:
            longer = method != "HEAD" and length.isdigit() and int(length) > most
            body: bytes = b"" if longer else _received(method, raw, most + 1)
            if longer or len(body) > most:
                kind = StoreError if genuine else StoreUnreachable
                raise kind(f"{host} sent more than the {most} bytes that were asked for")
        except ProtocolError as error:
            raise ShortRead(f"{method}: the transfer broke off") from error
        except HTTPError as error:
            raise StoreUnreachable(f"{method}: the answer stopped midway") from error
        return body

    def _note_time(self, date: str) -> None:
        try:
            told = int(parsedate_to_datetime(date).timestamp()) * 10**9
        except (ValueError, OverflowError):
            return
        self.told = Told(told, steady(), time.time_ns())


class Streamed(bytes):
    """Stands for the bytes of a request that are too many for memory, where the SDK wants bytes.

    `pieces` makes an iterator of them, `length` bytes in all, when they are sent.
    """

    length: int
    pieces: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, length: int, pieces: Callable[[], Iterator[bytes]]) -> Streamed:
        made = cls()
        made.length, made.pieces = length, pieces
        return made

    def __len__(self) -> int:
        return self.length

    def stream(self) -> _Stream:
        return _Stream(self)

    def body(self) -> _Body:
        return _Body(self)


class _Stream:
    """What the SDK takes it from: it reads a stream once, whole, where one request may have any length."""

    def __init__(self, streamed: Streamed) -> None:
        self._streamed = streamed

    def read(self, length: int) -> Streamed:
        return self._streamed


class _Body:
    """The same for `requests`, which sends whatever has a length piece by piece."""

    def __init__(self, streamed: Streamed) -> None:
        self._streamed = streamed

    def __len__(self) -> int:
        return self._streamed.length

    def __iter__(self) -> Iterator[Buffer]:
        for piece in self._streamed.pieces():
            yield from _pieces(piece)


class _Pieces:
    """The body of a request, of a known length, whose pieces go when the flow lets them, if there is one.

    A connection's time limit counts for each piece: for all of a pack together it would ask for 27 Mbit/s.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Buffer]:
        return _pieces(self._data)


def _pieces(data: bytes) -> Iterator[Buffer]:
    flow = flow_here()
    if flow is not None:
        yield from paced(data, flow)
        return
    view = memoryview(data)
    for start in range(0, len(view), LARGE):
        yield view[start : start + LARGE]


def _received(method: str, raw: Any, most: int) -> bytes:
    """At most `most` bytes of an answer, in pieces if there is a flow. The answers to what was sent don't wait."""
    flow = flow_here()
    if method != "GET":
        data: bytes = raw.read(most, decode_content=False)
        return data
    pieces: list[bytes] = []
    left = most
    size = LARGE if flow is None else flow.piece  # read at once, urllib3 holds a large answer three times
    while left and (piece := raw.read(min(size, left), decode_content=False)):
        if flow is not None:
            flow.receiving(len(piece))  # afterwards: how long an answer is was not known
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
