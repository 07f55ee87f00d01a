"""The steps of the benchmark of drives. Each mounts again, with the kernel's caches dropped, and measures."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from drive_tools import Drive
from material import Material
from measured import CommandFailed, cpu_seconds, drop_caches, high_water
from own_drives import FarDrive, OwnDrive

PLACES, PLACE = 1_000, 4096  # random reads, and bytes of each, at multiples of it
Figures = dict[str, float]  # by row
_LONGEST = 3600  # s; of one command


class Bench(NamedTuple):
    """The files that are read, where copies of them go, and the delay of a far store (s)."""

    material: Material
    copies: Path
    entries: int  # of the material, with folders and itself
    names: int  # of the large folder
    delay: float
    status: dict[str, Any]  # by step and tool: the status that the drive reported at its end
    forget: Callable[[], object] = drop_caches  # what the kernel keeps


class Step(NamedTuple):
    """`measure` mounts, measures and unmounts. `own`: of rpdrive only."""

    name: str
    measure: Callable[[Bench, Drive], Figures]
    own: bool = False
    leave_out: Sequence[str] = ()  # tools


def _run(words: Sequence[str | Path], output: int | Any = subprocess.DEVNULL) -> float:
    """The seconds that a command took. Raises CommandFailed."""
    began = time.monotonic()
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, env=os.environ | {"LC_ALL": "C"},
        timeout=_LONGEST, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    if done.returncode != 0:
        raise CommandFailed(f"{words[0]} failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return seconds


def _end(bench: Bench, drive: Drive, step: str, memory: str = "") -> Figures:
    """Record the status that an open drive reports. For the row `memory`: the most that its processes
    have had since they were started for this step, in MB."""
    status = drive.status()
    if "driver" in status:
        wanted = ("driver", "cache", "store_requests", "bytes_fetched", "bytes_served")
        bench.status.setdefault(step, {})[drive.name] = {key: status[key] for key in wanted}
    return {memory: high_water(status["pid"]) / 1e6} if memory and "pid" in status else {}


# --- mount --------------------------------------------------------------------------------------------------


def _mount(name: str, **how: bool) -> Step:
    def measure(bench: Bench, drive: Drive) -> Figures:
        if isinstance(drive, OwnDrive):
            drive = drive.variant(**how)
        figures = {}
        for row in (name, f"{name}-again"):
            if row == name:
                bench.forget()
            began = time.monotonic()
            with drive.opened() as root:
                listed = os.listdir(root)
                figures[row] = time.monotonic() - began
            if not listed:
                raise CommandFailed(f"{drive.name}: nothing is listed in {root}")
        return figures

    return Step(name, measure, own=name != "mount-passphrase", leave_out=("plain",))


# --- reading ------------------------------------------------------------------------------------------------


def _cp(bench: Bench, drive: Drive) -> Figures:
    with drive.opened() as root:
        seconds = _copy_small(bench, root)
        _end(bench, drive, "cp")
    return {"cp": seconds}


def _copy_small(bench: Bench, root: Path) -> float:
    target = bench.copies / "small"
    shutil.rmtree(target, ignore_errors=True)
    bench.forget()
    try:
        seconds = _run(["cp", "-r", root / "small", target])
        _run(["diff", "-r", target, bench.material.small])
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return seconds


def _find(bench: Bench, drive: Drive) -> Figures:
    with drive.opened() as root:
        bench.forget()
        seconds = _run_counted(bench, ["find", root, "-printf", "%s\\n"], bench.entries)
        return {"find": seconds} | _end(bench, drive, "find", "memory-walk")


def _ls(bench: Bench, drive: Drive) -> Figures:
    with drive.opened() as root:
        bench.forget()
        seconds = _run_counted(bench, ["ls", "-l", root / "names"], bench.names + 1)
        _end(bench, drive, "ls")
    return {"ls": seconds}


def _run_counted(bench: Bench, words: Sequence[str | Path], lines: int) -> float:
    """As `_run`; also raises CommandFailed unless the command printed so many lines."""
    path = bench.copies / "output"
    with path.open("wb") as output:
        seconds = _run(words, output)
    with path.open("rb") as file:
        found = sum(1 for _ in file)
    path.unlink()
    if found != lines:
        raise CommandFailed(f"{words[0]} printed {found:,} lines instead of {lines:,}")
    return seconds


def _seq(bench: Bench, drive: Drive) -> Figures:
    with drive.opened() as root:
        bench.forget()
        before = _cpu(drive)
        figures = {"seq": _read_big(bench, root)}
        after = _cpu(drive)
        if before is not None and after is not None:
            figures["seq-cpu"] = after - before
        memory = _end(bench, drive, "seq", "memory-seq")
        figures["seq-again"] = _read_big(bench, root)
    return figures | memory


def _cpu(drive: Drive) -> float | None:
    """The CPU seconds of the drive's processes so far; None for plain files."""
    status = drive.status()
    return cpu_seconds(status["pid"]) if "pid" in status else None


