"""One campaign of the siege: a vault, its machines, what they saved, and what was done to them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from catalog.errors import WITH_PROBLEMS
from catalog.format.records import Point
from catalog.store.local import LocalStore
from catalog.vault import Vault, open_vault
from tests.kit.vaults import PASSPHRASE, home_of, new_vault
from tests.siege.command import Command, Ended, as_new_process, left_in_session
from tests.siege.plan import QUIET, Plan, usual
from tests.siege.trees import Frozen, Tree, of_source

DOCUMENTED = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 130, 141})  # docs/exit-codes.md, but for 70
_ALARMS = (
    "Traceback (most recent call last)",
    "Exception ignored",
    "Unexpected",
    "ResourceWarning",
    "Fatal Python",
)
_GRACE = 3.0  # s in which helpers of a command that was killed have to end


class Fault(Exception):
    """rpdrive did something that it must not. `sort` is one of SORTS."""

    def __init__(self, sort: str, text: str) -> None:
        super().__init__(f"{sort}: {text}")
        self.sort, self.text = sort, text


SORTS = {
    "lost": "a point that was made is gone, or a whole point can't be read, though nothing damaged its objects",
    "wrong bytes": "something reads as it never was",
    "not healed": "a new point refers to what was known to be damaged or gone",
    "silent": "damage was read and not reported",
    "traceback": "a traceback, exit code 70 or an unexpected warning",
    "exit code": "an exit code or message that docs/exit-codes.md does not give for this",
    "hang": "a command did not end, or left a process behind",
    "litter": "temporary files left after the next run of the same machine",
    "stuck": "what a user runs next does not work",
}


@dataclass
class Machine:
    """A machine with a home and a source of its own. `frozen` is the source now."""

    name: str
    home: Path
    tree: Tree
    item: str = "data"
    known_as: str = ""  # what --machine says, if not its name
    frozen: Frozen | None = None
    calls: int = 30  # events of its last complete backup
    files: int = 60
    entries: int = 100
    seconds: float = 0.2
    killed: bool = False  # it was killed, and has completed no backup since

    def series(self) -> str:
        """The part of the names of its packs that says whose they are; "" if it has lost its identity."""
        for path in (self.home / "state").glob("identity-*.json"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return str(json.loads(path.read_bytes())["machine"])[:8]
        return ""


@dataclass
class Copy:
    """A copy of the vault's folder, as a disk or a snapshot of it would be, with what it holds."""

    folder: Path
    expected: dict[str, Frozen]
    damaged: set[str]
    doubtful: set[str]
    unnoticed: set[str]


@dataclass
class Tally:
    """What a campaign counted."""

    commands: int = 0
    compared: int = 0  # points, by all readers
    reported: int = 0  # commands that reported damage
    healed: int = 0
    notes: list[str] = field(default_factory=list)


