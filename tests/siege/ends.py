"""Runs that end before their time, and are repeated."""

from __future__ import annotations

import errno
import signal
import time

from tests.siege.kinds import fault
from tests.siege.oracle import newest
from tests.siege.plan import Act, Plan, usual
from tests.siege.world import Machine, World


def chosen(world: World, machine: Machine, plan: Plan) -> Plan:
    """The plan with an event of a usual backup to act at, often one near the end, where the commit is."""
    total: int = getattr(machine, plan.events)
    where = world.rng.random()  # as many draws whatever `total` is, so that a seed repeats a campaign
    at = total + 1 - int(where * 12) if world.rng.random() < 0.4 else int(where * total) + 1
    return plan.but(at=max(at, 1), partial=usual(world.rng).partial, remote=world.rng.random() < 0.3)


@fault("kill-call")
def kill_at_a_call(world: World, machine: Machine) -> str:
    """kill -9 before or after a request to the store, up to three times in a row"""
    done = []
    for _ in range(world.rng.choice([1, 1, 2, 3])):
        plan = chosen(world, machine, Plan("kill", after=world.rng.random() < 0.5))
        ended = world.backup(machine, plan, (0, -signal.SIGKILL))
        done.append(f"call {plan.at}" if ended.code else "not reached")
        if world.rng.random() < 0.3:
            world.edit(machine)
    return "killed at " + ", ".join(done) if any(text.startswith("call") for text in done) else ""


@fault("kill-file")
def kill_at_a_file(world: World, machine: Machine) -> str:
    """kill -9 before an operation on a file of vault, state or cache"""
    plan = chosen(world, machine, Plan("kill", events="files"))
    ended = world.backup(machine, plan, (0, -signal.SIGKILL))
    return f"killed at file {plan.at}" if ended.code else ""


@fault("kill-time")
def kill_at_a_moment(world: World, machine: Machine) -> str:
    """kill -9 at a random moment of a backup"""
    command = world.start(machine, *world.backup_args(machine), plan=usual(world.rng))
    command.wait(world.rng.random() * machine.seconds * 1.1)
    command.send(signal.SIGKILL)
    ended = world.ended(command, (0, -signal.SIGKILL))
    world.took_note(machine, ended)
    return f"killed after {ended.seconds:.3f} s" if ended.code else ""


@fault("interrupt")
def interrupt(world: World, machine: Machine) -> str:
    """Ctrl-C or SIGTERM, at a request or a moment of a backup"""
    if world.rng.random() < 0.5:
        plan = chosen(world, machine, Plan("interrupt", events=world.rng.choice(["calls", "files"])))
        ended = world.backup(machine, plan, (0, 130))
        return f"SIGINT at {plan.events} {plan.at}" if ended.code else ""
    number = world.rng.choice([signal.SIGINT, signal.SIGTERM])
    command = world.start(machine, *world.backup_args(machine), plan=usual(world.rng))
    time.sleep(0.03)  # the child has its own handlers by then
    command.wait(world.rng.random() * machine.seconds)
    command.send(number)
    ended = world.ended(command, (0, 130, -signal.SIGTERM))
    world.took_note(machine, ended)
    return f"{number.name} after {ended.seconds:.3f} s" if ended.code else ""


@fault("io-error")
def io_error(world: World, machine: Machine) -> str:
    """one or many operations on files of vault, state or cache fail: EIO, ENOSPC, EROFS, EACCES, ESTALE, EMFILE"""
    error = world.rng.choice([errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ESTALE, errno.EMFILE])
    below = world.rng.choice([world.vault_folder, machine.home])
    plan = chosen(
        world, machine, Plan("fail", events="files", error=error, times=world.rng.choice([1, 1, 3, 10**6]))
    )
    plan = plan.but(at=1 + int(world.rng.random() * machine.files / 2), match=str(below))
    ended = world.backup(machine, plan, (0, 3, 5, 6, 8, 9, 11))
    return f"{errno.errorcode[error]} x {plan.times} below {below.name}: exit {ended.code}"


@fault("lost-answer")
def lost_answer(world: World, machine: Machine) -> str:
    """requests are done and their answers lost: the store fails after each create for a while"""
    plan = chosen(world, machine, Plan("fail", after=True, times=world.rng.choice([1, 2, 5])))
    ended = world.backup(machine, plan, (0, 3, 5, 70))
    return f"{plan.times} answers lost: exit {ended.code}"


@fault("kill-restore")
def kill_a_restore(world: World, machine: Machine) -> str:
    """kill -9 or Ctrl-C of a restore, and the same restore again, in the same folder"""
    key = newest(world, machine)
    if key is None:
        world.backup(machine)
        key = newest(world, machine)
        assert key is not None
    if world.may_be_damaged(key):
        return ""
    out = world.folder / "again"
    args = ["restore", key, "--to", str(out), "--trust-modes", "--json"]
    done = 0
    for _ in range(world.rng.choice([1, 2])):
        act: Act = world.rng.choice(["kill", "kill", "interrupt"])
        where = world.rng.random()
        plan = Plan(act, at=1 + int(where * where * 3 * machine.entries), events="entries")
        done += world.run(machine, *args, plan=plan, codes=(0, 130, -signal.SIGKILL), also=[out]).code != 0
    world.finish_restore(machine, key, out)
    return f"broken off {done} times" if done else ""
