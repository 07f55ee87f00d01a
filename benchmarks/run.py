"""Speed, memory and size beside restic and Borg, on the same data in one run.

`make bench`, or `python benchmarks/run.py --help`. The material is made once, under $BENCH_DIR (about 2 GB;
with the repositories 8 GB), and used again by the next run. Each step is run by one tool after the other, with
the system's caches dropped before each, if this is root.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import delay
from material import FULL, QUICK, Material
from measured import CommandFailed, drop_caches, run, stored
from tools import ALL, Tool

STEPS = ("first", "unchanged", "incremental")
TITLES = {"first": "First backup", "unchanged": "Unchanged backup", "incremental": "Incremental backup"}
TARGETS = {"first": 0.7, "unchanged": 0.65, "incremental": 0.8}  # at most so much of restic's seconds
MEMORY_TARGET = 400 << 20
MIB = 1 << 20


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Comparison:
    """Rounds of all steps by all tools. `figures[step][tool]` has a row for each round."""

    def __init__(self, folder: Path, material: Material, tools: list[Tool]) -> None:
        self._folder, self._material, self._tools = folder, material, tools
        self.figures: dict[str, dict[str, list[dict[str, float]]]] = {
            step: {tool.name: [] for tool in tools} for step in STEPS
        }
        self.dropped = True

    def round(self, number: int) -> None:
        """One round, from empty repositories."""
        turn = number % len(self._tools)
        order = self._tools[turn:] + self._tools[:turn]
        for tool in order:
            tool.start()
        for step in STEPS:
            if step == "incremental":
                self._material.change()
            for tool in order:
                self._measure(step, tool, number)
        self._material.change_back()
        for tool in order:
            tool.remove()

    def _measure(self, step: str, tool: Tool, number: int) -> None:
        before = stored(tool.repository)
        self.dropped = drop_caches() and self.dropped
        done = run(tool.backup(self._material.root), tool.environment, self._folder / "log.txt")
        after = stored(tool.repository)
        row = {
            "seconds": done.seconds,
            "cpu": done.cpu,
            "memory": done.memory,
            "stored": after,
            "added": after - before,
        }
        self.figures[step][tool.name].append(row)
        say(
            f"round {number + 1}: {step:<12} {tool.name:<8} {done.seconds:7.2f} s  {done.cpu:7.2f} s CPU  "
            f"{done.memory / MIB:5.0f} MiB memory  {after / MIB:7.1f} MiB stored"
        )

    def medians(self) -> dict[str, dict[str, dict[str, float]]]:
        """As `figures`, with the median of each."""
        return {
            step: {
                tool: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
                for tool, rows in tools.items()
            }
            for step, tools in self.figures.items()
        }


def table(medians: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown."""
    lines = [
        "| | tool | seconds | CPU seconds | peak memory, MiB | added, MiB | stored, MiB | x restic | x Borg |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for step, tools in medians.items():
        for tool, row in tools.items():
            ratios = [
                f"{row['seconds'] / tools[other]['seconds']:.2f}" if other in tools and other != tool else ""
                for other in ("restic", "borg")
            ]
            lines.append(
                f"| {TITLES[step]} | {tool} | {row['seconds']:.2f} | {row['cpu']:.2f} | {row['memory'] / MIB:.0f} "
                f"| {row['added'] / MIB:.1f} | {row['stored'] / MIB:.1f} | {ratios[0]} | {ratios[1]} |"
            )
    return "\n".join(lines) + "\n"


def verdicts(medians: dict[str, dict[str, dict[str, float]]]) -> str:
    """What was to be reached, and what was. Markdown."""
    lines = []
    for step, tools in medians.items():
        own, other = tools["rpdrive"], tools.get("restic")
        if other:
            ratio, target = own["seconds"] / other["seconds"], TARGETS[step]
            lines.append(_verdict(f"{TITLES[step]}: {ratio:.2f} x restic's time", ratio <= target, f"{target} x"))
            ratio = own["stored"] / other["stored"]
            lines.append(_verdict(f"{TITLES[step]}: {ratio:.3f} x restic's stored bytes", ratio <= 1, "1 x"))
        memory = own["memory"]
        lines.append(_verdict(f"{TITLES[step]}: {memory / MIB:.0f} MiB", memory < MEMORY_TARGET, "400 MiB"))
    return "\n".join(lines) + "\n"


def _verdict(what: str, reached: bool, limit: str) -> str:
    return f"- {what}; to reach: at most {limit}; {'reached' if reached else '**missed**'}"


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "processor": model, "cores": len(os.sched_getaffinity(0)), "memory": memory,
        "system": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
        "load": os.getloadavg()[0], "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip


def compile_packages() -> None:
    """As an installed package is."""
    own = Path(__file__).parents[1]
    for package in ("catalog", "cache", "mount", "backup"):
        compileall.compile_dir(own / package, quiet=2)


def compare(folder: Path, material: Material, rounds: int) -> dict[str, Any]:
    """All tools that are here. What is missing is said, and left out."""
    tools: list[Tool] = []
    for kind in ALL:
        tool = kind(folder)
        if lack := tool.missing():
            if tool.name == "rpdrive":
                raise RuntimeError(lack)
            say(f"bench: {lack} (as root); it is left out")
        else:
            tools.append(tool)
    comparison = Comparison(folder, material, tools)
    try:
        for number in range(rounds):
            comparison.round(number)
    finally:
        for tool in tools:
            tool.remove()
    return {
        "rounds": rounds,
        "caches_dropped": comparison.dropped,
        "tools": {tool.name: {"version": tool.version(), "note": tool.note} for tool in tools},
        "figures": comparison.figures,
        "medians": comparison.medians(),
    }


def report(result: dict[str, Any]) -> str:
    """Markdown."""
    m, data = result["machine"], result["material"]
    lines = [
        "# Benchmarks\n",
        f"{m['processor']}, {m['cores']} cores, {m['memory'] / (1 << 30):.0f} GiB; {m['system']}, "
        f"Python {m['python']}; load at the start {m['load']:.1f}.",
        f"Data: {data['files']:,} files, {data['bytes'] / (1 << 30):.2f} GiB, of it "
        f"{data['data_bytes'] / (1 << 30):.2f} GiB not holes.\n",
    ]
    if found := result.get("comparison"):
        caches = "caches dropped before each step" if found["caches_dropped"] else "caches NOT dropped (needs root)"
        lines += [f"Medians of {found['rounds']} round(s), {caches}; repositories on the same disk as the data.\n"]
        lines += [f"- {t['version']}: {t['note']}" for t in found["tools"].values()]
        lines += [
            "",
            table(found["medians"]),
            "x: seconds, divided by the other tool's.\n",
            # With a tenth of the data, the start of each command weighs too much.
            "What is to be reached is said of the full data.\n" if result["quick"] else verdicts(found["medians"]),
        ]
    if far := result.get("delay"):
        lines.append(delay.text(far))
    return "\n".join(lines)


def main() -> int:
    """The exit code: 1 if something failed, whatever the figures say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians of so many (3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, to try it out")
    parser.add_argument("--only", choices=("backup", "delay"), help="one part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    parser.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/rpdrive-bench")),
                        metavar="DIR", help="where to work ($BENCH_DIR, or /var/tmp/rpdrive-bench)")  # fmt: skip
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    folder = options.dir.absolute() / ("quick" if options.quick else "full")
    try:
        result = _run(folder, options)
    except (CommandFailed, RuntimeError, OSError, subprocess.CalledProcessError) as e:
        say(f"bench: {e}")
        return 1
    except KeyboardInterrupt:
        say("bench: interrupted")
        return 130
    print(report(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").unlink(missing_ok=True)
    scale = QUICK if options.quick else FULL
    needed = 5 * (scale.big + scale.image_data + (700 * MIB if scale is FULL else 70 * MIB))
    if shutil.disk_usage(folder).free < needed:
        raise RuntimeError(
            f"{needed >> 30} GiB of free space are needed in {folder}: set BENCH_DIR to another disk"
        )
    compile_packages()
    result: dict[str, Any] = {"machine": machine(), "quick": options.quick}
    material = Material(folder, scale)
    say(f"bench: making the material in {material.root}")
    material.make()
    result["material"] = material.measure()
    if options.only != "delay":
        result["comparison"] = compare(folder, material, options.rounds)
    if options.only != "backup":
        say("bench: reading small files from a store 30 ms away")
        result["delay"] = delay.measure(folder, material.small)
    return result


if __name__ == "__main__":
    sys.exit(main())
