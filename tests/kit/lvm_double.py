"""A double of LVM: lvs, vgs, lvcreate, lvchange, lvremove and dmsetup over volumes in a JSON file, and their /sys.

They do what the real ones were seen to do (LVM 2.03.16) with the options that rpdrive gives, and refuse all others.
The file also says which call fails, hangs or kills its caller. `main` is one of them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # not in the programs, which have to be quick
    from backup.snapshot import tool

PROGRAMS = ("lvs", "vgs", "lvcreate", "lvchange", "lvremove", "dmsetup")
EXTENT = 4 << 20
OF_LVCREATE = "--snapshot --extents= --setactivationskip= --ignoreactivationskip --name= --addtag="
# Imported, so that it is compiled once.
CODE = f"import sys; sys.path = [{str(Path(__file__).parent)!r}, *sys.path]; import lvm_double; lvm_double.main()"
COMMAND = f'{sys.executable} -S -E -c "{CODE}"'
GROUP_ID = "xP7vv0RpAJZrUy3Z707uIqFaCELGfifK"


def long_id(number: int) -> str:
    return f"{number:032d}"


def hyphened(plain: str) -> str:
    return re.sub(r"(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})(.{6})", r"\1-\2-\3-\4-\5-\6-\7", plain)


class LvmDouble:
    """The volumes of one group, vg0, and the programs, in `folder/bin`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sys = folder / "sys"
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        (self.sys / "block").mkdir(parents=True)
        (self.sys / "dev/block").mkdir(parents=True)
        for name in PROGRAMS:
            script = self.bin / name
            script.write_text(f'#!/bin/sh\nexec {COMMAND} {folder} {name} "$@"\n')
            script.chmod(0o755)
        self.save({"volumes": [], "free": 100, "group": {}, "next": 1, "faults": {}})

    def load(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return state

    def save(self, state: dict[str, Any]) -> None:
        temporary = self.folder / "state.new"
        temporary.write_text(json.dumps(state))
        temporary.replace(self.folder / "state.json")

    def add(self, name: str, **fields: str) -> str:
        """Add an active volume: the number of its device. `pool="p"` makes it thin; fields are those of lvs."""
        state = self.load()
        number = add(self.folder, state, name, fields)
        self.save(state)
        return number

    def change(self, name: str, **fields: str) -> None:
        state = self.load()
        next(v for v in state["volumes"] if v["lv_name"] == name).update(fields)
        self.save(state)

    def set(self, **what: object) -> None:
        """Set `free`, `group` (fields of it) or `faults`: {"lvcreate": ["exit", 2, 5, "why"]}: twice."""
        self.save(self.load() | what)

    def run(self, name: str, *arguments: str, seconds: float, changes: bool = False) -> tool.Ended:
        """Run a program in this process, which is quicker: a tool.Run. It can't hang, nor kill its caller."""
        out, said, code = io.StringIO(), io.StringIO(), 0
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
                perform(self.folder, name, list(arguments))
        except SystemExit as e:
            code = int(e.code or 0)
        from backup.snapshot import tool

        return tool.Ended(code, out.getvalue().encode(), tool.message(said.getvalue().encode()))

    def names(self) -> list[str]:
        return sorted(v["lv_name"] for v in self.load()["volumes"])

    def calls(self, *programs: str) -> list[list[str]]:
        """The calls since the last time, of these programs or all."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [call for call in map(json.loads, lines) if not programs or call[0] in programs]


def add(folder: Path, state: dict[str, Any], name: str, fields: dict[str, str]) -> str:
    minor, state["next"] = state["next"], state["next"] + 1
    volume = {
        "lv_name": name, "lv_uuid": hyphened(long_id(minor)), "lv_size": str(1 << 30), "lv_layout": "linear",
        "lv_role": "public", "lv_tags": "", "lv_time": "1700000000", "lv_active": "active",
        "lv_kernel_major": "253", "lv_kernel_minor": str(minor),
        "lv_snapshot_invalid": "-1", "lv_merging": "0", "lv_health_status": "",
        "data_percent": "", "metadata_percent": "", "origin": "", "origin_uuid": "", "pool_lv_uuid": "",
        "metadata_lv_uuid": "", "thin_id": "",
    } | fields  # fmt: skip
    if pool := volume.pop("pool", ""):
        found = next(v for v in state["volumes"] if v["lv_name"] == pool)
        volume |= {"pool_lv_uuid": found["lv_uuid"], "lv_layout": "thin,sparse", "thin_id": str(minor)}
    state["volumes"].append(volume)
    uuid = f"LVM-{GROUP_ID}{volume['lv_uuid'].replace('-', '')}"
    if volume["metadata_lv_uuid"]:
        device(folder, minor + 100, f"LVM-{GROUP_ID}{volume['metadata_lv_uuid'].replace('-', '')}-tmeta", "tmeta")
        uuid += "-tpool"
    device(folder, minor, uuid, f"vg0-{name.replace('-', '--')}" + ("-tpool" if uuid.endswith("-tpool") else ""))
    return f"253:{minor}"


def device(folder: Path, minor: int, uuid: str, name: str) -> None:
    place = folder / "sys/block" / f"dm-{minor}"
    (place / "dm").mkdir(parents=True)
    for file, text in (("uuid", uuid), ("name", name), ("suspended", "0")):
        (place / "dm" / file).write_text(text + "\n")
    (folder / "sys/dev/block" / f"253:{minor}").symlink_to(place)


# --- the programs ----------------------------------------------------------------------------------------------


def selected(state: dict[str, Any], select: str) -> list[dict[str, str]]:
    def fits(volume: dict[str, str], term: str) -> bool:
        if found := re.fullmatch(r'(\w+)=~"([^"]*)"', term):
            return re.search(found[2], volume[found[1]]) is not None
        if found := re.fullmatch(r'(\w+)="([^"]*)"', term):
            return {"vg_name": "vg0", **volume}[found[1]] == found[2]
        found = re.fullmatch(r'(\w+)=\{"([^"]*)"\}', term)
        if found is None:
            return bool(refuse(3, f"malformed selection {term}"))
        return found[2] in volume[found[1]].split(",")

    groups = [group.split(" && ") for group in select.split(" || ")] if select else [[]]
    return [v for v in state["volumes"] if any(all(fits(v, term) for term in group) for group in groups)]


def refuse(code: int, why: str) -> Any:
    print(f"  WARNING: This metadata update is NOT backed up.\n  {why}", file=sys.stderr)
    sys.exit(code)


def options(arguments: list[str], known: str) -> tuple[dict[str, str], list[str]]:
    """Options and the rest; those in `known` that end in = have a value."""
    given, rest = {}, list(arguments)
    words = known.split()
    while rest and rest[0].startswith("--"):
        option = rest.pop(0)
        if option + "=" in words:
            given[option] = rest.pop(0)
        elif option in words:
            given[option] = ""
        else:
            refuse(3, f"unrecognized option '{option}'")
    return given, rest


def lvs(folder: Path, state: dict[str, Any], arguments: list[str]) -> None:
    known = "--reportformat= --units= --nosuffix --binary --config= --options= --select="
    given, _ = options(arguments, known)
    group = {
        "vg_name": "vg0", "vg_uuid": hyphened(GROUP_ID), "vg_clustered": "0", "vg_shared": "0", "vg_exported": "0",
        "vg_partial": "0", "vg_extent_size": str(EXTENT), "vg_free_count": str(state["free"]),
    } | state["group"]  # fmt: skip
    # Of a volume in two segments there are two rows, as thin_id is asked for.
    rows = [
        {f: (group | v)[f] for f in given["--options"].split(",")}
        for v in selected(state, given.get("--select", ""))
        for _segment in range(1 if v["pool_lv_uuid"] else 2)
    ]
    print(json.dumps({"report": [{"lv": rows}]}))


def vgs(folder: Path, state: dict[str, Any], arguments: list[str]) -> None:
    print(json.dumps({"report": [{"vg": [{"vg_name": "vg0"}]}]}))


def lvcreate(folder: Path, state: dict[str, Any], arguments: list[str]) -> None:
    given, rest = options(arguments, OF_LVCREATE)
    group, _, name = rest[0].partition("/")
    origin = next((v for v in state["volumes"] if v["lv_name"] == name), None)
    if origin is None or group != "vg0" or "--snapshot" not in given:
        refuse(5, f"Snapshot origin LV {name} not found in Volume group {group}.")
    assert origin is not None
    if any(v["lv_name"] == given["--name"] for v in state["volumes"]):
        refuse(5, f'Logical Volume "{given["--name"]}" already exists in volume group "vg0"')
    fields = {"lv_tags": given["--addtag"], "origin": name, "origin_uuid": origin["lv_uuid"]}
    if "--extents" in given:
        extents = int(given["--extents"])
        if extents > state["free"]:
            refuse(
                5, f'Volume group "vg0" has insufficient free space ({state["free"]} extents): {extents} required.'
            )
        state["free"] -= extents
        fields |= {"lv_role": "public,snapshot,thicksnapshot", "lv_size": str(extents * EXTENT)}
        fields |= {"lv_snapshot_invalid": "0", "data_percent": "0.00"}
    else:
        pool = next(v for v in state["volumes"] if v["lv_uuid"] == origin["pool_lv_uuid"])
        fields |= {"lv_role": "public,snapshot,thinsnapshot", "pool": pool["lv_name"], "data_percent": "0.00"}
    add(folder, state, given["--name"], fields)
    print(f'  Logical volume "{given["--name"]}" created.')


def lvremove(folder: Path, state: dict[str, Any], arguments: list[str]) -> None:
    given, rest = options(arguments, "--yes --select=")
    if rest != ["vg0"] or "--select" not in given:
        refuse(5, f'Volume group "{rest}" not found')
    for volume in selected(state, given["--select"]):
        state["volumes"].remove(volume)
        minor = volume["lv_kernel_minor"]
        (folder / "sys/dev/block" / f"253:{minor}").unlink(missing_ok=True)


def lvchange(folder: Path, state: dict[str, Any], arguments: list[str]) -> None:
    given, rest = options(arguments, "--activate= --addtag= --deltag= --select=")
    if rest != ["vg0"] or given.get("--activate", "n") != "n":
        refuse(5, f'Volume group "{rest}" not found')
    for volume in selected(state, given["--select"]):
        if "--activate" in given:
            (folder / "sys/dev/block" / f"253:{volume['lv_kernel_minor']}").unlink(missing_ok=True)
            volume |= {"lv_active": "", "lv_kernel_minor": "-1"}
        tags = set(filter(None, volume["lv_tags"].split(","))) - {given.get("--deltag", "")}
        volume["lv_tags"] = ",".join(sorted(tags | {given["--addtag"]} if "--addtag" in given else tags))


def dmsetup(folder: Path, state: dict[str, Any], arguments: list[str]) -> None:
    held = folder / "held"
    root = held.read_text() if held.exists() else "-"
    if arguments[0] == "status" and arguments[1:3] == ["--target", "thin-pool"]:
        print(f"0 262144 thin-pool 3 113/1024 0/2048 {root} rw discard_passdown queue_if_no_space - 256")
    elif arguments[0] == "message" and arguments[3] == "reserve_metadata_snap":
        if root != "-":
            refuse(1, f"device-mapper: message ioctl on {arguments[1]}  failed: Device or resource busy")
        held.write_text("24")
    elif arguments[0] == "message" and arguments[3] == "release_metadata_snap":
        if root == "-":
            refuse(1, f"device-mapper: message ioctl on {arguments[1]}  failed: Invalid argument")
        held.unlink()
    elif arguments[0] == "resume":
        (folder / "sys/block" / Path(arguments[1]).name / "dm/suspended").write_text("0\n")
    else:
        refuse(1, "Unknown command")


def main() -> None:
    perform(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])


def perform(folder: Path, program: str, arguments: list[str]) -> None:
    double = LvmDouble.__new__(LvmDouble)
    double.folder = folder
    with (folder / "log").open("a") as log:
        log.write(json.dumps([program, *arguments]) + "\n")
    state = double.load()
    fault = state["faults"].get(program)
    after = None
    if fault is not None:
        what, times, *rest = fault
        if times <= 1:
            del state["faults"][program]
            if f"{program} then" in state["faults"]:
                state["faults"][program] = state["faults"].pop(f"{program} then")
        else:
            fault[1] -= 1
        double.save(state)
        if what == "exit":
            refuse(rest[0], rest[1])
        elif what == "hang":
            time.sleep(60)
        elif what == "print":
            print(rest[0])
            return
        elif what == "flood":
            while True:
                print("x" * 65536)
        elif what == "suspend":  # and fail
            for place in (folder / "sys/block").iterdir():
                (place / "dm/suspended").write_text("1\n")
            refuse(5, "Failed to resume.")
        elif what == "half":  # as LVM was seen to do: a volume with the tag, which is no snapshot
            given, _ = options(arguments, OF_LVCREATE)
            add(folder, state, given["--name"], {"lv_tags": given["--addtag"]})
            double.save(state)
            refuse(5, "Failed to suspend.\n  Aborting. Manual intervention required.")
        elif what == "kill":  # before it does anything
            os.kill(os.getppid(), signal.SIGKILL)
            return
        elif what == "kill after":
            after = os.getppid()
    globals()[program](folder, state, arguments)
    double.save(state)
    if after is not None:
        os.kill(after, signal.SIGKILL)
