"""Mail: an event as a message with text and HTML, and its way to a server."""

from __future__ import annotations

import hashlib
import platform
import re
import smtplib
import socket
import ssl
from datetime import UTC
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime
from io import BufferedReader
from typing import Any

from catalog.errors import RpdriveError
from catalog.notify import bounded
from catalog.notify.bounded import Deadline, Undelivered, words_of
from catalog.notify.config import read_password
from catalog.notify.event import Event, Severity, What
from catalog.notify.matching import local_of
from catalog.notify.message import message_of
from catalog.notify.targets import Smtp

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_LONGEST_REPLY = 64 << 10  # bytes


def send_mail(target: Smtp, event: Event) -> str:
    """Send an event by mail; the server's certificate is checked. Raises Undelivered.

    Returns which recipients were refused if others were not: sent again, these would get it twice. Else "".
    """
    mail = mail_of(target, event)
    with Deadline() as deadline:
        try:
            refused = _send(target, mail, deadline)
        except smtplib.SMTPAuthenticationError as e:
            raise Undelivered(f"the server did not accept user and password ({e.smtp_code})") from e
        except smtplib.SMTPRecipientsRefused as e:
            raise Undelivered(f"the server refused all recipients: {_first(e.recipients)}") from e
        except smtplib.SMTPDataError as e:
            why = f"the server refused it: {_words(e.smtp_code, e.smtp_error)}"
            raise Undelivered(why, refused=500 <= e.smtp_code < 600) from e
        except smtplib.SMTPResponseException as e:
            raise Undelivered(f"the server answered {_words(e.smtp_code, e.smtp_error)}") from e
        except (OSError, smtplib.SMTPException, ValueError) as e:
            raise Undelivered("no whole answer in time" if deadline.over else words_of(e)) from e
    return f"the server refused some recipients: {_first(refused)}" if refused else ""


def _send(target: Smtp, mail: EmailMessage, deadline: Deadline) -> dict[str, tuple[int, bytes]]:
    context = ssl.create_default_context(cafile=target.ca_file or None)
    password = target.password
    if target.password_file:
        try:
            password = read_password(target.password_file)
        except RpdriveError as e:
            raise Undelivered(str(e)) from e
    server = _Server(target, context, deadline)
    try:
        server.connect(target.host, target.used_port)
        if target.security == "starttls":
            server.starttls(context=context)
        if target.user:
            server.login(target.user, password)
        return server.send_message(mail, mail["From"], target.to)
    finally:
        server.close()  # without QUIT: a server that took the message may still hang


class _Reply:
    """What a server says, up to a bound for each reply: smtplib collects lines without one."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.left = _LONGEST_REPLY

    def readline(self, size: int = -1, /) -> bytes:
        line = self._file.readline(size)
        self.left -= len(line)
        if self.left < 0:
            raise smtplib.SMTPServerDisconnected("the server's reply is too long")
        return line

    def close(self) -> None:
        self._file.close()


class _Server(smtplib.SMTP):
    """A connection with an end, and with TLS from the start if the target says so."""

    def __init__(self, target: Smtp, context: ssl.SSLContext, deadline: Deadline) -> None:
        self._tls = context if target.security == "tls" else None
        self._deadline = deadline
        name = platform.node()
        # A name is given, as smtplib would ask the network for one, without an end.
        super().__init__(local_hostname=name if _HOST.fullmatch(name) else "localhost", timeout=bounded.STEP)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), timeout)
        self._host = host  # what starttls compares the certificate with
        self._deadline.watch(connection)
        return self._tls.wrap_socket(connection, server_hostname=host) if self._tls else connection

    def getreply(self) -> tuple[int, bytes]:
        file: Any = self.file
        if file is None and self.sock is not None:
            file = _Reply(self.sock.makefile("rb"))
            self.file = file
        if isinstance(file, _Reply):
            file.left = _LONGEST_REPLY
        return super().getreply()


def mail_of(target: Smtp, event: Event) -> EmailMessage:
    """The mail of an event. Mails about one alert are a thread."""
    message = message_of(event)
    sender = target.sender or (target.user if "@" in target.user else "") or f"rpdrive@{_own_host()}"
    mail = EmailMessage(policy=POLICY)
    mail["From"] = f"rpdrive <{sender}>"
    mail["To"] = ", ".join(target.to)
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(local_of(event.time, UTC))
    domain = sender.rpartition("@")[2]
    mail["Message-ID"] = _message_id(event, event.what, event.time, domain)
    if event.key and event.what in (What.REMINDED, What.RESOLVED):
        first = _message_id(event, What.OPENED, event.opened, domain)
        mail["In-Reply-To"] = first
        mail["References"] = first
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    if event.severity is Severity.CRITICAL and event.what is not What.RESOLVED:
        mail["Importance"] = "high"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    return mail


def _message_id(event: Event, what: What, time: int, domain: str) -> str:
    """The same for the same event, so that a mail that was sent twice shows once."""
    parts = (event.key or event.alert, event.machine, event.item, what, str(time))
    digest = hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=16).hexdigest()
    return f"<{digest}@{domain}>"


def _own_host() -> str:
    name = platform.node()
    return name if _HOST.fullmatch(name) else "localhost"


def _first(refused: dict[str, tuple[int, bytes]]) -> str:
    return next((f"{address}: {_words(*why)}" for address, why in refused.items()), "no reason given")


def _words(code: int, text: bytes | str) -> str:
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(said.split())}"[:200]
