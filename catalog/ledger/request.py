"""What the commands about ledgers are asked for, checked before the first request."""

from __future__ import annotations

import time
from typing import NamedTuple

from catalog.errors import UsageError
from catalog.points.choice import time_ends

MOST_REASON = 500  # characters


class Choice(NamedTuple):
    """The points that are meant: as they were typed, or (`every`) all of an item, a machine or the vault."""

    specs: tuple[str, ...]
    machine: str | None
    item: str | None
    every: bool = False

    @classmethod
    def of(
        cls, specs: list[str], machine: str | None, item: str | None, *, every: bool = False, anywhere: bool = False
    ) -> Choice:
        """`anywhere`: `every` may mean all of the vault. Raises UsageError."""
        if every and specs:
            raise UsageError("--all means all points", "name points, or give --all")
        if not every and not specs:
            raise UsageError("no recovery point is named", "name one or more; `rpdrive points` lists them")
        if every and machine is None and item is None and not anywhere:
            raise UsageError("--all needs a machine or an item", "add --machine or --item")
        return cls(tuple(specs), machine, item, every)


class Forgetting(NamedTuple):
    """A request to forget points. `until`: when they may go (ns), None: after the vault's days of soft delete."""

    choice: Choice
    newest: bool
    missing: bool
    damaged: bool
    until: int | None
    now: bool
    reason: str
    dry_run: bool
    yes: bool

    @classmethod
    def of(
        cls,
        specs: list[str],
        *,
        every: bool,
        newest: bool,
        missing: bool,
        damaged: bool = False,
        until: str | None,
        now: bool,
        reason: str,
        machine: str | None,
        item: str | None,
        dry_run: bool,
        yes: bool,
    ) -> Forgetting:
        """Raises UsageError."""
        if now and until is not None:
            raise UsageError("--now and --until exclude each other")
        if missing and damaged:
            raise UsageError("--missing and --damaged exclude each other")
        if damaged:
            if every or newest or now or until is not None:
                raise UsageError(
                    "--damaged gives points up at once", "give it with ids, or with --machine or --item, and --yes"
                )
            everything = not specs and not (machine is None and item is None)
            choice = Choice.of(specs, machine, item, every=everything)
        elif missing:
            if specs or every or now or until is not None:
                raise UsageError("--missing is for points that are not there", "give it without points, and alone")
            if machine is None and item is None:
                raise UsageError("--missing needs a machine or an item", "add --machine or --item")
            choice = Choice((), machine, item, True)
        else:
            choice = Choice.of(specs, machine, item, every=every)
        end = None if until is None else time_of(until)
        return cls(choice, newest or every, missing, damaged, end, now, reason_of(reason), dry_run, yes)


def time_of(text: str) -> int:
    """The end of a local date or time (ns). Raises UsageError, also for one that is over."""
    ends = time_ends(text)
    if not ends:
        raise UsageError(f"{text[:50]!r} is no date or time", "write e.g. 2026-12-31, or '2026-12-31 18:00'")
    if ends[-1] <= time.time_ns():
        raise UsageError(f"{text[:50]} is over", "give a time to come")
    return ends[-1]


def reason_of(text: str) -> str:
    """A reason as it is recorded. Raises UsageError if it can't be."""
    plain = " ".join(text.split())
    if len(plain) > MOST_REASON:
        raise UsageError(f"the reason has {len(plain):,} characters", f"use at most {MOST_REASON}")
    try:
        plain.encode()
    except UnicodeEncodeError as e:
        raise UsageError("the reason can't be recorded: it is not UTF-8") from e
    return plain
