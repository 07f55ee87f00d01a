"""Speed, memory and size beside restic and Borg, on the same data in one run.

`make bench`, or `python benchmarks/run.py --help`. The material is made once, under $BENCH_DIR (about 2 GB;
with the repositories 8 GB), and used again by the next run. Each step is run by one tool after the other, with
the system's caches dropped before each, if this is root.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import delay
from figures import Rounds, tried, turned
from machine import commit, compile_packages, described, machine, say
from material import SCALES, Material
from measured import drop_caches
from options import parser_of, write
from targets import Sizes, rows, table
from tool_steps import BACKUPS, back_up
from tools import ALL, Tool


class Comparison(Rounds):
    """Rounds of all steps by all tools."""

    def __init__(self, folder: Path, material: Material, tools: list[Tool]) -> None:
        super().__init__()
        self._log, self._material, self._tools = folder / "log.txt", material, tools

    def round(self, number: int) -> None:
        """One round, from empty repositories."""
        order = turned(self._tools, number)
        for tool in order:
            tool.start()
        for step in BACKUPS:
            if step == "changed":
                self._material.change()
            for tool in order:
                if step == "first" or tool.increments:
                    self._measure(step, tool, number)
        self._material.change_back()
        for tool in order:
            tool.remove()

    def _measure(self, step: str, tool: Tool, number: int) -> None:
        work = partial(back_up, step, tool, self._material.root, self._log, drop_caches)
        self.measure(number, step, tool.name, work)


def compare(folder: Path, material: Material, options: argparse.Namespace) -> dict[str, Any]:
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
    dropped = drop_caches()
    try:
        for number in range(options.rounds):
            comparison.round(number)
    finally:
        for tool in tools:
            tool.remove()
    figures = comparison.figures
    names = [tool.name for tool in tools]
    found = rows(Sizes(material.scale.big, 0, 0, 0, 0, delay.DELAY))
    return {
        "rounds": options.rounds, "caches_dropped": dropped, "failures": comparison.failures,
        "tools": {tool.name: {"version": tool.version(), "note": tool.note} for tool in tools},
        "figures": figures.rows, "least": figures.least(), "medians": figures.medians(),
        "text": table(found, figures, names, verdicts=options.scale == "full"),
    }  # fmt: skip


def report(result: dict[str, Any]) -> str:
    """Markdown."""
    data = result["material"]
    lines = [
        "# Benchmarks\n",
        described(result["machine"]),
        f"Data: {data['files']:,} files, {data['bytes'] / (1 << 30):.2f} GiB, of it "
        f"{data['data_bytes'] / (1 << 30):.2f} GiB not holes.\n",
    ]
    if found := result.get("comparison"):
        caches = "caches dropped before each step" if found["caches_dropped"] else "caches NOT dropped (needs root)"
        lines += [
            f"{found['rounds']} round(s): the least of them, and the median in brackets; {caches}; repositories on "
            "the same disk as the data.\n",
            *(f"- {name}: {t['version']}; {t['note']}" for name, t in found["tools"].items()),
            *(f"- failed: {line}" for line in found["failures"]),
            "",
            found.pop("text"),
            # With a tenth of the data, the start of each command weighs too much.
            "" if result["scale"] == "full" else "What is to be reached is said of the full data.\n",
        ]
    if far := result.get("delay"):
        lines.append(delay.text(far))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if something failed, whatever the figures say."""
    parser = parser_of(__doc__)
    parser.add_argument("--only", choices=("backup", "delay"), help="one part")
    options = parser.parse_args(arguments)
    folder = options.dir.absolute() / options.scale
    result = tried(lambda: _run(folder, options))
    if isinstance(result, int):
        return result
    print(report(result))
    write(options, result)
    return 1 if result.get("comparison", {}).get("failures") else 0


def _run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").unlink(missing_ok=True)
    scale = SCALES[options.scale]
    needed = 6 * (scale.big + scale.image_data + scale.real_files * 40 * 1024)
    if shutil.disk_usage(folder).free < needed:
        raise RuntimeError(
            f"{needed >> 30} GiB of free space are needed in {folder}: set BENCH_DIR to another disk"
        )
    compile_packages()
    result: dict[str, Any] = {"machine": machine(), "commit": commit(), "scale": options.scale}
    material = Material(folder, scale)
    say(f"bench: making the material in {material.root}")
    material.make()
    result["material"] = material.measure()
    if options.only != "delay":
        result["comparison"] = compare(folder, material, options)
    if options.only != "backup":
        say("bench: reading small files from a store 30 ms away")
        result["delay"] = delay.measure(folder, material.small)
    return result


if __name__ == "__main__":
    sys.exit(main())
