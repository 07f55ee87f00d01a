"""Disks that are full, away or read-only: of the vault, of the state, of the cache."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.siege.ends import chosen
from tests.siege.kinds import fault
from tests.siege.oracle import by_restore, newest
from tests.siege.plan import Plan
from tests.siege.world import Fault, Machine, World, is_mount, mounted, unmounted


@contextmanager
def on_a_small_disk(folder: Path, room: int, inodes: int | None = None) -> Iterator[Path]:
    """Put a folder on a disk of its own with room for some bytes, or for `inodes` more files; back afterwards."""
    aside = folder.with_name(folder.name + "-aside")
    used = sum(-(-os.lstat(Path(a, n)).st_size // 4096) * 4096 for a, _f, names in os.walk(folder) for n in names)
    count = sum(1 + len(names) for _a, _f, names in os.walk(folder))
    folder.rename(aside)
    folder.mkdir()
    limit = f",nr_inodes={count + 1 + inodes}" if inodes is not None else ""
    assert mounted(
        "-t",
        "tmpfs",
        "-o",
        f"size={used + max(room, 4096)}{limit},mode={aside.stat().st_mode & 0o777:o}",
        "tmpfs",
        str(folder),
    )
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True, symlinks=True)
        yield folder
        shutil.rmtree(aside)
        shutil.copytree(folder, aside, symlinks=True)
    finally:
        unmounted(folder, "-l")
        folder.rmdir()
        aside.rename(folder)


def _room(world: World) -> tuple[int, int | None]:
    inodes = world.rng.choice([None, None, None, 0, 1, 3, 7])
    return (world.rng.choice([0, 4096, 40_000, 200_000]) if inodes is None else 1 << 24), inodes


@fault("full-vault", needs_root=True)
def full_vault(world: World, machine: Machine) -> str:
    """the vault's disk has no room, or no inodes, for all of a backup"""
    world.edit(machine)
    room, inodes = _room(world)
    with on_a_small_disk(world.vault_folder, room, inodes):
        done = world.backup(machine, None, (0, 3, 5))
        world.run(machine, "points")
    world.attribute()
    return f"room {room}, inodes {inodes}: exit {done.code}" if done.code else ""


@fault("full-state", needs_root=True)
def full_state(world: World, machine: Machine) -> str:
    """the disk of state, config and cache has no room, or no inodes"""
    world.edit(machine)
    room, inodes = _room(world)
    if world.rng.random() < 0.3:
        for path in (machine.home / "state").glob("index-*"):
            path.unlink()
    with on_a_small_disk(machine.home, room, inodes):
        done = world.backup(machine, None, (0, 3, 11))
        world.run(machine, "points", codes=(0, 11))
    return f"room {room}, inodes {inodes}: exit {done.code}" if done.code else ""


@fault("full-cache", needs_root=True)
def full_cache(world: World, machine: Machine) -> str:
    """the disk of the cache has no room, or no inodes: everything works, only slower"""
    (machine.home / "cache").mkdir(parents=True, exist_ok=True, mode=0o700)
    room, inodes = _room(world)
    with on_a_small_disk(machine.home / "cache", room, inodes):
        world.backup(machine, world.plan(remote=True))
        if (key := newest(world, machine)) is not None:
            by_restore(world, machine, key, world.plan(remote=True))
    return f"room {room}, inodes {inodes}"


@contextmanager
def on_a_disk(folder: Path) -> Iterator[Path]:
    """Make a folder a mount of what is in it, so that it can be taken away. The folder below it is empty."""
    aside = folder.with_name(folder.name + "-aside")
    folder.rename(aside)
    folder.mkdir()
    assert mounted("--bind", str(aside), str(folder))
    try:
        yield aside
    finally:
        while is_mount(folder):
            unmounted(folder, "-l")
        shutil.rmtree(folder)
        aside.rename(folder)


@fault("pulled-vault", needs_root=True)
def pulled_vault(world: World, machine: Machine) -> str:
    """the vault's disk is pulled during a backup, and perhaps comes back during it"""
    with on_a_disk(world.vault_folder) as disk:
        command = world.start(machine, *world.backup_args(machine), plan=chosen(world, machine, Plan("pause")))
        paused = command.until_paused()
        if paused:
            unmounted(world.vault_folder, "-l")
            command.go_on()
            if back := world.rng.random() < 0.3:
                command.wait(0.01)
                mounted("--bind", str(disk), str(world.vault_folder))
        done = world.ended(command, (0, 3, 5, 6, 9, 11) if paused else (0,))
        if paused and not back:
            world.run(machine, *world.backup_args(machine), codes=(5, 6))
            world.run(machine, "points", codes=(5, 6))
        if paused and not back and any(p for p in world.vault_folder.rglob("*") if p.is_file()):
            raise Fault(
                "lost", f"something was written below the mount point: {list(world.vault_folder.rglob('*'))}"
            )
    world.took_note(machine, done)
    return f"pulled at call {command.plan.at}: exit {done.code}" if paused else ""


@fault("read-only", needs_root=True)
def read_only(world: World, machine: Machine) -> str:
    """the disk of vault or state becomes read-only during a backup, as after an error of the disk"""
    folder = world.rng.choice([world.vault_folder, machine.home])
    with on_a_disk(folder):
        plan = chosen(world, machine, Plan("pause", events=world.rng.choice(["calls", "files"])))
        command = world.start(machine, *world.backup_args(machine), plan=plan)
        paused = command.until_paused()
        if paused:
            paused = mounted("-o", "remount,ro,bind", str(folder))  # not while a file is open for writing
            command.go_on()
        done = world.ended(command, (0, 3, 5, 11) if paused else (0,))
        world.took_note(machine, done)
        if paused:
            world.run(machine, *world.backup_args(machine), codes=(5, 11))
            world.run(machine, "points", codes=(0, 11))
    world.attribute()
    return f"{folder.name} at {plan.events} {plan.at}: exit {done.code}" if paused else ""


@fault("pulled-state", needs_root=True)
def pulled_state(world: World, machine: Machine) -> str:
    """the disk of state and cache is pulled during a backup"""
    with on_a_disk(machine.home):
        plan = chosen(world, machine, Plan("pause", events=world.rng.choice(["calls", "files"])))
        command = world.start(machine, *world.backup_args(machine), plan=plan)
        paused = command.until_paused()
        if paused:
            unmounted(machine.home, "-l")
            command.go_on()
        done = world.ended(command, (0, 3, 5, 11, -signal.SIGBUS) if paused else (0,))
        world.took_note(machine, done)
    return f"pulled at {plan.events} {plan.at}: exit {done.code}" if paused else ""
