"""Backups from snapshots: a source of files like that of the command, with the providers that a test gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from backup.selection import Selection
from backup.snapshot.base import Provider
from backup.snapshot.btrfs import Btrfs
from backup.sources.files import SnapshotFiles
from backup.sources.wish import Wish
from tests.kit.drives import noise
from tests.kit.protected import Protected
from tests.kit.sources import attributed

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
    made = [Btrfs()] if providers is None else providers
    return SnapshotFiles(wish, selection, lambda _mounts: made, machine.state, folders, dry=dry)


def fill(place: Path) -> None:
    """Holes, hard links, devices, owners, ACLs and extended attributes, and a file to change."""
    attributed(place / "attributes")
    (place / "kinds").mkdir()
    with (place / "kinds" / "holes").open("wb") as sparse:
        for start in (0, 3 << 20, 9 << 20):
            sparse.seek(start)
            sparse.write(noise(8192, start))
        sparse.truncate(10 << 20)
    os.mknod(place / "kinds" / "null", 0o20666, os.makedev(1, 3))
    (place / "kinds" / "link").symlink_to("holes")
    (place / "kinds" / "another name").hardlink_to(place / "kinds" / "holes")
    os.chown(place / "kinds", 12345, 54321)
    (place / "changed").write_bytes(b"before")


__all__ = ["ALWAYS", "ASKED", "DEFAULT", "Wish", "fill", "source"]
