"""rpdrive beside restic, squashfs and the plain files on the disk, in every row, on the same data in one run.

`make bench ARGS=--table`, or `python benchmarks/table.py --help`. In each round each tool backs the material up
(2.8 GB with holes, of which 1.7 GB are data, in 88,000 files), is opened as a drive and read, restores everything,
and backs up what has changed since; another tool begins in each round. The kernel's caches are dropped before each
step, if this is root. Without the row `first` the repositories of the run before are used, if rpdrive's writing
has not changed since.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import history
from drive_steps import PLACES, STEPS, Bench, Step
from drive_tools import BorgDrive, Drive, Place, PlainDrive, ResticDrive, SquashDrive
from figures import FAILURES, Rounds, present, turned
from machine import commit, compile_packages, described, machine, say
from material import SCALES, Material
from measured import drop_caches
from options import parser_of, words, write
from own_drives import OwnDrive
from targets import Row, Sizes, rows, table
from tool_steps import back_up, restore
from tools import Borg, Plain, Restic, Rpdrive, Squashfs, Tool

DELAY = 0.030  # s more for each request to a far store
DRIVES = ("mount-passphrase", "mount-key", "find", "cp", "ls", "seq", "random", "far-cp", "far-seq")
ROWS = ("first", "unchanged", *DRIVES, "restore", "changed")  # in this order in each round
NAMES = ("rpdrive", "restic", "borg", "squashfs", "plain")
USUAL = ("rpdrive", "restic", "squashfs", "plain")
_MEMORY = Path("/dev/shm")


class Contestant(NamedTuple):
    """A tool, and the drive on what it wrote."""

    tool: Tool
    drive: Drive

    @property
    def name(self) -> str:
        return self.tool.name

    @property
    def version(self) -> str:
        one, other = self.tool.version(), self.drive.version()
        return one if one in other else f"{one}; {other}"


def contestants(place: Place, names: list[str]) -> tuple[list[Contestant], list[str]]:
    """The requested tools that are here, and a note on each of the others."""
    folder = place.folder
    every = [
        Contestant(Rpdrive(folder), OwnDrive(place, "kernel")),
        Contestant(Restic(folder), ResticDrive(place)),
        Contestant(Borg(folder), BorgDrive(place)),
        Contestant(Squashfs(folder), SquashDrive(place)),
        Contestant(Plain(folder), PlainDrive(place)),
    ]
    return present([(one, one.tool.missing() or one.drive.missing()) for one in every if one.name in names])


class Table:
    """Rounds of the rows that were asked for."""

    def __init__(self, bench: Bench, place: Place, tools: list[Contestant], wanted: list[str]) -> None:
        self._bench, self._place, self._tools, self._wanted = bench, place, tools, wanted
        self._source = bench.material.root
        self.rounds = Rounds()

    def round(self, number: int) -> None:
        order = turned(self._tools, number)
        self._prepare(order, number)
        for name in self._wanted:
            if name == "changed":
                self._changed(order, number)
            elif name in DRIVES:
                self._drive(next(step for step in STEPS if step.name == name), order, number)
            elif name == "restore":
                for one in order:
                    self._restore(one, number)
            elif name == "unchanged":
                for one in order:
                    if one.tool.increments:
                        self._back_up(name, one, number)
        shutil.rmtree(self._targets, ignore_errors=True)  # at the end: new files take long after many were deleted

    @property
    def _targets(self) -> Path:
        return self._place.folder / "restored"

    def _prepare(self, order: list[Contestant], number: int) -> None:
        """First backups, measured if that is wanted; else whatever is there and current serves."""
        if "first" not in self._wanted:
            say("bench: making vaults, repositories and images, unless they are there")
            for one in order:
                try:
                    one.drive.prepare()
                except FAILURES as e:
                    self.rounds.failed(one.name, "preparing", e)
            return
        for one in order:
            one.drive.mark.unlink(missing_ok=True)
            one.tool.remove()
        for one in order:
            try:
                one.tool.start()
            except FAILURES as e:
                self.rounds.failed(one.name, "preparing", e)
                continue
            if self._back_up("first", one, number):
                one.drive.settle()
                one.drive.complete()
        shutil.rmtree(Plain(self._place.folder).repository, ignore_errors=True)  # nothing reads the copy

    def _back_up(self, name: str, one: Contestant, number: int) -> bool:
        work = partial(back_up, name, one.tool, self._source, self._place.log, self._bench.forget)
        return self.rounds.measure(number, name, one.name, work)

    def _changed(self, order: list[Contestant], number: int) -> None:
        there = [one for one in order if one.tool.increments]
        for one in order:
            one.drive.mark.unlink(missing_ok=True)  # its newest point is not of the material as it was
        self._bench.material.change()
        try:
            for one in there:
                self._back_up("changed", one, number)
        finally:
            self._bench.material.change_back()

    def _drive(self, step: Step, order: list[Contestant], number: int) -> None:
        for one in order:
            if one.drive.name in step.leave_out or (step.own and one.drive.stock != "rpdrive"):
                continue
            self.rounds.measure(number, step.name, one.name, partial(step.measure, self._bench, one.drive))

    def _restore(self, one: Contestant, number: int) -> None:
        target, log = self._targets / one.name, self._place.log
        work = partial(restore, "restore", one.tool, self._source, target, log, self._bench.forget)
        self.rounds.measure(number, "restore", one.name, work)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for; what was measured before a failure or Ctrl-C, too. Raises RuntimeError, OSError."""
    scale = SCALES[options.scale]
    base = options.dir.resolve() / options.scale
    folder = base / "table"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").unlink(missing_ok=True)
    if options.fresh:
        for mark in folder.glob("*-complete"):
            mark.unlink()
    if shutil.disk_usage(base).free < (needed := 8 * (scale.big + scale.image_data + scale.real_files * 20_000)):
        raise RuntimeError(f"{needed / 1e9:.0f} GB of room are needed in {base}: set BENCH_DIR to another disk")
    compile_packages()
    material = Material(base, scale)
    say(f"bench: making the files in {material.root}, unless they are there")
    material.make()
    entries = sum(1 + len(names) for _above, _folders, names in os.walk(material.root))
    sizes = Sizes(scale.big, scale.folders * scale.per_folder, entries, scale.names, PLACES, DELAY)
    copies = folder / "copies"
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2 * sizes.small * 16 * 1024:
        copies = _MEMORY / f"rpdrive-bench-{os.getpid()}"  # so that writing hides nothing
    forget = drop_caches if options.scale != "tiny" else lambda: False
    bench = Bench(material, copies, entries, scale.names, DELAY, {}, forget)
    place = Place(folder, material.root, f"{material.root} {scale}", 0, options.keep)
    found, missing = contestants(place, options.tools or list(USUAL))
    of_all = rows(sizes)
    result: dict[str, Any] = {
        "machine": machine(), "commit": commit(), "scale": options.scale, "material": material.measure(),
        "caches_dropped": bool(forget()),
        "tools": {one.name: {"version": one.version, "note": one.tool.note} for one in found},
    }  # fmt: skip
    comparison = Table(bench, place, found, [name for name in ROWS if name in (options.rows or ROWS)])
    copies.mkdir(parents=True, exist_ok=True)
    done = 0
    try:
        for number in range(options.rounds):
            comparison.round(number)
            done = number + 1
    except KeyboardInterrupt:
        say("bench: interrupted; what was measured until then:")
        comparison.rounds.failures.append("interrupted")
    except FAILURES as e:
        comparison.rounds.failures.append(f"round {done + 1} failed: {e}")
        say(f"bench: {comparison.rounds.failures[-1]}")
    finally:
        shutil.rmtree(copies, ignore_errors=True)
        shutil.rmtree(folder / "restored", ignore_errors=True)
    rounds = comparison.rounds
    result |= {
        "rounds": done, "figures": rounds.figures.rows, "least": rounds.figures.least(),
        "medians": rounds.figures.medians(), "missing": missing, "failures": rounds.failures,
        "status": bench.status,
        "units": {key: row.unit for key, row in of_all.items() if key in rounds.figures.rows},
    }  # fmt: skip
    result["text"] = report(result, of_all, rounds)
    return result


