"""Links to contents at a running page: they end with their session, in the middle of a download, too."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.kit.browsing import Page, opened_vault, page_of
from tests.kit.cli import Cli

SIZE = 64 << 20  # bytes: more than buffers between server and client hold


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("links")
    cli = Cli(folder)
    source = folder / "source"
    source.mkdir()
    with (source / "long").open("wb") as file:
        file.truncate(SIZE)
        file.seek(SIZE // 2)
        file.write(b"x")
    cli.ok("vault", "create")
    cli.ok("backup", source)
    with page_of(opened_vault(cli.home, cli.vault)) as found:
        yield found


def link(page: Page) -> str:
    """A link to the file's contents, without its origin."""
    point = page.get("/points")["points"][0]["id"]
    at = None
    while (row := page.get(f"/points/{point}/folder", at=at)["rows"][0])["kind"] == "folder":
        at = page.get(f"/points/{point}/entry", n=row["n"])["path64"]
    at = page.get(f"/points/{point}/entry", n=row["n"])["path64"]
    url = urlsplit(page.post(f"/points/{point}/link", {"at": at, "as": "attachment"})["url"])
    assert f"{url.scheme}://{url.netloc}" == page.contents
    return str(url.path)


def ask(page: Page, path: str, host: str, method: str = "GET") -> http.client.HTTPResponse:
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)) as connection:
        connection.request(method, path, headers={"Host": f"{host}:{page.port}", "Range": "bytes=0-9"})
        answer = connection.getresponse()
        answer.read()
        return answer


def test_a_link_opens_contents_at_their_own_origin_only_and_ends_with_its_session(page: Page) -> None:
    path = link(page)
    answer = ask(page, path, "localhost")
    assert answer.status == 206 and answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["Set-Cookie"] is None and answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert ask(page, path, "127.0.0.1").headers["Content-Type"].startswith("text/html")  # the shell, not the file
    assert ask(page, path, "localhost", "POST").status == 405
    payload, _dot, rest = path.removeprefix("/c/").partition(".")
    for changed in (f"/c/{payload[:-1]}.{rest}", f"/c/{payload}.A{rest}", "/c/" + rest, f"/c/{payload}"):
        assert ask(page, changed, "localhost").status == 404

    with closing(socket.create_connection(("127.0.0.1", page.port), 60)) as download:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost:{page.port}\r\nConnection: close\r\n\r\n"
        download.sendall(head.encode())
        got = len(download.recv(1 << 16))
        assert page.api("DELETE", "/session").status == 204
        try:
            while part := download.recv(1 << 20):
                got += len(part)
        except ConnectionResetError:
            pass
        assert got < SIZE  # cut: it can't be taken for the whole file
    assert ask(page, path, "localhost").status == 404
    assert page.api("GET", "/session").status == 401
