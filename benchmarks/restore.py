"""Restoring beside restic and Borg: 20,000 small files and one large file, from a local vault to a disk.

Each restore goes into a new folder, after the system's caches were dropped; what was restored is compared, and
removed only at the end: ext4 takes long over new files for some seconds after many were deleted.

A far store has a delay on each request: of the store in rpdrive's own process, and of an HTTP server in front of
restic's repository (far_rest.py). Borg has no such store and is not measured so.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from far_rest import serving
from measured import drop_caches, run
from tools import ALL, PASSPHRASE, Rpdrive, Tool

DELAY = 0.030  # s on each request
FAR_TARGET = 10  # times as fast as restic
TARGET = 1.5  # times as fast as the faster of the others


class Restores:
    """One source, backed up by every tool, restored `rounds` times by each."""

    def __init__(self, folder: Path, source: Path, tools: list[type[Tool]]) -> None:
        self._folder = folder / "restore"
        self._source = source
        self._tools = [kind(self._folder) for kind in tools]
        self.figures: dict[str, list[dict[str, float]]] = {tool.name: [] for tool in self._tools}

    def measure(self, rounds: int) -> dict[str, Any]:
        """Median seconds, CPU seconds and peak memory (bytes) by tool; and of rpdrive over a far store."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        try:
            for tool in self._tools:
                tool.start()
                subprocess.run(tool.backup(self._source), env=tool.environment, check=True, capture_output=True)
            for number in range(rounds):
                turn = number % len(self._tools)
                for tool in self._tools[turn:] + self._tools[:turn]:
                    self._one(tool, number)
            medians = {
                name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
                for name, rows in self.figures.items()
            }
            return {"medians": medians, "far": self._far(rounds), "far_restic": self._far_restic(rounds)}
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _one(self, tool: Tool, number: int) -> None:
        target = self._folder / f"to-{tool.name}-{number}"
        target.mkdir()
        drop_caches()
        done = run(command(tool, target), tool.environment, self._folder / "log.txt", target)
        self._compare(target)
        self.figures[tool.name].append({"seconds": done.seconds, "cpu": done.cpu, "memory": done.memory})
        print(
            f"restore {self._source.name}: {tool.name:<8} {done.seconds:6.2f} s  {done.cpu:6.2f} s CPU  "
            f"{done.memory >> 20:5.0f} MiB memory",
            file=sys.stderr, flush=True,
        )  # fmt: skip

    def _compare(self, target: Path) -> None:
        """RuntimeError if what was restored is not the source."""
        found = target / str(self._source).lstrip("/")
        subprocess.run(["diff", "-r", found, self._source], check=True)

    def _far(self, rounds: int) -> dict[str, float]:
        """rpdrive with a delay on each request."""
        seconds, requests = [], 0
        tool = next(t for t in self._tools if isinstance(t, Rpdrive))
        for number in range(rounds):
            target = self._folder / f"far-{number}"
            began = time.monotonic()
            requests = from_afar(tool.repository, target)
            seconds.append(time.monotonic() - began)
            self._compare(target)
        return {"seconds": statistics.median(seconds), "requests": requests, "delay": DELAY}

    def _far_restic(self, rounds: int) -> dict[str, float] | None:
        """restic with a delay on each request."""
        tool = next((t for t in self._tools if t.name == "restic"), None)
        if tool is None:
            return None
        seconds, requests = [], 0
        with serving(tool.repository, DELAY) as far:
            for number in range(rounds):
                target = self._folder / f"far-restic-{number}"
                words = ["restic", "-r", far.address, "--no-cache", "restore", "latest", "--target", str(target)]
                before, began = far.requests, time.monotonic()
                environment = {k: v for k, v in tool.environment.items() if k != "RESTIC_REPOSITORY"}
                subprocess.run(words, env=environment, check=True, capture_output=True)
                seconds.append(time.monotonic() - began)
                requests = far.requests - before
                self._compare(target)
        return {"seconds": statistics.median(seconds), "requests": requests, "delay": DELAY}


def command(tool: Tool, target: Path) -> list[str]:
    """Restores the newest of a tool's backups, all of it, into a folder (Borg: the current one)."""
    if tool.name == "restic":
        return ["restic", "restore", "latest", "--target", str(target)]
    if tool.name == "borg":
        return ["borg", "extract", f"{tool.repository}::{tool.count}"]
    return [tool.backup(target)[0], "restore", "latest", "--to", str(target)]


def from_afar(repository: Path, target: Path) -> int:
    """Restore over a slow store, in this process. Returns the requests."""
    from cache.reader import Reader
    from catalog.points.choice import choose_point
    from catalog.store.address import open_store
    from catalog.store.delayed import DelayedStore
    from catalog.store.metered import MeteredStore
    from catalog.vault import open_vault
    from mount.restore.options import Options
    from mount.restore.run import Restore
    from mount.restore.source import place_in

    meter = MeteredStore(DelayedStore(open_store(repository.as_uri()), DELAY))
    vault = open_vault(meter, passphrase=PASSPHRASE)
    reader = Reader(vault, memory=48 << 20)
    try:
        point = vault.point(choose_point(vault.point_names(), "latest"))
        report = Restore(vault, reader, Options(os.fsencode(target))).run([place_in(reader, "", point, b"")])
        if report.problem_count:
            raise RuntimeError(f"the restore had problems: {report.problems[:3]}")
    finally:
        reader.close()
        meter.close()
    return meter.snapshot().requests


def measure(folder: Path, sources: list[Path], rounds: int) -> dict[str, Any]:
    """All sources, by all tools that are here."""
    tools = [kind for kind in ALL if not kind(folder).missing()]
    return {source.name: Restores(folder, source, tools).measure(rounds) for source in sources}


def text(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "## Restores to disk\n",
        "| | tool | seconds | CPU seconds | peak memory, MiB |",
        "|---|---|---:|---:|---:|",
    ]
    verdicts = []
    for source, row in result.items():
        medians, far = row["medians"], row["far"]
        for tool, figures in medians.items():
            lines.append(
                f"| {source} | {tool} | {figures['seconds']:.2f} | {figures['cpu']:.2f} "
                f"| {figures['memory'] / (1 << 20):.0f} |"
            )
        lines.append(f"| {source}, {DELAY * 1000:.0f} ms a request | rpdrive | {far['seconds']:.2f} | | |")
        other = row["far_restic"]
        if other is not None:
            lines.append(f"| {source}, {DELAY * 1000:.0f} ms a request | restic | {other['seconds']:.2f} | | |")
            verdicts.append(
                f"- {source} from afar: {other['seconds'] / far['seconds']:.2f} x as fast as restic, with "
                f"{far['requests']} requests for its {other['requests']}; to reach: {FAR_TARGET} x"
            )
        others = [f["seconds"] for tool, f in medians.items() if tool != "rpdrive"]
        if others:
            ratio = min(others) / medians["rpdrive"]["seconds"]
            met = "reached" if ratio >= TARGET else "**missed**"
            verdicts.append(f"- {source}: {ratio:.2f} x as fast as the faster one; to reach: {TARGET} x; {met}")
    return "\n".join([*lines, "", *verdicts]) + "\n"


def main() -> int:
    """Make the material and measure. The exit code."""
    import argparse

    from material import FULL, QUICK, Material

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data")
    parser.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/rpdrive-bench")))
    options, _others = parser.parse_known_args()  # `make bench` gives both programs the same words
    folder = options.dir.absolute() / ("quick" if options.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    material = Material(folder, QUICK if options.quick else FULL)
    material.make()
    print(text(measure(folder, [material.small, material.root / "big.bin"], options.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
