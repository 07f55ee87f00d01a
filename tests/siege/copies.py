"""Vaults and machines of which there is more than one: older copies, copies in turn, clones, two at once."""

from __future__ import annotations

import shutil
import signal

from tests.siege.ends import chosen
from tests.siege.kinds import fault
from tests.siege.plan import Plan, usual
from tests.siege.world import Machine, World

MANY = 3  # machines in a world


@fault("rollback")
def rollback(world: World, machine: Machine) -> str:
    """the vault is brought back from an older copy, also after a run that was killed or completed"""
    copy = world.copy_vault()
    done = []
    for _ in range(world.rng.choice([1, 1, 2])):
        world.edit(machine)
        how = world.rng.choice(["killed", "killed", "whole"])
        if how == "killed":
            plan = chosen(world, machine, Plan("kill", after=world.rng.random() < 0.7))
            how = "killed" if world.backup(machine, plan, (0, -signal.SIGKILL)).code else "whole"
        else:
            world.backup(machine)
        done.append(how)
    world.bring_back(copy)
    world.drop(copy)
    if world.rng.random() < 0.3:
        world.edit(machine)
    return f"after {', '.join(done)}"


@fault("rotation")
def rotation(world: World, machine: Machine) -> str:
    """two copies of the vault are used in turn, as disks that are exchanged"""
    other = world.copy_vault()
    turns = world.rng.choice([2, 3, 4])
    for _ in range(turns):
        world.edit(machine)
        if world.rng.random() < 0.2:
            world.backup(machine, chosen(world, machine, Plan("kill")), (0, -signal.SIGKILL))
        else:
            world.backup(machine)
        other = world.exchange(other)
    world.drop(other)
    return f"{turns} turns"


@fault("rollback-during")
def rollback_during(world: World, machine: Machine) -> str:
    """the vault is exchanged for an older copy while a backup runs"""
    copy = world.copy_vault()
    world.edit(machine)
    world.backup(machine)
    world.edit(machine)
    command = world.start(machine, *world.backup_args(machine), plan=chosen(world, machine, Plan("pause")))
    if not command.until_paused():
        world.took_note(machine, world.ended(command))
        world.drop(copy)
        return ""
    world.bring_back(copy)
    command.go_on()
    done = world.ended(command, (0, 3, 4, 5, 6, 9, 11))
    # Objects written before the exchange are gone; a point written after it may refer to them: it was damaged here.
    world.took_note(machine, done)
    world.newest_is_doubtful()
    world.drop(copy)
    return f"exchanged at call {command.plan.at}: exit {done.code}"


def _another(world: World) -> Machine:
    """Another machine with its own identity, a new one while there are few."""
    if len(world.machines) < MANY:
        return world.add_machine(f"machine-{len(world.machines)}")
    return world.rng.choice(world.machines[1:])


@fault("two-machines")
def two_machines(world: World, machine: Machine) -> str:
    """two machines back up into one vault at once, one of them perhaps killed"""
    others = [m for m in [_another(world)] if m is not machine and not m.name.startswith(machine.name)]
    if not others:
        return ""
    other = others[0]
    world.edit(other)
    plan = chosen(world, machine, Plan(world.rng.choice(["nothing", "kill"])))
    both = [
        (machine, world.start(machine, *world.backup_args(machine), plan=plan)),
        (other, world.start(other, *world.backup_args(other), plan=usual(world.rng))),
    ]
    ended = [world.ended(c, (0, -signal.SIGKILL) if m is machine else (0,)) for m, c in both]
    for (who, _command), done in zip(both, ended, strict=True):
        world.took_note(who, done)
    return f"{machine.name} and {other.name}: exit {[e.code for e in ended]}"


@fault("within")
def one_within_the_other(world: World, machine: Machine) -> str:
    """another machine does a whole backup while one stands still at a request"""
    other = _another(world)
    if other is machine:
        return ""
    command = world.start(machine, *world.backup_args(machine), plan=chosen(world, machine, Plan("pause")))
    paused = command.until_paused()
    world.edit(other)
    world.backup(other)
    command.go_on()
    world.took_note(machine, world.ended(command))
    return f"within call {command.plan.at}" if paused else ""


@fault("second-run")
def second_run(world: World, machine: Machine) -> str:
    """the same backup is started a second time while the first runs"""
    command = world.start(machine, *world.backup_args(machine), plan=chosen(world, machine, Plan("pause")))
    paused = command.until_paused()
    second = world.run(machine, *world.backup_args(machine), codes=(0, 11) if paused else (0,))
    command.go_on()
    world.took_note(machine, world.ended(command))
    return f"at call {command.plan.at}: the second exit {second.code}" if paused else ""


@fault("clone")
def clone(world: World, machine: Machine) -> str:
    """a machine is cloned with its state (one identity, two sources); both back up, in turn and at once"""
    if not machine.home.exists():
        world.backup(machine)  # its state was lost
    twin = world.add_machine(f"{machine.name}-twin-{len(world.states)}")
    twin.item = machine.item
    shutil.rmtree(twin.home, ignore_errors=True)
    shutil.copytree(machine.home, twin.home, ignore=shutil.ignore_patterns("run"))
    twin.known_as = machine.known_as or machine.name
    turns = []
    for _ in range(world.rng.choice([1, 2, 3])):
        world.edit(machine)
        world.edit(twin)
        how = world.rng.choice(["turn", "once", "within"])
        if how == "turn":
            world.backup(twin)
            world.backup(machine)
        elif how == "once":
            both = [(m, world.start(m, *world.backup_args(m), plan=usual(world.rng))) for m in (machine, twin)]
            for who, command in both:
                world.took_note(who, world.ended(command))
        else:
            command = world.start(machine, *world.backup_args(machine), plan=chosen(world, machine, Plan("pause")))
            command.until_paused()
            world.backup(twin)
            command.go_on()
            world.took_note(machine, world.ended(command))
        turns.append(how)
    world.machines.remove(twin)
    shutil.rmtree(twin.home)
    return ", ".join(turns)
