"""Bad requests, each put to every route: the routes are the application's own, so that no new one is left out."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext
from typing import Any, NamedTuple

import pytest
from starlette.routing import Route

from mount.browse.api.context import Context
from mount.browse.api.routes import ROUTES
from mount.browse.guard.door import Door, Guard
from mount.browse.guard.headers import SANDBOX, guarded
from mount.browse.guard.hosts import LoopbackHosts
from mount.browse.guard.requests import BY_COOKIE, ENTER, MOST_BODY
from mount.browse.server.app import page_guard
from tests.kit.browsing import opened_as
from tests.kit.vaults import Remote

HOST = b"127.0.0.1:8080"
SITE, CONTENTS = LoopbackHosts().site([HOST]), LoopbackHosts().site([b"localhost:8080"])
WRITES = {"POST", "DELETE"}
OURS = [(b"sec-fetch-site", b"same-origin"), (b"content-type", b"application/json")]


def methods_and_paths() -> list[tuple[str, str]]:
    found = []
    for route in ROUTES:
        assert isinstance(route, Route), f"{route} is not a plain route: the guard's tests don't know it"
        path = "/api/v1" + re.sub(r"\{[^}]*\}", "0" * 32, route.path)
        found += [(method, path) for method in sorted(route.methods or ())]
    return found


EVERY = methods_and_paths()
READS = [(method, path) for method, path in EVERY if method not in WRITES]
WRITTEN = [(method, path) for method, path in EVERY if method in WRITES]
PAGES = [("GET", path) for path in ("/", "/calendar", "/static/x/app.js", "/point/" + "0" * 32, "/nothing")]


class Got(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def kind(self) -> str:
        return str(json.loads(self.body)["kind"])


class Client:
    """Calls the application as a server would, without one."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.guard: Guard = page_guard(context)
        self.door = Door(LoopbackHosts(), self.guard, body_seconds=5)
        session, cookie = context.sessions.enter(context.sessions.new_token())
        self.key = context.sessions.key(session).encode()
        self.cookie = (b"cookie", b"rpdrive-8080=" + str(cookie).encode())

    def ask(
        self, method: str, path: str, *headers: tuple[bytes, bytes], host: Iterable[bytes] = (HOST,),
        body: bytes = b"{}", query: bytes = b"", key: bytes | None = None,
    ) -> Got:  # fmt: skip
        """`key`: of the session; None: the client's own."""
        own = [(b"host", one) for one in host]
        own += [(b"x-rpdrive-key", one) for one in [self.key if key is None else key] if one]
        if method not in ("GET", "HEAD"):
            own.append((b"content-length", str(len(body)).encode()))
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "query_string": query,
            "path": path, "raw_path": path.encode(), "root_path": "", "headers": [*own, *headers],
            "server": ("127.0.0.1", 8080), "client": ("127.0.0.1", 1),
            "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        sent: list[Any] = []
        asked: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return asked.pop() if asked else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.door(scope, receive, send))
        assert sent[0]["type"] == "http.response.start", sent
        found = Got(sent[0]["status"], sent[0]["headers"], b"".join(m.get("body", b"") for m in sent[1:]))
        site = None if found.status in (400, 403) and list(host) not in ([HOST], [b"localhost:8080"]) else SITE
        site = CONTENTS if list(host) == [b"localhost:8080"] else site
        for one in guarded([], site):
            assert one in found.headers or (one[0] == b"cache-control" and "/static/" in path), (method, path, one)
        return found


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with closing(opened_as(tmp_path_factory.mktemp("home"), Remote().vault)) as opened:
        yield Client(Context(opened))


def test_the_table_has_the_routes() -> None:
    assert ("POST", ENTER) in EVERY and ("DELETE", ENTER) in EVERY and len(READS) > 20 and len(WRITTEN) > 5


@pytest.mark.parametrize(("method", "path"), EVERY)
def test_without_a_session_the_interface_says_nothing(client: Client, method: str, path: str) -> None:
    if (method, path) == ("POST", ENTER):
        return
    for cookies in ([], [(b"cookie", b"rpdrive-8080=" + b"A" * 43)], [(client.cookie[0], client.cookie[1][:-1])]):
        got = client.ask(method, path, *OURS, *cookies)
        assert got.status == 401 and (method == "HEAD" or got.kind == "Locked")
    # The cookie of a page at another port, as the browser sends it to this one, too.
    other = (b"cookie", client.cookie[1].replace(b"8080", b"8081"))
    assert client.ask(method, path, *OURS, other).status == 401
    # Ours, as whoever serves a page at another port got it.
    stolen = (*OURS, client.cookie)
    for key in (b"", b"A" * 24, client.key[:-1], client.key + b"A"):
        if key or method not in ("GET", "HEAD") or path not in BY_COOKIE:
            got = client.ask(method, path, *stolen, key=key)
            assert got.status == 401 and (method == "HEAD" or got.kind == "Locked"), (key, got)
    assert client.ask(method, path, *stolen, (b"x-rpdrive-key", client.key)).status == 401


