"""Options of a restore."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

from mount.restore.conflict import Policy
from mount.restore.selection import Selection


@dataclass
class Options:
    """The options of a restore. `target` is a folder; `in_place`: keep whole paths of the point below it.

    `own`: the id of this machine; unless `trust_modes`, set-id bits, capabilities and devices in points of other
    machines are left out. `state`: the folder for this machine's records; without it, no later run continues what
    this one left behind. `near`: the vault is in a folder of this machine, so little is requested ahead.
    """

    target: bytes
    in_place: bool = False
    policy: Policy = Policy.COPY
    permissions: bool = True
    by_name: bool = False
    selection: Selection = field(default_factory=Selection)
    dry_run: bool = False
    verify: bool = False
    own: bytes | None = None
    trust_modes: bool = True
    state: Path | None = None
    system: str = field(default_factory=platform.system)  # the target's system, whose rules for names apply
    into: bool = False
    exact: bool = False
    near: bool = False
