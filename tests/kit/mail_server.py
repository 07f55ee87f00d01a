"""A real SMTP server in this process, with TLS and users, and certificates made for it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "backup", "correct horse, battery"


class Certificate(NamedTuple):
    """Files in PEM: a certificate for localhost, which is its own authority, and its key."""

    authority: Path
    key: Path


@cache
def certificate(name: str) -> Certificate:
    """A certificate for a name, and for 127.0.0.1 if that is `localhost`."""
    folder = Path(mkdtemp(prefix="rpdrive-tls-"))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=10))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return Certificate(folder / "cert.pem", folder / "key.pem")


def server_context(name: str) -> ssl.SSLContext:
    """What a server needs to speak TLS."""
    made = certificate(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.authority, made.key)
    return context


class Received(NamedTuple):
    """A mail as a server got it."""

    sender: str
    recipients: list[str]
    mail: EmailMessage
    raw: bytes
    encrypted: bool
    user: str | None


class MailServer:
    """A running server: its port, and the mails that it took."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.port = 0
        self.refuse_data = ""  # a reply instead of taking a mail
        self.refuse_recipients: set[str] = set()

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address in self.refuse_recipients:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, smtp: Any, session: Any, envelope: Any) -> str:
        if self.refuse_data:
            return self.refuse_data
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.received.append(
            Received(
                envelope.mail_from, envelope.rcpt_tos, mail, envelope.content,
                smtp.transport.get_extra_info("ssl_object") is not None,
                session.auth_data.login.decode() if session.auth_data else None,
            )
        )  # fmt: skip
        return "250 OK"


@contextmanager
def mail_server(security: str = "starttls", *, users: bool = True, name: str = "localhost") -> Iterator[MailServer]:
    """A server on a free port of 127.0.0.1 whose certificate is for `name`."""
    server = MailServer()
    options: dict[str, Any] = {"hostname": "localhost"}
    if security == "starttls":
        options |= {"tls_context": server_context(name), "require_starttls": True}
    if users:
        # Of TLS from the start it knows nothing: there it can't require a user, who gives his name all the same.
        known = security == "starttls"
        options |= {"authenticator": _authenticate, "auth_required": known, "auth_require_tls": known}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    tls = server_context(name) if security == "tls" else None
    listening = loop.create_server(lambda: SMTP(server, loop=loop, **options), "127.0.0.1", 0, ssl=tls)
    listener = asyncio.run_coroutine_threadsafe(listening, loop).result()
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_stop(listener), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(listener: asyncio.Server) -> None:
    listener.close()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, auth_data=data if good else None, handled=False)
