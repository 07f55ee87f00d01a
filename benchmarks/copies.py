"""Copying a vault beside rsync, on the same data and file system in one run; and to a far store.

`make bench-copy`, or `python benchmarks/copies.py --help`. A vault with many points is made once by rpdrive. Then
each tool copies it to a new folder of the same file system, one after the other, in turns. rsync makes nothing
durable, rpdrive everything: `rsync, flushed` is rsync and a flush of its file system. `--systems ext4,xfs,btrfs`
makes new file systems on loop devices, as root.

`--far` copies the vault to Azurite and back, and to a store that answers each request after 30 ms, by so many
objects at a time.
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
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.kit

from machine import MIB, compile_packages, machine, say
from measured import CommandFailed, drop_caches, run, stored
from tools import Rpdrive

TARGET = 0.9  # of the speed of `rsync -a`
DELAY = 0.030  # s on each request
PARALLEL = (4, 8, 16, 32, 64)
ENGINE = """
import sys
from catalog.store.local import LocalStore
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import Wanted

source, target = LocalStore(sys.argv[1]), LocalStore(sys.argv[2])
for prefix in ("packs/", "meta/", "index/", "machines/", "items/", "jobs/", "points/"):
    rows = [Wanted(info.name, info.size) for info in source.list(prefix)]
    assert transfer(source, target, rows).is_whole
