"""Checks, each by itself: one that fails or hangs costs only its own line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from catalog.errors import RpdriveError

PATIENCE = 20.0  # s for all checks together: they run at the same time


class State(StrEnum):
    """What a check found."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """One line. `mend` is the command, or the words, that mend it; "" if nothing is wrong."""

    name: str
    state: State
    text: str
    mend: str = ""


Result: TypeAlias = tuple[State, str] | tuple[State, str, str]


class Check(NamedTuple):
    """A name for people, and what looks. An RpdriveError that it raises is a failure with its advice."""

    name: str
    look: Callable[[], Result]


def examine(checks: Sequence[Check], patience: float = PATIENCE) -> list[Finding]:
    """Run all checks at once, and wait `patience` seconds for them. Raises nothing."""
    found: dict[str, Finding] = {}
    threads = []
    for check in checks:
        thread = threading.Thread(target=_run, args=(check, found), name=check.name, daemon=True)
        thread.start()
        threads.append(thread)
    ended = threading.Event()
    waiting = threading.Thread(target=_join, args=(threads, ended), daemon=True)
    waiting.start()
    ended.wait(patience)
    late = f"no answer within {patience:g} seconds"
    return [found.get(check.name) or Finding(check.name, State.UNKNOWN, late, "try again") for check in checks]


def _join(threads: Iterable[threading.Thread], ended: threading.Event) -> None:
    for thread in threads:
        thread.join()
    ended.set()


def _run(check: Check, found: dict[str, Finding]) -> None:
    try:
        found[check.name] = Finding(check.name, *check.look())
    except RpdriveError as e:
        found[check.name] = Finding(check.name, State.FAIL, str(e), e.advice)
    except Exception as e:  # noqa: BLE001 - it costs only its line
        text = f"the check itself failed: {type(e).__name__}: {e}"
        found[check.name] = Finding(check.name, State.UNKNOWN, text, "report it as a bug")
