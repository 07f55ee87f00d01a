"""The rows of the table of drives: what each figure is, and what rpdrive is to reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

OWN = ("kernel", "fuse")
OTHERS = ("restic", "borg")  # those that it is to be so many times as fast as
YARDSTICK = "squashfuse"
STORE = "store"  # in a row of tools: the speed of the store alone
Medians = dict[str, float]  # by tool
Verdict = tuple[str, Callable[[float], bool]]  # what is to be reached, and whether a figure does


class Row(NamedTuple):
    """`target` makes a verdict of the other tools' medians, or None if one that it needs is not there."""

    title: str
    unit: str  # s, ms: less is better, as of MB; MB/s: more is
    target: Callable[[Medians, str], Verdict | None] | None = None


def number(value: float) -> str:
    """Three significant digits; more if the integer part has more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _at_most(limit: float) -> Callable[[Medians, str], Verdict]:
    return lambda _medians, unit: (f"{limit:g} {unit} or less", lambda value: value <= limit)


def _under(limit: float) -> Callable[[Medians, str], Verdict]:
    return lambda _medians, unit: (f"under {limit:g} {unit}", lambda value: value < limit)


def _at_least(limit: float) -> Callable[[Medians, str], Verdict]:
    return lambda _medians, unit: (f"{limit:g} {unit}", lambda value: value >= limit)


def _times_the_better(times: float) -> Callable[[Medians, str], Verdict | None]:
    def target(medians: Medians, unit: str) -> Verdict | None:
        others = [medians[name] for name in OTHERS if name in medians]
        if not others:
            return None
        limit = min(others) / times
        which = "the better of restic and Borg" if len(others) == len(OTHERS) else "the other"
        return f"{times:g} x {which} ({number(limit)} {unit})", lambda value: value <= limit

    return target


def _ahead_of_squashfuse(medians: Medians, unit: str) -> Verdict | None:
    if YARDSTICK not in medians:
        return None
    limit = medians[YARDSTICK]
    more = unit.endswith("/s")
    return "ahead of squashfuse", lambda value: value > limit if more else value < limit


def _copy(medians: Medians, unit: str) -> Verdict | None:
    parts = [part for target in (_ahead_of_squashfuse, _times_the_better(4)) if (part := target(medians, unit))]
    if not parts:
        return None
    return "; ".join(text for text, _ in parts), lambda value: all(check(value) for _, check in parts)


def _of_the_store(share: float) -> Callable[[Medians, str], Verdict | None]:
    def target(medians: Medians, unit: str) -> Verdict | None:
        if STORE not in medians:
            return None
        limit = share * medians[STORE]
        text = f"{share:.0%} of what the store gives ({number(limit)} of {number(medians[STORE])} {unit})"
        return text, lambda value: value >= limit

    return target


def rows(points: int, big: int, small: int, entries: int, names: int, places: int, delay: float) -> dict[str, Row]:
    """The targets for data of this size: points in the second vault, bytes of the big file etc.; `delay` in s."""
    order = f"{big / (1 << 20):,.0f} MiB in order"
    copy = f"`cp -r` of {small:,} small files"
    far = f", {delay * 1000:.0f} ms more a request"
    by = {"passphrase": _at_most(0.7), "key": _at_most(0.4)}
    found: dict[str, Row] = {}
    for kind, what in (
        ("", ""),
        ("-many", f", of {points:,} points"),
        ("-all", f", all {points:,} points as one drive"),
    ):
        for how, target in by.items():
            title = f"mount until the first listing, {how if how == 'passphrase' else 'saved key'}{what}"
            found[f"mount{kind}-{how}"] = Row(title, "s", target)
            found[f"mount{kind}-{how}-again"] = Row(f"{title}, once more", "s", target)
    return found | {
        "cp": Row(copy, "s", _copy),
        "find": Row(f"`find -printf %s` over {entries:,} entries", "s", _times_the_better(4)),
        "ls": Row(f"`ls -l` of {names:,} names", "s", _times_the_better(15)),
        "seq": Row(order, "MB/s", _ahead_of_squashfuse),
        "seq-again": Row(f"{order}, once more", "MB/s", _at_least(5000)),
        "random": Row(f"4 KiB at {places:,} random places, median", "ms", _at_most(4)),
        "random-again": Row("the same places once more, median", "ms", _at_most(0.3)),
        "memory-walk": Row("peak memory after the walk by `find`", "MB", _under(150)),
        "memory-seq": Row("peak memory while reading in order", "MB", _under(250)),
        "far-cp": Row(f"{copy}{far}", "s", _under(10)),
        "far-seq": Row(f"{order}{far}", "MB/s", _of_the_store(0.8)),
    }


def table(found: dict[str, Row], medians: dict[str, Medians], tools: list[str], *, verdicts: bool = True) -> str:
    """The table as Markdown, without verdicts if the data are not those that the targets are meant for."""
    head = ["", *tools, *(["to reach", ""] if verdicts else [])]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * len(tools) + ("---|---|" if verdicts else "")]
    for key, row in found.items():
        here = medians.get(key)
        if not here:
            continue
        cells = [f"{row.title}, {row.unit}", *(number(here[tool]) if tool in here else "" for tool in tools)]
        if verdicts:
            cells += verdict(row, here)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def verdict(row: Row, medians: Medians) -> tuple[str, str]:
    """A table of the targets, and whether each of rpdrive's drivers reaches them."""
    target = row.target(medians, row.unit) if row.target else None
    if target is None:
        return "", ""
    text, check = target
    marks = {name: "reached" if check(medians[name]) else "**missed**" for name in OWN if name in medians}
    if len(set(marks.values())) == 1:
        return text, next(iter(marks.values()))
    return text, ", ".join(f"{name} {mark}" for name, mark in marks.items())
