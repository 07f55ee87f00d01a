"""The command line of the siege: `python -m tests.siege`, or `make siege ARGS="…"`."""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import pickle
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.siege import circumstances, copies, disks, drives, ends, rot  # noqa: F401 - they register their kinds
from tests.siege.campaign import Result, campaign
from tests.siege.command import preload
from tests.siege.kinds import KINDS
from tests.siege.report import Table, row
from tests.siege.world import mounts_below, unmounted

KEPT = 3  # folders kept for the same fault of the same kind


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.siege", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the first campaign; each further one has the next number")
    parser.add_argument("--only", default="", help="kinds of faults, e.g. rollback,kill-call (default: all)")
    parser.add_argument("--campaigns", type=int, help="how many; the default depends on --rounds")
    parser.add_argument("--rounds", type=int, help="how many rounds in all (default: 1,000)")
    parser.add_argument("--each", type=int, default=10, help="rounds in one campaign (default: 10)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no campaign after this time")
    parser.add_argument("--jobs", type=int, default=1, help="sieges at once, each in a process (default: 1)")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a new one in memory)")
    parser.add_argument("--keep", type=Path, default=Path("/var/tmp/rpdrive-siege"), help="folder of what is kept")
    parser.add_argument("--json", type=Path, help="also write the table there")
    parser.add_argument("--row", type=Path, help="print the row of docs/reliability.md for such a table, and end")
    parser.add_argument("--list", action="store_true", help="list the kinds of faults")
    return parser.parse_args()


def of_our_own() -> None:
    """Leave the machine's mounts: what the siege mounts, nobody else sees, and it goes with the siege."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, recursive_private = (
        0x20000,
        0x4000 | 0x40000,
    )  # CLONE_NEWNS; MS_REC | MS_PRIVATE (sched.h, mount.h)
    if libc.unshare(new_namespace) or libc.mount(b"none", b"/", None, recursive_private, None):
        raise SystemExit(f"no mounts of our own: {os.strerror(ctypes.get_errno())}")


def plans(only: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The kinds of each campaign: each kind alone and all together, in turn."""
    while True:
        for kind in only:
            yield (kind,)
            if len(only) > 1:
                yield only


def main() -> int:
    given = options()
    can = tuple(name for name, kind in KINDS.items() if os.getuid() == 0 or not kind.needs_root)
    if given.list:
        for kind in KINDS.values():
            print(f"{kind.name:18} {kind.about}")
        return 0
    if given.row:
        print(row(given.row))
        return 0
    only = tuple(given.only.split(",")) if given.only else can
    if unknown := set(only) - KINDS.keys():
        raise SystemExit(f"no such kinds of faults: {', '.join(sorted(unknown))}; see --list")
    rounds = given.rounds or (given.campaigns * given.each if given.campaigns else 1000)
    seed = secrets.randbelow(10**9) if given.seed is None else given.seed
    shared = Path("/dev/shm")
    work = given.work or Path(tempfile.mkdtemp(prefix="rpdrive-siege-", dir=shared if shared.is_dir() else None))
    if os.getuid() == 0:
        of_our_own()
    preload()
    table = Table(seed)
    began = time.monotonic()
    kinds = iter([only]) if given.campaigns == 1 else plans(only)
    try:
        if given.jobs > 1:
            side_by_side(given, kinds, seed, rounds, work, table, began)
        else:
            run(given, kinds, seed, rounds, work, table, began)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    finally:
        for path in sorted(mounts_below(work), reverse=True):
            unmounted(path, "-l")
        shutil.rmtree(work, ignore_errors=True)
    print(table.text(time.monotonic() - began))
    if given.json:
        given.json.write_text(table.json(time.monotonic() - began))
    return 1 if table.faults else 0


def side_by_side(
    given: argparse.Namespace, kinds: Iterator[tuple[str, ...]], seed: int, rounds: int, work: Path, table: Table,
    began: float,
) -> None:  # fmt: skip
    """Run several sieges at once, in processes of their own; each begins with other kinds and seeds."""
    children = []
    for job in range(given.jobs):
        place, own = work / f"job-{job}", itertools.islice(kinds, job * 7, None)
        pid = os.fork()
        if not pid:
            place.mkdir()
            try:
                run(given, own, seed + job * 10**6, rounds // given.jobs, place, table, began)
            finally:
                (work / f"table-{job}").write_bytes(pickle.dumps(table))
                os._exit(0)
        children.append(pid)
    for job, pid in enumerate(children):
        os.waitpid(pid, 0)
        table.merge(pickle.loads((work / f"table-{job}").read_bytes()))


def run(
    given: argparse.Namespace, kinds: Iterator[tuple[str, ...]], seed: int, rounds: int, work: Path, table: Table,
    began: float,
) -> None:  # fmt: skip
    """Run campaigns until there were so many rounds, or the time is over."""
    number = 0
    while (
        table.rounds < rounds
        and time.monotonic() - began < given.seconds
        and (given.campaigns is None or number < given.campaigns)
    ):
        result = campaign(
            work / str(seed + number),
            seed + number,
            next(kinds),
            min(given.each, rounds - table.rounds),
        )
        keep(result, given.keep, table)
        table.add(result)
        number += 1


def keep(result: Result, folder: Path, table: Table) -> None:
    """Move the folder of a campaign that found a fault to where it stays, and say how to repeat it."""
    if not result.folder:
        return
    last, place = result.rounds[-1], folder / str(result.seed)
    print(f"\n{last.sort}, by {'+'.join(last.kinds)}: {last.text[:1500]}\n  repeat: {result.recipe}", flush=True)
    if table.seen(last) < KEPT:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(result.folder, place, symlinks=True, ignore=_no_specials)
        print(f"  kept: {place}", flush=True)
    shutil.rmtree(result.folder, ignore_errors=True)


def _no_specials(folder: str, names: list[str]) -> list[str]:
    """Names of what can't be copied: FIFOs, sockets."""
    paths = [Path(folder, name) for name in names]
    return [p.name for p in paths if not (p.is_symlink() or p.is_file() or p.is_dir())]


if __name__ == "__main__":
    sys.exit(main())
