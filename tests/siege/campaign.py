"""A campaign: rounds of faults against one world, what a user would run after each, and the comparison."""

from __future__ import annotations

import random
import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.siege import oracle
from tests.siege.kinds import KINDS
from tests.siege.world import Fault, Machine, World

_INDEPENDENT, _DRIVE, _RESTORE = 0.1, 0.08, 0.35  # shares of rounds in which the newest point is read so, too


@dataclass
class Round:
    """One round: a fault, or several at once, and what came of it."""

    kinds: tuple[str, ...]
    done: str = ""
    sort: str = ""  # of the fault found; "" if all was well
    text: str = ""


@dataclass
class Result:
    """A campaign's rounds and counts. `folder` is kept if something was found."""

    seed: int
    kinds: tuple[str, ...]
    rounds: list[Round] = field(default_factory=list)
    commands: int = 0
    compared: int = 0
    reported: int = 0
    seconds: float = 0.0
    folder: str = ""

    @property
    def recipe(self) -> str:
        only = f" --only {','.join(self.kinds)}" if len(self.kinds) < len(KINDS) else ""
        return f'make siege ARGS="--seed {self.seed} --campaigns 1{only}"'


def campaign(folder: Path, seed: int, kinds: Sequence[str], rounds: int) -> Result:
    """Run so many rounds, fewer if one of them finds a fault. The folder is removed if none does."""
    began = time.monotonic()
    result = Result(seed, tuple(kinds))
    world = World(folder, seed)
    rng = random.Random(seed ^ 0x5EED)
    try:
        for number in range(rounds):
            several = len(kinds) > 1 and rng.random() < 0.3
            now = Round(tuple(rng.choice(kinds) for _ in range(2 if several else 1)))
            result.rounds.append(now)
            try:
                if not number:
                    world.backup(world.machine)
                _round(world, now)
                if number == rounds - 1:
                    _at_the_end(world)
            except Fault as e:
                now.sort, now.text = e.sort, e.text
            except Exception:  # noqa: BLE001 - a mistake of the siege, or an error of the library that it calls
                now.sort, now.text = "siege", traceback.format_exc()
            if now.sort:
                world.log(f"FAULT {now.sort}: {now.text}")
                break
    finally:
        world.close()
        tally = world.tally
        result.commands, result.compared, result.reported = tally.commands, tally.compared, tally.reported
        result.seconds = time.monotonic() - began
        if result.rounds and result.rounds[-1].sort:
            result.folder = str(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return result


def _round(world: World, now: Round) -> None:
    machine = world.rng.choice(world.machines)
    if world.rng.random() < 0.8:
        world.edit(machine)
    if world.rng.random() < 0.2:
        world.backup(machine)  # the fault meets an unchanged source
    texts = []
    for kind in now.kinds:
        world.log(f"--- {kind}")
        texts.append(KINDS[kind].strike(world, machine))
        world.log(f"    {texts[-1]}")
    now.done = "; ".join(filter(None, texts))
    _afterwards(world, machine)


def _afterwards(world: World, machine: Machine) -> None:
    """What a user would run next: the backup once more. Then everything is compared."""
    world.backup(machine)
    key = oracle.newest(world, machine)
    if key is None:
        raise Fault("lost", "the backup said 0, and there is no point of the source as it is")
    world.doubtful.discard(key)
    oracle.verify(world)
    if world.rng.random() < _RESTORE:
        oracle.by_restore(world, machine, key)
    if world.rng.random() < _INDEPENDENT:
        oracle.by_independent_reader(world, key)
    if world.rng.random() < _DRIVE:
        oracle.by_drive(world, machine, key)
    if not any(m.killed for m in world.machines) and (litter := world.litter()):
        raise Fault("litter", f"{litter[:5]} after a complete backup")


def _at_the_end(world: World) -> None:
    """Every point is compared once more, some of them by every reader."""
    oracle.verify(world, every=True)
    keys = list(world.expected)
    for key in world.rng.sample(keys, min(2, len(keys))):
        oracle.by_restore(world, world.machine, key)
        oracle.by_independent_reader(world, key)
    if not (world.damaged or world.doubtful) and world.rng.random() < 0.5:
        oracle.by_drive_of_all(world)