def _read_big(bench: Bench, root: Path) -> float:
    """Seconds."""
    path = root / "big.bin"
    size = path.stat().st_size
    if size != (bench.material.root / "big.bin").stat().st_size:
        raise CommandFailed(f"{path} is {size:,} bytes long, which is wrong")
    return _run(["dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"])


def _random(bench: Bench, drive: Drive) -> Figures:
    source = bench.material.root / "big.bin"
    rng = random.Random("places")
    places = [rng.randrange(source.stat().st_size // PLACE) * PLACE for _ in range(PLACES)]
    with drive.opened() as root:
        bench.forget()
        descriptor = os.open(root / "big.bin", os.O_RDONLY)
        try:
            first, found = _read_at(descriptor, places)
            second, again = _read_at(descriptor, places)
        finally:
            os.close(descriptor)
        _end(bench, drive, "random")
    with source.open("rb") as file:
        right = _read_at(file.fileno(), places)[1]
    if not found == again == right:
        raise CommandFailed(f"{drive.name} gave wrong bytes")
    return {"random": first, "random-again": second}


def _read_at(descriptor: int, places: list[int]) -> tuple[float, list[bytes]]:
    """The median of the reads in ms, and what was read."""
    times, found = [], []
    for place in places:
        began = time.perf_counter_ns()
        found.append(os.pread(descriptor, PLACE, place))
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1e6, found


# --- from afar ----------------------------------------------------------------------------------------------


def _far_cp(bench: Bench, drive: Drive) -> Figures:
    far = FarDrive(drive.place, drive.name, bench.delay)
    with far.opened() as root:
        seconds = _copy_small(bench, root)
        _end(bench, far, "far-cp")
    return {"far-cp": seconds}


def _far_seq(bench: Bench, drive: Drive) -> Figures:
    far = FarDrive(drive.place, drive.name, bench.delay)
    with far.opened() as root:
        bench.forget()
        seconds = _read_big(bench, root)
        _end(bench, far, "far-seq")
    return {"far-seq": seconds}


STEPS = (
    _mount("mount-passphrase", passphrase=True),
    _mount("mount-key"),
    _mount("mount-many-passphrase", passphrase=True, many=True),
    _mount("mount-many-key", many=True),
    _mount("mount-all-passphrase", passphrase=True, many=True, everything=True),
    _mount("mount-all-key", many=True, everything=True),
    Step("cp", _cp),
    Step("find", _find),
    Step("ls", _ls),
    Step("seq", _seq),
    Step("random", _random),
    Step("far-cp", _far_cp, own=True),
    Step("far-seq", _far_seq, own=True),
)


def chosen(words: Sequence[str]) -> list[Step]:
    """The steps of these names; `mount` and `far` name several. Raises ValueError for an unknown name."""
    for word in words:
        if not any(_named(step, word) for step in STEPS):
            raise ValueError(f"there is no step {word!r}: say some of {', '.join(step.name for step in STEPS)}")
    return [step for step in STEPS if not words or any(_named(step, word) for word in words)]


def _named(step: Step, word: str) -> bool:
    return step.name == word or step.name.startswith(word + "-")
