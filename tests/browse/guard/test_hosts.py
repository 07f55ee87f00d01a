"""Only names of this machine are answered, and each leads to one of the two origins."""

from __future__ import annotations

import pytest

from mount.browse.guard.hosts import Hosts, ListenedHosts, LoopbackHosts, Origin, RefusedHost

APP, CONTENTS = Origin("https", "nas.example", 8443), Origin("https", "nas.example", 8444)


@pytest.mark.parametrize(
    ("host", "app", "contents", "is_contents"),
    [
        (b"127.0.0.1:4000", "http://127.0.0.1:4000", "http://localhost:4000", False),
        (b"[::1]:4000", "http://[::1]:4000", "http://localhost:4000", False),
        (b"localhost:4000", "http://127.0.0.1:4000", "http://localhost:4000", True),
        (b"LocalHost:4000", "http://127.0.0.1:4000", "http://localhost:4000", True),
        (b"127.0.0.1", "http://127.0.0.1", "http://localhost", False),
        (b"127.0.0.1:80", "http://127.0.0.1", "http://localhost", False),
        (b"127.0.0.1:65535", "http://127.0.0.1:65535", "http://localhost:65535", False),
    ],
)
def test_a_name_of_this_machine_leads_to_an_origin(host: bytes, app: str, contents: str, is_contents: bool) -> None:
    site = LoopbackHosts().site([host])
    assert (str(site.app), str(site.contents), site.is_contents) == (app, contents, is_contents)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([], 400),
        ([b"127.0.0.1:4000", b"127.0.0.1:4000"], 400),
        ([b"127.0.0.1:0"], 400),
        ([b"127.0.0.1:65536"], 400),
        *(
            ([host], 403)
            for host in (
                b"evil.test", b"evil.test:4000", b"127.0.0.1.evil.test", b"localhost.evil.test",
                b"evil.test#127.0.0.1", b"localhost.", b"127.0.0.2", b"127.1", b"2130706433", b"0.0.0.0", b"[::]",
                b"::1", b"[::1", b"[::ffff:127.0.0.1]", b"user@127.0.0.1", b"127.0.0.1:4000/x", b"127.0.0.1:+80",
                b"127.0.0.1: 80", b"127.0.0.1:80:80", b"127.0.0.1:\xb2", b"", b" ", b"localhost\x00",
                b"127.0.0.1\t", b"127.0.0.1, 127.0.0.1", "ｌocalhost".encode(),
            )
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "hosts", [LoopbackHosts(), ListenedHosts(APP, CONTENTS, is_contents=False)], ids=["loopback", "listened"]
)
def test_all_else_is_refused(hosts: Hosts, values: list[bytes], status: int) -> None:
    with pytest.raises(RefusedHost) as caught:
        hosts.site(values)
    assert caught.value.status == status or isinstance(hosts, ListenedHosts)


def test_a_listened_name_is_the_only_one() -> None:
    app, contents = (ListenedHosts(APP, CONTENTS, is_contents=which) for which in (False, True))
    assert app.site([b"NAS.example:8443"]) == (APP, CONTENTS, False)
    assert contents.site([b"nas.example:8444"]) == (APP, CONTENTS, True)
    for host in (b"nas.example:8444", b"nas.example", b"127.0.0.1:8443", b"localhost:8443", b"nas.example.:8443"):
        with pytest.raises(RefusedHost):
            app.site([host])
    with pytest.raises(RefusedHost):
        contents.site([b"nas.example:8443"])


def test_a_listened_ipv6_address_is_compared_as_it_was_given() -> None:
    app = Origin("https", "[2001:db8::7]", 443)
    hosts = ListenedHosts(app, app._replace(port=444), is_contents=False)
    assert hosts.site([b"[2001:DB8::7]"]).app == app
    assert str(app) == "https://[2001:db8::7]"


def test_the_cookies_name_has_the_port_and_is_bound_to_the_host_by_tls() -> None:
    assert LoopbackHosts().site([b"127.0.0.1:8080"]).cookie == "rpdrive-8080"
    assert LoopbackHosts().site([b"[::1]"]).cookie == "rpdrive-80"
    site = ListenedHosts(APP, CONTENTS, is_contents=False).site([b"nas.example:8443"])
    assert site.cookie == "__Host-rpdrive-8443"
