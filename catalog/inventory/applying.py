"""Plans `rpdrive system apply`: the commands that bring a fresh installation closer to a system state. Pure.

Nothing here removes, stops or replaces anything, changes an id that exists, or gives an account more rights: what
would do that is a note, with the command for a person to run. Values come from a vault, have passed the checks of
readers, and stand in a command as single arguments after `--`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from catalog.errors import UsageError
from catalog.inventory.difference import package_key
from catalog.inventory.values import Group, Package, SystemState, User

PARTS = ("packages", "users", "units", "etc")
DEBIAN = ("debian", "ubuntu", "raspbian", "devuan", "kali", "linuxmint")
_INSTALLERS = {"rpm": "`dnf install`", "pacman": "`pacman -S`", "apk": "`apk add`"}
_AT_ONCE = 200  # packages of one command
_FIRST, _LAST = 1000, 59999  # ids of people; those below are made by packages
# Who is in one of these has other people's rights: a person decides.
_POWERFUL = {
    "root", "sudo", "wheel", "admin", "adm", "shadow", "disk", "docker", "lxd", "libvirt", "kvm", "kmem", "sys",
    "staff", "tty", "utmp", "systemd-journal", "lp", "backup", "operator", "src", "podman", "incus", "incus-admin",
    "sgx", "input", "video", "render", "netdev", "plugdev",
}  # fmt: skip
_NO_SHELL = "/usr/sbin/nologin"
_PLAIN = re.compile(r"[^:\"\\]*")
_FOLDER = re.compile(r"/(?:[^:\"\\]*[^:\"\\/])?")
# Of /etc only what does not make this machine another one: disks, ids and accounts stay as they are here.
ETC_LEFT_OUT = (
    "/etc/fstab", "/etc/crypttab", "/etc/mtab", "/etc/mdadm", "/etc/lvm", "/etc/multipath*", "/etc/machine-id",
    "/etc/hostname", "/etc/resolv.conf", "/etc/adjtime", "/etc/passwd*", "/etc/group*", "/etc/shadow*",
    "/etc/gshadow*", "/etc/subuid*", "/etc/subgid*", "/etc/sudoers*", "/etc/alternatives", "/etc/ld.so.*",
    "/etc/initramfs-tools/conf.d/resume", "/etc/udev/rules.d/70-persistent-*", "/etc/ssh/ssh_host_*",
    "/etc/ssl/certs", "/etc/rc?.d", "/etc/systemd/system/*.wants", "/etc/default/grub*", "/etc/kernel/cmdline",
)  # fmt: skip


class Step(NamedTuple):
    """A command, and why it is run."""

    argv: tuple[str, ...]
    why: str


class Plan(NamedTuple):
    """Commands in their order, and what a person has to look at."""

    steps: list[Step]
    notes: list[str]


def plan_packages(there: SystemState, here: SystemState, known: Collection[str]) -> Plan:
    """Install what was asked for and is missing. `known` are the names that the sources here offer.

    Raises UsageError if this system or that of the point is none whose packages can be installed from here.
    """
    _require_debian(there, here)
    steps, notes = list[Step](), list[str]()
    for architecture in there.packages.foreign:
        if architecture not in (*here.packages.foreign, here.packages.architecture):
            steps.append(Step(("dpkg", "--add-architecture", architecture), "packages of it were installed"))
    own = there.packages.architecture
    foreign = {*there.packages.foreign}
    present = {package_key(p) for p in here.packages.installed}
    installed = {p.name for p in here.packages.installed}
    wanted: list[str] = []
    unknown: list[str] = []
    for p in there.packages.installed:
        if not p.manual or package_key(p) in present or (p.architecture not in foreign and p.name in installed):
            continue
        name = _apt_name(p, own)
        if known and p.name not in known and name not in known:
            unknown.append(name)
        else:
            wanted.append(name)
    if wanted:
        steps.append(Step(("apt-get", "update"), "the lists of packages"))
    for n in range(0, len(wanted), _AT_ONCE):
        some = wanted[n : n + _AT_ONCE]
        install = ("apt-get", "install", "--yes", "--no-remove", "--option=Dpkg::Options::=--force-confold", "--")
        why = f"{len(some)} packages that were asked for, in the versions of today's sources"
        steps.append(Step((*install, *some), why))
    mine = {package_key(p): p for p in here.packages.installed}
    asked = [p for p in there.packages.installed if p.manual and (m := mine.get(package_key(p))) and not m.manual]
    hold = [p for p in there.packages.installed if p.hold and not ((m := mine.get(package_key(p))) and m.hold)]
    if asked:
        names = [_apt_name(p, own) for p in asked]
        steps.append(Step(("apt-mark", "manual", "--", *names), "they were asked for, and are to stay"))
    held = [name for p in hold if (name := _apt_name(p, own)) in wanted or p.name in installed]
    if held:
        steps.append(Step(("apt-mark", "hold", "--", *held), "they were held at a version"))
    if unknown:
        notes.append(f"the sources here don't offer {', '.join(unknown)}: add their sources first (--only etc)")
    for name, kind in ((p.name, "snap") for p in there.packages.snaps):
        notes.append(f"the {kind} {name} is not installed by this: run `{kind} install {name}`")
    for name, kind in ((p.name, "flatpak") for p in there.packages.flatpaks):
        notes.append(f"the {kind} {name} is not installed by this: run `{kind} install {name}`")
    return Plan(steps, notes)


def _apt_name(package: Package, own: str) -> str:
    return package.name if package.architecture in ("", "all", own) else f"{package.name}:{package.architecture}"


def _require_debian(there: SystemState, here: SystemState) -> None:
    for state, whose in ((there, "the point's machine"), (here, "this machine")):
        family = {state.computer.os, *state.computer.like}
        if state.packages.manager != "dpkg" or family.isdisjoint(DEBIAN):
            tool = _INSTALLERS.get(state.packages.manager, "its own package manager")
            raise UsageError(
                f"{whose} runs {state.computer.os or 'an unknown system'}, and its packages can't be installed",
                f"install them with {tool}; `rpdrive system show --json` lists them",
            )


def plan_users(there: SystemState, here: SystemState, shells: Collection[str]) -> Plan:
    """Make people's accounts and groups that are missing, with their ids, locked. `shells` are those here."""
    _require_shadow(here)
    steps, notes = list[Step](), list[str]()
    groups = {g.name: g for g in here.groups}
    gids = {g.gid: g.name for g in here.groups}
    for group in there.groups:
        if not _FIRST <= group.gid <= _LAST:
            continue
        if group.name in groups:
            if groups[group.name].gid != group.gid:
                notes.append(_other_id("group", group.name, group.gid, groups[group.name].gid))
        elif group.gid in gids:
            notes.append(
                f"the group {group.name} is not made: here, {group.gid} is the number of {gids[group.gid]}"
            )
        else:
            steps.append(Step(("groupadd", "--gid", str(group.gid), "--", group.name), "a group that is missing"))
            groups[group.name] = group
            gids[group.gid] = group.name
    users = {u.name: u for u in here.users}
    uids = {u.uid: u.name for u in here.users}
    made: list[User] = []
    for user in there.users:
        if not _FIRST <= user.uid <= _LAST:
            continue
        if user.name in users:
            if users[user.name].uid != user.uid:
                notes.append(_other_id("user", user.name, user.uid, users[user.name].uid))
        elif user.uid in uids:
            notes.append(f"the user {user.name} is not made: here, {user.uid} is the number of {uids[user.uid]}")
        elif user.gid not in gids or (not _FIRST <= user.gid <= _LAST and gids[user.gid] in _POWERFUL):
            notes.append(f"the user {user.name} is not made: its group {user.gid} is missing here, or a system's")
        else:
            steps.append(_add_user(user, shells))
            uids[user.uid] = user.name
            made.append(user)
    steps += _memberships(there, made, groups, notes)
    if made:
        names = ", ".join(user.name for user in made)
        notes.append(
            f"new accounts are locked: give {names} a password with `passwd`; a restore brings their files"
        )
    return Plan(steps, notes)


