"""Runs `rpdrive restore --to-device`, asks before it writes, and prints what was done."""

from __future__ import annotations

import sys
from contextlib import nullcontext

from catalog.access.session import Session
from catalog.jobs.local import restore_word
from catalog.screen.output import print_json
from catalog.screen.stderr import Screen
from catalog.screen.text import counted, iso_time, safe_text, size_text
from catalog.vault import Vault
from mount.restore.device.job import DeviceJob


def said_yes(lines: list[str]) -> bool:
    """Show what is about to be overwritten, and wait for `yes`. False if nobody is at a terminal."""
    if not sys.stdin.isatty():
        return False
    for line in lines:
        print(safe_text(line), file=sys.stderr)
    print("Type yes to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


def prepared(
    session: Session, places: list[str], device: str, *, verify: bool, discard: bool, dry_run: bool, yes: bool
) -> DeviceJob:
    """The job, before the vault is opened. Raises UsageError."""
    ask = (lambda lines: True) if yes else said_yes
    return DeviceJob(session, places, device, verify=verify, discard=discard, dry_run=dry_run, ask=ask)


def run_and_show(job: DeviceJob, vault: Vault, machine: str | None, item: str | None, *, as_json: bool) -> bool:
    """Run the job, with its progress on stderr and its result on stdout. False if it had problems."""
    with nullcontext() if as_json else Screen() as screen:
        job.run(vault, machine, item, screen)
    if as_json:
        print_json(_json(job))
    else:
        for line in _lines(job):
            print(safe_text(line))
    return not job.problems


def _lines(job: DeviceJob) -> list[str]:
    a, seconds = job.amounts, (job.record.finished - job.record.started) / 10**9
    done = f"{size_text(a.written)} written, {size_text(a.zeroed)} made zeros, {size_text(a.same)} there already"
    if job.dry_run:
        would = done.replace("written", "would be written").replace("made", "would be made")
        return [f"Dry run: nothing was written to {job.record.target}; {would}", *("  " + n for n in job.notes)]
    lines = [f"Restored {job.image} to {job.record.target} in {seconds:.1f} s", f"  {done}"]
    if a.verified:
        lines.append(f"  {size_text(a.verified)} read again and compared")
    lines += [f"  {note}" for note in job.notes]
    if a.bad_count:
        lines.append(f"  {counted(a.bad_count, 'range')} not restored:")
        lines += [f"    {line}" for line in job.problems[:20]]
    return lines


def _json(job: DeviceJob) -> dict[str, object]:
    a, r = job.amounts, job.record
    return {
        "job": None if job.dry_run else r.id,
        "point": r.point,
        "machine": r.machine,
        "item": r.item,
        "image": job.image,
        "target": r.target,
        "started": iso_time(r.started),
        "finished": iso_time(r.finished),
        "outcome": "dry run" if job.dry_run else restore_word(r.outcome),
        "bytes": a.total,
        "written_bytes": a.written,
        "zeroed_bytes": a.zeroed,
        "same_bytes": a.same,
        "verified_bytes": a.verified,
        "notes": job.notes,
        "problem_count": a.bad_count,
        "problems": [{"start": start, "end": end, "reason": why} for start, end, why in a.bad],
    }
