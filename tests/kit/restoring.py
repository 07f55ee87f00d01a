"""Restores in this process, and the comparison of what came back by programs that people trust for that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from cache.reader import Reader
from catalog.format.records import Point, Root
from catalog.format.values import Subtree
from catalog.vault import Vault
from mount.restore.disk.base import Disk
from mount.restore.disk.this import THIS_DISK
from mount.restore.job import PAGES, TREES
from mount.restore.options import Options
from mount.restore.report import Report
from mount.restore.run import Restore
from mount.restore.source import place_in

TIME = 1_763_368_200_000_000_000  # 2025-11-17 08:30 UTC


def a_point(root: Subtree | None, time: int = TIME) -> Point:
    """A point of a tree that was made by hand."""
    return Point(
        id=bytes(15) + b"\1", machine=bytes(16), item=bytes(16), machine_name="box", item_name="home",
        hostname="box", system="Linux", sequence=1, time=time, finished=time, paths=[b"/home"],
        root=Root.of(root) if root is not None else None,
    )  # fmt: skip


def restore(vault: Vault, point: Point, to: Path, *paths: bytes, disk: Disk = THIS_DISK, **options: Any) -> Report:
    """Restore paths of a point (all of it, if none are given) into a folder.

    Without `state` among the options, no later restore continues or removes what this one may leave behind.
    """
    reader = Reader(vault, memory=TREES, page_memory=PAGES)
    try:
        return restore_with(reader, vault, point, to, *paths, disk=disk, **options)
    finally:
        reader.close()


def restore_with(
    reader: Reader, vault: Vault, point: Point, to: Path, *paths: bytes, disk: Disk = THIS_DISK, **options: Any
) -> Report:
    """As `restore`, with a reader of one's own."""
    run = Restore(vault, reader, Options(os.fsencode(to), **options), disk)
    return run.run([place_in(reader, "", point, path) for path in paths or (b"",)])


def assert_same_trees(found: Path, wanted: Path, *options: str, flags: str = "-aHAXSc") -> None:
    """Kinds, owners, modes, times, links, xattrs, ACLs are the same, by rsync; with a `c` in the flags contents."""
    for one, other in ((found, wanted), (wanted, found)):
        command = [
            "rsync",
            flags,
            "--dry-run",
            "--itemize-changes",
            "--delete",
            *options,
            f"{one}/",
            f"{other}/",
        ]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), done


def assert_same_attributes(found: Path, wanted: Path) -> None:
    """Extended attributes and ACLs of both are the same, by getfattr and getfacl."""
    for command in (["getfattr", "-hRd", "-m", "-", "-e", "hex", "."], ["getfacl", "-RPpnE", "."]):
        ours, theirs = (
            sorted(subprocess.run(command, cwd=top, capture_output=True, check=True).stdout.split(b"\n\n"))
            for top in (found, wanted)
        )
        assert ours == theirs


def temporaries(top: Path) -> list[str]:
    return [name for _above, _folders, names in os.walk(top) for name in names if name.startswith(".rpdrive-")]
