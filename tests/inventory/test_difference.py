"""What differs between two machines, and the commands that follow from it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from catalog.errors import UsageError
from catalog.inventory.applying import Plan, plan_etc, plan_packages, plan_units, plan_users
from catalog.inventory.difference import differences
from catalog.inventory.reading import checked
from catalog.inventory.values import (
    Computer,
    Disk,
    FileSystem,
    FstabEntry,
    Group,
    Package,
    Packages,
    Partition,
    SystemState,
    Unit,
    User,
)

SHELLS = ("/bin/bash", "/usr/sbin/nologin")


def machine(**fields: Any) -> SystemState:
    given = {"computer": Computer(os="debian"), "packages": Packages(manager="dpkg", architecture="amd64")} | fields
    state = SystemState(format=1, **given)
    assert checked(msgspec.to_builtins(state)) == (state, []), "what no vault can hold needs no test"
    return state


def packages(*installed: Package, **fields: Any) -> Packages:
    return Packages(manager="dpkg", architecture="amd64", installed=list(installed), **fields)


def package(name: str, architecture: str = "amd64", *, manual: bool = True, hold: bool = False) -> Package:
    return Package(name=name, version="1", architecture=architecture, manual=manual, hold=hold)


def commands(plan: Plan) -> list[str]:
    return [" ".join(step.argv) for step in plan.steps]


def test_equal_machines_do_not_differ() -> None:
    state = machine(users=[User(name="anna", uid=1000, gid=1000)], sysctl={"vm.swappiness": "60"})
    assert differences(state, state) == []


def test_each_part_is_compared() -> None:
    disk = Disk(device="/dev/sda", size=100, table="gpt", table_id="A-1")
    partition = Partition(device="/dev/sda1", number=1, start=2048, size=10, type="C12A")
    there = machine(
        disks=[msgspec.structs.replace(disk, partitions=[partition])],
        file_systems=[FileSystem(device="/dev/sda1", type="ext4", uuid="u-1")],
        fstab=[
            FstabEntry(source="UUID=u-1", place="/", type="ext4"),
            FstabEntry(source="/dev/x", place="none", type="swap"),
        ],
        packages=packages(package("vim"), package("less"), package("libc6", "i386", manual=False)),
        users=[User(name="anna", uid=1000, gid=1000, home="/home/anna", shell="/bin/bash", password="set")],
        groups=[Group(name="anna", gid=1000)],
        units=[Unit(name="ssh.service", state="enabled"), Unit(name="cron.service", state="masked")],
        alternatives={"editor": "/usr/bin/vim"},
        sysctl={"vm.swappiness": "10", "kernel.sysrq": "1"},
    )
    here = machine(
        disks=[disk],
        fstab=[FstabEntry(source="UUID=u-2", place="/", type="ext4")],
        packages=packages(package("less", manual=False), package("nano")),
        units=[Unit(name="ssh.service", state="disabled")],
        sysctl={"vm.swappiness": "60", "kernel.sysrq": "1"},
    )
    found = [(d.mark, d.part, d.name) for d in differences(there, here)]
    assert found == [
        ("-", "layout", "/dev/sda1"), ("-", "layout", "file system u-1"), ("M", "fstab", "/"),
        ("-", "fstab", "swap /dev/x"), ("M", "packages", "less:amd64"), ("-", "packages", "libc6:i386"),
        ("+", "packages", "nano:amd64"), ("-", "packages", "vim:amd64"), ("-", "users", "anna"),
        ("-", "groups", "anna"), ("-", "units", "cron.service"), ("M", "units", "ssh.service"),
        ("-", "alternatives", "editor"), ("M", "sysctl", "vm.swappiness"),
    ]  # fmt: skip
    (less,) = [d for d in differences(there, here) if d.name == "less:amd64"]
    assert (less.there, less.here) == ("1 manual", "1")


# --- packages --------------------------------------------------------------------------------------------------


def test_packages_that_were_asked_for_are_installed() -> None:
    there = machine(
        packages=packages(
            package("vim"), package("libfoo", manual=False), package("libc6", "i386"), package("gone"),
            package("less"),            package("nginx", hold=True), package("data", "all"),
            foreign=["i386"], snaps=[Package(name="hello")],
        )
    )  # fmt: skip
    here = machine(packages=packages(package("less", manual=False), package("nginx")))
    plan = plan_packages(there, here, {"vim", "libc6", "data", "less", "nginx"})
    assert commands(plan) == [
        "dpkg --add-architecture i386",
        "apt-get update",
        "apt-get install --yes --no-remove --option=Dpkg::Options::=--force-confold -- vim libc6:i386 data",
        "apt-mark manual -- less",
        "apt-mark hold -- nginx",
    ]
    assert "don't offer gone" in plan.notes[0] and "snap install hello" in plan.notes[1]


def test_packages_that_are_there_need_nothing() -> None:
    state = machine(packages=packages(package("vim"), package("libc6", "i386", hold=True), foreign=["i386"]))
    assert plan_packages(state, state, set()) == Plan([], [])


def test_many_packages_are_several_commands() -> None:
    there = machine(packages=packages(*(package(f"p{n}") for n in range(450))))
    plan = plan_packages(there, machine(), set())
    assert [len(step.argv) for step in plan.steps] == [2, 206, 206, 56]


@pytest.mark.parametrize(
    ("system", "manager", "tool"), [("fedora", "rpm", "dnf"), ("arch", "pacman", "pacman"), ("", "", "own")]
)
def test_packages_of_other_systems_are_refused(system: str, manager: str, tool: str) -> None:
    other = machine(computer=Computer(os=system), packages=Packages(manager=manager))
    for there, here, whose in ((other, machine(), "the point's"), (machine(), other, "this machine")):
        with pytest.raises(UsageError, match=whose) as raised:
            plan_packages(there, here, set())
        assert tool in raised.value.advice
    like = machine(computer=Computer(os="new", like=["ubuntu", "debian"]))
    assert plan_packages(like, like, set()).steps == []


# --- users -----------------------------------------------------------------------------------------------------


def anna(**fields: Any) -> User:
    given = {"uid": 1000, "gid": 1000, "home": "/home/anna", "shell": "/bin/bash", "password": "set"}
    return msgspec.convert({"name": "anna", **given, **fields}, User)


def test_missing_people_are_made_locked_and_with_their_ids() -> None:
    there = machine(
        users=[anna(comment="Anna, Büro"), User(name="www-data", uid=33, gid=33)],
        groups=[
            Group(name="anna", gid=1000),
            Group(name="team", gid=1500, members=["anna"]),
            Group(name="web", gid=33),
        ],
    )
    plan = plan_users(there, machine(), SHELLS)
    assert commands(plan) == [
        "groupadd --gid 1000 -- anna",
        "groupadd --gid 1500 -- team",
        "useradd --uid 1000 --gid 1000 --no-create-home --shell /bin/bash --comment Anna, Büro"
        " --home-dir /home/anna -- anna",
        "usermod --append --groups team -- anna",
    ]
    assert plan.notes == [
        "new accounts are locked: give anna a password with `passwd`; a restore brings their files"
    ]
    assert not any("password" in word or word == "-p" for step in plan.steps for word in step.argv)


def test_ids_that_exist_are_never_changed() -> None:
    there = machine(
        users=[anna(), User(name="bert", uid=1001, gid=1001), User(name="carl", uid=1002, gid=1002)],
        groups=[Group(name="anna", gid=1000), Group(name="bert", gid=1001), Group(name="carl", gid=1002)],
    )
    here = machine(
        users=[anna(uid=2000), User(name="other", uid=1001, gid=7)],
        groups=[Group(name="anna", gid=2000), Group(name="other", gid=1001), Group(name="carl", gid=1002)],
    )
    plan = plan_users(there, here, SHELLS)
    assert [step.argv[-1] for step in plan.steps] == ["carl"]
    assert sorted(note.partition(":")[0] for note in plan.notes[:4]) == [
        "the group anna has the number 2000 here and 1000 in the point",
        "the group bert is not made",
        "the user anna has the number 2000 here and 1000 in the point",
        "the user bert is not made",
    ]


def test_nobody_gets_rights() -> None:
    there = machine(
        users=[
            anna(password="none"), User(name="toor", uid=0, gid=0), User(name="low", uid=999, gid=999),
            User(name="disk-man", uid=1005, gid=6),
            User(name="odd", uid=1006, gid=1000, home="/../etc", shell="/bin/x"),
        ],
        groups=[
            Group(name="anna", gid=1000), Group(name="sudo", gid=27, members=["anna"]), Group(name="disk", gid=6),
            Group(name="docker", gid=1500, members=["anna"]), Group(name="mail", gid=8, members=["anna"]),
        ],
    )  # fmt: skip
    here = machine(groups=[Group(name="sudo", gid=27), Group(name="disk", gid=6), Group(name="mail", gid=8)])
    plan = plan_users(there, here, SHELLS)
    assert [" ".join(step.argv) for step in plan.steps] == [
        "groupadd --gid 1000 -- anna",
        "groupadd --gid 1500 -- docker",
        "useradd --uid 1000 --gid 1000 --no-create-home --shell /bin/bash --home-dir /home/anna -- anna",
        "useradd --uid 1006 --gid 1000 --no-create-home --shell /usr/sbin/nologin -- odd",
    ]
    for name in ("sudo", "docker", "mail"):
        assert any(f"anna was in {name}, which gives rights" in note for note in plan.notes)


def test_a_comment_can_not_add_a_field() -> None:
    there = machine(users=[anna(comment="x:/root:/bin/sh")], groups=[Group(name="anna", gid=1000)])
    assert not any("--comment" in step.argv for step in plan_users(there, machine(), SHELLS).steps)


# --- units and /etc --------------------------------------------------------------------------------------------


def test_units_are_enabled_and_never_stopped() -> None:
    def units(**states: str) -> SystemState:
        return machine(units=[Unit(name=f"{name}.service", state=state) for name, state in states.items()])

    there = units(ssh="enabled", cron="enabled", gone="enabled", old="disabled", net="masked", fine="enabled")
    here = units(ssh="disabled", cron="masked", old="enabled", net="enabled", fine="enabled", extra="enabled")
    plan = plan_units(there, here)
    assert commands(plan) == ["systemctl enable -- ssh.service"]
    notes = "\n".join(plan.notes)
    for part in (
        "systemctl unmask -- cron.service",
        "mask -- net.service",
        "disable -- old.service",
        "gone.service",
    ):
        assert part in notes
    with pytest.raises(UsageError, match="no systemd"):
        plan_units(there, machine())


def test_etc_is_never_overwritten() -> None:
    plan = plan_etc(["rpdrive", "restore"], "ab12", "cd34", "/etc.rpdrive-ab12")
    beside, missing = (step.argv for step in plan.steps)
    assert beside == ("rpdrive", "restore", "ab12:/etc", "--to", "/etc.rpdrive-ab12", "--machine", "cd34")
    assert missing[2:6] == ("ab12:/etc", "--in-place", "--on-conflict", "skip")
    left_out = {missing[n + 1] for n, word in enumerate(missing) if word == "--exclude"}
    assert {"/etc/shadow*", "/etc/sudoers*", "/etc/fstab", "/etc/machine-id", "/etc/ssh/ssh_host_*"} <= left_out
