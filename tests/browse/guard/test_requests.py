"""What is refused of a request before anything is routed, as pure functions; test_door.py asks a real page."""

from __future__ import annotations

import pytest

from mount.browse.guard import requests
from mount.browse.guard.hosts import LoopbackHosts, Site
from mount.browse.guard.requests import Asked, Refusal

APP: Site = LoopbackHosts().site([b"127.0.0.1:8080"])
CONTENTS: Site = LoopbackHosts().site([b"localhost:8080"])
JSON = (b"content-type", b"application/json")
OURS = (b"sec-fetch-site", b"same-origin")
ORIGIN = (b"origin", b"http://127.0.0.1:8080")


def asked(method: str, *headers: tuple[bytes, bytes], path: str = "/api/v1/searches") -> Asked:
    return Asked.of({"method": method, "path": path, "headers": headers})


@pytest.mark.parametrize(
    "path", [b"/", b"/api/v1/points", b"/a%20b", b"/%E2%82%AC", b"/a..b/.c/d.", b"/%25", b"/%ff"]
)
def test_plain_paths_pass(path: bytes) -> None:
    requests.check_form(path)


BAD_PATHS = [
    b"", b"*", b"x", b"http://127.0.0.1/", b"//", b"//evil.test/", b"/a//b", b"/a/../b", b"/..", b"/.", b"/./a",
    b"/%2e%2e/a", b"/%2E./a", b"/a%2fb", b"/a%2Fb", b"/a%5cb", b"/a\\b", b"/a%00", b"/a%0d%0aSet-Cookie:x",
    b"/a%7f", b"/static/..%2f..%2fetc", b"/c/x/%2e",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_targets_that_could_mean_something_else_are_refused(path: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        requests.check_form(path)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X"]
)
def test_methods(method: str) -> None:
    def is_allowed(path: str, site: Site) -> bool:
        try:
            requests.check_method(asked(method, path=path), site)
        except Refusal as e:
            assert e.status == 405 and e.allow
            return False
        return True

    assert is_allowed("/api/v1/points", APP) == (method in ("GET", "HEAD", "POST", "DELETE"))
    assert is_allowed("/", APP) == (method in ("GET", "HEAD"))
    assert is_allowed("/c/x/y", CONTENTS) == is_allowed("/api/v1/points", CONTENTS) == (method in ("GET", "HEAD"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([OURS, JSON], 0),
        ([OURS, ORIGIN, JSON], 0),
        ([ORIGIN, JSON], 0),  # a browser from before 2023
        ([OURS, (b"content-type", b"application/json; charset=utf-8")], 0),
        ([JSON], 403),
        ([], 403),
        ([(b"sec-fetch-site", b"cross-site"), ORIGIN, JSON], 403),
        ([(b"sec-fetch-site", b"same-site"), ORIGIN, JSON], 403),  # another port of 127.0.0.1
        ([(b"sec-fetch-site", b"none"), JSON], 403),
        ([(b"sec-fetch-site", b""), ORIGIN, JSON], 403),
        ([OURS, OURS, JSON], 403),
        ([OURS, (b"sec-fetch-site", b"cross-site"), JSON], 403),
        ([OURS, (b"origin", b"null"), JSON], 403),
        ([(b"origin", b"null"), JSON], 403),
        ([(b"origin", b"http://localhost:8080"), JSON], 403),  # contents
        ([(b"origin", b"http://127.0.0.1:8081"), JSON], 403),
        ([(b"origin", b"https://127.0.0.1:8080"), JSON], 403),
        ([ORIGIN, ORIGIN, JSON], 403),
        ([OURS], 415),
        ([OURS, JSON, JSON], 415),
        ([OURS, (b"content-type", b"text/plain")], 415),
        ([OURS, (b"content-type", b"application/x-www-form-urlencoded")], 415),
        ([OURS, (b"content-type", b"multipart/form-data; boundary=x")], 415),
        ([OURS, (b"content-type", b"text/plain; application/json")], 415),
        ([OURS, (b"content-type", b"application/json; charset=utf-7")], 415),
        ([OURS, (b"content-type", b"application/jsonp")], 415),
    ],
)
def test_a_write_comes_from_the_page_itself(headers: list[tuple[bytes, bytes]], status: int) -> None:
    found = 0
    try:
        requests.check_source(asked("POST", *headers), APP)
    except Refusal as e:
        found = e.status
    assert found == status


def test_a_delete_may_have_no_body_and_so_no_type() -> None:
    requests.check_source(asked("DELETE", OURS), APP)
    with pytest.raises(Refusal):
        requests.check_source(asked("DELETE", OURS, (b"content-length", b"2")), APP)
    with pytest.raises(Refusal):
        requests.check_source(asked("DELETE"), APP)


@pytest.mark.parametrize(
    ("site", "passes"), [(b"same-origin", True), (b"none", True), (b"same-site", False), (b"cross-site", False)]
)
def test_another_page_cannot_read_the_interface(site: bytes, passes: bool) -> None:
    try:
        requests.check_source(asked("GET", (b"sec-fetch-site", site)), APP)
    except Refusal:
        assert not passes
    else:
        assert passes


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", [], 0),
        ("GET", [(b"content-length", b"0")], 0),
        ("GET", [(b"content-length", b"1")], 400),
        ("HEAD", [(b"transfer-encoding", b"chunked")], 400),
        ("POST", [(b"content-length", b"262144")], 0),
        ("POST", [(b"transfer-encoding", b"chunked")], 0),
        ("POST", [(b"content-length", b"262145")], 413),
        ("POST", [(b"content-length", b"9" * 30)], 400),
        ("POST", [(b"content-length", b"-1")], 400),
        ("POST", [(b"content-length", b"1"), (b"content-length", b"2")], 400),
        ("POST", [(b"content-encoding", b"gzip")], 415),
    ],
)
def test_bodies(method: str, headers: list[tuple[bytes, bytes]], status: int) -> None:
    found = 0
    try:
        requests.check_body(asked(method, *headers))
    except Refusal as e:
        found = e.status
    assert found == status


def test_cookies_are_found_by_their_whole_name() -> None:
    found = asked(
        "GET",
        (b"Cookie", b"a=b; rpdrive-8080=one;rpdrive-808=x"),
        (b"cookie", b"rpdrive-8080=two=;xrpdrive-8080=y"),
    )
    assert found.cookies("rpdrive-8080") == ["one", "two="]
    many = asked("GET", (b"cookie", b"; ".join(b"rpdrive-8080=%d" % i for i in range(1000))))
    assert len(many.cookies("rpdrive-8080")) == 8
    assert asked("GET", (b"cookie", b"rpdrive-8080")).cookies("rpdrive-8080") == []
