"""Differences between two system states: what a machine had, and what another or the same one has. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from catalog.inventory.values import FileSystem, FstabEntry, Group, Package, SystemState, Unit, User

_T = TypeVar("_T")


class Difference(NamedTuple):
    """A thing that differs. `there` and `here` describe it in the point and on this machine; "" is absent."""

    part: str
    name: str
    there: str
    here: str

    @property
    def mark(self) -> str:
        """`-` missing here, `+` only here, `M` other."""
        return "M" if self.there and self.here else "-" if self.there else "+"


def differences(there: SystemState, here: SystemState) -> list[Difference]:
    """What differs, by part: machine, layout, fstab, packages, users, groups, units, alternatives, sysctl."""
    found = [*_machine(there, here), *_layout(there, here)]
    found += _compared("fstab", _by(there.fstab, _place), _by(here.fstab, _place), _line)
    found += _compared(
        "packages", _by(there.packages.installed, package_key), _by(here.packages.installed, package_key), _package
    )
    found += _compared("users", _by(there.users, _name), _by(here.users, _name), _user)
    found += _compared("groups", _by(there.groups, _name), _by(here.groups, _name), _group)
    found += _compared("units", _by(there.units, _name), _by(here.units, _name), _unit)
    found += _compared("alternatives", there.alternatives, here.alternatives, str)
    found += _compared("sysctl", there.sysctl, here.sysctl, lambda value: value or '""')
    return found


def _by(things: Iterable[_T], key: Callable[[_T], str]) -> dict[str, _T]:
    return {key(thing): thing for thing in things}


def _compared(
    part: str, there: Mapping[str, _T], here: Mapping[str, _T], text: Callable[[_T], str]
) -> list[Difference]:
    found = []
    for name in sorted({*there, *here}):
        before = text(there[name]) if name in there else ""
        after = text(here[name]) if name in here else ""
        if before != after:
            found.append(Difference(part, name, before, after))
    return found


def _machine(there: SystemState, here: SystemState) -> list[Difference]:
    before, after = (
        {
            "system": f"{s.computer.os} {s.computer.os_version}".strip(),
            "kernel": s.computer.kernel,
            "architecture": s.computer.architecture,
            "hostname": s.computer.hostname,
            "firmware": s.boot.firmware,
            "boot loader": s.boot.loader,
            "packages by": s.packages.manager,
        }
        for s in (there, here)
    )
    return _compared("machine", {k: v for k, v in before.items() if v}, {k: v for k, v in after.items() if v}, str)


def _layout(there: SystemState, here: SystemState) -> list[Difference]:
    before, after = ({**_disks(s), **_file_systems(s)} for s in (there, here))
    return _compared("layout", before, after, str)


def _disks(state: SystemState) -> dict[str, str]:
    found: dict[str, str] = {}
    for disk in state.disks:
        found[disk.device] = f"disk of {disk.size} bytes, {disk.table or 'no table'} {disk.table_id}".rstrip()
        for p in disk.partitions:
            found[p.device] = f"partition {p.number} from {p.start}, {p.size} sectors, {p.type} {p.uuid}".rstrip()
    for array in state.arrays:
        found[array.device] = f"{array.level} of {array.slots}, {array.uuid}"
    for one in state.luks:
        found[f"{one.device} (LUKS)"] = f"LUKS{one.version} {one.cipher} {one.uuid}"
    for group in state.volume_groups:
        found[f"volume group {group.name}"] = f"{group.uuid} on {' '.join(p.device for p in group.physical)}"
        for volume in group.logical:
            found[f"{group.name}/{volume.name}"] = f"{volume.layout} of {volume.size} bytes"
    return found


def _file_systems(state: SystemState) -> dict[str, str]:
    return {_file_system_name(f): f"{f.type} {f.label} on {f.device}" for f in state.file_systems}


def _file_system_name(f: FileSystem) -> str:
    return f"file system {f.uuid or f.device}"


def _place(entry: FstabEntry) -> str:
    return entry.place if entry.place.startswith("/") else f"{entry.type} {entry.source}"


def _line(entry: FstabEntry) -> str:
    return f"{entry.source} {entry.type} {entry.options} {entry.dump} {entry.passno}"


def package_key(package: Package) -> str:
    """A package's name with its architecture, as dpkg and rpm tell two of one name apart."""
    return f"{package.name}:{package.architecture}" if package.architecture else package.name


def _package(package: Package) -> str:
    marks = (" manual" if package.manual else "") + (" hold" if package.hold else "")
    return f"{package.version}{marks}" or "installed"


def _name(thing: User | Group | Unit) -> str:
    return thing.name


def _user(user: User) -> str:
    password = f" password {user.password}" if user.password else ""
    return f"{user.uid}:{user.gid} {user.home} {user.shell}{password}"


def _group(group: Group) -> str:
    return f"{group.gid} {','.join(group.members)}".rstrip()


def _unit(unit: Unit) -> str:
    return unit.state