def report(result: dict[str, Any], of_all: dict[str, Row], rounds: Rounds) -> str:
    """Markdown."""
    dropped = "dropped before each step" if result["caches_dropped"] else "NOT dropped"
    full, data, where = result["scale"] == "full", result["material"], result["commit"]
    changed = ", with changes" if where.get("changed") else ""
    lines = [
        "## As if the files were on the disk\n",
        described(result["machine"]) + "\n",
        f"{data['bytes'] / 1e9:.1f} GB in {data['files']:,} files, of it {data['data_bytes'] / 1e9:.1f} GB not "
        f"holes. {result['rounds']} round(s): the least of them, and the median in brackets; the kernel's caches "
        f"{dropped}. `x others`: rpdrive's least divided by that of the better backup tool; `x plain`: by that of "
        "the plain files.\n",
        f"Commit {where['commit']} of {where['date']}{changed}.\n" if where else "",
        *(f"- {name}: {tool['version']}; {tool['note']}" for name, tool in result["tools"].items()),
        *(f"- left out: {line}" for line in (*result["missing"], *result["failures"])),
        "",
        table(of_all, rounds.figures, [name for name in NAMES if name in result["tools"]], verdicts=full),
        "" if full else "What is to be reached is said of the full data.\n",
    ]
    return "\n".join(lines)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--table", action="store_true", help=argparse.SUPPRESS)  # how `make bench` comes here
    parser.add_argument("--rows", "--only", type=words, default=[], metavar="ROWS",
                        help=f"some of {','.join(ROWS)}")  # fmt: skip
    parser.add_argument("--tools", type=words, default=[], metavar="TOOLS", help=f"some of {','.join(NAMES)}; "
                        f"else {','.join(USUAL)}")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="make vaults, repositories and images again")
    parser.add_argument("--keep", action="store_true",
                        help="use the vault that is there, though what writes it has changed since")  # fmt: skip
    parser.add_argument("--history", action="store_true", help="also print the row for docs/performance.md")
    options = parser.parse_args(arguments)
    for given, known, what in ((options.rows, ROWS, "row"), (options.tools, NAMES, "tool")):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"there is no {what} {unknown[0]!r}: say some of {', '.join(known)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if something failed, whatever the figures say."""
    options = parsed(arguments)
    try:
        result = run(options)
    except (*FAILURES, ValueError) as e:
        say(f"bench: {e}")
        return 1
    print(result.pop("text"))
    write(options, result)
    if options.history:
        print(history.row(result))
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
