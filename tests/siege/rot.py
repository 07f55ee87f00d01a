"""Objects and files that are damaged where they lie: flipped, cut short, gone, emptied, exchanged."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from tests.siege.kinds import fault
from tests.siege.oracle import by_drive, by_restore, newest
from tests.siege.world import Machine, World

SAME_SIZE = ("flip", "flips", "zeros")
OTHER_SIZE = ("cut", "empty", "gone", "longer", "exchanged")


def spoil(path: Path, how: str, rng: random.Random, other: Path | None = None) -> None:
    """Damage a file in one way; `other` is the file that it is exchanged with."""
    if how == "gone":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    match how:
        case "flip" | "flips":
            for _ in range(1 if how == "flip" else 20):
                if data:
                    data[int(rng.random() * len(data))] ^= 1 << rng.randrange(8)
        case "zeros":
            at = int(rng.random() * len(data))
            length = min(rng.choice([16, 512, 4096, 1 << 20]), len(data) - at)
            data[at : at + length] = bytes(length)
        case "cut":
            del data[int(rng.random() * len(data)) :]
        case "empty":
            data.clear()
        case "longer":
            data += rng.randbytes(rng.choice([1, 100]))
        case "exchanged":
            assert other is not None
            mine, theirs = path.read_bytes(), other.read_bytes()
            path.write_bytes(theirs)
            other.write_bytes(mine)
            return
    path.write_bytes(data)


def one_of(rng: random.Random, rows: list[str]) -> str:
    """A choice that takes the same number of draws for any number of rows."""
    return rows[int(rng.random() * len(rows))]


def damage(world: World, names: list[str], count: int) -> str:
    """Damage so many of these objects of the vault; what was done."""
    done = []
    for _ in range(count):
        sound = [name for name in names if name not in world.damaged]
        if not sound:
            break
        name = one_of(world.rng, sound)
        how = world.rng.choice(SAME_SIZE + OTHER_SIZE)
        others = [o for o in sound if o != name and o.split("/")[0] == name.split("/")[0]]
        other = one_of(world.rng, others) if others else name
        if how == "exchanged" and other == name:
            how = "flip"
        for spoilt in {name, other} if how == "exchanged" else {name}:
            world.spoilt(spoilt, known=how in OTHER_SIZE)
        before = (world.vault_folder / name).read_bytes()
        spoil(world.vault_folder / name, how, world.rng, world.vault_folder / other)
        now = world.vault_folder / name
        if now.exists() and now.read_bytes() == before:
            continue
        done.append(f"{name}: {how}")
    return ", ".join(done)


def read_all(world: World, machine: Machine) -> None:
    """The user restores every point of the vault: what is damaged is reported, and noted on this machine."""
    for key in list(world.expected):
        by_restore(world, machine, key)
    world.noticed(machine)


def rot(world: World, machine: Machine, *prefixes: str) -> str:
    """Damage objects, let the user read, back up again; some of the time the sound objects come back later."""
    done = damage(world, world.objects(*prefixes), world.rng.choice([1, 1, 2, 4]))
    if done and world.rng.random() < 0.8:
        read_all(world, machine)
    return done


@fault("rot-packs")
def rot_packs(world: World, machine: Machine) -> str:
    """data packs in the vault are damaged or gone"""
    return rot(world, machine, "packs/")


@fault("rot-trees")
def rot_trees(world: World, machine: Machine) -> str:
    """tree packs in the vault are damaged or gone"""
    return rot(world, machine, "meta/")


@fault("rot-mended")
def rot_mended(world: World, machine: Machine) -> str:
    """packs are damaged, read, backed up over, and then put back as they were: old points are whole again, too"""
    names = world.objects("packs/", "meta/")
    before = {name: (world.vault_folder / name).read_bytes() for name in names if name not in world.damaged}
    done = damage(world, names, world.rng.choice([1, 2, 4]))
    if world.rng.random() < 0.7:
        read_all(world, machine)
    if world.rng.random() < 0.7:
        world.backup(machine)
        world.edit(machine)
    for name, data in before.items():
        (world.vault_folder / name).write_bytes(data)
    world.mended(set(before))
    return done


@fault("rot-index")
def rot_index(world: World, machine: Machine) -> str:
    """index objects in the vault are damaged or gone; half of the time the mirror is lost as well"""
    done = rot(world, machine, "index/")
    if done and world.rng.random() < 0.5:
        for path in (machine.home / "state").glob("index-*"):
            path.unlink()
        world.forgot()
        done += ", no mirror"
    return done


@fault("rot-points")
def rot_points(world: World, machine: Machine) -> str:
    """records of points in the vault are damaged or gone"""
    return rot(world, machine, "points/")


@fault("rot-records")
def rot_records(world: World, machine: Machine) -> str:
    """records of machines, items and jobs in the vault are damaged or gone"""
    done = damage(world, world.objects("machines/", "items/", "jobs/"), world.rng.choice([1, 2, 3]))
    for command in (["points", "--all"], ["vault", "info"], ["machine", "list"], ["jobs"], ["points", "--json"]):
        world.run(machine, *command, codes=(0, 7, 9))
    key = newest(world, machine)
    if key is not None:
        by_restore(world, machine, key)
    return done


@fault("rot-vault-file")
def rot_vault_file(world: World, machine: Machine) -> str:
    """vault.json or its copy is damaged or gone; the user puts the copy back, as docs/vault.md says"""
    name = world.rng.choice(["vault.json", "vault/1.json"])
    path = world.vault_folder / name
    before = path.read_bytes()
    how = world.rng.choice([*SAME_SIZE, "cut", "empty", "gone", "longer"])
    spoil(path, how, world.rng)
    world.run(machine, *world.backup_args(machine), codes=(0, 2, 5, 6, 7, 8, 9))
    world.run(machine, "points", codes=(0, 2, 5, 6, 7, 8, 9))
    path.write_bytes(before)
    world.attribute()
    return f"{name}: {how}"


# --- this machine's files -----------------------------------------------------------------------------------


@fault("rot-state")
def rot_state(world: World, machine: Machine) -> str:
    """files of the state and config folder are damaged or gone: mirror, identity, what was seen, journals"""
    folder = machine.home / world.rng.choice(["state", "state", "state", "config"])
    files = sorted(str(p) for p in folder.rglob("*") if p.is_file())
    done = []
    for _ in range(world.rng.choice([1, 1, 2, 5])):
        if files:
            path = Path(one_of(world.rng, files))
            files.remove(str(path))
            how = world.rng.choice([*SAME_SIZE, "cut", "empty", "gone", "longer"])
            spoil(path, how, world.rng)
            done.append(f"{path.relative_to(machine.home)}: {how}")
    world.forgot()
    if world.backup(machine, None, (0, 3, 4, 8, 9, 11)).code not in (0, 3):
        shutil.rmtree(machine.home)  # what the user is told: move it away, and name the machine
        done.append("moved away")
    return ", ".join(done)


@fault("rot-mirror")
def rot_mirror(world: World, machine: Machine) -> str:
    """bits flip in the mirror of the index, pages of it are zeroed, or it is cut short"""
    done = []
    for path in sorted((machine.home / "state").glob("index-*.sqlite*")):
        how = world.rng.choice(["flip", "flip", "flips", "flips", "zeros", "cut"])
        if path.stat().st_size and not path.name.endswith("-shm"):
            spoil(path, how, world.rng)
            done.append(f"{path.name.rpartition('.')[2]}: {how}")
    world.forgot()
    return ", ".join(done)


@fault("state-lost")
def state_lost(world: World, machine: Machine) -> str:
    """state, config and cache of a machine are gone, or an old copy of them comes back"""
    kept = world.folder / f"old-{machine.name}"
    world.forgot()
    is_lost = not machine.home.exists()  # by the strike before this one
    if kept.exists() and (world.rng.random() < 0.6 or is_lost):
        shutil.rmtree(machine.home, ignore_errors=is_lost)
        shutil.copytree(kept, machine.home)
        return "an old copy came back"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(machine.home, kept, ignore=shutil.ignore_patterns("run"))
    if world.rng.random() < 0.5:
        shutil.rmtree(machine.home)
        return "gone"
    return ""


@fault("rot-cache")
def rot_cache(world: World, machine: Machine) -> str:
    """files of the disk cache are damaged, gone, exchanged, or junk"""
    world.backup(machine, world.plan(remote=True))
    if (key := newest(world, machine)) is None:
        return ""
    if drive := world.rng.random() < 0.2:
        by_drive(world, machine, key, "--cache-size", "50M")
    else:
        by_restore(world, machine, key, world.plan(remote=True))
    files = sorted(str(p) for p in (machine.home / "cache").rglob("*") if p.is_file())
    done = []
    for _ in range(world.rng.choice([1, 3, 20])):
        if files:
            path = Path(one_of(world.rng, files))
            if path.exists():
                how = world.rng.choice([*SAME_SIZE, "cut", "empty", "gone", "longer", "exchanged"])
                other = Path(one_of(world.rng, files))
                if how == "exchanged" and (other == path or not other.exists()):
                    how = "zeros"
                spoil(path, how, world.rng, other)
                done.append(f"{path.name}: {how}")
    if drive:
        by_drive(world, machine, key, "--cache-size", "50M")
    else:
        by_restore(world, machine, key, world.plan(remote=True))
    world.backup(machine, world.plan(remote=True))
    return f"{len(done)} of {len(files)}: {', '.join(done[:4])}" if done else ""
