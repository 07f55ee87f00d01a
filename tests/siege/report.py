"""The table of a siege: kinds of faults, rounds, and what came of them, as text and JSON."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from pathlib import Path

from tests.siege.campaign import Result, Round
from tests.siege.world import SORTS

ROOT = Path(__file__).parents[2]


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short=9", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


class Table:
    """Collects results of campaigns."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.rounds = self.commands = self.compared = self.reported = self.campaigns = 0
        self._struck: Counter[str] = Counter()  # rounds by kind
        self._hit: Counter[str] = Counter()  # those in which the fault came to be
        self._found: Counter[tuple[str, str]] = Counter()  # by kind and sort
        self._recipes: dict[tuple[str, str], str] = {}

    @property
    def faults(self) -> int:
        return sum(self._found.values())

    def seen(self, last: Round) -> int:
        return self._found["+".join(last.kinds), last.sort]

    def add(self, result: Result) -> None:
        self.campaigns += 1
        self.commands += result.commands
        self.compared += result.compared
        self.reported += result.reported
        for one in result.rounds:
            name = "+".join(one.kinds)
            self.rounds += 1
            for kind in one.kinds:
                self._struck[kind] += 1
                self._hit[kind] += bool(one.done)
            if one.sort:
                self._found[name, one.sort] += 1
                self._recipes.setdefault((name, one.sort), result.recipe)

    def merge(self, other: Table) -> None:
        """Add what another table has counted."""
        for name in ("rounds", "commands", "compared", "reported", "campaigns"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._struck += other._struck
        self._hit += other._hit
        self._found += other._found
        self._recipes = other._recipes | self._recipes

    def _by_sort(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (_name, sort), count in self._found.items():
            found[sort] += count
        return found

    def text(self, seconds: float) -> str:
        lines = [
            f"Siege of {commit()}, {time.strftime('%Y-%m-%d', time.gmtime())}, seed {self._seed}: "
            f"{self.rounds:,} rounds in {self.campaigns:,} campaigns, {self.commands:,} commands, "
            f"{self.compared:,} points compared, {self.reported:,} reports of damage, {seconds:.0f} s",
            "",
            f"{'fault':22}{'rounds':>8}{'struck':>8}{'found':>8}",
        ]
        for kind, count in sorted(self._struck.items()):
            bad = sum(n for (name, _sort), n in self._found.items() if kind in name.split("+"))
            lines.append(f"{kind:22}{count:8,}{self._hit[kind]:8,}{bad:8,}")
        by_sort = self._by_sort()
        lines += [
            "",
            *(
                f"{by_sort[sort]:6,}  {sort}: {about}"
                for sort, about in (SORTS | {"siege": "a mistake of the siege itself"}).items()
            ),
        ]
        lines += [
            "",
            *(f"{n} x {sort}, by {name}: {self._recipes[name, sort]}" for (name, sort), n in self._found.items()),
        ]
        return "\n".join(lines)

    def json(self, seconds: float) -> str:
        rows = {
            kind: {
                "rounds": count,
                "struck": self._hit[kind],
                "found": {s: n for (name, s), n in self._found.items() if kind in name.split("+")},
            }
            for kind, count in sorted(self._struck.items())
        }
        return json.dumps(
            {
                "commit": commit(), "date": time.strftime("%Y-%m-%d", time.gmtime()), "seed": self._seed,
                "rounds": self.rounds, "campaigns": self.campaigns, "commands": self.commands,
                "compared": self.compared, "reported": self.reported, "seconds": round(seconds, 1),
                "found": self._by_sort(), "kinds": rows,
                "recipes": {f"{name}: {sort}": recipe for (name, sort), recipe in self._recipes.items()},
            },
            indent=1,
        )  # fmt: skip


def row(table: Path) -> str:
    """The row of docs/reliability.md for a table that was written by --json."""
    t = json.loads(table.read_text())
    found = ", ".join(f"{count} {sort}" for sort, count in sorted(t["found"].items())) or "none"
    counts = " | ".join(f"{t[name]:,}" for name in ("rounds", "commands", "compared"))
    return f"| {t['date']} | `{t['commit']}` | {counts} | {found} |"
