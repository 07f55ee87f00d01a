"""Options that several benchmarks have."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from tools import add_restic


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """With the options that all parts of `make bench` have."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N", help="rounds (3)")
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", default="full",
                        help="a tenth of the data, to try it out")  # fmt: skip
    parser.add_argument("--tiny", dest="scale", action="store_const", const="tiny",
                        help="a few files, and no caches dropped: to see whether it runs")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    parser.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/rpdrive-bench")),
                        metavar="DIR", help="where to work ($BENCH_DIR, or /var/tmp/rpdrive-bench)")  # fmt: skip
    add_restic(parser)
    return parser


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return number


def write(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Add results to the file of `--json`, if it is wanted: other parts of the same run may have written to it."""
    if options.json is None:
        return
    try:
        found = json.loads(options.json.read_text())
    except (OSError, ValueError):
        found = {}
    known = found if isinstance(found, dict) else {}
    options.json.write_text(json.dumps(known | results, indent=2) + "\n")
