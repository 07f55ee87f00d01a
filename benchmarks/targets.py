"""The rows of all benchmarks: what each figure is, and what rpdrive is to reach. Less is better in every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from figures import Best, Figures, shown

OWN = ("rpdrive", "kernel", "fuse")  # by its usual driver, or by each of them
OTHERS = ("restic", "borg")
SQUASHFS = ("squashfs", "squashfuse", "squashfuse_ll")
PLAIN = ("plain",)
STORE = "store"  # in a row of tools: the store alone
_NAMES = {
    OTHERS: "the better of restic and Borg",
    SQUASHFS: "squashfs",
    PLAIN: "the plain files",
    (STORE,): "the store",
}


class Limit(NamedTuple):
    """At most `value`."""

    text: str
    value: float


Target = Callable[[Best, str, str], Limit | None]  # of the least figures, the row, the tool; None: can't be told


class Row(NamedTuple):
    title: str
    unit: str
    target: Target | None = None


def at_most(limit: float) -> Target:
    return lambda _best, _row, _tool: Limit(f"{limit:g}", limit)


def times(factor: float, tools: Sequence[str]) -> Target:
    """So many times the least of some tools."""

    def target(best: Best, row: str, _tool: str) -> Limit | None:
        found = [best[row][name] for name in tools if name in best[row]]
        if not found:
            return None
        name = tools[0] if len(tools) == 1 and tools[0] not in (*PLAIN, STORE) else _NAMES[tuple(tools)]
        limit = factor * min(found)
        return Limit(f"{factor:g} x {name} ({shown(limit)})", limit)

    return target


def beside(other: str, factor: float, title: str) -> Target:
    """So many times what the same tool takes in another row."""

    def target(best: Best, _row: str, tool: str) -> Limit | None:
        if tool not in best.get(other, {}):
            return None
        limit = factor * best[other][tool]
        return Limit(f"{factor:.2f} x {title} ({shown(limit)})", limit)

    return target


class Sizes(NamedTuple):
    """The data of a run: bytes of the big file, small files, entries in all, names of the large folder, random
    reads, s that a request to a far store takes longer; points of the second vault."""

    big: int
    small: int
    entries: int
    names: int
    places: int
    delay: float
    points: int = 0


def rows(sizes: Sizes) -> dict[str, Row]:
    """Every row, in the order of the table, with its target (meant for the full data)."""
    return {**_backups(), **_mounts(sizes.points), **_drives(sizes), **_restores(sizes), **_far(sizes)}


def _backups() -> dict[str, Row]:
    found = {}
    for key, title, seconds, cpu in (
        ("first", "first backup", times(1.25, ("squashfs",)), at_most(17)),
        ("unchanged", "unchanged backup", times(0.3, ("restic",)), None),
        ("changed", "backup of 1 % changed, and a large file shifted by 100 bytes", times(0.5, ("restic",)), None),
    ):
        found[key] = Row(title, "s", seconds)
        found[f"{key}-cpu"] = Row(f"{title}: CPU", "s", cpu)
        found[f"{key}-memory"] = Row(f"{title}: peak memory", "MB", at_most(420))
        found[f"{key}-stored"] = Row(f"{title}: stored since the start", "MB", times(1, ("restic",)))
    return found


def _mounts(points: int) -> dict[str, Row]:
    found = {}
    for kind, what in (
        ("", ""),
        ("-many", f", of {points:,} points"),
        ("-all", f", all {points:,} points as one drive"),
    ):
        for how, name, limit in (("passphrase", "passphrase", 0.5), ("key", "saved key", 0.25)):
            title = f"mount until the first listing, {name}{what}"
            found[f"mount{kind}-{how}"] = Row(title, "s", at_most(limit))
            found[f"mount{kind}-{how}-again"] = Row(f"{title}, again", "s", at_most(limit))
    return found


def _drives(sizes: Sizes) -> dict[str, Row]:
    order = f"{sizes.big / (1 << 20):,.0f} MiB in order"
    return {
        "find": Row(f"`find -printf %s` over {sizes.entries:,} entries", "s", times(1.2, PLAIN)),
        "memory-walk": Row("peak memory of the drive after `find`", "MB", at_most(150)),
        "cp": Row(f"`cp -r` of {sizes.small:,} small files", "s", times(1, PLAIN)),
        "ls": Row(f"`ls -l` of {sizes.names:,} names", "s", times(1, PLAIN)),
        "seq": Row(order, "s", times(1, SQUASHFS)),
        "seq-cpu": Row(f"{order}: CPU of the drive", "s", at_most(2.2)),
        "memory-seq": Row(f"{order}: peak memory of the drive", "MB", at_most(200)),
        "seq-again": Row(f"{order}, again", "s", at_most(round(sizes.big / 5e9, 2))),
        "random": Row(f"4 KiB at {sizes.places:,} random places, median", "ms", at_most(1.5)),
        "random-again": Row("the same places again, median", "ms", at_most(0.3)),
    }


def _restores(sizes: Sizes) -> dict[str, Row]:
    found = {}
    for key, what in (("", "everything"), ("-small", f"{sizes.small:,} small files"), ("-big", "one large file")):
        title = f"restore of {what}"
        found[f"restore{key}"] = Row(title, "s", times(1, PLAIN))
        found[f"restore{key}-cpu"] = Row(f"{title}: CPU", "s")
        found[f"restore{key}-memory"] = Row(f"{title}: peak memory", "MB", at_most(250))
    return found


def _far(sizes: Sizes) -> dict[str, Row]:
    far = f", {sizes.delay * 1000:.0f} ms a request"
    order = f"{sizes.big / (1 << 20):,.0f} MiB in order"
    return {
        "far-seq": Row(f"{order}{far}", "s", beside("seq", 1 / 0.9, "the same without delay")),
        "far-cp": Row(f"`cp -r` of {sizes.small:,} small files{far}", "s", at_most(10)),
        "far-restore-small": Row(f"restore of {sizes.small:,} small files{far}", "s", times(0.1, ("restic",))),
        "far-restore-big": Row(f"restore of one large file{far}", "s", times(0.1, ("restic",))),
    }


# --- tables -------------------------------------------------------------------------------------------------


def own_name(tools: dict[str, float]) -> str | None:
    """Which of rpdrive's names a row has: the first."""
    return next((name for name in OWN if name in tools), None)


