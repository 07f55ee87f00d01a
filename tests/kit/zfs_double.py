"""A double of the program zfs, over a JSON file. No real one was there to compare it with: it follows zfs(8).

It knows the calls that rpdrive makes and refuses all others. `main` is zfs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

# Imported, so that it is compiled once.
CODE = f"import sys; sys.path = [{str(Path(__file__).parent)!r}, *sys.path]; import zfs_double; zfs_double.main()"
COMMAND = f'{sys.executable} -S -E -c "{CODE}"'


class ZfsDouble:
    """Datasets and snapshots, with their user properties: {"tank/a@x": {"rpdrive:mark": ["value", "local"]}}."""

    def __init__(self, folder: Path, *datasets: str) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        script = self.bin / "zfs"
        script.write_text(f'#!/bin/sh\nexec {COMMAND} {folder} "$@"\n')
        script.chmod(0o755)
        self.save({"datasets": list(datasets), "snapshots": {}, "faults": {}})

    def load(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return state

    def save(self, state: dict[str, Any]) -> None:
        temporary = self.folder / "state.new"
        temporary.write_text(json.dumps(state))
        temporary.replace(self.folder / "state.json")

    def set(self, **what: object) -> None:
        """Set `faults`, {"destroy": ["exit", 2, 1, "why"]}: twice; or `datasets` or `snapshots`."""
        self.save(self.load() | what)

    def names(self) -> list[str]:
        return sorted(self.load()["snapshots"])

    def calls(self, *commands: str) -> list[list[str]]:
        """The calls since the last time, of these commands or all."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [call for call in map(json.loads, lines) if not commands or call[0] in commands]


def refuse(why: str, code: int = 1) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(code)


def zfs(state: dict[str, Any], arguments: list[str]) -> None:
    snapshots = state["snapshots"]
    match arguments:
        case ["list", "-H", "-p", "-t", "filesystem", "-o", "name,mounted", dataset]:
            if dataset not in state["datasets"]:
                refuse(f"cannot open '{dataset}': dataset does not exist")
            print(f"{dataset}\tyes")
        case ["list", "-H", "-o", "name", dataset]:
            if dataset not in state["datasets"]:
                refuse(f"cannot open '{dataset}': dataset does not exist")
            print(dataset)
        case ["list", "-H", "-p", "-t", "snapshot", "-o", "name,guid", name]:
            if name not in snapshots:
                refuse(f"cannot open '{name}': dataset does not exist")
            print(f"{name}\t{snapshots[name]['guid']}")
        case ["get", "-H", "-p", "-t", "snapshot", "-s", "local", "-o", "name,value", "rpdrive:mark"]:
            for name, properties in snapshots.items():
                value, source = properties["mark"]
                if source == "local":
                    print(f"{name}\t{value}")
        case ["get", "-H", "-p", "-t", "snapshot", "-o", "value,source", "rpdrive:mark", name]:
            if name not in snapshots:
                refuse(f"cannot open '{name}': dataset does not exist")
            print("\t".join(snapshots[name]["mark"]))
        case ["get", "-H", "-p", "-o", "value", "creation", name]:
            print(1_700_000_000)
        case ["snapshot", "-o", assignment, *names]:
            if len({name.partition("@")[0].partition("/")[0] for name in names}) != 1:
                refuse("cannot create snapshots : pools differ")
            for name in names:
                if name.partition("@")[0] not in state["datasets"]:
                    refuse(f"cannot open '{name.partition('@')[0]}': dataset does not exist")
                if name in snapshots:
                    refuse(f"cannot create snapshot '{name}': dataset already exists")
            for name in names:
                mark = [assignment.removeprefix("rpdrive:mark="), "local"]
                snapshots[name] = {"mark": mark, "guid": str(len(snapshots) + 1000)}
        case ["destroy", name]:
            if name not in snapshots:
                refuse("could not find any snapshots to destroy; check snapshot names.")
            del snapshots[name]
        case _:
            refuse("unrecognized command or option", 2)


def main() -> None:
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    double = ZfsDouble.__new__(ZfsDouble)
    double.folder = folder
    with (folder / "log").open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    state = double.load()
    fault = state["faults"].get(arguments[0])
    if fault is not None:
        what, times, *rest = fault
        fault[1] -= 1
        if times <= 1:
            del state["faults"][arguments[0]]
        double.save(state)
        if what == "exit":
            refuse(rest[1], rest[0])
        elif what == "hang":
            time.sleep(60)
        elif what == "kill":  # before it does anything
            os.kill(os.getppid(), signal.SIGKILL)
            return
    zfs(state, arguments)
    double.save(state)
    if fault is not None and fault[0] == "kill after":
        os.kill(os.getppid(), signal.SIGKILL)
