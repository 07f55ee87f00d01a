"""Drives side by side: rpdrive by each of its drivers, restic, Borg, squashfuse and the plain files, the same data.

`make bench` runs it last; `make bench-drives ARGS="--only cp,find --tools kernel,squashfuse --rounds 5"`, or
`python benchmarks/drives.py …`, by itself. The files, vaults, repositories and images are made once, under
$BENCH_DIR/drives (about 6 GB), and used again by the next run. Each step is done by one tool after the other, each
mounted afresh, with the kernel's caches dropped before it if this is root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from drive_steps import PLACES, STEPS, Bench, Step, chosen
from drive_tools import BorgDrive, Drive, Place, PlainDrive, ResticDrive, SquashDrive, SquashLowLevelDrive
from far_drive import Rate, rate
from figures import FAILURES, Rounds, present, tried, turned
from machine import MIB, compile_packages, described, machine, say, stop_as_by_hand
from material import Material, Scale
from measured import drop_caches
from options import parser_of, words, write
from own_drives import OwnDrive
from targets import STORE, Sizes, rows, table
from tools import Rpdrive

DELAY = 0.030  # s more for each request to a far store
SCALES = {  # without an image; and points of the second vault
    "full": (Scale(200, 100, 15_000, 50_000, 1024 * MIB, 0, 0), 500),
    "quick": (Scale(20, 100, 1_500, 5_000, 100 * MIB, 0, 0), 50),
    "tiny": (Scale(3, 10, 30, 300, 3 * MIB, 0, 0), 5),
}
NAMES = ("kernel", "fuse", "restic", "borg", "squashfuse", "squashfuse_ll", "plain")
_MEMORY = Path("/dev/shm")


class Comparison(Rounds):
    """Rounds of steps by drives."""

    def __init__(self, bench: Bench, drives: list[Drive], repository: Path) -> None:
        super().__init__()
        self._bench = bench
        self._drives = drives
        self._repository = repository
        self.rate: Rate | None = None

    def prepare(self) -> None:
        """Make what each mounts."""
        for drive in self._drives:
            try:
                drive.prepare()
            except FAILURES as e:
                self.failed(drive.name, "preparing", e)

    def round(self, number: int, steps: list[Step]) -> None:
        """Each step by each tool, another one first in each round."""
        for step in steps:
            for drive in turned(self._drives, number):
                if drive.name in step.leave_out or (step.own and drive.stock != "rpdrive"):
                    continue
                self.measure(number, step.name, drive.name, partial(step.measure, self._bench, drive))
            if step.name == "far-seq" and any(drive.stock == "rpdrive" for drive in self._drives):
                self.rate = rate(self._repository, "big.bin", self._bench.delay, self._bench.forget)
                self.figures.note("far-seq", STORE, self.rate.seconds)


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for. Raises RuntimeError, OSError."""
    scale, points = SCALES[options.scale]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").unlink(missing_ok=True)
    if options.fresh:
        for mark in folder.glob("*-complete"):
            mark.unlink()
    _check_room(folder, scale)
    compile_packages()
    material = Material(folder, scale)
    say(f"bench: making the files in {material.root}, unless they are there")
    material.make()
    entries = sum(1 + len(names) for _above, _folders, names in os.walk(material.root))
    small = scale.folders * scale.per_folder
    copies = options.copies or _copies(folder, small)
    forget = drop_caches if options.scale != "tiny" else lambda: False
    bench = Bench(material, copies, entries, scale.names, DELAY, {}, forget)
    place = Place(folder, material.root, f"{material.root} {scale} {points}", points, options.keep)
    drives, missing = _drives(place, options.tools)
    comparison = Comparison(bench, drives, Rpdrive(folder).repository)
    result: dict[str, Any] = {"machine": machine(), "scale": options.scale, "rounds": options.rounds}
    result |= {"caches_dropped": bool(forget()), "missing": missing, "copies": str(copies)}
    copies.mkdir(parents=True, exist_ok=True)
    try:
        say("bench: making vaults, repositories and images, unless they are there")
        comparison.prepare()
        result["tools"] = {d.name: {"version": d.version(), "note": d.note} for d in drives}
        for number in range(options.rounds):
            comparison.round(number, chosen(options.only))
    finally:
        shutil.rmtree(copies, ignore_errors=True)
    figures = comparison.figures
    of_all = rows(Sizes(scale.big, small, entries, scale.names, PLACES, DELAY, points))
    result |= {
        "figures": figures.rows, "medians": figures.medians(), "least": figures.least(),
        "failures": comparison.failures,
        "units": {key: row.unit for key, row in of_all.items() if key in figures.rows},
        "store": comparison.rate._asdict() if comparison.rate else None, "status": bench.status,
    }  # fmt: skip
    there = [name for name in NAMES if name in result["tools"] and not comparison.is_out(name)]
    result["text"] = report(result, table(of_all, figures, there, verdicts=options.scale == "full"))
    return result


