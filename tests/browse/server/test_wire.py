"""What is no proper HTTP, too much of it, or too slow, at real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from mount.browse.guard import door
from mount.browse.server.peers.base import Ends
from mount.browse.server.protocol import MOST_HEAD, PatientProtocol
from tests.kit.browsing import Page, opened_as, page_of
from tests.kit.vaults import Remote

NOSNIFF = b"x-content-type-options: nosniff"
SECONDS = 30.0  # for an answer; a broken test waits so long


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_of(opened_as(tmp_path_factory.mktemp("home"), Remote().vault)) as found:
        yield found


def connected(page: Page, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((address, page.port), SECONDS)


def everything(connection: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    found = bytearray()
    try:
        while part := connection.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return bytes(found)


def said(page: Page, data: bytes) -> bytes:
    with closing(connected(page)) as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        return everything(connection)


def head(page: Page, line: bytes = b"GET / HTTP/1.1", *headers: bytes) -> bytes:
    own = b"Host: 127.0.0.1:%d" % page.port
    return b"\r\n".join((line, own, *headers, b"", b""))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nHost: evil.test\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n", 403),
        (b"GET http://127.0.0.1:PORT/ HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n", 400),
        (b"GET http://evil.test/ HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n", 400),
        (b"GET // HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n", 400),
        (b"GET /..%2f HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n", 400),
        (b"CONNECT evil.test:443 HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", 400),
        (b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", 405),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nX : a\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nX: " + b"a" * (MOST_HEAD + 1000), 400),
        (b"GET /" + b"a" * (MOST_HEAD + 1000), 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n" + b"X: a\r\n" * (MOST_HEAD // 6), 400),
    ],
)  # fmt: skip
def test_what_is_no_proper_request_ends_the_connection(page: Page, request_: bytes, status: int) -> None:
    answer = said(page, request_.replace(b"PORT", str(page.port).encode()))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert NOSNIFF in answer and b"content-security-policy: " in answer and b"server:" not in answer.lower()


@pytest.mark.needs_ipv6
def test_both_loopbacks_answer_with_the_policy_of_their_port(page: Page) -> None:
    for address, host in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        with closing(connected(page, address)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: %b:9\r\nConnection: close\r\n\r\n" % host.encode())
            answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"img-src 'self' http://localhost:9;" in answer  # by `ssh -L`, the browser's port is another one


def chunks(page: Page, count: int) -> bytes:
    path = b"POST /api/v1/session HTTP/1.1"
    headers = (b"Sec-Fetch-Site: same-origin", b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    return head(page, path, *headers) + b"".join(b"10000\r\n" + b" " * 0x10000 + b"\r\n" for _ in range(count))


def test_a_chunked_body_is_bounded(page: Page) -> None:
    answer = said(page, chunks(page, 40))
    assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer and NOSNIFF in answer
    with closing(connected(page)) as connection:
        connection.sendall(chunks(page, 2) + b"2\r\n{}\r\n0\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 400 ")  # no token in it


def test_two_meanings_of_one_length_are_not_accepted(page: Page) -> None:
    smuggled = head(
        page, b"POST /api/v1/session HTTP/1.1", b"Content-Type: application/json", b"Sec-Fetch-Site: same-origin",
        b"Content-Length: 4", b"Transfer-Encoding: chunked",
    ) + b"0\r\n\r\nGET /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"  # fmt: skip
    answer = said(page, smuggled)
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1


def test_a_refused_write_is_not_read_to_its_end(page: Page) -> None:
    line = b"POST /api/v1/searches HTTP/1.1"
    with closing(connected(page)) as connection:
        connection.sendall(head(page, line, b"Content-Length: 200000", b"Content-Type: application/json"))
        assert everything(connection).startswith(b"HTTP/1.1 403 ")


def test_a_request_in_pieces_and_many_on_one_connection(page: Page) -> None:
    with closing(connected(page)) as connection:
        for byte in head(page, b"HEAD /about HTTP/1.1"):
            connection.sendall(bytes((byte,)))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        connection.sendall(head(page, b"HEAD / HTTP/1.1") + head(page, b"HEAD / HTTP/1.1", b"Connection: close"))
        assert everything(connection).count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize("begun", [b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_a_slow_head_loses_its_connection(page: Page, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(PatientProtocol, "head_seconds", 0.2)
    with closing(connected(page)) as connection:
        connection.sendall(begun)
        assert everything(connection) == b""


def test_dripping_does_not_prolong_the_time_for_a_head(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientProtocol, "head_seconds", 0.2)
    with closing(connected(page)) as connection:
        connection.sendall(head(page, b"HEAD / HTTP/1.1"))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        connection.settimeout(0.02)
        for _ in range(int(SECONDS / 0.02)):
            try:
                connection.sendall(b"G")  # the head of a second request that never ends
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            pytest.fail("the connection was kept")


def test_a_slow_body_is_given_up(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    assert door.BODY_SECONDS <= 10
    monkeypatch.setattr(page.door, "_body_seconds", 0.2)
    with closing(connected(page)) as connection:
        line = b"POST /api/v1/session HTTP/1.1"
        headers = (b"Content-Length: 20", b"Content-Type: application/json", b"Sec-Fetch-Site: same-origin")
        connection.sendall(head(page, line, *headers) + b'{"tok')
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and NOSNIFF in answer


def test_too_many_connections_end_the_newest(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(connected(page)) as first:
        first.sendall(head(page, b"HEAD / HTTP/1.1"))
        assert first.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(PatientProtocol, "most_connections", 1)
        with closing(connected(page)) as second:
            assert everything(second) == b""
        first.sendall(head(page, b"HEAD / HTTP/1.1"))
        assert first.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


class Strangers:
    """Peers of which those with these ports are another user's."""

    def __init__(self) -> None:
        self.ports: set[int] = set()

    def is_foreign(self, ends: Ends) -> bool:
        return ends.theirs[1] in self.ports


def test_connections_of_another_user_do_not_keep_ours_out(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = Strangers()
    monkeypatch.setattr(PatientProtocol, "peers", strangers)
    monkeypatch.setattr(PatientProtocol, "most_connections", 2)
    monkeypatch.setattr(PatientProtocol, "most_foreign", 3)
    with ExitStack() as stack:
        ended = 0
        for _ in range(8):
            one = stack.enter_context(closing(socket.socket()))
            one.settimeout(SECONDS)
            one.bind(("127.0.0.1", 0))
            strangers.ports.add(one.getsockname()[1])
            one.connect(("127.0.0.1", page.port))
            if len(strangers.ports) > 3:
                ended += everything(one) == b""
        assert ended == 5
        ours = stack.enter_context(closing(connected(page)))
        ours.sendall(head(page, b"HEAD / HTTP/1.1"))
        assert ours.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