def _require_shadow(here: SystemState) -> None:
    family = {here.computer.os, *here.computer.like}
    if family.isdisjoint(DEBIAN):
        raise UsageError(
            f"users of {here.computer.os or 'an unknown system'} can't be made by this",
            "make them with its own tools, e.g. useradd; `rpdrive system show --json` lists them",
        )


def _other_id(kind: str, name: str, there: int, here: int) -> str:
    return f"the {kind} {name} has the number {here} here and {there} in the point: nothing is changed"


def _add_user(user: User, shells: Collection[str]) -> Step:
    shell = user.shell if user.shell in shells else _NO_SHELL
    argv = ["useradd", "--uid", str(user.uid), "--gid", str(user.gid), "--no-create-home", "--shell", shell]
    if user.comment and _PLAIN.fullmatch(user.comment):
        argv += ["--comment", user.comment]
    if _FOLDER.fullmatch(user.home) and "/../" not in f"{user.home}/":
        argv += ["--home-dir", user.home]
    why = "an account that is missing, without a password"
    return Step((*argv, "--", user.name), why if shell == user.shell else f"{why}; {user.shell} is no shell here")


def _memberships(
    there: SystemState, made: Sequence[User], groups: Mapping[str, Group], notes: list[str]
) -> list[Step]:
    """New accounts join the groups that they were in, but for those that give rights."""
    steps = []
    for user in made:
        member_of = [g.name for g in there.groups if user.name in g.members]
        powerful = [name for name in member_of if name in _POWERFUL or not _is_of_people(there, name)]
        plain = [name for name in member_of if name not in powerful and name in groups]
        if plain:
            steps.append(Step(("usermod", "--append", "--groups", ",".join(plain), "--", user.name), "its groups"))
        for name in powerful:
            notes.append(
                f"{user.name} was in {name}, which gives rights: `usermod --append --groups {name} -- {user.name}`"
            )
    return steps


