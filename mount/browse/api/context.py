"""What the endpoints work with."""

from __future__ import annotations

from dataclasses import dataclass, field

from mount.browse.guard.capabilities import Capabilities
from mount.browse.guard.sessions import Sessions
from mount.browse.resources.opened import Opened


@dataclass
class Context:
    """The vault that is shown, and who may see it. `secure`: by TLS. `contents`: its fixed origin."""

    opened: Opened
    sessions: Sessions = field(default_factory=Sessions)
    secure: bool = False
    contents: str | None = None
    capabilities: Capabilities = field(init=False)

    def __post_init__(self) -> None:
        self.capabilities = Capabilities(self.sessions)