def ratio(tools: dict[str, float], others: Sequence[str]) -> float | None:
    """rpdrive's figure divided by the least of some others, of one row."""
    own, found = own_name(tools), [tools[name] for name in others if name in tools]
    return tools[own] / min(found) if own and found and min(found) > 0 else None


def table(found: dict[str, Row], figures: Figures, tools: Sequence[str], *, verdicts: bool = True) -> str:
    """Markdown: the least of the rounds, and the median in brackets. Without verdicts if the data are not those
    that the targets are meant for."""
    head = ["", *tools, "x others", "x plain", *(["to reach", ""] if verdicts else [])]
    lines = [
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * (len(tools) + 2) + ("---|---|" if verdicts else ""),
    ]
    least, medians = figures.least(), figures.medians()
    for key, row in found.items():
        if key not in least:
            continue
        here = least[key]
        cells = [f"{row.title}, {row.unit}"]
        for tool in tools:
            several = len(figures.rows[key].get(tool, ())) > 1
            cells.append(
                (shown(here[tool]) + (f" ({shown(medians[key][tool])})" if several else "")) if tool in here else ""
            )
        of_others, of_plain = ratio(here, OTHERS), ratio(here, PLAIN) if row.unit in ("s", "ms") else None
        cells += ["" if share is None else f"{share:.2f}" for share in (of_others, of_plain)]
        if verdicts:
            cells += verdict(row, key, least)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def verdict(row: Row, key: str, best: Best) -> tuple[str, str]:
    """What is to be reached, and whether it is, by each of rpdrive's drivers. Empty where it can't be told."""
    here = best[key]
    limits = {name: limit for name in OWN if name in here and row.target and (limit := row.target(best, key, name))}
    if not limits:
        return "", ""
    marks = {name: "reached" if here[name] <= limit.value else "**missed**" for name, limit in limits.items()}
    text = next(iter(limits.values())).text
    if len(set(marks.values())) == 1:
        return text, next(iter(marks.values()))
    return text, ", ".join(f"{name} {mark}" for name, mark in marks.items())


HISTORY = (  # columns of docs/performance.md: title, row, of which the least counts, beside which tools
    ("first backup / mksquashfs", "first", ("squashfs",)),
    ("unchanged / restic", "unchanged", ("restic",)),
    ("1 % changed / restic", "changed", ("restic",)),
    ("mount / restic", "mount-passphrase", ("restic",)),
    ("`find` / ext4", "find", PLAIN),
    ("`cp -r` / ext4", "cp", PLAIN),
    ("`ls -l` / ext4", "ls", PLAIN),
    ("1 GiB / squashfuse", "seq", SQUASHFS),
    ("random 4 KiB / squashfuse", "random", SQUASHFS),
    ("restore / `cp -a`", "restore", PLAIN),
)
