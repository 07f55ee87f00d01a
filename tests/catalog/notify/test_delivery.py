"""Deliveries to real servers: good ones, ones that refuse, and ones that never come to an end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from catalog.notify import bounded
from catalog.notify.bounded import Undelivered
from catalog.notify.delivery import deliver
from catalog.notify.event import Ping, PingWhat, What
from catalog.notify.targets import Apprise, PingUrl, Smtp, Target, Webhook
from tests.catalog.notify.events import NOW, event
from tests.kit.mail_server import PASSWORD, USER, MailServer, certificate, mail_server, server_context
from tests.kit.web_server import WebServer, raw_server, refused_port, web_server

RUN = "0123456789abcdef0123456789abcdef"


def mail(server: MailServer, security: str, **fields: object) -> Smtp:
    made = {"user": USER, "password": PASSWORD, "sender": "backup@example.org", "ca_file": CA} | fields
    target = Smtp(host="localhost", port=server.port, to=["ops@example.org"], security=security, **made)  # type: ignore[arg-type]
    target.check()
    return target


CA = str(certificate("localhost").authority)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_arrives_encrypted_and_by_a_user(security: str) -> None:
    with mail_server(security) as server:
        assert deliver(mail(server, security), event()) == ""
    (got,) = server.received
    assert got.encrypted and got.user == USER
    assert got.sender == "backup@example.org" and got.recipients == ["ops@example.org"]
    assert got.mail["Subject"] == "SRV01: home: backup failed" and got.mail["Auto-Submitted"] == "auto-generated"
    text = got.mail.get_body(("plain",))
    html = got.mail.get_body(("html",))
    assert text is not None and "no route to host" in text.get_content()
    assert html is not None and "<table" in html.get_content()


def test_mail_without_encryption_or_user() -> None:
    with mail_server("none", users=False) as server:
        deliver(mail(server, "none", user="", password=""), event())
    assert len(server.received) == 1 and not server.received[0].encrypted


def test_the_password_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o600)
    with mail_server() as server:
        deliver(mail(server, "starttls", password="", password_file=str(file)), event())
        file.chmod(0o644)
        with pytest.raises(Undelivered, match="holds secrets"):
            deliver(mail(server, "starttls", password="", password_file=str(file)), event())
    assert len(server.received) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(("name", "ca"), [("localhost", ""), ("mail.example.org", "own")])
def test_a_certificate_that_is_not_valid_is_refused(security: str, name: str, ca: str) -> None:
    """Neither one of an unknown authority, nor one for another name."""
    file = str(certificate(name).authority) if ca else ""
    with (
        mail_server(security, name=name) as server,
        pytest.raises(Undelivered, match="certificate is not valid") as caught,
    ):
        deliver(mail(server, security, ca_file=file), event())
    assert PASSWORD not in str(caught.value) and server.received == []


def test_a_wrong_password_is_said_without_it() -> None:
    with mail_server() as server, pytest.raises(Undelivered, match="did not accept user and password") as caught:
        deliver(mail(server, "starttls", password="wrong horse"), event())
    assert "wrong horse" not in str(caught.value) and not caught.value.refused


def test_a_server_without_starttls_gets_nothing() -> None:
    with mail_server("none", users=False) as server, pytest.raises(Undelivered, match="STARTTLS"):
        deliver(mail(server, "starttls"), event())
    assert server.received == []


def test_a_refused_mail_and_refused_recipients() -> None:
    with mail_server() as server:
        server.refuse_data = "554 looks like spam"
        with pytest.raises(Undelivered, match="554 looks like spam") as caught:
            deliver(mail(server, "starttls"), event())
        assert caught.value.refused
        server.refuse_data = "452 try later"
        with pytest.raises(Undelivered, match="452 try later") as caught:
            deliver(mail(server, "starttls"), event())
        assert not caught.value.refused
        server.refuse_data = ""
        server.refuse_recipients = {"gone@example.org"}
        target = mail(server, "starttls")
        some = Smtp(
            **{f: getattr(target, f) for f in target.__struct_fields__} | {"to": ["a@b", "gone@example.org"]}
        )
        assert "gone@example.org: 550 no such mailbox" in deliver(some, event())
        server.refuse_recipients |= {"a@b"}
        with pytest.raises(Undelivered, match="refused all recipients"):
            deliver(some, event())
    assert [got.recipients for got in server.received] == [["a@b"]]


# --- HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


def test_a_webhook_gets_json_and_its_headers(server: WebServer) -> None:
    target = Webhook(url=f"{server.url}/hook?x=1", headers={"Authorization": "Bearer 123456"})
    target.check()
    assert deliver(target, event(What.RESOLVED)) == ""
    (got,) = server.requests
    assert (got.method, got.path, got.headers["Authorization"]) == ("POST", "/hook?x=1", "Bearer 123456")
    assert got.json["event"] == "resolved" and got.json["machine"] == "SRV01"
    assert got.json["text"].startswith("Resolved: SRV01: home: backup failed\n\nThe vault")


def test_https_checks_the_certificate() -> None:
    with web_server(server_context("localhost")) as running:
        url = f"https://localhost:{running.port}/"
        deliver(Webhook(url=url, ca_file=CA), event())
        with pytest.raises(Undelivered, match="certificate is not valid"):
            deliver(Webhook(url=url), event())
        other = str(certificate("mail.example.org").authority)
        with pytest.raises(Undelivered, match="certificate is not valid"):
            deliver(Webhook(url=url, ca_file=other), event())
    assert len(running.requests) == 1


@pytest.mark.parametrize(
    ("what", "path"), [(PingWhat.START, "/abc/start"), (PingWhat.SUCCESS, "/abc"), (PingWhat.FAIL, "/abc/fail")]
)
def test_pings_are_those_of_healthchecks(server: WebServer, what: PingWhat, path: str) -> None:
    ping = Ping(what=what, kind="backup", run=RUN, time=NOW, text="é" * 20_000 + "\x1b[31m")
    deliver(PingUrl(url=f"{server.url}/abc"), ping)
    (got,) = server.requests
    assert got.path == f"{path}?rid=01234567-89ab-cdef-0123-456789abcdef"
    assert got.body == ("é" * 5_000).encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: WebServer, status: int) -> None:
    with web_server() as other:
        server.status, server.headers = status, {"Location": other.url}
        with pytest.raises(Undelivered, match=f"answered {status}, which leads elsewhere"):
            deliver(Webhook(url=server.url, headers={"Authorization": "secret"}), event())
        assert other.requests == []


@pytest.mark.parametrize(
    ("status", "refused"), [(400, True), (413, True), (401, False), (404, False), (500, False)]
)
def test_answers_that_are_no_success(server: WebServer, status: int, refused: bool) -> None:
    server.status = status
    with pytest.raises(Undelivered, match=f"answered {status}") as caught:
        deliver(Webhook(url=f"{server.url}/secret-token"), event())
    assert caught.value.refused is refused and "secret-token" not in str(caught.value)


# --- apprise --------------------------------------------------------------------------------------------------

OTHERS = "ignore::DeprecationWarning"  # in the library's imports


@pytest.mark.filterwarnings(OTHERS)
def test_apprise_sends_to_a_service(server: WebServer) -> None:
    deliver(Apprise(url=f"json://127.0.0.1:{server.port}/x"), event(What.RESOLVED))
    (got,) = server.requests
    assert got.json["title"] == "Resolved: SRV01: home: backup failed" and got.json["type"] == "success"


@pytest.mark.filterwarnings(OTHERS)
@pytest.mark.parametrize("url", ["nonsense://x", "json://127.0.0.1:{port}/hush"])
def test_apprise_that_fails_says_nothing_secret(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Undelivered) as caught:
        deliver(Apprise(url=url.format(port=refused_port())), event())
    assert "hush" not in f"{caught.value}{capfd.readouterr()}"


# --- servers without end --------------------------------------------------------------------------------------


def hang(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def half(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 20")


def half_mail(connection: socket.socket) -> None:
    connection.sendall(b"220 hello\r\n")
    connection.recv(4096)
    connection.sendall(b"250-half")


def dribble(connection: socket.socket) -> None:
    wait = threading.Event()
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in count():
        connection.sendall(b"x")
        wait.wait(0.05)


def dribble_mail(connection: socket.socket) -> None:
    wait = threading.Event()
    for _ in count():
        connection.sendall(b"220-")
        wait.wait(0.05)


def flood(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in count():
        connection.sendall(b"X: " + b"y" * 60_000 + b"\r\n")


def flood_mail(connection: socket.socket) -> None:
    for _ in count():
        connection.sendall(b"220-" + b"y" * 4000 + b"\r\n")


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\xff\x00 nonsense \r\n\r\n" * 20)


@pytest.mark.parametrize("behave", [hang, half, dribble, flood, garbage])
@pytest.mark.parametrize("kind", ["webhook", "tls", "ping"])
def test_a_bad_web_server_has_an_end(
    kind: str, behave: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "STEP", 0.3)
    monkeypatch.setattr(bounded, "WHOLE", 0.6)
    with raw_server(behave) as port:
        target: Target = Webhook(url=f"http{'s' if kind == 'tls' else ''}://127.0.0.1:{port}/")
        if kind == "ping":
            with pytest.raises(Undelivered):
                deliver(PingUrl(url=f"http://127.0.0.1:{port}/"), Ping(what=PingWhat.FAIL, kind="backup", time=NOW))
        else:
            with pytest.raises(Undelivered):
                deliver(target, event())


@pytest.mark.parametrize("behave", [hang, half_mail, dribble_mail, flood_mail, garbage])
@pytest.mark.parametrize("security", ["none", "tls"])
def test_a_bad_mail_server_has_an_end(
    security: str, behave: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "STEP", 0.3)
    monkeypatch.setattr(bounded, "WHOLE", 0.6)
    with raw_server(behave) as port, pytest.raises(Undelivered):
        deliver(Smtp(host="127.0.0.1", port=port, to=["a@b"], security=security), event())  # type: ignore[arg-type]


def test_a_refused_connection_is_said() -> None:
    port = refused_port()
    with pytest.raises(Undelivered, match="connection refused"):
        deliver(Smtp(host="127.0.0.1", port=port, to=["a@b"], security="none"), event())
    with pytest.raises(Undelivered, match="connection refused"):
        deliver(Webhook(url=f"http://127.0.0.1:{port}/"), event())


def test_a_bug_is_a_failure_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("a bug at https://example.org/services/hush")

    monkeypatch.setattr("catalog.notify.http.post", explode)
    with pytest.raises(Undelivered, match="unexpected RuntimeError: a bug at …"):
        deliver(Webhook(url="https://example.org/services/hush"), event())


def test_a_target_takes_only_what_it_is_for() -> None:
    with pytest.raises(Undelivered, match="takes no such message"):
        deliver(PingUrl(url="https://example.org/"), event())
