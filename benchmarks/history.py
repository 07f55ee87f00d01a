"""The history of results in docs/performance.md: `history.py RESULT.json` prints the row of a result.

With `--append` it goes into the page. A result is what `make bench ARGS="--table --json RESULT.json"` writes. Each
figure is rpdrive's, divided by another program's of the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from machine import ROOT
from targets import HISTORY, ratio

PAGE = ROOT / "docs/performance.md"
HEADING = "## History"


def row(result: dict[str, Any]) -> str:
    """A line of Markdown; empty cells for what was not measured."""
    least, commit = result["least"], result["commit"]
    version = result["tools"]["rpdrive"]["version"].partition(";")[0].split()[1].rstrip(",")
    changed = ", changed" if commit.get("changed") else ""
    name = f"{version} ({commit['commit']}{changed})" if commit else version
    cells = [result["machine"]["time"][:10], name]
    for _title, key, others in HISTORY:
        share = ratio(least.get(key, {}), others)
        cells.append("" if share is None else f"{share:.2f}" if share < 10 else f"{share:.1f}")
    return f"| {' | '.join(cells)} |"


def heads() -> str:
    """The first line of the table."""
    return f"| date | version | {' | '.join(title for title, _key, _others in HISTORY)} |"


def appended(page: str, line: str) -> str:
    """The page with a line more at the end of its history. Raises ValueError if it has none."""
    lines = page.splitlines()
    try:
        start = lines.index(heads(), lines.index(HEADING))
    except ValueError:
        raise ValueError("the page has no table of the history, or one with other columns") from None
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith("|")), len(lines))
    return "\n".join([*lines[:end], line, *lines[end:]]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    parser.add_argument("--append", action="store_true", help="add it to docs/performance.md")
    options = parser.parse_args()
    line = row(json.loads(options.result.read_text()))
    if options.append:
        PAGE.write_text(appended(PAGE.read_text(), line))
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