@pytest.mark.parametrize(("method", "path"), EVERY + PAGES)
def test_a_wrong_host_gets_no_further(client: Client, method: str, path: str) -> None:
    for host, status in (
        ([], 400), ([HOST, HOST], 400), ([b"evil.test:8080"], 403), ([b"127.0.0.1.evil.test"], 403),
    ):  # fmt: skip
        got = client.ask(method, path, *OURS, client.cookie, host=host)
        assert got.status == status
        assert (b"content-security-policy", SANDBOX.encode()) in got.headers
    forwarded = [(b"x-forwarded-host", b"127.0.0.1:8080"), (b"forwarded", b"host=127.0.0.1")]
    assert client.ask(method, path, *OURS, client.cookie, *forwarded, host=[b"evil.test"]).status == 403


@pytest.mark.parametrize(("method", "path"), WRITTEN)
def test_a_write_of_another_page_changes_nothing(client: Client, method: str, path: str) -> None:
    json_type, site = OURS[1], OURS[0]
    for headers, status in (
        ([json_type], 403),
        ([json_type, (b"sec-fetch-site", b"cross-site")], 403),
        ([json_type, (b"sec-fetch-site", b"same-site")], 403),
        ([json_type, (b"sec-fetch-site", b"none")], 403),
        ([json_type, (b"origin", b"http://evil.test")], 403),
        ([json_type, (b"origin", b"http://localhost:8080")], 403),
        ([json_type, (b"origin", b"null")], 403),
        ([json_type, (b"x-forwarded-for", b"127.0.0.1"), (b"origin", b"http://127.0.0.1:8081")], 403),
        ([site], 415),
        ([site, (b"content-type", b"text/plain")], 415),
        ([site, (b"content-type", b"application/x-www-form-urlencoded")], 415),
        ([site, (b"content-type", b"multipart/form-data; boundary=x")], 415),
    ):  # fmt: skip
        assert client.ask(method, path, client.cookie, *headers).status == status, headers
    assert client.ask(method, path, client.cookie, *OURS, body=b"x" * (MOST_BODY + 1)).status == 413


@pytest.mark.parametrize(("method", "path"), WRITTEN)
def test_a_malformed_body_is_a_malformed_request(client: Client, method: str, path: str) -> None:
    for body in (b"", b"{", b"[]", b"null", b"\xff", b'"x"', b"[" * 100_000, b"1e999999"):
        if method == "POST":
            got = client.ask(method, path, client.cookie, *OURS, body=body)
            # What takes no body, or names what isn't there, may say so first.
            assert got.status in (200, 400, 404), (body[:20], got)
            assert b"Unexpected" not in got.body


@pytest.mark.parametrize(("method", "path"), READS)
def test_another_page_reads_nothing(client: Client, method: str, path: str) -> None:
    for site in (b"cross-site", b"same-site"):
        assert client.ask(method, path, client.cookie, (b"sec-fetch-site", site)).status == 403
    assert client.ask(method, path, client.cookie, (b"content-length", b"5")).status == 400


