"""How the work of rpdrive grows with a vault: with its machines, its points, its files, and with what changes.

`make bench-scale`, or `python benchmarks/scale.py --help`. Vaults are made up as they are read, by the code that
seals a real one (tests/kit/made): no contents are stored. Each operation is the real command in a process of its
own, behind a meter. Requests and bytes are exact; CPU seconds and memory are those of the process, without the CPU
time that making things up took. Growth is an exponent, by least squares on logarithms (scale_fit.py).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from machine import commit, compile_packages, machine, say
from scale_steps import Row, Steps
from scale_table import report

from tests.kit.made import backup, command
from tests.kit.made.make import make


class Sizes(NamedTuple):
    """The sizes of each direction; the first is the one that stands for what is always there."""

    machines: list[int]
    of_points: int  # of each machine, in the direction of machines
    points: list[int]
    of_machines: int
    files: list[int]
    changes: list[int]  # folders of 100 files
    full: tuple[int, int]


TINY = Sizes([2, 8, 32], 10, [10, 40, 160], 2, [10_000, 20_000, 40_000], [1, 4, 16], (20, 50))
QUICK = Sizes([2, 20, 200], 100, [10, 100, 1000], 5, [10_000, 100_000, 1_000_000], [1, 10, 100], (200, 1000))
FULL = Sizes(
    [2, 20, 200, 2000], 100, [10, 100, 1000, 10_000], 10, [10_000, 100_000, 1_000_000, 10_000_000],
    [1, 10, 100, 1000], (2000, 10_000),
)  # fmt: skip


class Bench:
    """`rows[direction][size][step]` is what a step took."""

    def __init__(self, folder: Path, sizes: Sizes, only: str) -> None:
        self._folder, self._sizes, self._only = folder, sizes, only
        self.rows: dict[str, dict[int, dict[str, Any]]] = {}

    def run(self, directions: list[str]) -> None:
        for direction in directions:
            work = {
                "machines": self._machines, "points": self._points, "files": self._files,
                "changes": self._changes, "full": self._full,
            }[direction]  # fmt: skip
            found = self.rows.setdefault(direction, {})
            for size, rows in work():
                found[size] = {row.step: vars_of(row) for row in rows}

    def _vault(self, machines: int, points: int) -> str:
        folder = self._folder / "vault"
        shutil.rmtree(folder, ignore_errors=True)
        began = time.monotonic()
        store = make(folder, machines=machines, points=points)
        store.close()
        say(f"--- {machines:,} machines x {points:,} points, made in {time.monotonic() - began:.0f} s")
        return store.url

    def _made(self, machines: int, points: int, *, again: bool = True) -> list[Row]:
        url = self._vault(machines, points)
        return list(Steps(self._folder, url, points, only=self._only, again=again).all())

    def _machines(self) -> Iterator[tuple[int, list[Row]]]:
        for machines in self._sizes.machines:
            yield machines, self._made(machines, self._sizes.of_points)

    def _points(self) -> Iterator[tuple[int, list[Row]]]:
        for points in self._sizes.points:
            yield points, self._made(self._sizes.of_machines, points)

    def _full(self) -> Iterator[tuple[int, list[Row]]]:
        machines, points = self._sizes.full
        yield machines * points, self._made(machines, points, again=False)

    def _files(self) -> Iterator[tuple[int, list[Row]]]:
        for files in self._sizes.files:
            yield files, self._real(files, files // 100 // 100)

    def _changes(self) -> Iterator[tuple[int, list[Row]]]:
        files = self._sizes.files[-2]
        for changed in self._sizes.changes:
            yield changed * 100, self._real(files, changed, only="backup")

    def _real(self, files: int, changed: int, only: str = "") -> list[Row]:
        """Real backups of made-up files, and what reads them; of these, `changed` folders change."""
        url = self._vault(0, 1)
        home, one = self._folder / "home-of-files", ("--machine", "big")
        shutil.rmtree(home, ignore_errors=True)
        steps = Steps(self._folder, url, 1)

        def saved(step: str, number: int) -> Row:
            words = ("--files", files, "--run", number, "--changed", changed)
            return steps.measured(step, lambda: backup.run(home, url, "big", *words)[0])

        rows = [
            saved("backup, the first", 0), saved("backup, nothing changed", 0), saved("backup, some changed", 1)
        ]  # fmt: skip
        if only:
            return rows
        path = "/area-000/folder-001"
        for step, words in {
            "ls of a folder": ("ls", f"latest:{path}", *one),
            "find in the newest point": ("find", "file-01.txt", "--json", *one),
            "find in all points": ("find", "file-01.txt", "--all-points", "--json", *one),
            "versions of a file": ("versions", f"{path}/file-01.txt", "--json", *one),
            "check, level 0": ("check", "--level", "0", "--json", *one),
            "check, level 1": ("check", "--level", "1", "--json", *one),
            "check, level 1, again": ("check", "--level", "1", "--json", *one),
            "prune, dry run": ("prune", "--dry-run", "--json", *one),
        }.items():
            rows.append(steps.measured(step, lambda words=words: command.run(home, url, *words)[0]))  # type: ignore[misc]
        return rows


def vars_of(row: Row) -> dict[str, Any]:
    took = row.took
    if took is None:
        return {"why": row.why}
    return {
        "requests": took.total, "bytes": took.carried, "cpu": took.cpu, "memory": took.memory,
        "seconds": took.seconds, "making": took.making, "kinds": took.requests,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of each size")
    parser.add_argument("--tiny", action="store_true", help="sizes for a test")
    directions = ["machines", "points", "changes", "files", "full"]
    parser.add_argument("--directions", default=",".join(directions), help="some of " + ", ".join(directions))
    parser.add_argument("--only", default="", metavar="TEXT", help="only operations with this in their names")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/rpdrive-bench")))
    options = parser.parse_args()
    folder = options.dir.absolute() / "scale"
    folder.mkdir(parents=True, exist_ok=True)
    compile_packages()
    bench = Bench(folder, TINY if options.tiny else QUICK if options.quick else FULL, options.only)
    try:
        bench.run(options.directions.split(","))
    finally:
        if options.json:
            result = {"machine": machine(), "commit": commit(), "rows": bench.rows}
            options.json.write_text(json.dumps(result, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
    print(report(bench.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
