"""Figures of several rounds by row and tool: less is better in every row."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from machine import say
from measured import CommandFailed

from catalog.errors import RpdriveError

T = TypeVar("T")
FAILURES = (CommandFailed, RpdriveError, OSError, RuntimeError, subprocess.SubprocessError)
Best = dict[str, dict[str, float]]  # by row, by tool


class Figures:
    """`rows[row][tool]` has a figure of each round."""

    def __init__(self, rows: dict[str, dict[str, list[float]]] | None = None) -> None:
        self.rows = rows or {}

    def note(self, row: str, tool: str, figure: float) -> None:
        self.rows.setdefault(row, {}).setdefault(tool, []).append(figure)

    def least(self) -> Best:
        return self._each(min)

    def medians(self) -> Best:
        return self._each(statistics.median)

    def _each(self, of: Callable[[list[float]], float]) -> Best:
        return {row: {tool: of(found) for tool, found in tools.items()} for row, tools in self.rows.items()}


def turned(tools: Sequence[T], number: int) -> list[T]:
    """The order of a round: another one first in each."""
    turn = number % max(len(tools), 1)
    return [*tools[turn:], *tools[:turn]]


def shown(value: float) -> str:
    """Three significant digits; more if the integer part has more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


class Rounds:
    """Figures as they come. A tool that fails is left out from then on, and `failures` says why."""

    def __init__(self) -> None:
        self.figures = Figures()
        self.failures: list[str] = []
        self._out: set[str] = set()

    def measure(self, number: int, step: str, tool: str, work: Callable[[], dict[str, float]]) -> bool:
        """Note what `work` returns, by row, as figures of a tool in the round `number`, which begins with 0.

        False if the tool failed, now or before.
        """
        if tool in self._out:
            return False
        try:
            found = work()
        except FAILURES as e:
            self.failed(tool, step, e)
            return False
        for row, figure in found.items():
            self.figures.note(row, tool, figure)
        say(
            f"round {number + 1}: {tool:<13} {'  '.join(f'{row} {shown(figure)}' for row, figure in found.items())}"
        )
        return True

    def is_out(self, tool: str) -> bool:
        """Whether it failed and has no figures."""
        return tool in self._out and not any(tool in tools for tools in self.figures.rows.values())

    def failed(self, tool: str, step: str, error: Exception) -> None:
        self._out.add(tool)
        self.failures.append(f"{tool} failed at {step}, and is left out from then: {error}")
        say(f"bench: {self.failures[-1]}")


def tried(
    work: Callable[[], dict[str, Any]], failures: tuple[type[Exception], ...] = FAILURES
) -> dict[str, Any] | int:
    """The result of a benchmark, or the exit code of one that failed or was interrupted."""
    try:
        return work()
    except failures as e:
        say(f"bench: {e}")
        return 1
    except KeyboardInterrupt:
        say("bench: interrupted")
        return 130


def present(named: Sequence[tuple[T, str]]) -> tuple[list[T], list[str]]:
    """The tools that lack nothing, and what each of the others lacks. Raises RuntimeError if none is here."""
    missing = [lack for _tool, lack in named if lack]
    for lack in missing:
        say(f"bench: {lack} (as root); it is left out")
    found = [tool for tool, lack in named if not lack]
    if not found:
        raise RuntimeError("none of the tools is here")
    return found, missing
