"""What a user asks of a restore."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field

from mount.restore.conflict import Policy
from mount.restore.selection import Selection


@dataclass
class Options:
    """What the user asked for. `target` is a folder; `in_place`: paths of the point below it, as they are."""

    target: bytes
    in_place: bool = False
    policy: Policy = Policy.COPY
    permissions: bool = True
    by_name: bool = False
    selection: Selection = field(default_factory=Selection)
    dry_run: bool = False
    verify: bool = False
    system: str = field(default_factory=platform.system)  # whose rules names follow: what the target is on
