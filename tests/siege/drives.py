"""Drives that are open while the vault, or their own process, comes to harm."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.recorded import Snapshot
from tests.siege.command import Command
from tests.siege.disks import on_a_disk
from tests.siege.kinds import fault
from tests.siege.oracle import appears, compare, newest
from tests.siege.rot import damage
from tests.siege.trees import seen_where_readable
from tests.siege.world import Fault, Machine, World, mounted, unmounted

PATIENCE = 10
READING = 60.0  # s; reading all of a small drive takes no longer, with a read timeout of 1 s


def read_apart(world: World, folder: Path, failures: int = 10**6) -> Snapshot:
    """What can be read below a folder, by a process of its own: a read that hangs can be ended.

    It ends after so many `failures`, each of which may take two read timeouts.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with open(writing, "wb") as pipe:  # noqa: PTH123 - a descriptor
            pickle.dump(seen_where_readable(folder, failures), pipe)
        os._exit(0)
    os.close(writing)
    parts, end = [], time.monotonic() + READING
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
        part = os.read(reading, 1 << 20) if ready else b""
        if not part:
            break
        parts.append(part)
    os.close(reading)
    os.waitpid(child, 0)
    if not ready:
        raise Fault("hang", f"a read on a drive did not end in {READING:.0f} s")
    found: Snapshot = pickle.loads(b"".join(parts))
    world.log(f"    read {len(found.entries)} entries of a drive")
    return found


@contextmanager
def opened(world: World, machine: Machine, key: str) -> Iterator[tuple[Command, Path]]:
    """A drive of a point, served by a child; closed at the end, unless it has ended."""
    at = world.folder / "drive"
    at.mkdir(exist_ok=True)
    args = ["mount", str(at), "--point", key, "--foreground", "--read-timeout", "1"]
    command = world.start(machine, *args, *world.rng.choice([(), ("--cache-size", "50M")]))
    if not appears(command, at):
        world.ended(command)
        raise Fault("stuck", "the drive ended by itself")
    try:
        yield command, at / world.roots[key].relative_to("/")
    finally:
        world.run(machine, "unmount", str(at), codes=range(256))
    world.ended(command, (0, -signal.SIGKILL))


def _newest(world: World, machine: Machine) -> str:
    world.backup(machine)
    key = newest(world, machine)
    assert key is not None
    return key


@fault("drive-pulled", needs_root=True)
def drive_while_the_vault_is_away(world: World, machine: Machine) -> str:
    """the vault's disk is pulled under an open drive: right bytes or an error; all of it when the disk is back"""
    key = _newest(world, machine)
    if world.may_be_damaged(key):
        return ""
    with on_a_disk(world.vault_folder) as disk, opened(world, machine, key) as (_command, root):
        if world.rng.random() < 0.5:
            compare(world, key, read_apart(world, root), "drive", only=True)
        unmounted(world.vault_folder, "-l")
        compare(world, key, read_apart(world, root, failures=4), "drive without its vault", only=True)
        assert mounted("--bind", str(disk), str(world.vault_folder))
        for _ in range(PATIENCE):  # the drive asks again after its read timeout; a busy machine may need longer
            time.sleep(1.1)
            found = read_apart(world, root)
            if not world.expected[key].difference(found):
                break
        compare(world, key, found, "drive with its vault back")
    return "away and back"


@fault("drive-rot", needs_root=True)
def drive_of_a_damaged_vault(world: World, machine: Machine) -> str:
    """packs are damaged under an open drive: right bytes or an error; the next backup stores them again"""
    key = _newest(world, machine)
    with opened(world, machine, key) as (_command, root):
        if world.rng.random() < 0.3:
            compare(world, key, read_apart(world, root), "drive", only=True)
        done = damage(world, world.objects("packs/", "meta/"), world.rng.choice([1, 2, 5]))
        compare(world, key, read_apart(world, root), "drive of a damaged vault", only=True)
    return done


@fault("drive-killed", needs_root=True)
def drive_whose_process_dies(world: World, machine: Machine) -> str:
    """the process of a drive is killed; unmount, or the next mount there, clears the mount point"""
    key = _newest(world, machine)
    if world.may_be_damaged(key):
        return ""
    with opened(world, machine, key) as (command, _root):
        command.send(signal.SIGKILL)
        command.wait(10)
    with opened(world, machine, key) as (command, root):
        compare(world, key, read_apart(world, root), "drive after a kill")
        command.send(signal.SIGKILL)
        command.wait(10)
    if os.path.ismount(world.folder / "drive"):
        raise Fault("stuck", "a mount point is left after `unmount`")
    return "killed twice"
