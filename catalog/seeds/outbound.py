"""The work of the commands `rpdrive seed …` that fill disks: do it, and say what is so now."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS
from catalog.screen.output import print_json, say
from catalog.screen.phases import NoFollower, PhaseScreen
from catalog.screen.text import counted, iso_time, size_text
from catalog.seeds.closing import close
from catalog.seeds.ending import abandon
from catalog.seeds.local import LocalDisk, Stage, day_of, is_twin
from catalog.seeds.starting import Wish, add_disk, start
from catalog.seeds.status import DiskState, Status, status_of
from catalog.vault import Vault

_WORDS = {
    Stage.STARTING: "not started completely: run `rpdrive seed start` again",
    Stage.OPEN: "open: backups go to its disks",
    Stage.CLOSING: "being closed: run `rpdrive seed close`",
    Stage.CLOSED: "closed: its disks may travel",
}


def start_seed(session: Session, vault: Vault, wish: Wish, *, as_json: bool) -> None:
    seed = start(session, vault, wish)
    facts, disk = seed.facts, seed.disks[0]
    seed.close()
    if as_json:
        print_json({"seed": facts.id, "expires": iso_time(facts.expires), "disk": _disk_row(disk)})
        return
    what = ", ".join(facts.names) if facts.names else "items that have no recovery point yet"
    say(f"Backups of {what} go to {disk.name}, {disk.path}, until `rpdrive seed close`")
    if facts.twin:
        say(f"All of it is kept in {facts.twin}, too; later backups go there until the disks have arrived")
    say(f"The disks must have arrived by {day_of(facts.expires)}; until then, nothing of this machine is pruned")


def add_one(session: Session, vault: Vault, folder: Path, label: str, *, as_json: bool) -> None:
    disk = add_disk(session, vault, folder, label)
    if as_json:
        print_json({"disk": _disk_row(disk)})
    else:
        say(f"{disk.name[0].upper()}{disk.name[1:]} is {disk.path}")


def close_seed(session: Session, vault: Vault, *, as_json: bool) -> int:
    with nullcontext() if as_json else PhaseScreen() as screen:
        done = close(session, vault, screen or NoFollower())
    if as_json:
        rows = [_disk_row(disk) for disk in done.disks]
        print_json({"closed": not done.missing, "disks": rows, "missing": [disk.number for disk in done.missing]})
        return WITH_PROBLEMS if done.missing else 0
    for disk in done.disks:
        if disk.is_finished:
            say(f"{disk.name}: {counted(disk.objects, 'object')}, {size_text(disk.bytes)}, read back")
    if done.missing:
        names = ", ".join(disk.name for disk in done.missing)
        say(f"Not closed yet: connect {names}, then run `rpdrive seed close` again")
        return WITH_PROBLEMS
    say("The seed is closed. Take its disks to the vault, and run `rpdrive seed import DIR…` there")
    return 0


def show_status(session: Session, vault: Vault, *, as_json: bool) -> None:
    status = status_of(session, vault)
    if as_json:
        print_json({"seed": None if status is None else _status_row(status)})
        return
    if status is None:
        say("No seed of this machine is under way")
        return
    facts = status.facts
    word = _WORDS[facts.stage]
    if status.ended:
        word = "over: the next backup goes into the vault"
    elif not status.until and facts.stage is not Stage.STARTING:
        word = "gone: its record is not in the vault; run `rpdrive seed abandon`"
    elif status.expired:
        word = "expired: run `rpdrive seed abandon`"
    say(f"Seed {facts.id[:8]} of {day_of(facts.time)}, {word}")
    say(f"Items: {', '.join(sorted(facts.items.values())) or 'none yet'}; expires {day_of(facts.expires)}")
    for one in status.disks:
        say(f"  {one.disk.name}: {_where(one, status)}")
    missing = [one for one in status.disks if not one.has_arrived]
    if facts.stage is Stage.CLOSED and missing:
        say(f"{len(missing)} of {len(status.disks)} missing in the vault")
    if facts.twin:
        say(f"  twin: {facts.twin}" + ("" if is_twin(Path(facts.twin), facts.id) else ", not there"))


def _where(one: DiskState, status: Status) -> str:
    size = f"{counted(one.objects, 'object')}, {size_text(one.bytes)}"
    place = f"connected at {one.disk.path}" if one.connected else f"not connected (it was at {one.disk.path})"
    if status.facts.stage is Stage.CLOSED:
        if one.has_arrived:
            return f"{size}, in the vault"
        return f"{size}, {one.arrived:,} of them in the vault; {place}"
    return (
        f"{size}, {place}" + (", full" if one.disk.full else "") + (", read back" if one.disk.is_finished else "")
    )


def abandon_seed(session: Session, vault: Vault, machine: str | None = None, *, as_json: bool) -> None:
    done = abandon(session, vault, machine)
    if as_json:
        print_json({"abandoned": done.seeds})
        return
    ids = ", ".join(one[:8] for one in done.seeds)
    what = f"The seed {ids} is given up" if ids else "The seed was over already, and is forgotten here"
    say(f"{what}: backups go into the vault, and use what of it has arrived")
    if done.twin:
        say(f"The twin {done.twin} is not needed any more")


def _disk_row(disk: LocalDisk) -> dict[str, Any]:
    return {
        "number": disk.number, "id": disk.id, "label": disk.label, "path": disk.path, "full": disk.full,
        "finished": disk.is_finished, "objects": disk.objects, "bytes": disk.bytes,
    }  # fmt: skip


def _status_row(status: Status) -> dict[str, Any]:
    facts = status.facts
    disks = [
        _disk_row(one.disk) | {"objects": one.objects, "bytes": one.bytes, "connected": one.connected,
                               "arrived": one.arrived}
        for one in status.disks
    ]  # fmt: skip
    return {
        "id": facts.id, "stage": str(facts.stage), "time": iso_time(facts.time), "expires": iso_time(facts.expires),
        "counts_until": iso_time(status.until) if status.until else None, "ended": status.ended,
        "expired": status.expired, "items": facts.items, "names": list(facts.names), "twin": facts.twin or None,
        "disks": disks,
    }  # fmt: skip
