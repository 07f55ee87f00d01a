"""Services that the library `apprise` knows. It is loaded only when a target of this kind has something to send."""

from __future__ import annotations

import logging
from typing import Any

from catalog.notify.bounded import Undelivered
from catalog.notify.event import Event, Severity, What
from catalog.notify.message import message_of
from catalog.notify.targets import Apprise

_TYPES = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


def send_by_apprise(target: Apprise, event: Event) -> None:
    """Send an event to a service. Raises Undelivered.

    Neither plug-ins from files nor configurations from elsewhere are loaded: the URL of the target alone counts.
    """
    try:
        import apprise
    except ImportError as e:
        raise Undelivered("apprise is not installed; install `rpdrive[notify]`") from e
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs URLs, which have secrets in them
    asset = apprise.AppriseAsset(plugin_paths=[], async_mode=False, app_id="rpdrive", app_desc="", app_url="")
    message = message_of(event)
    type_ = "success" if event.what is What.RESOLVED else _TYPES[event.severity]
    try:
        service: Any = apprise.Apprise.instantiate(target.url, asset=asset)
        if not isinstance(service, apprise.NotifyBase):
            raise Undelivered("url is not the URL of a service that apprise knows")
        taken = service.notify(body=message.text, title=message.subject, notify_type=type_)
    except Undelivered:
        raise
    except Exception as e:  # a hundred plug-ins of others
        raise Undelivered(f"apprise failed with {type(e).__name__}") from e
    if not taken:
        raise Undelivered("the service did not take it (apprise says no more)")
