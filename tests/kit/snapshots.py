"""Backups from snapshots: a source of files like that of the command, with the providers that a test gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from backup.request import Request
from backup.selection import Selection
from backup.snapshot.base import Provider
from backup.snapshot.btrfs import Btrfs
from backup.sources.files import SnapshotFiles
from backup.sources.wish import Wish
from tests.kit.protected import Protected

ASKED = Wish("auto", True)
ALWAYS = Wish("always", True)
DEFAULT = Wish("auto", False)


def source(
    machine: Protected,
    *paths: Path,
    wish: Wish = ALWAYS,
    providers: Sequence[Provider] | None = None,
    excludes: tuple[str, ...] = (),
    one_file_system: bool = False,
    own: tuple[Path, ...] = (),
    dry: bool = False,
) -> SnapshotFiles:
    """Files from snapshots. `own` are folders of rpdrive."""
    selection = Selection([os.fsencode(path) for path in paths], list(excludes), one_file_system)
    folders = {(st.st_dev, st.st_ino) for st in (path.stat() for path in own)}
    return SnapshotFiles(
        wish, selection, [Btrfs()] if providers is None else providers, machine.state, folders, dry=dry
    )


__all__ = ["ALWAYS", "ASKED", "DEFAULT", "Request", "Wish", "source"]