def _is_of_people(there: SystemState, name: str) -> bool:
    return any(g.name == name and _FIRST <= g.gid <= _LAST for g in there.groups)


def plan_units(there: SystemState, here: SystemState) -> Plan:
    """Enable the units that were enabled, are here, and are not. Nothing is started, stopped or disabled."""
    steps, notes = list[Step](), list[str]()
    mine = {unit.name: unit.state for unit in here.units}
    if there.units and not mine:
        raise UsageError("this machine has no systemd", "enable its services with its own tools")
    absent = []
    for unit in there.units:
        now = mine.get(unit.name)
        if unit.state == "enabled" and now == "disabled":
            steps.append(Step(("systemctl", "enable", "--", unit.name), "it was enabled; the next boot starts it"))
        elif unit.state == "enabled" and now in ("masked", "masked-runtime"):
            notes.append(f"{unit.name} was enabled and is masked here: `systemctl unmask -- {unit.name}`")
        elif unit.state == "enabled" and now is None:
            absent.append(unit.name)
        elif unit.state == "masked" and now not in (None, "masked"):
            notes.append(f"{unit.name} was masked and is {now} here: `systemctl mask -- {unit.name}`")
        elif unit.state == "disabled" and now == "enabled":
            notes.append(f"{unit.name} was disabled and is enabled here: `systemctl disable -- {unit.name}`")
    if absent:
        notes.append(f"not here, as their packages are missing or /etc is not restored: {', '.join(absent)}")
    return Plan(steps, notes)


def plan_etc(restore: Sequence[str], point: str, machine: str, beside: str) -> Plan:
    """Put what /etc lacks in place, and the whole old /etc beside it. `restore` is the command `rpdrive restore`.

    Copies next to files that differ would be live: many programs read every file of a folder.
    """
    # At most one of each name: rules as `rpdrive restore` takes them.
    rules = [word for path in ETC_LEFT_OUT for word in ("--exclude", path)]
    common = ("--machine", machine)
    return Plan(
        [
            Step((*restore, f"{point}:/etc", "--to", beside, *common), "the old /etc, to compare and copy from"),
            Step(
                (*restore, f"{point}:/etc", "--in-place", "--on-conflict", "skip", *common, *rules),
                "what is missing in /etc; files that are there stay as they are",
            ),
        ],
        [f"files of /etc that differ stay as they are: the old ones are in {beside}/etc"],
    )