def _check_room(folder: Path, scale: Scale) -> None:
    needed = 6 * (scale.big + (scale.folders * scale.per_folder + scale.real_files) * 16 * 1024)
    if not (folder / "rpdrive-complete").exists() and shutil.disk_usage(folder).free < needed:
        raise RuntimeError(f"{needed / 1e9:.1f} GB of room are needed in {folder}: set BENCH_DIR to another disk")


def _copies(folder: Path, small: int) -> Path:
    """Where `cp` copies to: to memory, so that writing hides nothing, if there is room for it."""
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2 * small * 16 * 1024:
        return _MEMORY / f"rpdrive-bench-{os.getpid()}"
    return folder / "copies"


def _drives(place: Place, names: list[str]) -> tuple[list[Drive], list[str]]:
    """The requested tools that are installed, and a note on each of the others."""
    every: list[Drive] = [OwnDrive(place, "kernel"), OwnDrive(place, "fuse"), ResticDrive(place), BorgDrive(place)]
    every += [SquashDrive(place), SquashLowLevelDrive(place), PlainDrive(place)]
    return present([(drive, drive.missing()) for drive in every if drive.name in (names or NAMES)])


def report(result: dict[str, Any], figures: str) -> str:
    """Markdown."""
    dropped = "dropped before each step" if result["caches_dropped"] else "NOT dropped"
    lines = [
        "## Drives\n",
        described(result["machine"]) + "\n",
        f"{result['rounds']} round(s): the least of them, and the median in brackets. `x others`: rpdrive's least "
        "divided by that of the better backup tool; `x plain`: by that of the plain files. Each tool is "
        f"mounted afresh for each step, and the kernel's caches {dropped}, but for what is done once more. "
        f"`cp -r` copies to {_kind(result['copies'])}. rpdrive is "
        "opened by a saved key where nothing else is said, and uses no cache on disk.\n",
        *(f"- {name}: {tool['version']}; {tool['note']}" for name, tool in result["tools"].items()),
        *(f"- left out: {line}" for line in (*result["missing"], *result["failures"])),
        "",
        figures,
    ]
    if store := result["store"]:
        lines.append(
            f"What the store gives: {store['stored'] / 1e6:,.0f} MB that the file takes there, in "
            f"{store['requests']} ranges of about 16 MiB, {store['threads']} at once: {store['seconds']:.2f} s.\n"
        )
    if result["scale"] != "full":  # the start of each command weighs too much
        lines.append("What is to be reached is said of the full data.\n")
    return "\n".join(lines)


def _kind(copies: str) -> str:
    return "memory (tmpfs)" if Path(copies).is_relative_to(_MEMORY) else "a folder on the disk"


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = parser_of(__doc__)
    steps = ",".join(step.name for step in STEPS)
    parser.add_argument("--only", type=words, default=[], metavar="STEPS",
                        help=f"some of {steps}; `mount` and `far` are all that begin so")  # fmt: skip
    parser.add_argument("--tools", type=words, default=[], metavar="TOOLS", help=f"some of {','.join(NAMES)}")
    parser.add_argument("--fresh", action="store_true", help="make files, vaults, repositories and images again")
    parser.add_argument("--keep", action="store_true",
                        help="use the vault that is there, though what writes it has changed since")  # fmt: skip
    parser.add_argument(
        "--copies", type=Path, metavar="DIR", help="where `cp` copies to: a new folder; else memory"
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.tools if name not in NAMES]:
        parser.error(f"there is no tool {unknown[0]!r}: say some of {', '.join(NAMES)}")
    if options.copies is not None and options.copies.exists():
        parser.error(f"{options.copies} exists: name a folder to be made, it is removed at the end")
    try:
        chosen(options.only)
    except ValueError as e:
        parser.error(str(e))
    return options


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if something failed, whatever the figures say."""
    options = parsed(arguments)
    folder = options.dir.resolve() / "drives" / options.scale
    result = tried(lambda: run(folder, options), (*FAILURES, ValueError))
    if isinstance(result, int):
        return result
    print(result.pop("text"))
    write(options, {"drives": result})
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    stop_as_by_hand()
    sys.exit(main())
