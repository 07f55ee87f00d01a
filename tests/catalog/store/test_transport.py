"""What a store sends beyond what it was asked for. Served by a small server that says whatever a test wants."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from catalog.errors import Damaged, ObjectTooLarge, RpdriveError, ShortRead, StoreError, StoreUnreachable
from catalog.store.azure.store import AzureStore
from catalog.store.azure.transport import ANSWER_MOST
from tests.kit.peak import forget_peak, peak
from tests.kit.stores import MOST

MIB = 2**20


class Server(ThreadingHTTPServer):
    """Answers each GET with `status`, `headers` and `body`. `sent` counts the bytes that a client took."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 206
        self.headers: dict[str, str] = {}
        self.body: Iterator[bytes] = iter([])
        self.sent = 0
        self.clients: set[Any] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up here."""

    def answer(self, body: bytes | Iterator[bytes], *, genuine: bool = True, **headers: str) -> None:
        """Say this from now on. Header names have underscores for hyphens."""
        self.headers = {
            "ETag": '"0x1"',
            "Last-Modified": "Thu, 26 Nov 2026 21:00:00 GMT",
            "x-ms-blob-type": "BlockBlob",
            **({"x-ms-request-id": "1"} if genuine else {}),
        }
        if isinstance(body, bytes):
            self.headers |= {
                "Content-Length": str(len(body)),
                "Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}",
            }
        self.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = iter([body]) if isinstance(body, bytes) else body
        self.sent = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.clients.add(self.client_address)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        chunked = "Transfer-Encoding" in self.server.headers
        try:
            for part in self.server.body:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                self.server.sent += len(part)
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(server: Server) -> Iterator[AzureStore]:
    endpoint = f"http://127.0.0.1:{server.server_port}"
    store = AzureStore("account1", "container1", token="sv=1&sig=x", endpoint=endpoint, environ={})
    yield store
    store.close()


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(MIB)


def test_an_object_with_an_encoding_is_damaged_and_not_inflated(server: Server, store: AzureStore) -> None:
    """Whoever may create an object may set this header: 1 MiB became 1 GiB of memory."""
    bomb = gzip.compress(bytes(256 * MIB))
    forget_peak()
    before = peak()
    server.answer(bomb, Content_Encoding="gzip")
    with pytest.raises(Damaged, match=r"^points/m/i/p has the Content-Encoding 'gzip', which no object"):
        store.get("points/m/i/p", MOST)
    server.answer(bomb, Content_Encoding="gzip")
    with pytest.raises(Damaged, match=r"^packs/00/p has the Content-Encoding 'gzip'"):
        store.read("packs/00/p", 0, len(bomb))
    assert peak() - before < 128 * 1024  # KiB


def test_an_encoded_page_of_a_hotel_is_no_damage(server: Server, store: AzureStore) -> None:
    server.answer(gzip.compress(b"<html>Please sign in</html>"), genuine=False, Content_Encoding="gzip")
    with pytest.raises(StoreUnreachable):
        store.get("vault.json", MOST)


def test_an_encoded_listing_is_refused(server: Server, store: AzureStore) -> None:
    server.status = 200
    server.answer(gzip.compress(b"<xml/>"), Content_Encoding="gzip")
    with pytest.raises(StoreError, match="Content-Encoding"):
        list(store.list("points/"))


def test_the_size_is_looked_at_before_the_bytes_are_fetched(server: Server, store: AzureStore) -> None:
    size = 64 * 2**30
    server.answer(endless(), Content_Length=str(MIB), Content_Range=f"bytes 0-{MIB - 1}/{size}")
    with pytest.raises(ObjectTooLarge, match=f"has {size} bytes, more than the {MIB} it may have"):
        store.get("points/m/i/p", MIB)


@pytest.mark.parametrize("chunked", [False, True])
def test_more_than_was_asked_for_is_not_taken(server: Server, store: AzureStore, chunked: bool) -> None:
    server.answer(endless(), Content_Range="bytes 0-999/1000")
    server.headers |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(2**40)}
    with pytest.raises(StoreError, match="sent more than the 1000 bytes that were asked for"):
        store.read("packs/00/p", 0, 1000)
    assert server.sent < 32 * MIB


def test_an_endless_listing_is_not_taken(server: Server, store: AzureStore) -> None:
    server.status = 200
    server.answer(endless(), Transfer_Encoding="chunked")
    with pytest.raises(StoreError, match=f"sent more than the {ANSWER_MOST} bytes"):
        list(store.list("points/"))


def test_an_endless_error_is_not_taken(server: Server, store: AzureStore) -> None:
    server.status = 503
    server.answer(endless(), Transfer_Encoding="chunked")
    with pytest.raises(StoreError):
        store.get("vault.json", MOST)


@pytest.mark.parametrize("name", ["x" * 1025, "a/" * 16 + "a", "..", "a//b", "a\\b", "a b"])
def test_names_that_are_none_are_not_listed(server: Server, store: AzureStore, name: str) -> None:
    blobs = "".join(
        f"<Blob><Name>{n}</Name><Properties><Last-Modified>Thu, 26 Nov 2026 21:00:00 GMT</Last-Modified>"
        "<Content-Length>4</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
        for n in (name, "points/m/i/p")
    )
    page = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
    server.status = 200
    server.answer(page.encode(), Content_Type="application/xml")
    assert [info.name for info in store.list("")] == ["points/m/i/p"]


def test_an_archived_object_is_missing_and_no_fault_of_the_store(server: Server, store: AzureStore) -> None:
    server.status = 409
    server.answer(b"", x_ms_error_code="BlobArchived")
    with pytest.raises(Damaged, match=r"^points/m/i/p can't be read: it is in the archive tier$"):
        store.get("points/m/i/p", MOST)


def test_connections_are_used_again(server: Server, store: AzureStore) -> None:
    for _ in range(20):
        server.answer(b"x" * 100_000)
        assert store.read("packs/00/p", 0, 100_000) == b"x" * 100_000
        server.answer(b"y" * 100_000)
        assert store.get("packs/00/p", MOST) == b"y" * 100_000
    assert len(server.clients) == 1


def test_a_transfer_that_ends_early_is_short(server: Server, store: AzureStore) -> None:
    def half() -> Iterator[bytes]:
        yield bytes(500)
        raise OSError

    server.answer(half(), Content_Length="1000", Content_Range="bytes 0-999/1000")
    with pytest.raises(ShortRead):
        store.read("packs/00/p", 0, 1000)


def test_the_stores_time_is_that_of_its_last_answer(server: Server, store: AzureStore) -> None:
    server.answer(b"x" * 10)
    server.status = 206
    store.read("packs/00/p", 0, 10)
    told = store.now()
    assert abs(told - store.now()) < 10**9
    assert len(server.clients) == 1
    server.answer(b"x" * 10, genuine=False)
    with pytest.raises(RpdriveError):
        AzureStore("account1", "container1", token="sig=x", endpoint=store._client.url, environ={}).now()
