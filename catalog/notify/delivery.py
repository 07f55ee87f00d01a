"""One message to one target, whatever kind it is. Each kind's module is loaded only when it is used."""

from __future__ import annotations

from catalog.notify.bounded import Undelivered
from catalog.notify.event import Event, Ping
from catalog.notify.targets import Apprise, PingUrl, Smtp, Target, Webhook, hidden


def deliver(target: Target, content: Event | Ping) -> str:
    """Send a message to a target, in a bounded time. Returns a remark, mostly "".

    Raises Undelivered, and nothing else; neither its text nor the remark has secrets of the target.
    """
    try:
        return hidden(_deliver(target, content), target)
    except Undelivered as e:
        raise Undelivered(hidden(str(e), target), refused=e.refused) from None
    except Exception as e:  # noqa: BLE001 - a message must not end what it is about
        raise Undelivered(hidden(f"unexpected {type(e).__name__}: {e}", target)) from None


def _deliver(target: Target, content: Event | Ping) -> str:
    match target, content:
        case Smtp(), Event():
            from catalog.notify.mail import send_mail

            return send_mail(target, content)
        case Webhook(), Event():
            from catalog.notify.http import send_webhook

            send_webhook(target, content)
        case PingUrl(), Ping():
            from catalog.notify.http import send_ping

            send_ping(target, content)
        case Apprise(), Event():
            from catalog.notify.services import send_by_apprise

            send_by_apprise(target, content)
        case _:
            raise Undelivered("a target of this kind takes no such message", refused=True)
    return ""
