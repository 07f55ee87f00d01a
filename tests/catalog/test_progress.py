"""The progress of a job: what observers get, and how stderr shows it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from backup.progress import Progress
from catalog.format.values import Totals
from catalog.screen.progress import JobProgress, Reporting
from catalog.screen.stderr import Screen, beside_bar, line
from mount.restore.report import Report

MIB = 1 << 20


class Following:
    """An observer that lets a test wait for the next sample."""

    every, live = 0.001, False

    def __init__(self) -> None:
        self.samples: list[JobProgress] = []
        self.got = threading.Event()

    def progress(self, progress: JobProgress) -> None:
        self.samples.append(progress)
        self.got.set()

    def problem(self, path: bytes, reason: str) -> None:
        raise AssertionError


def test_an_observer_gets_samples_while_the_job_runs_and_none_after() -> None:
    report, observer = Report(), Following()
    with Reporting(report.progress, observer):
        assert observer.got.wait(30)
        report.planning, report.files, report.size = False, 2, 10
        report.written, report.written_bytes, report.same, report.same_bytes = 1, 4, 1, 6
        observer.got.clear()
        assert observer.got.wait(30)
        observer.got.clear()
        assert observer.got.wait(30)
    count = len(observer.samples)
    first, last = observer.samples[0], observer.samples[-1]
    assert first.planning and first.total is None
    assert last[1:6] == (2, 2, 10, 10, 6) and not last.planning and 0 < first.seconds < last.seconds
    assert last.speed == int(4 / max(last.seconds, 0.001))
    assert count == len(observer.samples) and not any(t.name == "progress" for t in threading.enumerate())


def test_without_an_observer_nothing_is_sampled() -> None:
    def sample(seconds: float) -> JobProgress:
        raise AssertionError

    with Reporting(sample, None):
        assert not any(t.name == "progress" for t in threading.enumerate())


def test_a_backup_expects_what_was_counted_else_what_the_last_point_had() -> None:
    progress = Progress(files=3, size=50, left=10, path=lambda: b"home/a")
    assert progress.report(1.0, None).total is None
    progress.previous = Totals(9, 8, 700, 0)
    assert progress.report(1.0, None)[1:5] == (3, None, 40, 700)
    assert progress.report(1.0, 80).total == 80
    assert progress.report(1.0, 20).total == 50  # more was found than counted


BACKUP = JobProgress(10.0, 1, None, 20 * MIB, 40 * MIB, stored=5 * MIB, path=b"home/\x1b[31m" + b"x" * 60)
RESTORE = JobProgress(10.0, 1000, 4000, 30 * MIB, 130 * MIB, present=10 * MIB)
PLANNING = JobProgress(1.0, 1234, None, 0, None, planning=True, path=b"home/a")


def test_a_line_for_logs() -> None:
    assert line(BACKUP) == "1 file, 20.0 MiB, 2.0 MiB/s, 5.0 MiB stored"
    assert line(RESTORE) == "1,000 of 4,000 files, 30.0 MiB of 130.0 MiB, 2.0 MiB/s, 50 s left"
    assert line(RESTORE._replace(done=130 * MIB)).endswith("12.0 MiB/s")
    assert line(PLANNING) == "planning: 1,234 files"


def test_a_text_beside_the_bar() -> None:
    assert beside_bar(BACKUP) == "1 file  " + "x" * 50
    assert "\x1b" not in beside_bar(BACKUP._replace(path=b"\x1b[31m"))
    assert beside_bar(RESTORE) == "1,000 of 4,000 files"
    assert beside_bar(PLANNING) == "planning: 1,234 files  home/a"


def test_a_log_gets_lines_and_the_first_problems(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with Screen() as screen:
        assert not screen.live
        screen.progress(RESTORE)
        for n in range(30):
            screen.problem(b"home/%d" % n, "can't be\nread")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and lines[0] == line(RESTORE) and lines[1] == "/home/0: can't be?read" and len(lines) == 21


@pytest.mark.parametrize("module", ["backup/job.py", "mount/restore/job.py"])
def test_jobs_print_nothing(module: str) -> None:
    assert "print(" not in (Path(__file__).parents[2] / module).read_text()