"""


class Made:
    """A vault of `size` bytes of packs, and `points` points, in a folder."""

    def __init__(self, folder: Path, size: int, points: int) -> None:
        self._folder, self._size, self._points = folder, size, points
        self.tool = Rpdrive(folder)

    def make(self) -> None:
        source, rng = self._folder / "source", random.Random(15)
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        for number in range(self._size // (8 * MIB)):
            (source / f"large-{number:04}").write_bytes(rng.randbytes(8 * MIB))
        self.tool.start()
        for number in range(self._points):
            (source / f"small-{number:04}").write_bytes(rng.randbytes(4096))
            run(self.tool.backup(source), self.tool.environment, self._folder / "log.txt")
        shutil.rmtree(source)


class Comparison:
    """All tools in one folder, which has a vault in `vault`."""

    def __init__(self, folder: Path, made: Made) -> None:
        self._folder, self._made = folder, made
        self._vault, self._target, self._log = folder / "vault", folder / "target", folder / "log.txt"
        subprocess.run(["cp", "-a", made.tool.repository, self._vault], check=True)
        self._environment = made.tool.environment | {"RPDRIVE_VAULT": str(self._vault)}
        target = str(self._target)
        rsync = f'rsync -a "{self._vault}/" "{target}/"'
        self.tools: dict[str, list[str]] = {
            "rsync -a": ["rsync", "-a", f"{self._vault}/", f"{target}/"],
            "rsync, flushed": ["sh", "-c", f'{rsync} && sync -f "{target}"'],
            "transfer": [sys.executable, "-c", ENGINE, str(self._vault), target],
        }
        help_text = [made.tool.command, "vault", "copy", "--help"]
        if subprocess.run(help_text, env=self._environment, capture_output=True, check=False).returncode == 0:
            self.tools["vault copy"] = [made.tool.command, "vault", "copy", target]
        self.figures: dict[str, list[dict[str, float]]] = {name: [] for name in self.tools}

    def round(self, number: int) -> None:
        names = list(self.tools)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            drop_caches()
            more = ["--new"] if name == "vault copy" and number else []  # the copy of the round before is gone
            done = run(self.tools[name] + more, self._environment, self._log)
            again = run(self.tools[name], self._environment, self._log)
            size = stored(self._target / "packs")
            if size != stored(self._vault / "packs"):
                raise RuntimeError(f"{name} did not copy all")
            self.figures[name].append(done._asdict() | {"again": again.seconds, "bytes": size})
            took = f"{done.seconds:7.2f} s {done.cpu:7.2f} s CPU  again {again.seconds:.2f} s"
            say(f"round {number + 1}: {name:<15} {took}")
            shutil.rmtree(self._target)
            os.sync()


@contextmanager
def place(folder: Path, system: str, size: int) -> Iterator[Path]:
    """A new folder on the file system of `folder` ("here"), or on a new one of a kind."""
    from tests.kit.loops import mounted

    made = nullcontext(folder / "here") if system == "here" else mounted(folder / system, system, size)
    with made as there:
        work = there / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        yield work
        shutil.rmtree(work)


def far(folder: Path, made: Made, rounds: int) -> list[dict[str, Any]]:
    """Seconds to and from Azurite and a delayed store, by objects at a time."""
    from catalog.store.address import open_store
    from catalog.store.base import Store
    from catalog.store.delayed import DelayedStore
    from catalog.store.local import LocalStore
    from catalog.transfer.engine import transfer
    from catalog.transfer.outcome import Wanted
    from tests.kit.azurite import ACCOUNT, running_azurite

    vault = LocalStore(made.tool.repository)
    rows = [Wanted(info.name, info.size) for info in vault.list("")]
    groups = {
        "packs": [row for row in rows if row.name.startswith("packs/")],
        "small": [row for row in rows if not row.name.startswith("packs/")],
    }
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=folder) as data, running_azurite(Path(data)) as azurite:
        os.environ.update(azurite.environ)
        for number in range(rounds):
            for parallel in PARALLEL:
                name = f"copy-{number}-{parallel}"
                azurite.container(name)
                azurite.container(f"{name}-b")
                azure = open_store(f"azure://{ACCOUNT}/{name}")
                back = LocalStore(folder / "back")
                ways: list[tuple[str, Store, Store]] = [
                    ("to Azurite", vault, azure),
                    ("from Azurite", azure, back),
                    ("by Azurite", azure, open_store(f"azure://{ACCOUNT}/{name}-b")),
                    ("to 30 ms", vault, DelayedStore(LocalStore(folder / "delayed"), DELAY)),
                ]
                for way, source, target in ways:
                    row: dict[str, Any] = {"way": way, "parallel": parallel}
                    for group, wanted in groups.items():
                        began = time.monotonic()
                        assert transfer(source, target, wanted, parallel=parallel).is_whole
                        row[group] = time.monotonic() - began
                    found.append(row)
                    took = f"packs {row['packs']:6.2f} s, small {row['small']:6.2f} s"
                    say(f"{way:<14} {parallel:3} at a time: {took}")
                shutil.rmtree(folder / "back")
                shutil.rmtree(folder / "delayed")
    say(f"{len(groups['packs'])} packs, {len(groups['small'])} small objects")
    return found


def median(rows: list[dict[str, float]], key: str) -> float:
    return float(statistics.median(row[key] for row in rows))


def report(system: str, figures: dict[str, list[dict[str, float]]]) -> str:
    """Markdown. The speed beside rsync is the median of the ratios of each round."""
    lines = [
        f"\n{system}:\n",
        "| | s | CPU s | MB/s | speed / rsync's | again, s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, rows in figures.items():
        ratio = statistics.median(
            rsync["seconds"] / row["seconds"] for rsync, row in zip(figures["rsync -a"], rows, strict=True)
        )
        seconds = median(rows, "seconds")
        lines.append(
            f"| {name} | {seconds:.2f} | {median(rows, 'cpu'):.2f} | {rows[0]['bytes'] / 1e6 / seconds:.0f} "
            f"| {ratio:.2f} | {median(rows, 'again'):.2f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of the packs (1024)")
    parser.add_argument("--points", type=int, default=50, metavar="N", help="of the vault (50)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--systems", default="here", metavar="LIST", help="here, ext4, xfs, btrfs (here)")
    parser.add_argument("--far", action="store_true", help="measure Azurite and a delayed store, too")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, one round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/rpdrive-bench")))
    options = parser.parse_args()
    if options.quick:
        options.size, options.points, options.rounds = options.size // 10, options.points // 10, 1
    folder = options.dir.absolute() / "copy"
    folder.mkdir(parents=True, exist_ok=True)
    compile_packages()
    made = Made(folder, options.size * MIB, options.points)
    result: dict[str, Any] = {"machine": machine(), "systems": {}}
    try:
        made.make()
        for system in options.systems.split(","):
            with place(folder, system, 5 * options.size * MIB + (512 << 20)) as work:
                comparison = Comparison(work, made)
                for number in range(options.rounds):
                    comparison.round(number)
            result["systems"][system] = comparison.figures
            print(report(system, comparison.figures), flush=True)
        if options.far:
            result["far"] = far(folder, made, options.rounds)
    except (CommandFailed, subprocess.CalledProcessError) as e:
        say(f"bench: {e}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
