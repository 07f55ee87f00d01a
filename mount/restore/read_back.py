"""Compares restored files with the recovery point, by reading them back from the disk."""

from __future__ import annotations

import os

from catalog.format.keys import Keys
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW
from mount.restore.plan import Plan
from mount.restore.report import Report
from mount.restore.target import Target


def read_back(keys: Keys, target: Target, plan: Plan, final_names: dict[int, bytes], report: Report) -> None:
    """Compare all pieces of a plan with the disk, not the page cache. `final_names` is that of FileWriter."""
    disk = target.disk
    disk.sync()
    chunk_id = keys.chunk_id
    seen: dict[int, bool] = {}
    fd, of = -1, -1
    try:
        for row in plan.rows():
            number, file = row.number, row.file
            if seen.get(number) is False:
                continue
            try:
                if of != number:
                    if fd >= 0:
                        disk.close(fd)
                        fd = -1
                    name = final_names.get(number, file.final)
                    with target.handle(file.folder) as folder:
                        fd = disk.open(name, os.O_RDONLY | NOFOLLOW | CLOEXEC, dir_fd=folder)
                    of = number
                    disk.drop_cache(fd)
                data = disk.pread(fd, row.length, row.position)
                good = len(data) == row.length and chunk_id(data) == row.chunk
            except OSError:
                of, good = -1, False
            seen[number] = good
            if not good:
                report.failed(file.path(), "read back: it differs from what was written")
    finally:
        if fd >= 0:
            disk.close(fd)
    report.verified += sum(seen.values())
