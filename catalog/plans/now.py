"""Runs `rpdrive plan now`, and the first backup of `rpdrive protect`: a backup as an item's plan says, at once.

Each is a child, `rpdrive backup`, as if a person had typed it: it waits for no condition of the plan.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from catalog.access.session import Session
from catalog.errors import LocalError, NotFound
from catalog.format.records import ItemKind
from catalog.plans.effective import Plan
from catalog.plans.local import LocalItem
from catalog.plans.paths import shown_path
from catalog.plans.records import refresh
from catalog.program import child_environment, main_command, secret_environment
from catalog.screen.output import print_json, say
from catalog.vault import Vault


def words_of(plan: Plan, item: str, system: str) -> list[str]:
    """The arguments of `rpdrive backup` that mean what a plan says."""
    words = ["--item", item]
    words += ["--snapshot", plan.snapshot] if plan.snapshot else []
    words += [word for pattern in plan.exclude for word in ("--exclude", pattern)]
    words += ["--ignore-files", plan.ignore_files] if plan.ignore_files else []
    words += ["--exclude-caches"] if plan.exclude_caches else []
    words += ["--one-file-system"] if plan.one_file_system else []
    words += ["--cloud-files"] if plan.cloud_files else []
    if plan.ignore_case is not None:
        words.append("--ignore-case" if plan.ignore_case else "--match-case")
    shown = [shown_path(path, system) for path in plan.paths]
    options: dict[str, str] = {ItemKind.VOLUME: "--volume", ItemKind.IMAGE: "--image"}
    option = options.get(plan.what)
    if plan.what == ItemKind.SYSTEM:
        return [*words, "--system-state"]
    if option is not None:
        return [*words, *(word for path in shown for word in (option, path))]
    return [*words, "--", *shown]


def back_up(session: Session, item: str, plan: Plan, system: str, *, as_json: bool) -> tuple[int, Any]:
    """Run `rpdrive backup` for an item. Its exit code, and with `as_json` its report. Raises LocalError."""
    words = ["--vault", session.address, "backup", *(["--json"] if as_json else []), *words_of(plan, item, system)]
    command = [*main_command("rpdrive"), *words]
    environment, output = child_environment() | secret_environment(), subprocess.PIPE if as_json else None
    sys.stdout.flush()  # before what the child prints
    try:
        ran = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, check=False)
    except OSError as e:
        raise LocalError(f"the backup can't be started: {e.strerror}", "run `rpdrive backup`") from e
    if not as_json:
        return ran.returncode, None
    try:
        return ran.returncode, json.loads(ran.stdout)
    except ValueError:
        return ran.returncode, None  # its error is on stderr


def back_up_now(session: Session, vault: Vault, item: str | None, *, as_json: bool) -> int:
    """Back up this machine's planned items, or one of them, now. Returns the highest of their exit codes.

    Raises NotFound if nothing is planned here, and as `refresh`.
    """
    copy = refresh(vault, session.address, session.settings)
    if copy is None or not copy.items:
        raise NotFound("nothing is planned for this machine", "run `rpdrive protect PATH`")
    if session.saved_keys.load(vault.id) is None:
        raise LocalError("the vault's key is not saved on this machine", "run `rpdrive vault unlock --save`")
    items = copy.items if item is None else [_chosen(copy.items, item)]
    found, worst = vault.machine(bytes.fromhex(copy.machine)), 0
    system = found[1].system if found is not None else ""
    rows = []
    for one in items:
        if not as_json:
            say(f"Backing up {one.name}")
        code, report = back_up(session, one.name, one.plan, system, as_json=as_json)
        worst = max(worst, code)
        rows.append({"item": one.name, "item_id": one.id, "exit_code": code, "backup": report})
    if as_json:
        print_json({"vault": session.address, "backups": rows})
    return worst


def _chosen(items: list[LocalItem], text: str) -> LocalItem:
    found = [item for item in items if text in (item.name, item.id)]
    found = found or [item for item in items if item.id.startswith(text.lower())]
    if len(found) == 1:
        return found[0]
    raise NotFound(
        f"no item {text!r} is planned for this machine", f"items: {', '.join(item.name for item in items)}"
    )
