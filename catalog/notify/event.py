"""What is to be told, and what whoever tells it promises.

Events come from alerts (opened, reminded, resolved), from `rpdrive notify test` and from the weekly digest. They
are made on this machine, and kept in its spool until a target has taken them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec


class What(StrEnum):
    """Why an event is told."""

    OPENED = "opened"
    REMINDED = "reminded"
    RESOLVED = "resolved"
    TEST = "test"
    DIGEST = "digest"


class Severity(StrEnum):
    """How bad it is; in ascending order."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Event(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One thing to tell. Times in ns since the epoch (UTC).

    `alert` is the kind of the alert (`backup.failed`), `key` names this one alert from its opening to its end:
    events of one key make one thread of mails. `machine` and `item` are names, "" if there is none. `title` is a
    short phrase without them ("backup failed"), `text` says what happened, `advice` what to do next, and `command`
    is the command line for it. `fields` are further facts by name. A `security` event goes to all targets. `html`
    is the HTML part of a digest; other events get one from their fields.
    """

    what: What
    alert: str
    severity: Severity
    time: int
    title: str
    text: str = ""
    advice: str = ""
    command: str = ""
    machine: str = ""
    item: str = ""
    key: str = ""
    opened: int = 0
    security: bool = False
    fields: dict[str, str] = {}
    html: str = ""


class PingWhat(StrEnum):
    """What a dead man's switch hears: that a run starts, or how it ended."""

    START = "start"
    SUCCESS = "success"
    FAIL = "fail"


class Ping(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A sign of life of one run. `kind` is the kind of the job (`backup`), `run` its id (hex).

    `text` is what the run says last, e.g. its error.
    """

    what: PingWhat
    kind: str
    time: int
    item: str = ""
    run: str = ""
    text: str = ""


class Failing(NamedTuple):
    """A target that has taken nothing for an hour or more: the fact of the alert `target.failing`.

    `since` is the time of the oldest event that waits for it (ns, UTC), `error` what went wrong last.
    """

    target: str
    since: int
    waiting: int
    error: str


class Notifications(Protocol):
    """Tells people. No method raises, and none takes more than a few seconds, whatever the targets do."""

    def send(self, events: Sequence[Event], now: int) -> Sequence[Event]:
        """Spool the events for the targets that want them, and try to deliver what waits.

        Returns those that could neither be kept nor delivered, e.g. on a full disk, if there are any: send them
        again later.
        """
        ...

    def ping(self, ping: Ping) -> None:
        """Send a sign of life to the targets of type `ping` for its kind and item."""
        ...

    def retry(self, now: int) -> None:
        """Try again to deliver what waits in the spool, as far as it is due. Called by each tick."""
        ...

    def failing(self, now: int) -> list[Failing]:
        """The targets whose events have waited for an hour or more."""
        ...
