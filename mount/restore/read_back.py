"""Compares restored files with the recovery point, by reading them back from the disk."""

from __future__ import annotations

import os

from catalog.format.keys import Keys
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW, NONBLOCK
from mount.restore.final_names import FinalNames
from mount.restore.plan import Plan
from mount.restore.report import Report
from mount.restore.spool import Bits
from mount.restore.target import Target

_READ = os.O_RDONLY | NOFOLLOW | CLOEXEC | NONBLOCK  # a FIFO that somebody put there must not block


def read_back(keys: Keys, target: Target, plan: Plan, names: FinalNames, report: Report) -> None:
    """Compare all pieces of a plan with the disk, not the page cache."""
    disk = target.disk
    disk.sync()
    chunk_id = keys.chunk_id
    seen, wrong = Bits(), Bits()
    fd, of = -1, -1
    try:
        for row in plan.rows():
            number, file = row.number, row.file
            if number in wrong:
                continue
            try:
                if of != number:
                    if fd >= 0:
                        disk.close(fd)
                        fd = -1
                    with target.handle(file.folder) as folder:
                        fd = disk.open(names.of(file), _READ, dir_fd=folder)
                    of = number
                    disk.drop_cache(fd)
                data = disk.pread(fd, row.length, row.position)
                good = len(data) == row.length and chunk_id(data) == row.chunk
            except OSError:
                of, good = -1, False
            report.verified += seen.add(number)
            if not good:
                report.verified -= wrong.add(number)
                report.failed(file.path(), "read back: it differs from what was written")
    finally:
        if fd >= 0:
            disk.close(fd)
