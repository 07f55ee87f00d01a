"""A backup as the user asked for it: the paths and options, and the selection of files that they mean."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from backup.exclusions import Exclusions
from backup.selection import Selection
from backup.systems.base import File, Folder, Stat, System
from backup.systems.this import not_to_back_up
from catalog.access.session import Session
from catalog.errors import LocalError
from catalog.format.records import ItemKind


class Request(msgspec.Struct, frozen=True):
    """The paths to back up, and options. `cache_size` is the text the user gave; `dry` writes nothing.

    `ignore_case` is None for what is usual on the system. `snapshot` is auto, always or never; empty: by settings.
    `snapshot_size` and `snapshot_timeout` are texts of the user; of the mounts `snapshot_excludes` none is made.
    `luks_headers` and `verify_packages` are of the system state of Linux; `staging`, the letter of a drive, and
    `sfc` of that of Windows. `system_exclusions`: leave out what Windows asks backups to leave out.

    Of an image, `paths` is its device, file or mount point; with `crash_like`, it is read even while it is in use,
    and with `keep_unreadable` even where the device can't read; with `keep_snapshot`, a thin snapshot stays for
    the next run; `freeze` (s) lets what is mounted hold still for so long at most.
    """

    paths: list[Path]
    item: str | None = None
    machine: str | None = None
    excludes: list[str] = []
    exclude_files: list[Path] = []
    ignore_files: str = ""
    exclude_caches: bool = False
    ignore_case: bool | None = None
    one_file_system: bool = False
    fetch: bool = False
    cache_size: str | None = None
    dry: bool = False
    kind: ItemKind = ItemKind.FILES
    snapshot: str = ""
    snapshot_size: str | None = None
    snapshot_timeout: str | None = None
    snapshot_excludes: list[Path] = []
    luks_headers: bool = False
    verify_packages: bool = False
    crash_like: bool = False
    keep_unreadable: bool = False
    keep_snapshot: bool = False
    freeze: int = 0
    staging: str = ""
    sfc: bool = False
    snapshot_provider: str = ""
    system_exclusions: bool = True


def selected(request: Request, system: System[Folder, File, Stat]) -> Selection:
    """What a request selects, without `skip`. Raises LocalError if nothing is there; UsageError for a bad rule."""
    ignore_case = system.ignores_case if request.ignore_case is None else request.ignore_case
    exclusions = Exclusions(
        request.excludes,
        request.exclude_files,
        ignore_files=request.ignore_files,
        caches=request.exclude_caches,
        ignore_case=ignore_case,
        of_system=not_to_back_up(snapshot=request.snapshot != "never") if request.system_exclusions else (),
    )
    return Selection(
        _point_paths(request.paths, system),
        one_file_system=request.one_file_system,
        fetch=request.fetch,
        exclusions=exclusions,
    )


def own_folders(session: Session, system: System[Folder, File, Stat]) -> set[tuple[int, int]]:
    """The folders of rpdrive and its vault that exist, as (st_dev, st_ino)."""
    own = (system.identity(folder.path) for folder in session.own_folders(config=False))
    return {identity for identity in own if identity is not None}


def own_disks(folders: Iterable[Path], system: System[Folder, File, Stat]) -> set[tuple[int, int]]:
    """Disks that backups go to, as far as they are connected, as (st_dev, st_ino)."""
    return {identity for folder in folders if (identity := system.identity(folder)) is not None}


def _point_paths(paths: list[Path], system: System[Folder, File, Stat]) -> list[bytes]:
    """The paths as a point has them, sorted. Raises LocalError if none of them exists."""
    real = [resolved(p) for p in paths]
    if not any(os.path.lexists(p) for p in real):
        names = ", ".join(str(p) for p in paths)
        raise LocalError(
            f"nothing to save: {names} does not exist", "check the paths, and that the disk is mounted"
        )
    return sorted({system.point_path(p) for p in real})


def resolved(path: Path) -> Path:
    """The path without links and `..`. Raises LocalError."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as e:  # the current folder was removed; symlinks form a loop
        raise LocalError(f"{path} can't be found: {e}", "check the path") from e
