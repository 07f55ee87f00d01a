"""Things that are nobody's damage: clocks, listings that lag, strangers' files, sources that change meanwhile."""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path

from tests.siege.ends import chosen
from tests.siege.kinds import fault
from tests.siege.plan import Plan, usual
from tests.siege.rot import one_of
from tests.siege.trees import Moved, Snapshot, of_source
from tests.siege.world import Machine, World

DAY = 86400.0
EVIDENCE = 42 * 3600  # s; a commit looks again if what it knows is older


@fault("clock")
def clock(world: World, machine: Machine) -> str:
    """the machine's clock is days or years wrong in some backups, forwards and back"""
    wrongs = [
        world.rng.choice([-3650, -30, -2, -0.05, 0.05, 2, 30, 3650]) * DAY
        for _ in range(world.rng.choice([1, 2, 3]))
    ]
    for wrong in wrongs:
        time.sleep(0.05)  # the source's times are by another clock: what changed just before needs no guess
        world.backup(machine, usual(world.rng).but(clock=wrong))
        world.edit(machine)
        time.sleep(0.05)
    return f"days: {[round(w / DAY, 2) for w in wrongs]}"


@fault("sleep")
def sleep(world: World, machine: Machine) -> str:
    """everything sleeps for days in the middle of a backup, and packs that it takes for granted go meanwhile"""
    command = world.start(machine, *world.backup_args(machine), plan=chosen(world, machine, Plan("pause")))
    paused, gone = command.until_paused(), []
    time.sleep(0.05)
    world.attribute()  # its point may be written already: then the packs go afterwards
    if paused and world.rng.random() < 0.7:
        packs = [name for name in world.objects("packs/", "meta/") if name not in world.damaged]
        for _ in range(min(len(packs), world.rng.choice([1, 1, 3, 30]))):
            gone.append(one_of(world.rng, packs))
            packs.remove(gone[-1])
            world.spoilt(gone[-1], known=True)
            (world.vault_folder / gone[-1]).unlink()
    days = world.rng.choice([1, 3, 30])
    if paused:
        world.sleeps.append(command.go_on(int(days * DAY * 1e9)))
    done = world.ended(command, (0, 3, 5, 9, 11))
    world.took_note(machine, done)
    if gone and (done.code not in (0, 3) or days * DAY < EVIDENCE):
        world.newest_is_doubtful()
    world.edit(machine)
    time.sleep(0.05)
    return f"{days} days at call {command.plan.at}, {len(gone)} packs gone: exit {done.code}" if paused else ""


@fault("lag")
def lag(world: World, machine: Machine) -> str:
    """listings leave out the youngest objects, as those of a store that is behind"""
    for _ in range(world.rng.choice([1, 2])):
        world.backup(machine, usual(world.rng).but(hidden=world.rng.choice([0.05, 0.3, 1.0, 3.0])))
        world.edit(machine)
    return "listings were behind"


@fault("moving")
def moving(world: World, machine: Machine) -> str:
    """the source changes while it is saved: each file has to be one of its versions, and the next point exact"""
    versions: list[Snapshot] = [of_source(machine.tree.root)]
    plan = chosen(world, machine, Plan("pause", events=world.rng.choice(["calls", "files", "entries", "entries"])))
    command = world.start(machine, *world.backup_args(machine), plan=plan)
    paused = command.until_paused()
    if paused:
        for _ in range(world.rng.choice([1, 3])):
            machine.tree.edit()
            versions.append(of_source(machine.tree.root))
    command.go_on()
    done = world.ended(command, (0, 3))
    problems = json.loads(done.out).get("problems", []) if done.out else []
    top = os.fsencode(machine.tree.root) + b"/"
    torn = frozenset(os.fsencode(row["path"]).removeprefix(top) for row in problems)
    moved = Moved(len(world.states), versions, torn)
    world.states.append(moved)
    machine.frozen = moved
    world.took_note(machine, done)
    world.freeze(machine)
    return f"{len(versions) - 1} times at {plan.events} {plan.at}" if paused else ""


_NAMES = (
    "packs/{id}", "packs/zz/{id}", "meta/{id}", "points/{m}/x", "points/{m}/{m}/20261127T000000Z-99999999-{id}",
    "points/{m}/{m}/20261127T000000Z-00000001-{id}", "points/{m}/{m}/20991231T235959Z-4294967296-{id}.partial",
    "machines/{m}/99999999", "machines/{id}/00000001", "items/{id}/00000001", "items/{m}/{id}/00000001",
    "index/{m}/{id}",
    "jobs/{m}/20991231T235959Z-{id}", "vault/99.json", "vault/2.json", "readme.txt", ".DS_Store", "lost+found/#123",
    "places/{m}/00000001", "policies/{m}/00000001", "ledger/{m}/{m}/00000001", "checks/x", "desktop.ini",
    "packs/.nfs0001",
    "points/{m}/{m}/new\nline", "packs/\x1b[31m", "Points/{m}", "packs/{s}/{b}/{id}", "meta/{s}/{b}/{id}",
)  # fmt: skip


@fault("junk")
def junk(world: World, machine: Machine) -> str:
    """files of strangers lie in the vault, under names of any form: text, FIFOs, links, folders"""
    names = [os.path.basename(os.path.dirname(name)) for name in world.objects("machines/")] or ["00" * 16]
    done = []
    for _ in range(world.rng.choice([1, 2, 5])):
        machine_id, new = one_of(world.rng, names), secrets.token_hex(16)
        text = world.rng.choice(_NAMES).format(id=new, m=machine_id, s=machine_id[:8], b=new[10:12])
        path = world.vault_folder / text
        if os.path.lexists(path) or any(p.exists() and not p.is_dir() for p in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = world.rng.choice(["text", "text", "text", "empty", "copy", "fifo", "link", "loop", "folder"])
        objects = world.objects(text.split("/")[0] + "/") or world.objects()
        source = world.vault_folder / one_of(world.rng, objects)
        _put(path, kind, source)
        world.strange(text)
        done.append(f"{text!r}: {kind}")
    for command in (["points", "--json", "--all"], ["vault", "info", "--sizes"], ["jobs"], ["machine", "list"]):
        world.run(machine, *command, codes=(0, 7, 9))
    return ", ".join(done)


def _put(path: Path, kind: str, source: Path) -> None:
    match kind:
        case "text":
            path.write_bytes(b"somebody else's\n" * 20)
        case "empty":
            path.touch()
        case "copy":
            if source.is_file():
                path.write_bytes(source.read_bytes())
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(source)
        case "loop":
            path.symlink_to(path.parent)
        case "folder":
            path.mkdir()
