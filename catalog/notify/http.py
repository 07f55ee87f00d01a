"""Webhooks and pings: one POST each, by urllib, without redirects."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
import uuid
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from catalog.notify import bounded
from catalog.notify.bounded import Deadline, Undelivered, words_of
from catalog.notify.event import Event, Ping, PingWhat
from catalog.notify.message import message_of
from catalog.notify.targets import PingUrl, Webhook
from catalog.screen.text import iso_time, safe_text

_LONGEST_PING = 10_000  # bytes
_ENDS = {PingWhat.START: "/start", PingWhat.SUCCESS: "", PingWhat.FAIL: "/fail"}
_AGENT = "rpdrive"
_ANSWER = 4096  # bytes of an answer that are read
_REFUSALS = {400, 413, 422}  # about this message, not about who sends it


def send_webhook(target: Webhook, event: Event) -> None:
    """Post an event. Raises Undelivered."""
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": _AGENT} | target.headers
    post(target.url, json.dumps(document_of(event)).encode(), headers, target.ca_file)


def document_of(event: Event) -> dict[str, Any]:
    """What a webhook gets. `text` is the whole message: chat services show that field."""
    message = message_of(event)
    return {
        "version": 1,
        "event": event.what,
        "alert": event.alert,
        "severity": event.severity,
        "security": event.security,
        "machine": safe_text(event.machine),
        "item": safe_text(event.item),
        "key": event.key,
        "time": iso_time(event.time),
        "opened": iso_time(event.opened) if event.opened else None,
        "subject": message.subject,
        "text": f"{message.subject}\n\n{message.text}",
        "advice": safe_text(event.advice),
        "command": safe_text(event.command),
        "fields": {safe_text(name): safe_text(value) for name, value in event.fields.items()},
    }


def send_ping(target: PingUrl, ping: Ping) -> None:
    """Give a sign of life. Raises Undelivered."""
    body = "\n".join(safe_text(line) for line in ping.text.splitlines()).encode(errors="replace")
    headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": _AGENT}
    post(ping_url(target.url, ping), _start_of(body, _LONGEST_PING), headers, target.ca_file)


def ping_url(url: str, ping: Ping) -> str:
    """The URL of a ping: `/start` or `/fail` after the path, and the id of the run."""
    parts = urlsplit(url)
    query = parts.query
    if len(ping.run) == 32:
        query = f"{query}&rid={uuid.UUID(ping.run)}" if query else f"rid={uuid.UUID(ping.run)}"
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + _ENDS[ping.what], query=query))


def _start_of(data: bytes, length: int) -> bytes:
    return data[:length].decode(errors="ignore").encode()  # a letter that was cut goes


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows none: a message and its secrets go to the server that was named, or nowhere."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        return None


def post(url: str, body: bytes, headers: dict[str, str], ca_file: str = "") -> None:
    """POST a body, and wait for an answer of success for 30 seconds at most. Raises Undelivered."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as e:
        raise Undelivered(f"ca_file can't be used: {words_of(e)}") from e
    with Deadline() as deadline:
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _plain(deadline),
            _encrypted(deadline, context),
            _NoRedirects(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            opener.add_handler(handler)
        try:
            request = urllib.request.Request(url, body, headers, method="POST")
            with opener.open(request, timeout=bounded.STEP) as answer:
                answer.read(_ANSWER)
            if deadline.over:  # to http.client the end of a connection is the end of the headers
                raise Undelivered("no whole answer in time")
        except urllib.error.HTTPError as e:
            e.close()
            if 300 <= e.code < 400:
                raise Undelivered(f"it answered {e.code}, which leads elsewhere; set its final URL") from e
            raise Undelivered(f"it answered {e.code}", refused=e.code in _REFUSALS) from e
        except (OSError, http.client.HTTPException, ValueError) as e:
            cause = e.reason if isinstance(e, urllib.error.URLError) and isinstance(e.reason, OSError) else e
            why = "no whole answer in time" if deadline.over else words_of(cause)
            raise Undelivered(why) from e


def _watched(deadline: Deadline, connection: Any) -> Any:
    connect = connection._create_connection

    def create(*args: Any, **named: Any) -> Any:
        made = connect(*args, **named)
        deadline.watch(made)
        return made

    connection._create_connection = create  # the one place where http.client opens its socket
    return connection


def _plain(deadline: Deadline) -> urllib.request.HTTPHandler:
    class Handler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            def make(host: str, **named: Any) -> Any:
                return _watched(deadline, http.client.HTTPConnection(host, **named))

            return self.do_open(make, req)

    return Handler()


def _encrypted(deadline: Deadline, context: ssl.SSLContext) -> urllib.request.HTTPSHandler:
    class Handler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            def make(host: str, **named: Any) -> Any:
                return _watched(deadline, http.client.HTTPSConnection(host, **named))

            return self.do_open(make, req, context=context)

    return Handler(context=context)