class World:
    """`folder` holds all of it. `log` has a line per command."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.rng = random.Random(seed)
        folder.mkdir(parents=True)
        self.vault_folder = folder / "vault"
        self._log = (folder / "log.txt").open("w", encoding="utf-8", errors="backslashreplace")
        new_vault(LocalStore(self.vault_folder)).store.close()
        self.expected: dict[str, Frozen] = {}  # by point id: the whole points, and what they have to hold
        self.damaged: set[str] = set()  # names of objects that the siege spoilt and that stand so
        self.doubtful: set[str] = set()  # ids of points that may refer to them
        self.unnoticed: set[str] = set()  # of the damaged, those that nobody can have noticed yet
        self.unverified: set[str] = set()
        self.closures: dict[str, set[str]] = {}  # by point id: the objects that were read to verify it
        self._too_late: set[str] = set()  # of the doubtful, those that no mended object makes whole
        self._started: list[Command] = []
        self.sleeps: list[tuple[int, int]] = []  # when everything slept, and for how long (ns)
        self.roots: dict[str, Path] = {}  # by point id: the folder it saved
        self.tally = Tally()
        self.machines: list[Machine] = []
        self.states: list[Frozen] = []
        self._copies = 0
        self.machine = self.add_machine("one")

    # --- machines -----------------------------------------------------------------------------------------

    def add_machine(self, name: str, home: Path | None = None) -> Machine:
        tree = Tree(self.folder / f"source-{name}", random.Random(self.rng.random()))
        tree.make()
        machine = Machine(name, home or self.folder / f"home-{name}", tree)
        self.freeze(machine)
        self.machines.append(machine)
        if self.rng.random() < 0.3:
            self.run(machine, "vault", "unlock", "--save")
        return machine

    def freeze(self, machine: Machine) -> Frozen:
        machine.frozen = Frozen.of(len(self.states), machine.tree.root, self.folder / "contents")
        self.states.append(machine.frozen)
        return machine.frozen

    def edit(self, machine: Machine) -> None:
        machine.tree.edit()
        self.freeze(machine)

    def environ(self, machine: Machine) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("RPDRIVE_", "AZURE_", "COVERAGE_"))}
        more = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
        return own | home_of(machine.home, str(self.vault_folder)) | more

    # --- commands -----------------------------------------------------------------------------------------

    def start(self, machine: Machine, *args: str, plan: Plan = QUIET, also: Sequence[Path] = ()) -> Command:
        """Start a command. `also` are folders whose files count as events, beside home and vault."""
        self.tally.commands += 1
        plan = plan.but(sleeps=tuple(self.sleeps))
        command = Command(args, self.environ(machine), plan, [machine.home, self.vault_folder, *also])
        self._started.append(command)
        return command

    def ended(self, command: Command, codes: Sequence[int] = (0,)) -> Ended:
        """Wait for a command's end; it must have one of these exit codes."""
        return self._checked(command.end(), codes)

    def run(
        self,
        machine: Machine,
        *args: str,
        plan: Plan = QUIET,
        codes: Sequence[int] = (0,),
        also: Sequence[Path] = (),
    ) -> Ended:
        """Run a command to its end; it must have one of these exit codes. A few run as new processes."""
        if self.rng.random() < 0.02 and plan == QUIET and not self.sleeps:
            self.tally.commands += 1
            return self._checked(as_new_process(args, self.environ(machine)), codes)
        return self.ended(self.start(machine, *args, plan=plan, also=also), codes)

    def backup_args(self, machine: Machine, *more: str) -> list[str]:
        return [
            "backup",
            str(machine.tree.root),
            "--item",
            machine.item,
            "--machine",
            machine.known_as or machine.name,
            "--json",
            *more,
        ]

    def backup(
        self, machine: Machine, plan: Plan | None = None, codes: Sequence[int] | None = None, *more: str
    ) -> Ended:
        """A backup in usual circumstances, if no `plan` is given; notes which points it made.

        Unless other `codes` are given, it has to succeed, with warnings only if the siege has damaged something.
        """
        if codes is None:
            codes = (0, 3) if self.damaged or self.doubtful else (0,)
        done = self.run(machine, *self.backup_args(machine, *more), plan=plan or usual(self.rng), codes=codes)
        self.took_note(machine, done)
        return done

    def took_note(self, machine: Machine, done: Ended) -> None:
        """Note how a backup went and which points there are now."""
        if done.code in (0, 3):
            machine.killed = False
            if done.calls:
                machine.calls, machine.files, machine.entries = done.calls, done.files, done.entries
                machine.seconds = done.seconds
        elif done.code < 0:
            machine.killed = True
        self.attribute()

    def log(self, text: str) -> None:
        self._log.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        self._log.flush()

    def close(self) -> None:
        """End what still runs, when a fault was found in the middle of something."""
        for command in self._started:
            if not command.over:
                command.send(signal.SIGKILL)
                command.end()
        self._log.close()

    def _checked(self, done: Ended, codes: Sequence[int]) -> Ended:
        words = " ".join(done.args).replace(str(self.folder), "W")
        tail = done.error.replace(str(self.folder), "W").strip().splitlines()[-1:]
        self.log(f"rpdrive {words} [{done.plan}] -> {done.code} in {done.seconds:.2f} s {''.join(tail)[:300]}")
        what = f"rpdrive {words} ({done.plan}): exit {done.code}: {done.error.strip()[-1500:]}"
        if done.hung:
            raise Fault("hang", f"no end: {what}")
        if done.code == 70 or any(alarm in done.error for alarm in _ALARMS):
            raise Fault("traceback", what)
        if done.code >= 0 and done.code not in DOCUMENTED:
            raise Fault("exit code", f"not documented: {what}")
        lists = done.args[0] in ("points", "jobs", "vault", "machine")
        if done.code not in codes and not (
            self._only_warned(done) or (lists and self.damaged and done.code in (7, 9))
        ):
            raise Fault("stuck" if list(codes) == [0] else "exit code", f"not in {list(codes)}: {what}")
        if (
            done.code > 0
            and done.code not in (3, 141)
            and '"error"' not in done.error
            and "rpdrive: " not in done.error
        ):
            raise Fault("exit code", f"no message: {what}")
        end = time.monotonic() + _GRACE
        while left := left_in_session(done.session):
            if time.monotonic() > end:
                raise Fault("hang", f"left behind {left}: {what}")
            time.sleep(0.02)
        return done

    def finish_restore(self, machine: Machine, key: str, out: Path) -> None:
        """Run a restore that was broken off once more: the folder has to be as the point is, nothing beside it."""
        whole = not self.may_be_damaged(key)
        again = ("restore", key, "--to", str(out), "--trust-modes", "--json")
        done = self.run(machine, *again, codes=(0,) if whole else (0, 3, 9))
        if done.code:
            shutil.rmtree(out, ignore_errors=True)
            return
        found = of_source(out / machine.tree.root.relative_to("/"))
        shutil.rmtree(out)
        self.tally.compared += 1
        if difference := self.expected[key].difference(found):
            raise Fault("wrong bytes", f"point {key}, restored at the second attempt: {difference}")

    def plan(self, **changes: object) -> Plan:
        """The usual circumstances, but for `changes`."""
        return usual(self.rng).but(**changes)

    # --- what the siege did -------------------------------------------------------------------------------

    def spoilt(self, name: str, *, known: bool) -> None:
        """Note that an object is about to be damaged. `known`: a listing shows it."""
        self.damaged.add(name)
        if not known:
            self.unnoticed.add(name)
        self.doubtful |= self.expected.keys()
        self.unverified |= self.expected.keys()

    def mended(self, names: set[str]) -> None:
        """Note that objects are as they were. If no other is damaged, every point has to be whole again."""
        self.damaged -= names
        self.unnoticed -= names
        self.unverified |= self.expected.keys()
        if not any(name.startswith(("packs/", "meta/", "points/")) for name in self.damaged):
            self.doubtful &= self._too_late

    def strange(self, name: str) -> None:
        """Note that a name in the vault is a stranger's."""
        self.damaged.add(name)

    def noticed(self, machine: Machine) -> None:
        """All points were just read on the machine: what they refer to and is damaged is known there.

        Not so what lies below a damaged page of a tree, nor, on other machines, what is damaged of theirs.
        """
        if not any(name.startswith("meta/") for name in self.damaged):
            read = set().union(*(self.closures.get(key, set()) for key in self.expected))
            own = machine.series()
            self.unnoticed -= {name for name in read if name.split("/")[1] == own}

    def forgot(self) -> None:
        """A machine's state is lost, or was damaged: what it knew of damage may be lost with it."""
        self.unnoticed |= {name for name in self.damaged if name.startswith(("packs/", "meta/"))}

    def may_be_damaged(self, key: str) -> bool:
        """Whether a point may refer to what is damaged, by no fault of rpdrive's."""
        return key in self.doubtful or (key in self.unverified and bool(self.unnoticed))

    def newest_is_doubtful(self) -> None:
        """The points made just now may refer to what the siege took away meanwhile."""
        self._too_late |= self.unverified
        self.doubtful |= self.unverified

    def _only_warned(self, done: Ended) -> bool:
        """Whether a backup's problems are none of the source's, but e.g. a record that was passed over."""
        if done.code != WITH_PROBLEMS or done.args[0] != "backup":
            return False
        rows = json.loads(done.out)["problems"]
        return bool(rows) and not any(row["path"].startswith(str(self.folder)) for row in rows)

    # --- the vault ----------------------------------------------------------------------------------------

    def opened(self) -> Vault:
        return open_vault(LocalStore(self.vault_folder), passphrase=PASSPHRASE)

    def attribute(self, states: Mapping[str, Frozen] | None = None) -> None:
        """Find new whole points and note what each has to hold: its machine's source as it is now.

        `states` gives it by the path saved, if not as now.
        """
        vault = self.opened()
        now = {str(m.tree.root): m.frozen for m in self.machines if m.frozen} | dict(states or {})
        for name in vault.point_names():
            key = name.id.hex()
            if key not in self.expected and str(name) not in self.damaged:
                point: Point = vault.point(name)
                self.roots[key] = Path(os.fsdecode(point.paths[0]))
                self.expected[key] = now[str(self.roots[key])]
                self.unverified.add(key)
        vault.store.close()

    def objects(self, *prefixes: str) -> list[str]:
        """The names of the vault's objects, or of those that begin so."""
        found = []
        for above, folders, names in os.walk(self.vault_folder):
            if Path(above) == self.vault_folder:
                folders[:] = [f for f in folders if f not in (".rpdrive", "lost+found")]
            paths = [Path(above, name) for name in names]
            found += [str(p.relative_to(self.vault_folder)) for p in paths if stat.S_ISREG(p.lstat().st_mode)]
        return sorted(name for name in found if not prefixes or name.startswith(prefixes))

    def copy_vault(self) -> Copy:
        """A copy of the vault as it is."""
        self._copies += 1
        folder = self.folder / f"copy-{self._copies}"
        _copied(self.vault_folder, folder)
        return Copy(folder, dict(self.expected), set(self.damaged), set(self.doubtful), set(self.unnoticed))

    def bring_back(self, copy: Copy) -> None:
        """Put a copy in the place of the vault, which is thrown away. The copy itself stays."""
        shutil.rmtree(self.vault_folder)
        _copied(copy.folder, self.vault_folder)
        self._holds(copy)

    def exchange(self, copy: Copy) -> Copy:
        """Put a copy in the place of the vault, as another disk at the same path. The vault becomes the copy."""
        other = Copy(copy.folder, dict(self.expected), set(self.damaged), set(self.doubtful), set(self.unnoticed))
        aside = self.folder / "aside"
        self.vault_folder.rename(aside)
        copy.folder.rename(self.vault_folder)
        aside.rename(copy.folder)
        self._holds(copy)
        return other

    def _holds(self, copy: Copy) -> None:
        self.expected, self.damaged = dict(copy.expected), set(copy.damaged)
        self.doubtful, self.unnoticed = set(copy.doubtful), set(copy.unnoticed)
        self.unverified = set(copy.expected)

    def drop(self, copy: Copy) -> None:
        shutil.rmtree(copy.folder)

    def litter(self) -> list[str]:
        """Temporary files of commands that are over."""
        found = [str(p.relative_to(self.folder)) for p in (self.vault_folder / ".rpdrive").glob("writing-*")]
        for machine in self.machines:
            for above, _folders, names in os.walk(machine.home):
                found += [
                    os.path.relpath(os.path.join(above, name), self.folder)
                    for name in names
                    if name.endswith((".tmp", ".part")) or name.startswith("writing-")
                ]
        return found


def mounted(*args: str) -> bool:
    """Whether it could be mounted."""
    return subprocess.run(["mount", *args], check=False, capture_output=True).returncode == 0


def is_mount(path: Path) -> bool:
    """Whether something is mounted there. os.path.ismount overlooks a folder of the same file system."""
    return path in mounts_below(path)


def mounts_below(folder: Path) -> list[Path]:
    rows = Path("/proc/self/mountinfo").read_text().splitlines()
    return [path for row in rows if (path := Path(row.split()[4])).is_relative_to(folder)]


def unmounted(path: Path, *options: str) -> None:
    subprocess.run(["umount", *options, path], check=True, capture_output=True)


def _copied(folder: Path, to: Path) -> None:
    """Copy a folder as `cp -a` does, without FIFOs."""

    def left_out(above: str, names: list[str]) -> list[str]:
        return [name for name in names if stat.S_ISFIFO(os.lstat(os.path.join(above, name)).st_mode)]

    shutil.copytree(folder, to, symlinks=True, ignore=left_out)
