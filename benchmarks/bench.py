"""All parts of `make bench`, one after the other; with `--table` one table of everything instead (table.py)."""

from __future__ import annotations

import argparse
import sys

import drives
import restore
import run
import table
from machine import stop_as_by_hand
from options import parser_of, words

PARTS = ("backup", "delay", "restore", "drives")


def main(arguments: list[str]) -> int:
    """The exit code: 1 if a part failed."""
    stop_as_by_hand()
    if "--table" in arguments:
        return table.main(arguments)
    parser = parser_of(__doc__)
    parser.add_argument("--only", type=words, default=PARTS, metavar="PARTS", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--table", action="store_true", help="one table of everything: see --table --help")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.only if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}: say some of {', '.join(PARTS)}")
    if options.json:
        options.json.unlink(missing_ok=True)
    codes = []
    for part in options.only:
        work = {"restore": restore.main, "drives": drives.main}.get(part, run.main)
        codes.append(work([*_common(options), *(["--only", part] if work is run.main else [])]))
        if codes[-1] == 130:
            break
    return max(codes, default=0)


def _common(options: argparse.Namespace) -> list[str]:
    """What each part is given."""
    scale = [] if options.scale == "full" else [f"--{options.scale}"]
    file = ["--json", str(options.json)] if options.json else []
    restic = ["--restic", options.restic] if options.restic else []
    return ["--rounds", str(options.rounds), "--dir", str(options.dir), *scale, *file, *restic]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
