"""Drives side by side: rpdrive by each of its drivers, restic, Borg, squashfuse and the plain files, the same data.

`make bench` runs it last; `make bench-drives ARGS="--only cp,find --tools kernel,squashfuse --rounds 5"`, or
`python benchmarks/drives.py …`, by itself. The files, vaults, repositories and images are made once, under
$BENCH_DIR/drives (about 6 GB), and used again by the next run. Each step is done by one tool after the other, each
mounted afresh, with the kernel's caches dropped before it if this is root.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from drive_steps import PLACES, STEPS, Bench, Step, chosen
from drive_targets import STORE, rows, table
from drive_tools import BorgDrive, Drive, Place, Plain, ResticDrive, SquashDrive, SquashLowLevelDrive
from far_drive import Rate, rate
from material import Material, Scale
from measured import CommandFailed, drop_caches
from own_drives import OwnDrive
from run import compile_packages, machine, say
from tools import Rpdrive

from catalog.errors import RpdriveError

MIB = 1 << 20
DELAY = 0.030  # s more for each request to a far store
SCALES = {  # without an image; and points of the second vault
    "full": (Scale(200, 100, 15_000, 50_000, 1024 * MIB, 0, 0), 500),
    "quick": (Scale(20, 100, 1_500, 5_000, 100 * MIB, 0, 0), 50),
    "tiny": (Scale(3, 10, 30, 300, 3 * MIB, 0, 0), 5),
}
NAMES = ("kernel", "fuse", "restic", "borg", "squashfuse", "squashfuse_ll", "plain")
OTHER_PARTS = ("backup", "delay")  # of run.py, to which `make bench` gives the same words
_MEMORY = Path("/dev/shm")
_FAILURES = (CommandFailed, RpdriveError, OSError, RuntimeError, subprocess.SubprocessError)


class Comparison:
    """Rounds of steps. `figures[row][tool]` has a figure of each round. A tool that fails is left out from then."""

    def __init__(self, bench: Bench, drives: list[Drive], repository: Path) -> None:
        self._bench = bench
        self._drives = drives
        self._repository = repository
        self.figures: dict[str, dict[str, list[float]]] = {}
        self.failures: list[str] = []
        self.rate: Rate | None = None

    def prepare(self) -> None:
        """Make what each mounts."""
        for drive in list(self._drives):
            try:
                drive.prepare()
            except _FAILURES as e:
                self._failed(drive, "preparing", e)

    def round(self, number: int, steps: list[Step]) -> None:
        """Each step by each tool, another one first in each round."""
        for step in steps:
            turn = number % max(len(self._drives), 1)
            for drive in self._drives[turn:] + self._drives[:turn]:
                if drive.name in step.leave_out or (step.own and drive.stock != "rpdrive"):
                    continue
                try:
                    found = step.measure(self._bench, drive)
                except _FAILURES as e:
                    self._failed(drive, step.name, e)
                    continue
                for row, figure in found.items():
                    self._note(row, drive.name, figure)
                shown = "  ".join(f"{row} {figure:.3f}" for row, figure in found.items())
                say(f"round {number + 1}: {drive.name:<13} {shown}")
            if step.name == "far-seq" and any(drive.stock == "rpdrive" for drive in self._drives):
                self._measure_store()

    def _measure_store(self) -> None:
        self.rate = rate(self._repository, "big.bin", self._bench.delay, self._bench.forget)
        size = (self._bench.material.root / "big.bin").stat().st_size
        self._note("far-seq", STORE, size / 1e6 / self.rate.seconds)

    def _note(self, row: str, tool: str, figure: float) -> None:
        self.figures.setdefault(row, {}).setdefault(tool, []).append(figure)

    def _failed(self, drive: Drive, what: str, error: Exception) -> None:
        self.failures.append(f"{drive.name} failed at {what}, and is left out from then: {error}")
        say(f"bench: {self.failures[-1]}")
        self._drives.remove(drive)

    def medians(self) -> dict[str, dict[str, float]]:
        return {
            row: {tool: statistics.median(found) for tool, found in tools.items()}
            for row, tools in self.figures.items()
        }


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
    titles = rows(points, scale.big, small, entries, scale.names, PLACES, DELAY)
    result |= {
        "figures": comparison.figures, "medians": comparison.medians(), "failures": comparison.failures,
        "units": {key: row.unit for key, row in titles.items() if key in comparison.figures},
        "store": comparison.rate._asdict() if comparison.rate else None, "status": bench.status,
    }  # fmt: skip
    result["text"] = report(result, table(titles, result["medians"], [n for n in NAMES if n in result["tools"]],
                                          verdicts=options.scale == "full"))  # fmt: skip
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
    every += [SquashDrive(place), SquashLowLevelDrive(place), Plain(place)]
    found, missing = [], []
    for drive in every:
        if drive.name in (names or NAMES):
            if lack := drive.missing():
                missing.append(lack)
                say(f"bench: {lack} (as root); it is left out")
            else:
                found.append(drive)
    if not found:
        raise RuntimeError("none of the tools is here")
    return found, missing


def report(result: dict[str, Any], figures: str) -> str:
    """Markdown."""
    m = result["machine"]
    dropped = "dropped before each step" if result["caches_dropped"] else "NOT dropped"
    lines = [
        "## Drives\n",
        f"{m['processor']}, {m['cores']} cores, {m['memory'] / (1 << 30):.0f} GiB; {m['system']}, "
        f"Python {m['python']}; load at the start {m['load']:.1f}.\n",
        f"Medians of {result['rounds']} round(s); each tool mounted afresh for each step, and the kernel's caches "
        f"{dropped}, but for what is done once more. `cp -r` copies to {_kind(result['copies'])}. rpdrive is "
        "opened by a saved key where nothing else is said, and uses no cache on disk.\n",
        *(f"- {name}: {tool['version']}; {tool['note']}" for name, tool in result["tools"].items()),
        *(f"- left out: {line}" for line in (*result["missing"], *result["failures"])),
        "",
        figures,
    ]
    if store := result["store"]:
        lines.append(
            f"What the store gives: {store['stored'] / 1e6:,.0f} MB that the file takes there, in "
            f"{store['requests']} ranges of about 16 MiB, {store['threads']} at once: {store['seconds']:.2f} s; "
            "its speed counts the bytes of the file.\n"
        )
    if result["scale"] != "full":  # the start of each command weighs too much
        lines.append("What is to be reached is said of the full data.\n")
    return "\n".join(lines)


def _kind(copies: str) -> str:
    return "memory (tmpfs)" if Path(copies).is_relative_to(_MEMORY) else "a folder on the disk"


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians of so many (3)")
    steps = ",".join(step.name for step in STEPS)
    parser.add_argument("--only", type=_words, default=[], metavar="STEPS",
                        help=f"some of {steps}; `mount` and `far` are all that begin so")  # fmt: skip
    parser.add_argument("--tools", type=_words, default=[], metavar="TOOLS", help=f"some of {','.join(NAMES)}")
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", default="full",
                        help="a tenth of the data, to try it out")  # fmt: skip
    parser.add_argument("--tiny", dest="scale", action="store_const", const="tiny",
                        help="a few files, and no caches dropped: to see whether it runs")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="make files, vaults, repositories and images again")
    parser.add_argument("--keep", action="store_true",
                        help="use the vault that is there, though what writes it has changed since")  # fmt: skip
    parser.add_argument(
        "--copies", type=Path, metavar="DIR", help="where `cp` copies to: a new folder; else memory"
    )
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="add every figure to it, as `drives`")  # fmt: skip
    parser.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/rpdrive-bench")),
                        metavar="DIR", help="where to work ($BENCH_DIR, or /var/tmp/rpdrive-bench)")  # fmt: skip
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if unknown := [name for name in options.tools if name not in NAMES]:
        parser.error(f"there is no tool {unknown[0]!r}: say some of {', '.join(NAMES)}")
    if options.copies is not None and options.copies.exists():
        parser.error(f"{options.copies} exists: name a folder to be made, it is removed at the end")
    if not (set(options.only) & set(OTHER_PARTS)):
        try:
            chosen(options.only)
        except ValueError as e:
            parser.error(str(e))
    return options


def _known(file: Path) -> dict[str, Any]:
    """The results that run.py wrote to the file during the same `make bench`."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def main() -> int:
    """The exit code: 1 if something failed, whatever the figures say."""
    options = parsed()
    if set(options.only) & set(OTHER_PARTS):
        return 0
    folder = options.dir.resolve() / "drives" / options.scale
    try:
        result = run(folder, options)
    except (*_FAILURES, ValueError) as e:
        say(f"bench: {e}")
        return 1
    except KeyboardInterrupt:
        say("bench: interrupted")
        return 130
    print(result.pop("text"))
    if options.json:
        options.json.write_text(json.dumps(_known(options.json) | {"drives": result}, indent=2) + "\n")
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
