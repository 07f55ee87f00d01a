"""Runs `rpdrive test-restore` on an open vault, and prints its verdict."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

from catalog.errors import WITH_PROBLEMS, Damaged
from catalog.jobs.local import LocalJob
from catalog.screen.output import print_json
from catalog.screen.stderr import Screen
from catalog.screen.text import counted, iso_time, local_time, safe_text, size_text, text_json
from catalog.vault import Vault
from mount.restoretest.job import Failure, RestoreTest, Verdict

_SHOWN = 20  # files on the screen


def run_and_show(test: RestoreTest, vault: Vault, *, as_json: bool) -> int:
    """Run a test, with its progress on stderr and its verdict on stdout. Returns the exit code."""
    with nullcontext() if as_json else Screen() as screen:
        verdict = test.run(vault, screen)
    if as_json:
        print_json(verdict_json(verdict, test.record))
    else:
        for line in verdict_lines(verdict):
            print(line)
    if verdict.is_damaged:
        return Damaged.exit_code
    return WITH_PROBLEMS if verdict.has_problems else 0


def verdict_lines(v: Verdict) -> list[str]:
    """The verdict, in words that need no manual."""
    point = v.point
    what = f"{safe_text(point.machine_name)}, {safe_text(point.item_name)}, {local_time(point.time)}"
    name = f"point {point.id.hex()[:8]} ({what})"
    how = "through a drive" if v.on_drive else "from the vault"
    amount = f"{size_text(v.size)} in {v.seconds:.1f} s"
    if v.files == 0:
        lines = [f"NOTHING TESTED: {name} has no files"]
    elif v.failures:
        lines = [f"FAILED: {len(v.failures):,} of {counted(v.files, 'file')} of {name} can't be given back whole:"]
        lines += [f"    {_failure(f)}" for f in v.failures[:_SHOWN]]
        if len(v.failures) > _SHOWN:
            lines.append(f"    and {len(v.failures) - _SHOWN:,} more: see --json")
        lines.append("  What to do: run `rpdrive check --level 3`, and see docs/repair.md")
    else:
        lines = [f"PASSED: {counted(v.files, 'file')} of {name} came back whole {how}: {amount}"]
    if v.is_here and v.files > len(v.failures):
        lines.append(
            f"  Compared with the files here: {v.same:,} equal, {v.changed:,} not comparable (changed or gone)"
        )
    if v.differs:
        lines.append(
            "  These files here have other bytes than were saved, though their size, times and inode are unchanged:"
        )
        lines += [f"    {_path(path)}" for path in v.differs[:_SHOWN]]
        lines.append("  The disk of this machine may be failing, or a program has set the times back")
    if v.command is not None:
        good = "succeeded" if v.command_code == 0 else "FAILED"
        lines.append(f"  The command {good} (exit code {v.command_code}): {safe_text(v.command)}")
    if v.files and v.files < v.there:
        lines.append(
            f"  {v.files:,} of {counted(v.there, 'file')} were read, chosen at random: that finds wide damage."
            " `rpdrive check` reads everything"
        )
    return lines


def _failure(failure: Failure) -> str:
    return f"{_path(failure.path) if failure.path else 'a file'}: {safe_text(failure.reason)}"


def _path(path: bytes) -> str:
    return "/" + safe_text(os.fsdecode(path))


def verdict_json(v: Verdict, job: LocalJob) -> dict[str, Any]:
    """The verdict for --json. Paths have a leading slash."""
    return {
        "job": job.id,
        "verdict": "failed" if v.is_damaged else "passed" if v.files else "nothing tested",
        "outcome": job.outcome,
        "point": v.point.id.hex(),
        "machine": v.point.machine_name,
        "item": v.point.item_name,
        "time": iso_time(v.point.time),
        "files_in_point": v.there,
        "files": v.files,
        "bytes": v.size,
        "seconds": round(v.seconds, 3),
        "through_drive": v.on_drive,
        "failures": [
            text_json("path", b"/" + f.path if f.path else b"") | {"reason": f.reason} for f in v.failures
        ],
        "compared_here": v.is_here,
        "same_here": v.same,
        "changed_here": v.changed,
        "differs_here": [text_json("path", b"/" + path) for path in v.differs],
        "command": v.command,
        "command_exit_code": v.command_code,
    }
