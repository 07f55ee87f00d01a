"""Forgetting, pruning and checking beside restic, on the same history of small edits in one run.

`make bench-upkeep`, or `python benchmarks/upkeep.py --help`. Each tool backs the same folder up many times, with a
few files changed before each; then every other point but the newest is forgotten, and their space comes back. What
rpdrive hides stays for 7 days before it is deleted. Here it stays for two seconds (tests/kit/hasty.py), and the
runs that it takes are added up.

restic is the one in $PATH, or `--restic FILE`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import MIB, compile_packages, machine, say
from material import Scale, Words
from measured import CommandFailed, Measured, drop_caches, run, stored
from own_drives import status_of
from tools import Restic, Rpdrive, Tool, add_restic

PRUNE_TARGET = 0.5  # of restic's seconds
CHECK_TARGET = 0.9  # of the speed of reading the packs alone
READS_TARGET = 45  # requests for all of an old point after merging
G = 2.0  # s for which hidden blocks stay
MOST_RUNS = 6
SCALE = Scale(50, 100, 0, 0, 0, 0, 0)


class History:
    """A folder of small files, of which each `edit` changes one in a hundred. The same for each tool."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "history"
        self._words = Words()
        self._count = 0

    def make(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        for folder in range(SCALE.folders):
            (self.root / f"folder-{folder:03d}").mkdir(parents=True)
            for number in range(SCALE.per_folder):
                self._write(folder, number, 0)
        self._count = 0

    def edit(self) -> None:
        self._count += 1
        rng = random.Random(self._count)
        for place in rng.sample(range(SCALE.folders * SCALE.per_folder), SCALE.folders * SCALE.per_folder // 100):
            self._write(*divmod(place, SCALE.per_folder), self._count)

    def _write(self, folder: int, number: int, version: int) -> None:
        rng = random.Random(f"{folder} {number} {version}")
        length = rng.randint(1 << 10, 16 << 10)
        content = self._words.text(rng, length) if number % 2 else rng.randbytes(length)
        (self.root / f"folder-{folder:03d}" / f"file-{number:03d}.txt").write_bytes(content)


class Bench:
    """One round."""

    def __init__(self, folder: Path, points: int, *, saved_key: bool = False) -> None:
        self._log, self._points, self._saved_key = folder / "log.txt", points, saved_key
        self._history = History(folder)
        self._own, self._other = Rpdrive(folder), Restic(folder)
        self._mount_point = folder / "drive"
        self.figures: dict[str, Any] = {}

    def round(self) -> dict[str, Any]:
        self._make()
        old = self._rpdrive("points", "--json")["points"][self._points // 2 | 1]["id"]
        before = self._reading(old)
        figures: dict[str, Any] = {
            "objects_before": objects(self._own.repository), "stored_before": stored(self._own.repository),
            "restic_stored_before": stored(self._other.repository),
        }  # fmt: skip
        figures |= {f"check_{name}": vars_of(row) for name, row in self._checks().items()}
        self._forget()
        runs = self._prune()
        figures["prune"] = {
            "seconds": sum(row.seconds for row, _ in runs), "cpu": sum(row.cpu for row, _ in runs),
            "memory": max(row.memory for row, _ in runs), "runs": len(runs), "said": [said for _, said in runs],
        }  # fmt: skip
        figures["restic_prune"] = vars_of(self._measure(self._other, [self._other.program, "prune"]))
        figures |= {
            "objects_after": objects(self._own.repository), "stored_after": stored(self._own.repository),
            "restic_stored_after": stored(self._other.repository),
            "reading_before": before, "reading_after": self._reading(old),
        }  # fmt: skip
        return figures

    def _make(self) -> None:
        self._history.make()
        self._own.start()
        self._other.start()
        if self._saved_key:
            self._rpdrive("vault", "unlock", "--save")
            self._own.environment = {k: v for k, v in self._own.environment.items() if k != "RPDRIVE_PASSPHRASE"}
        for number in range(self._points):
            if number:
                self._history.edit()
            for tool in (self._own, self._other):
                run(tool.backup(self._history.root), tool.environment, self._log)
            if number % 50 == 49:
                say(f"bench: {number + 1} points")

    def _measure(self, tool: Tool, words: list[str]) -> Measured:
        drop_caches()
        return run(words, tool.environment, self._log)

    def _rpdrive(self, *words: str) -> Any:
        done = subprocess.run(
            [self._own.command, *words], env=self._own.environment, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout) if "--json" in words else done.stdout

    def _checks(self) -> dict[str, Measured]:
        command, program = self._own.command, self._other.program
        return {
            "1": self._measure(self._own, [command, "check", "--level", "1"]),
            "restic": self._measure(self._other, [program, "check"]),
            "3": self._measure(self._own, [command, "check", "--level", "3"]),
            "restic_all": self._measure(self._other, [program, "check", "--read-data"]),
            "reading": self._measure(self._own, [sys.executable, "-c", READ, str(self._own.repository / "packs")]),
        }

    def _forget(self) -> None:
        """Every other point of both, but the newest."""
        ids = [row["id"] for row in self._rpdrive("points", "--json")["points"]]
        self._rpdrive("forget", *ids[:-1:2], "--now", "--yes")
        listed = subprocess.run(
            [self._other.program, "snapshots", "--json"],
            env=self._other.environment,
            capture_output=True,
            check=True,
        )
        snapshots = [row["id"] for row in json.loads(listed.stdout)]
        run([self._other.program, "forget", *snapshots[:-1:2]], self._other.environment, self._log)

    def _prune(self) -> list[tuple[Measured, Any]]:
        """Runs until one changes nothing, which counts, too; each later than G after the one before."""
        runs: list[tuple[Measured, Any]] = []
        vault = self._own.repository
        while len(runs) < MOST_RUNS:
            time.sleep(G * 1.5)
            words = [sys.executable, "-m", "tests.kit.hasty", str(G), "prune", "--json"]
            before = names(vault)
            runs.append((self._measure(self._own, words), stored(vault)))
            if names(vault) == before:
                break
        return runs

    def _reading(self, point: str) -> dict[str, Any]:
        """Requests and bytes of `find` and of reading all of a point, through a drive with an empty cache."""
        self._mount_point.mkdir(exist_ok=True)
        self._rpdrive("cache", "clear")
        self._rpdrive("mount", str(self._mount_point), "--point", point)
        found: dict[str, Any] = {}
        try:
            for name, words in (
                ("find", ["find", ".", "-printf", ""]),
                ("read", ["find", ".", "-type", "f", "-exec", "cat", "{}", "+"]),
            ):
                subprocess.run(words, cwd=self._mount_point, stdout=subprocess.DEVNULL, check=True)
                status = status_of(self._mount_point, self._own.command, self._own.environment, self._log)
                found[name] = {key: status[key] for key in status if "request" in key or "fetched" in key}
        finally:
            self._rpdrive("unmount", str(self._mount_point))
        return found

    def remove(self) -> None:
        for tool in (self._own, self._other):
            tool.remove()
        shutil.rmtree(self._history.root, ignore_errors=True)


READ = """import os, sys
for above, _folders, names in os.walk(sys.argv[1]):
    for name in names:
        with open(os.path.join(above, name), "rb", buffering=0) as file:
            while file.read(1 << 22): pass
"""


def vars_of(row: Measured) -> dict[str, float]:
    return row._asdict()


def names(vault: Path) -> set[str]:
    """The objects of a vault, but the records of jobs."""
    return {
        os.path.join(above, name)
        for above, _folders, found in os.walk(vault)
        for name in found
        if "/jobs/" not in above and "/.rpdrive" not in above
    }


def objects(repository: Path) -> dict[str, int]:
    """Files by top folder."""
    return {
        folder.name: sum(len(names) for _above, _folders, names in os.walk(folder))
        for folder in sorted(repository.iterdir())
        if folder.is_dir()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--points", type=int, default=200, metavar="N", help="of the history (200)")
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    parser.add_argument("--saved-key", action="store_true", help="open the vault by a saved key, as a timer does")
    add_restic(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/rpdrive-bench")))
    options = parser.parse_args()
    folder = options.dir.absolute() / "upkeep"
    folder.mkdir(parents=True, exist_ok=True)
    compile_packages()
    bench = Bench(folder, options.points, saved_key=options.saved_key)
    try:
        rounds = [bench.round() for _ in range(options.rounds)]
    except (CommandFailed, subprocess.CalledProcessError) as e:
        say(f"bench: {e}\n{getattr(e, 'stderr', '') or ''}")
        return 1
    finally:
        bench.remove()
    result = {"machine": machine(), "points": options.points, "rounds": rounds}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(report(rounds))
    return 0


def report(rounds: list[dict[str, Any]]) -> str:
    """Markdown."""

    def seconds(key: str) -> float:
        return float(statistics.median(row[key]["seconds"] for row in rounds))

    last = rounds[-1]
    lines = [
        "| | seconds | restic's | x |", "|---|---:|---:|---:|",
        *(
            f"| {title} | {seconds(own):.2f} | {seconds(other):.2f} | {seconds(own) / seconds(other):.2f} |"
            for title, own, other in (
                ("prune, all runs", "prune", "restic_prune"), ("check: trees", "check_1", "check_restic"),
                ("check: all data", "check_3", "check_restic_all"),
            )
        ),
        f"\nReading the packs alone: {seconds('check_reading'):.2f} s.",
        f"Stored: {last['stored_before'] / MIB:.1f} -> {last['stored_after'] / MIB:.1f} MiB; restic "
        f"{last['restic_stored_before'] / MIB:.1f} -> {last['restic_stored_after'] / MIB:.1f} MiB.",
        f"Objects: {last['objects_before']} -> {last['objects_after']}.",
        f"An old point: {last['reading_before']} -> {last['reading_after']}.",
        f"Peak memory of prune: {last['prune']['memory'] / MIB:.0f} MiB; "
        f"restic {last['restic_prune']['memory'] / MIB:.0f}.",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
