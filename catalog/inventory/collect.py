"""Collects the system state of this machine into a folder: system.json, and what the tools printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from catalog.inventory.accounts import groups, users
from catalog.inventory.blocks import Block, blocks, disks
from catalog.inventory.boot import boot
from catalog.inventory.computer import computer
from catalog.inventory.filesystems import crypttab, file_systems, fstab, mounted
from catalog.inventory.here import Here
from catalog.inventory.layers import arrays, containers, volume_groups
from catalog.inventory.reading import checked
from catalog.inventory.services import alternatives, keep_services, sysctl, units
from catalog.inventory.software import keep_drift, packages
from catalog.inventory.tools import Tools
from catalog.inventory.values import FORMAT, Boot, Computer, Disk, Mounted, Packages, SystemState

STATE_FILE = "system.json"


class Wanted(msgspec.Struct, frozen=True):
    """What else to collect. `luks_headers` are secrets: with a header, an old passphrase opens the disk."""

    luks_headers: bool = False
    verify: bool = False  # read all files of packages and say which differ
    loops: bool = False  # loop devices as disks


def collect(
    folder: Path, wanted: Wanted = Wanted(), *, tools: Tools | None = None, root: Path = Path("/")
) -> SystemState:
    """Collect into `folder`, which is private and empty. What can't be learnt is a note, never an error.

    Raises OSError if system.json can't be written.
    """
    here = Here(folder, tools or Tools(), root)
    state = survey(here, wanted)
    descriptor = os.open(folder / STATE_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")
    return state


def survey(here: Here, wanted: Wanted = Wanted()) -> SystemState:
    """The state of a machine. It has passed the checks that every reader makes."""
    if not here.by_root:
        here.note(
            "not collected by root: partition tables, identities of file systems, RAID, LUKS, LVM and the kinds of "
            "passwords can't be read"
        )
    found = here.attempt("block devices", lambda: blocks(here, loops=wanted.loops), dict[str, Block]())
    mounts = here.attempt("mounts", lambda: mounted(here, found), list[Mounted]())
    the_disks = here.attempt("disks", lambda: disks(here, found), list[Disk]())
    the_packages = here.attempt("packages", lambda: packages(here), Packages())
    if here.keeps:
        here.attempt("changed files", lambda: keep_drift(here, the_packages.manager, verify=wanted.verify), None)
        here.attempt("services", lambda: keep_services(here), None)
    as_root = here.by_root
    state = SystemState(
        format=FORMAT,
        by_root=as_root,
        computer=here.attempt("the machine", lambda: computer(here), Computer()),
        boot=here.attempt("boot", lambda: boot(here, found, the_disks, mounts), Boot()),
        disks=the_disks,
        arrays=here.attempt("arrays", lambda: arrays(here, found), []) if as_root else [],
        luks=here.attempt("LUKS", lambda: containers(here, found, headers=wanted.luks_headers), [])
        if as_root
        else [],
        volume_groups=here.attempt("LVM", lambda: volume_groups(here, found), []) if as_root else [],
        file_systems=here.attempt("file systems", lambda: file_systems(here, found, mounts), []),
        mounts=mounts,
        fstab=here.attempt("fstab", lambda: fstab(here.text("/etc/fstab")), []),
        crypttab=here.attempt("crypttab", lambda: crypttab(here.text("/etc/crypttab")), []),
        packages=the_packages,
        users=here.attempt("users", lambda: users(here), []),
        groups=here.attempt("groups", lambda: groups(here), []),
        units=here.attempt("units", lambda: units(here), []),
        alternatives=here.attempt("alternatives", lambda: alternatives(here), {}),
        sysctl=here.attempt("kernel settings", lambda: sysctl(here), {}),
    )
    raw: Any = msgspec.to_builtins(state)
    state, refused = checked(raw)
    for line in refused:
        here.note(line)
    return msgspec.structs.replace(state, notes=list(here.notes))
