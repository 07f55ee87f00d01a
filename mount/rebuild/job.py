"""Runs `rpdrive system plan` on an open vault."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import LocalError, Unwritable, UsageError
from catalog.inventory.stored import stored_state
from catalog.screen.output import say
from catalog.screen.stderr import warn
from catalog.screen.text import local_time
from catalog.vault import Vault
from mount.rebuild import here
from mount.rebuild.names import NONE, Target
from mount.rebuild.points import restores_for
from mount.rebuild.script import Wanted, plan_rebuild, write_script


@dataclass(frozen=True)
class Asked:
    """The options of the command."""

    point: str
    machine: str | None
    item: str | None
    disks: list[str]
    wipe: bool
    grow: bool
    without: list[str]


def plan_on(vault: Vault, asked: Asked, *, address: str, output: Path | None) -> None:
    """Write the script. Raises LocalError with all refusals at once, UsageError, and as `stored_state`."""
    stored = stored_state(vault, asked.point, asked.machine, asked.item)
    for refused in stored.refused:
        warn(refused, prefix="warning")
    wanted = Wanted(_disks(asked.disks), asked.wipe, asked.grow, frozenset(asked.without))
    rebuild = plan_rebuild(stored.state, wanted)
    restores = restores_for(vault, stored.point.machine, rebuild.places)
    refusals = list(rebuild.refusals)
    if any(r.place == "/" and not r.point for r in restores):
        refusals.append("no recovery point of that machine holds the files of /: back it up by `--volume /`")
    if refusals:
        raise LocalError("no script was written: " + "; ".join(refusals), "see docs/bare-metal.md")
    host = stored.state.computer.hostname or stored.point.hostname
    title = f"Rebuilds {host} as it was on {local_time(stored.point.time)}, by rpdrive, from the recovery point"
    text = write_script(
        stored.state, rebuild, wanted, restores, title=f"{title} {stored.point.id.hex()}.", vault=address
    )
    for restore in restores:
        if not restore.point:
            warn(f"no recovery point holds the files of {restore.place}", prefix="warning")
    if output is None:
        sys.stdout.write(text)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            file.write(text)
    except OSError as e:
        raise Unwritable(f"{output} could not be written: {e.strerror}") from e
    say(f"Wrote {output}. Read it; then, as root: sh {output} --yes")


def _disks(pairs: list[str]) -> dict[str, Target | None]:
    found: dict[str, Target | None] = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not equals or not old.startswith("/dev/") or not new:
            raise UsageError(f"--disk {pair}: give it as --disk /dev/OLD=/dev/NEW, or /dev/OLD={NONE}")
        if old in found:
            raise UsageError(f"--disk: {old} is named twice")
        found[old] = None if new == NONE else here.target(new)
    return found
