"""The tables of benchmarks/scale.py: growth by each direction, and what each operation takes at full size."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from scale_fit import exponent, word

sys.path.insert(0, str(Path(__file__).parents[1]))  # for catalog

from catalog.cost.money import bill
from catalog.cost.prices import Tariff, shipped
from catalog.cost.use import Use

NOISE = {"requests": 1.0, "bytes": 10_000.0, "cpu": 0.1, "memory": 4.0}  # less is no growth
CLASSES = {
    "create": "write", "compose": "write", "replace": "write", "list": "list", "get": "read", "read": "read",
    "size": "other", "protection": "other", "extend": "other", "delete": "delete",
}  # fmt: skip
MOST = 400  # MiB a process may take


def growth(rows: dict[int, dict[str, Any]], step: str, field: str) -> float | None:
    """The exponent of a field; None where it was not measured at three sizes."""
    sizes = [size for size in sorted(rows) if field in rows[size].get(step, {})]
    if len(sizes) < 3:
        return None
    return exponent(sizes, [rows[size][step][field] for size in sizes], NOISE[field])


def grown(direction: str, found: dict[int, dict[str, Any]]) -> list[str]:
    """A table of requests at each size, the growth of each field, and the figures at the largest size."""
    sizes = sorted(found)
    heads = " | ".join(f"{size:,}" for size in sizes)
    lines = [
        f"| requests by {direction} | {heads} | growth | bytes | CPU | memory | bytes | CPU, s | MiB |",
        "|---|" + "---:|" * len(sizes) + "---|---|---|---|---:|---:|---:|",
    ]
    for step in dict.fromkeys(step for size in sizes for step in found[size]):
        cells = [found[size].get(step, {}) for size in sizes]
        counts = [f"{cell['requests']:,}" if "requests" in cell else cell.get("why", "") for cell in cells]
        fits = [growth(found, step, field) for field in NOISE]
        words = ["" if fit is None else f"{word(fit)} {fit:.1f}" if fit else "constant" for fit in fits]
        last = cells[-1]
        ends = [f"{last['bytes']:,}", f"{last['cpu']:.2f}", f"{last['memory']}"] if "cpu" in last else [""] * 3
        lines.append(f"| {' | '.join([step, *counts, *words, *ends])} |")
    return lines


def full(rows: dict[str, Any], tariff: Tariff | None = None) -> list[str]:
    """A table of what each operation takes, with its money: requests, and bytes that leave the region."""
    tariff = tariff or shipped().tariff("azure", "westeurope", "LRS", "hot")
    lines = [
        f"| operation | requests | lists | reads | writes | MB | CPU, s | MiB | {tariff.currency} |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for step, row in rows.items():
        if "requests" not in row:
            lines.append(f"| {step} | {row['why']} |" + " |" * 7)
            continue
        use = use_of(row)
        over = " **over**" if row["memory"] > MOST else ""
        lines.append(
            f"| {step} | {row['requests']:,} | {use.list:,.0f} | {use.read:,.0f} | {use.write:,.0f} | "
            f"{row['bytes'] / 1e6:.2f} | {row['cpu']:.1f} | {row['memory']}{over} | {bill(tariff, use).total:.4f} |"
        )
    return lines


def use_of(row: dict[str, Any]) -> Use:
    """What a step asked for, in the classes that are paid for. What it carried was received, but by backups."""
    counts = dict.fromkeys(("write", "list", "read", "other", "delete"), 0)
    for kind, count in row["kinds"].items():
        counts[CLASSES[kind.split()[0]]] += count
    writes_most = counts["write"] > counts["read"]
    carried = {"sent" if writes_most else "received": row["bytes"]}
    return Use(**counts, **carried)


def report(rows: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Markdown: a table for each direction."""
    lines = []
    for direction, found in rows.items():
        table = grown(direction, found)
        if direction == "full":
            (only,) = found.values()
            table = full(only)
        lines += [f"### {direction}", "", *table, ""]
    return "\n".join(lines)
