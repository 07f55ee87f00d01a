"""Metrics as a Prometheus text file, for node_exporter's textfile collector.

The format is that of https://prometheus.io/docs/instrumenting/exposition_formats/ (text, 0.0.4), without
timestamps. Labels are vault, machine and item, so that the number of series does not grow with runs or points.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from catalog.errors import LocalError
from catalog.notify.event import Severity
from catalog.report.series import Series, is_success

FILE = "rpdrive.prom"
# The numbers of outcomes in `…_last_outcome`.
OUTCOMES = {"completed": 0, "completed with warnings": 1, "failed": 2, "interrupted": 3, "killed": 4}
OTHER_OUTCOME = 5


class Sample(NamedTuple):
    """A value, and the text of help for its metric."""

    name: str
    help: str
    labels: tuple[tuple[str, str], ...]
    value: float


def samples(series: Iterable[Series], open_alerts: Iterable[Severity], failing: int) -> list[Sample]:
    """The metrics of a machine. `failing` is how many targets of notifications take nothing."""
    found: list[Sample] = []
    for row in series:
        if row.kind in ("backup", "prune", "check", "restore-test"):
            found += _of_series(row)
    alerts = list(open_alerts)
    for severity in Severity:
        what = f"open alerts of severity {severity}"
        found.append(Sample(f"rpdrive_open_alerts_{severity}", what, (), alerts.count(severity)))
    found.append(Sample("rpdrive_notify_targets_failing", "targets that take no messages", (), failing))
    return found


def _of_series(row: Series) -> list[Sample]:
    level = f"_level_{row.level}" if row.kind == "check" else ""
    stem = f"rpdrive_{row.kind.replace('-', '_')}{level}"
    what = f"{row.kind}{f' of level {row.level}' if level else ''}"
    labels = tuple(
        (name, value) for name, value in zip(("vault", "machine", "item"), row[:3], strict=True) if value
    )
    runs = [ran for ran in row.runs if ran.outcome not in ("running", "skipped", "missed")]
    good = [ran for ran in runs if is_success(ran)]
    values: list[tuple[str, str, float]] = []
    if good:
        values.append(
            ("last_success_timestamp_seconds", f"when the last successful {what} began", _s(good[-1].started))
        )
    if row.expected is not None:
        values.append(("expected_by_timestamp_seconds", f"when a {what} is overdue", _s(row.expected)))
    if runs:
        last = runs[-1]
        took = max(last.finished - last.started, 0) / 1e9
        values += [
            ("last_run_timestamp_seconds", f"when the last {what} began", _s(last.started)),
            ("last_duration_seconds", f"how long the last {what} took", took),
            ("last_outcome", "0 completed, 1 with warnings, 2 failed, 3 interrupted, 4 killed, 5 another",
             OUTCOMES.get(last.outcome, OTHER_OUTCOME)),
            ("last_problems", f"files that the last {what} had a problem with", last.problem_count),
        ]  # fmt: skip
    if good and row.kind == "backup":
        values += [
            ("last_bytes", "size of what the last successful backup covered", good[-1].bytes),
            ("last_new_bytes", "bytes that it added", good[-1].new_bytes),
            ("last_files", "files that it covered", good[-1].files),
        ]
    return [Sample(f"{stem}_{name}", help_, labels, value) for name, help_, value in values]


def _s(time: int) -> float:
    return time // 10**6 / 1000


def text_of(rows: Iterable[Sample]) -> str:
    """Samples in the text format: those of one metric stand together, under its help and type."""
    found: dict[str, list[str]] = {}
    seen = set[tuple[str, tuple[tuple[str, str], ...]]]()
    for row in rows:
        if (row.name, row.labels) in seen:  # two items of one name: the scraper would refuse the whole file
            continue
        seen.add((row.name, row.labels))
        lines = found.setdefault(row.name, [f"# HELP {row.name} {_escaped(row.help)}", f"# TYPE {row.name} gauge"])
        labels = ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in row.labels)
        lines.append(f"{row.name}{{{labels}}} {row.value:.16g}" if labels else f"{row.name} {row.value:.16g}")
    return "".join(f"{line}\n" for lines in found.values() for line in lines)


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text


def refresh(folder: Path, sources: str, now: int) -> bool:
    """Whether the file there was made of the same `sources`. It then gets this time (ns): it is as good as new."""
    line = _first_line(sources)
    try:
        with (folder / FILE).open("rb") as file:
            same = file.read(len(line)) == line
        if same:
            os.utime(folder / FILE, ns=(now, now))
    except OSError:
        return False
    return same


def _first_line(sources: str) -> bytes:
    return f"# made of {sources}\n".encode()


def write_metrics(folder: Path, text: str, sources: str = "") -> None:
    """Put the file into its folder, whole and readable by everybody. Raises LocalError.

    The folder may belong to somebody else: nothing there is followed or opened but a new file of ours.
    """
    temporary = folder / f".{FILE}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(temporary, flags, 0o644)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_first_line(sources) + text.encode(errors="replace"))
                if hasattr(os, "fchmod"):
                    os.fchmod(file.fileno(), 0o644)
            temporary.replace(folder / FILE)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as e:
        raise LocalError(
            f"{folder / FILE} can't be written: {e.strerror}", "see that the folder `metrics` in notify.toml exists"
        ) from e