@pytest.mark.parametrize("path", sorted({path for _method, path in EVERY + PAGES}))
def test_other_methods_and_other_spellings(client: Client, path: str) -> None:
    for method in ("PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
        got = client.ask(method, path, *OURS, client.cookie)
        assert got.status == 405 and b"allow" in dict(got.headers)
        assert b"access-control-allow-origin" not in dict(got.headers)
    for spelled in (
        "/" + path,
        path + "//",
        path + "/..",
        path + "/%2e%2e/x",
        path + "%2f",
        path + "%00",
        path + "\\",
    ):
        assert client.ask("GET", spelled, client.cookie).status == 400, spelled


@pytest.mark.parametrize(("method", "path"), EVERY)
def test_the_name_of_contents_has_no_interface(client: Client, method: str, path: str) -> None:
    got = client.ask(method, path, *OURS, client.cookie, host=[b"localhost:8080"], query=b"a=1&b=%0d%0a")
    if method in WRITES:
        assert got.status == 405
    else:
        assert got.status == 307 and got.body == b""
        assert dict(got.headers)[b"location"] == b"http://127.0.0.1:8080" + path.encode() + b"?a=1&b=%0d%0a"


@pytest.mark.parametrize(("method", "path"), WRITTEN)
def test_a_page_that_is_read_only_refuses_what_is_not_known_to_be_harmless(
    client: Client, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setattr(client.context.opened, "read_only", True)
    fresh = Client(Context(client.context.opened))
    got = fresh.ask(method, path, *OURS, fresh.cookie, body=b"[]")
    if re.search(r"/(link|searches|searches/0+|session)$", path):
        assert got.status in (400, 404) or (method, path) in (("POST", ENTER + "/link"), ("DELETE", ENTER)), got
    else:
        assert got.status == 403 and b"only shows and downloads" in got.body, got


def test_contents_need_a_link_and_know_no_cookie(client: Client) -> None:
    for path in ("/c/", "/c/x", "/c/x.y/name", "/c/../c/x", "/c//x"):
        got = client.ask("GET", path, client.cookie, host=[b"localhost:8080"])
        assert got.status in (400, 404)
        assert (b"content-security-policy", SANDBOX.encode()) in got.headers
        assert b"set-cookie" not in dict(got.headers)


def test_a_link_is_good_once_and_its_cookie_is_kept_from_scripts(client: Client) -> None:
    token = client.context.sessions.new_token()
    body = json.dumps({"token": token}).encode()
    got = client.ask("POST", ENTER, *OURS, body=body)
    assert got.status == 200
    cookie = dict(got.headers)[b"set-cookie"].decode()
    assert re.fullmatch(r"rpdrive-8080=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", cookie), cookie
    assert client.ask("POST", ENTER, *OURS, body=body).status == 403
    assert token.encode() not in got.body and cookie[13:56].encode() not in got.body
    header = (b"cookie", cookie.partition(";")[0].encode())
    key = json.loads(got.body)["key"].encode()
    assert client.ask("GET", ENTER, header, key=key).status == 200 and key != client.key
    again = client.ask(
        "POST", ENTER, *OURS, header, body=json.dumps({"token": client.context.sessions.new_token()}).encode()
    )
    assert again.status == 200 and b"set-cookie" not in dict(again.headers)
    assert json.loads(again.body)["key"].encode() == key
    ended = client.ask("DELETE", ENTER, *OURS, header, key=key)
    assert ended.status == 204 and b"Max-Age=0" in dict(ended.headers)[b"set-cookie"]
    assert client.ask("GET", ENTER, header, key=key).status == 401


def test_guessing_is_slowed_down(client: Client) -> None:
    fresh = Client(Context(client.context.opened))
    statuses = [fresh.ask("POST", ENTER, *OURS, body=b'{"token":"%d"}' % i).status for i in range(40)]
    assert statuses[:10] == [403] * 10 and 429 in statuses
    last = fresh.ask("POST", ENTER, (b"sec-fetch-site", b"cross-site"), OURS[1], body=b'{"token":"x"}')
    assert last.status == 403 and last.kind == "AccessDenied"  # pages elsewhere can't use the tries up


def test_screens_that_nobody_looks_at_keep_nothing_awake(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[bool] = []
    activity = client.guard.activity

    def note(counts: bool) -> Any:
        noted.append(counts)
        return nullcontext()

    monkeypatch.setattr(activity, "noted", note)
    client.ask("GET", ENTER, client.cookie)
    client.ask("GET", ENTER, client.cookie, (b"x-rpdrive-unattended", b"1"))
    client.ask("GET", "/")
    assert noted == [True, False, False]


def test_a_link_for_another_device_works_without_the_session_that_made_it(client: Client) -> None:
    got = client.ask("POST", ENTER + "/link", *OURS, client.cookie)
    link = json.loads(got.body)
    assert link["url"].startswith("http://127.0.0.1:8080/#t=") and link["seconds"] == 120
    token = link["url"].partition("#t=")[2]
    assert client.ask("POST", ENTER, *OURS, body=json.dumps({"token": token}).encode()).status == 200


def test_what_fails_unexpectedly_says_nothing_of_itself(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ZeroDivisionError("secret")

    guard = Guard(client.context.sessions, client.context.capabilities, broken, broken)
    before, client.door = client.door, Door(LoopbackHosts(), guard)
    try:
        got = client.ask("GET", "/")
    finally:
        client.door = before
    assert got.status == 500 and b"secret" not in got.body
    assert "ZeroDivisionError" in caplog.text
