"""The progress of a job in phases: one line on a terminal, a line now and then elsewhere, and never an error."""

from __future__ import annotations

import sys

import pytest

from catalog.screen.phases import Phase, PhaseScreen, phase_text


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("phase", "text"),
    [
        (Phase("listing packs"), "listing packs"),
        (Phase("reading trees", 12, 365, "points", "3,400 pages"), "reading trees: 12 of 365 points, 3,400 pages"),
        (Phase("reading packs", 3 << 20, 1 << 30), "reading packs: 3.0 MiB of 1.0 GiB"),
        (Phase("deleting", 1200, None, "objects"), "deleting: 1,200 objects"),
    ],
)
def test_a_phase_is_said_in_words(phase: Phase, text: str) -> None:
    assert phase_text(phase) == text


def test_a_log_gets_a_line_every_30_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Time()
    with PhaseScreen(clock) as screen:
        for n in range(100):
            screen.phase(Phase("reading", n, 100, "pages"))
            clock.now += 1.0
    assert capsys.readouterr().err.splitlines() == [f"rpdrive: reading: {n} of 100 pages" for n in (30, 60, 90)]


def test_a_terminal_gets_one_line_that_is_removed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    clock = Time()
    with PhaseScreen(clock) as screen:
        for n in range(3):
            screen.phase(Phase("reading\x1b[2J", n, 9, "pages"))
            screen.phase(Phase("too soon"))
            clock.now += 1.0
    shown = capsys.readouterr().err
    assert "\n" not in shown and "too soon" not in shown and "\x1b[2J" not in shown
    assert shown.count("reading") == 3 and shown.endswith("\r\x1b[K")


def test_a_terminal_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            raise OSError("gone")

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stderr", Gone())
    with PhaseScreen(Time()) as screen:
        screen.phase(Phase("reading"))
