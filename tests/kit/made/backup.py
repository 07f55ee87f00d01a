"""A backup of made-up files, by the code of `rpdrive backup`, and what it took.

`python -m tests.kit.made.backup OUT.json ADDRESS MACHINE --files N` saves N files for a machine of its own, and
`… MACHINE --point P` the files of a made-up machine as they are at point P, as a host that takes the machine over.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from backup.job import opened
from backup.request import Request
from backup.run import Result
from catalog.access.session import Session
from tests.kit.made.command import ROOT, Took, Watch, limit_memory, prepared
from tests.kit.made.contents import Contents
from tests.kit.made.source import Files, MadeSystem, ManyFiles, OfPoint
from tests.kit.made.store import MadeScheme
from tests.kit.vaults import home_of


def run(folder: Path, vault: str, machine: str, *words: str | int) -> tuple[Took, dict[str, int]]:
    """Run a backup in a process of its own. Returns also what it says of itself."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "took.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.kit.made.backup", str(out), vault, machine, *map(str, words)],
        env=os.environ | home_of(folder, vault), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the backup failed: {done.stderr[-3000:]}")
    said: dict[str, int] = json.loads(done.stdout)
    return msgspec.json.decode(out.read_bytes(), type=Took), said


def saved(scheme: MadeScheme, address: str, machine: str, files: Files | int) -> Result:
    """Back up made-up files, or those of a made-up machine at one of its points, in this process."""
    session = Session(vault=address)
    try:
        vault = session.open_vault()
        if isinstance(files, int):
            number = int(machine.rpartition("-")[2])
            files = OfPoint(Contents(vault.keys, scheme.opened[-1].shape), number, files)
        request = Request([Path("/")], machine=machine, snapshot="never")
        with opened(session, vault, request, MadeSystem(files)) as job:
            return job.run()
    finally:
        session.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("vault")
    parser.add_argument("machine")
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--run", type=int, default=0, help="which backup this is, from 0")
    parser.add_argument("--changed", type=int, default=0, help="folders that each run finds changed")
    parser.add_argument("--point", type=int, default=0)
    options = parser.parse_args()
    limit_memory()
    watch = Watch(scheme := prepared())
    many = ManyFiles(options.files, options.run, options.changed) if options.files else None
    result = saved(scheme, options.vault, options.machine, many or options.point)
    options.out.write_bytes(msgspec.json.encode(watch.took()))
    progress = result.progress
    said = {
        "new": progress.new, "changed": progress.changed, "unchanged": progress.unchanged,
        "problems": result.problem_count, "files": result.totals.files,
    }  # fmt: skip
    print(json.dumps(said))
    if result.problem_count:
        print(result.problems[:3], file=sys.stderr)


if __name__ == "__main__":
    main()
