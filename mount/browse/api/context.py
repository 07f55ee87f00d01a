"""What the endpoints work with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from mount.browse.guard.capabilities import Capabilities
from mount.browse.guard.sessions import Sessions
from mount.browse.resources.downloads import Downloads
from mount.browse.resources.opened import Opened
from mount.browse.resources.restores import is_restoring
from mount.browse.resources.searches import searches

WAITING = 32  # requests that wait for the store at once: Starlette has 40 threads


@dataclass
class Context:
    """The vault that is shown, and who may see it.

    `listened`: the origin at which other devices reach the page by TLS, and the certificate's `fingerprint`.
    `running`: functions that say whether jobs of theirs run, which keep the process from ending when it is idle.
    `turns`: those of requests that may wait for the store.
    """

    opened: Opened
    sessions: Sessions = field(default_factory=Sessions)
    listened: str | None = None
    fingerprint: str | None = None
    running: list[Callable[[], bool]] = field(default_factory=list)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WAITING))
    capabilities: Capabilities = field(init=False)
    downloads: Downloads = field(init=False)

    def __post_init__(self) -> None:
        self.capabilities = Capabilities(self.sessions)
        self.downloads = Downloads(self.opened)
        self.running += [
            lambda: bool(self.opened.streams.running()),
            lambda: searches(self.opened).is_running(),
            lambda: is_restoring(self.opened),
        ]

    def is_busy(self) -> bool:
        """Whether a job runs."""
        return any(runs() for runs in self.running)
