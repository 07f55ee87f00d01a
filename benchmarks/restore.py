"""Restoring beside restic and Borg: 20,000 small files and one large file, from a local vault to a disk.

Each restore goes into a new folder, after the system's caches were dropped; what was restored is compared, and
removed only at the end: ext4 takes long over new files for some seconds after many were deleted.

A far store has a delay on each request: of the store in rpdrive's own process, and of an HTTP server in front of
restic's repository (far_rest.py). Borg has no such store and is not measured so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from far_rest import serving
from figures import Rounds, tried, turned
from machine import say
from material import SCALES, Material
from measured import drop_caches
from options import parser_of, write
from targets import Sizes, rows, table
from tool_steps import restore
from tools import ALL, PASSPHRASE, Restic, Rpdrive, Tool, restored

DELAY = 0.030  # s on each request


class Restores:
    """One source, backed up by every tool, restored `rounds` times by each."""

    def __init__(self, folder: Path, source: Path, row: str, rounds: Rounds, tools: list[type[Tool]]) -> None:
        self._folder = folder / "restore"
        self._source, self._row, self._rounds = source, row, rounds
        self._tools = [kind(self._folder) for kind in tools]
        self.requests: dict[str, float] = {}  # of a far store, by tool

    def measure(self, rounds: int) -> None:
        """Seconds, CPU seconds and peak memory by tool; and over a far store."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        try:
            for tool in self._tools:
                tool.start()
                subprocess.run(tool.backup(self._source), env=tool.environment, check=True, capture_output=True)
            for number in range(rounds):
                for tool in turned(self._tools, number):
                    target, log = self._folder / f"to-{tool.name}-{number}", self._folder / "log.txt"
                    row = f"restore-{self._row}"
                    work = partial(restore, row, tool, self._source, target, log, drop_caches)
                    self._rounds.measure(number, row, tool.name, work)
                for far in turned((self._far, self._far_restic), number):
                    far(number)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _compare(self, target: Path) -> None:
        """Raises CalledProcessError if what was restored is not the source."""
        subprocess.run(["diff", "-r", restored(self._source, target), self._source], check=True)

    def _far(self, number: int) -> None:
        """rpdrive with a delay on each request."""
        tool = next(t for t in self._tools if isinstance(t, Rpdrive))
        target = self._folder / f"far-{number}"

        def work() -> dict[str, float]:
            began = time.monotonic()
            self.requests["rpdrive"] = from_afar(tool.repository, target)
            seconds = time.monotonic() - began
            self._compare(target)
            return {f"far-restore-{self._row}": seconds}

        self._rounds.measure(number, "far", tool.name, work)

    def _far_restic(self, number: int) -> None:
        """restic with a delay on each request."""
        tool = next((t for t in self._tools if isinstance(t, Restic)), None)
        if tool is None:
            return
        target = self._folder / f"far-restic-{number}"

        def work() -> dict[str, float]:
            with serving(tool.repository, DELAY) as far:
                words = [tool.program, "-r", far.address, "restore", "latest", "--target", str(target)]
                environment = {k: v for k, v in tool.environment.items() if k != "RESTIC_REPOSITORY"}
                began = time.monotonic()
                subprocess.run(words, env=environment, check=True, capture_output=True)
                seconds = time.monotonic() - began
                self.requests["restic"] = far.requests
            self._compare(target)
            return {f"far-restore-{self._row}": seconds}

        self._rounds.measure(number, "far", tool.name, work)


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


def measure(folder: Path, material: Material, scale: str, rounds: int) -> dict[str, Any]:
    """The small files and the large one, by all tools that are here."""
    found = Rounds()
    requests = {}
    kinds = [kind for kind in ALL if not kind(folder).missing()]
    for row, source in (("small", material.small), ("big", material.root / "big.bin")):
        say(f"bench: backing up {source.name} by each tool")
        restores = Restores(folder, source, row, found, kinds)
        restores.measure(rounds)
        requests[row] = restores.requests
    sizes = material.scale
    of_all = rows(Sizes(sizes.big, sizes.folders * sizes.per_folder, 0, sizes.names, 0, DELAY))
    text = [
        "## Restores to disk\n",
        table(of_all, found.figures, [kind.name for kind in kinds], verdicts=scale == "full"),
        *(f"- failed: {line}" for line in found.failures),
        *(
            f"- Requests to a far store, {row}: {', '.join(f'{tool} {count:,.0f}' for tool, count in by.items())}"
            for row, by in requests.items()
        ),
    ]
    return {
        "figures": found.figures.rows, "medians": found.figures.medians(), "least": found.figures.least(),
        "failures": found.failures, "requests": requests, "text": "\n".join(text) + "\n",
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Make the material and measure. The exit code."""
    options = parser_of(__doc__).parse_args(arguments)
    folder = options.dir.absolute() / options.scale
    folder.mkdir(parents=True, exist_ok=True)
    material = Material(folder, SCALES[options.scale])

    def work() -> dict[str, Any]:
        material.make()
        return measure(folder, material, options.scale, options.rounds)

    result = tried(work)
    if isinstance(result, int):
        return result
    print(result.pop("text"))
    write(options, {"restore": result})
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
