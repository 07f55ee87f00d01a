"""Runs `rpdrive system diff` and `rpdrive system apply` on an open vault."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from catalog.access.passphrases import GivenPassphrases, confirm_on_terminal
from catalog.access.session import Session
from catalog.errors import LocalError, UsageError
from catalog.inventory.applying import PARTS, Plan, plan_etc, plan_packages, plan_units, plan_users
from catalog.inventory.collect import survey
from catalog.inventory.difference import Difference, differences
from catalog.inventory.here import Here
from catalog.inventory.stored import Stored, stored_state
from catalog.inventory.tools import PATH, Tools
from catalog.points.listing import point_json
from catalog.program import child_environment, lasting_environment, rpdrive_command
from catalog.screen.output import print_json, say
from catalog.screen.stderr import warn
from catalog.vault import Vault

_BESIDE = "/etc.rpdrive"


class Which(NamedTuple):
    """The point as the command line names it."""

    point: str
    machine: str | None = None
    item: str | None = None


def _told(vault: Vault, which: Which, *, as_json: bool = False) -> Stored:
    stored = stored_state(vault, *which)
    for line in stored.refused if not as_json else ():
        warn(line, prefix="warning")
    return stored


def show_differences(vault: Vault, which: Which, only: str | None, *, as_json: bool) -> None:
    """Print how this machine differs from a system state. Raises as `stored_state`."""
    stored = _told(vault, which, as_json=as_json)
    found = differences(stored.state, survey(Here(None, Tools())))
    parts = list(dict.fromkeys(one.part for one in found))
    if only is not None:
        found = [one for one in found if one.part == only]
    if as_json:
        print_json({
            "point": point_json(stored.point, vault.machines()),
            "refused": stored.refused,
            "differences": [{"mark": one.mark, **one._asdict()} for one in found],
        })  # fmt: skip
        return
    for part in parts if only is None else [only]:
        rows = [one for one in found if one.part == part]
        if rows:
            say(f"{part}: {_counts(rows)}")
            for one in rows:
                say(f"  {one.mark}  {one.name}  {_values(one)}")
    if not found:
        say("This machine is as the system state says" if only is None else f"{only}: no difference")


def _counts(rows: Sequence[Difference]) -> str:
    marks = Counter(one.mark for one in rows)
    words = (("-", "missing here"), ("+", "only here"), ("M", "different"))
    return ", ".join(f"{marks[mark]:,} {word}" for mark, word in words if marks[mark])


def _values(one: Difference) -> str:
    return f"{one.there} -> {one.here}" if one.mark == "M" else one.there or one.here


def apply_state(
    session: Session, vault: Vault, which: Which, only: str, *, dry: bool, yes: bool, as_json: bool
) -> None:
    """Bring this machine closer to a system state, in one part. Shows each command before it runs, and asks.

    What is done already is not planned again, so an interrupted run goes on where it was. Raises UsageError if
    nobody can answer, LocalError if a command fails; and as `stored_state`.
    """
    if only not in PARTS:
        raise UsageError(f"--only {only} is not known", f"choose {', '.join(PARTS[:-1])} or {PARTS[-1]}")
    stored = _told(vault, which, as_json=as_json)
    planned = _plan(session, stored, only)
    if as_json:
        print_json({
            "point": point_json(stored.point, vault.machines()),
            "refused": stored.refused,
            "commands": [{"command": list(step.argv), "why": step.why} for step in planned.steps],
            "notes": planned.notes,
        })  # fmt: skip
    else:
        _show(planned)
    if dry or not planned.steps:
        return
    _ask(len(planned.steps), yes=yes)
    if os.geteuid() != 0:
        raise LocalError("changing the system needs root", "run the command as root, e.g. with sudo")
    _run(session, planned, quiet=as_json)


def _plan(session: Session, stored: Stored, only: str) -> Plan:
    there = stored.state
    if only == "etc":
        point = stored.point.id.hex()
        also = [] if session.also is None else [f"--also={url}" for url in session.also.urls]
        restore = ["rpdrive", "--vault", session.address or "", *also, "restore"]
        return plan_etc(restore, point, stored.point.machine.hex(), f"{_BESIDE}-{point[:8]}")
    looking = Here(None, Tools())
    here = survey(looking)
    match only:
        case "packages":
            names = looking.run("apt-cache", "pkgnames", note=False).split()
            return plan_packages(there, here, frozenset(names))
        case "users":
            shells = [line for line in looking.text("/etc/shells").split() if line.startswith("/")]
            known = [shell for shell in (*shells, "/usr/sbin/nologin", "/bin/false") if looking.exists(shell)]
            return plan_users(there, here, known)
    return plan_units(there, here)


def _show(planned: Plan) -> None:
    for note in planned.notes:
        say(f"# {note}")
    for step in planned.steps:
        say(f"# {step.why}")
        say(shlex.join(step.argv))
    if not planned.steps:
        say("There is nothing to do")


def _ask(count: int, *, yes: bool) -> None:
    if yes:
        return
    answer = confirm_on_terminal(f"Run {'this command' if count == 1 else f'these {count} commands'}?")
    if not answer:
        raise UsageError("nothing was changed", "confirm with --yes, or look at it with --dry-run")


def _run(session: Session, planned: Plan, *, quiet: bool) -> None:
    # Only rpdrive itself gets what opens the vault; a passphrase that was typed it asks for again.
    of_tools = child_environment() | {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"}
    of_rpdrive = {**os.environ, **lasting_environment((), os.environ)}
    own = rpdrive_command()
    if isinstance(session.passphrases, GivenPassphrases) and session.passphrases.file is not None:
        own += ["--passphrase-file", str(session.passphrases.file.absolute())]
    for step in planned.steps:
        if not quiet:
            say(f"+ {shlex.join(step.argv)}")
        is_own = step.argv[0] == "rpdrive"
        argv = [*own, *step.argv[1:]] if is_own else list(step.argv)
        try:
            code = subprocess.run(
                argv, env=of_rpdrive if is_own else of_tools, cwd="/", check=False,
                stdin=None if is_own else subprocess.DEVNULL, stdout=subprocess.DEVNULL if quiet else None,
            ).returncode  # fmt: skip
        except OSError as e:
            raise LocalError(
                f"{step.argv[0]} can't be started: {e.strerror}", "install it, and run this again"
            ) from e
        if code and not (is_own and code == 3):
            raise LocalError(
                f"the command {' '.join(step.argv[:2])} ended with code {code}, and nothing after it was run",
                "see what it says, and run this again: what is done stays done",
            )
