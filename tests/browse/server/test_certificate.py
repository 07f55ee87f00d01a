"""The certificate is made once, is private, and is good for one name only."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mount.browse.api.context import Context
from mount.browse.guard.door import Door
from mount.browse.guard.hosts import ListenedHosts, LoopbackHosts, Origin
from mount.browse.server import certificate as making
from mount.browse.server.app import page_guard
from mount.browse.server.certificate import Certificate, certificate
from mount.browse.server.serving import Listener, Serving
from mount.browse.server.sockets import loopback
from tests.kit.browsing import opened_as
from tests.kit.vaults import Remote


def test_it_is_made_once_and_kept_private(tmp_path: Path) -> None:
    made = certificate(tmp_path / "certificates", "192.0.2.7")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
    assert certificate(tmp_path / "certificates", "192.0.2.7") == made
    assert certificate(tmp_path / "certificates", "192.0.2.8").fingerprint != made.fingerprint


def test_its_fingerprint_is_what_browsers_show(tmp_path: Path) -> None:
    made = certificate(tmp_path / "certificates", "nas.example")
    der = ssl.PEM_cert_to_DER_cert(made.path.read_text().partition("-----END PRIVATE KEY-----\n")[2])
    assert made.fingerprint.replace(":", "").lower() == hashlib.sha256(der).hexdigest()
    assert len(made.fingerprint) == 95


def test_it_says_what_it_is_for(tmp_path: Path) -> None:
    found = x509.load_pem_x509_certificate(certificate(tmp_path / "c", "nas.example").path.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["nas.example"]
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert (found.not_valid_after_utc - found.not_valid_before_utc).days <= 397
    assert isinstance(found.public_key(), ec.EllipticCurvePublicKey)


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_one_is_replaced(tmp_path: Path, damage: bytes | None) -> None:
    made = certificate(tmp_path / "c", "nas.example")
    data = made.path.read_bytes()
    made.path.write_bytes(data[: len(data) // 2] if damage is None else damage)
    again = certificate(tmp_path / "c", "nas.example")
    assert again.fingerprint != made.fingerprint
    assert certificate(tmp_path / "c", "nas.example") == again


def test_one_that_is_about_to_end_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_DAYS", 20)
    made = certificate(tmp_path / "c", "nas.example")
    monkeypatch.undo()
    assert certificate(tmp_path / "c", "nas.example").fingerprint != made.fingerprint


class Listened:
    """A page at a loopback address, by TLS, as --listen makes it at another one."""

    def __init__(self, made: Certificate, host: str, home: Path) -> None:
        self.context = Context(opened_as(home, Remote().vault))
        guard = page_guard(self.context)
        own, app, contents = loopback(None), loopback(None), loopback(None)
        self.host, self.port, self.contents_port, self.own_port = host, app.port, contents.port, own.port
        origins = Origin("https", host, app.port), Origin("https", host, contents.port)
        self.context.listened = str(origins[0])
        self.serving = Serving(
            guard,
            [
                Listener(Door(LoopbackHosts(), guard), own.sockets),
                Listener(Door(ListenedHosts(*origins, is_contents=False), guard), app.sockets, made.path),
                Listener(Door(ListenedHosts(*origins, is_contents=True), guard), contents.sockets, made.path),
            ],
            idle=None,
        )
        self.thread = threading.Thread(target=self.serving.run, args=(lambda: None,), daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        self.thread.start()
        try:
            yield
        finally:
            self.serving.stop("")
            self.thread.join(20)
            self.context.opened.close()

    def ask(
        self, method: str, path: str, trust: ssl.SSLContext, port: int | None = None, host: str | None = None,
        body: str | None = None, headers: dict[str, str] | None = None,
    ) -> http.client.HTTPResponse:  # fmt: skip
        port = port or self.port
        with closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=trust)) as connection:
            connection.request(method, path, body, {"Host": host or f"{self.host}:{port}"} | (headers or {}))
            answer = connection.getresponse()
            answer.read()
            return answer


def test_by_tls_only_the_named_host_with_its_certificate_is_answered(tmp_path: Path) -> None:
    made = certificate(tmp_path / "c", "127.0.0.1")
    trust = ssl.create_default_context(cafile=str(made.path))
    wrong = ssl.create_default_context(cafile=str(certificate(tmp_path / "c", "nas.example").path))
    page = Listened(made, "127.0.0.1", tmp_path)
    with page.running():
        answer = page.ask("GET", "/", trust)
        policy = answer.headers["Content-Security-Policy"]
        assert answer.status == 200 and f"img-src 'self' https://127.0.0.1:{page.contents_port};" in policy
        with pytest.raises(ssl.SSLCertVerificationError):
            page.ask("GET", "/", wrong)
        with pytest.raises(ssl.SSLCertVerificationError):
            page.ask("GET", "/", ssl.create_default_context())
        for host in (
            "localhost",
            f"localhost:{page.port}",
            "evil.test",
            f"127.0.0.1:{page.contents_port}",
            "127.0.0.1",
        ):
            assert page.ask("GET", "/", trust, host=host).status == 403
        assert page.ask("GET", "/", trust, port=page.contents_port).status == 307
        assert page.ask("POST", "/api/v1/session", trust, port=page.contents_port, body="{}").status == 405


def test_a_device_gets_in_by_a_link_and_its_cookie_is_for_tls_only(tmp_path: Path) -> None:
    made = certificate(tmp_path / "c", "127.0.0.1")
    trust = ssl.create_default_context(cafile=str(made.path))
    page = Listened(made, "127.0.0.1", tmp_path)
    with page.running():
        origin = f"https://127.0.0.1:{page.port}"
        ours = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin", "Origin": origin}
        assert page.ask("GET", "/api/v1/session", trust).status == 401
        body = f'{{"token": "{page.context.sessions.new_token()}"}}'
        answer = page.ask("POST", "/api/v1/session", trust, body=body, headers=ours)
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith(f"__Host-rpdrive-{page.port}=") and cookie.endswith("; Secure")
        (session,) = page.context.sessions._sessions.values()
        value, key = cookie.partition(";")[0], {"X-Rpdrive-Key": page.context.sessions.key(session)}
        for name, status in ((value, 200), (value.removeprefix("__Host-"), 401)):
            assert page.ask("GET", "/api/v1/session", trust, headers={"Cookie": name, **key}).status == status
        # A plain page of the same process, with its own port, has another cookie.
        with closing(http.client.HTTPConnection("127.0.0.1", page.own_port, timeout=30)) as connection:
            connection.request("GET", "/api/v1/session", headers={"Cookie": value, **key})
            assert connection.getresponse().status == 401
