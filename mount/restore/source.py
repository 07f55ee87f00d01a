"""Sources of a restore: arguments (POINT[:PATH], or a path in an open drive) and the places that they name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from catalog.access.session import Session
from catalog.errors import NotFound, UsageError
from catalog.format.records import Point
from catalog.ledger.listed import Listed, list_points
from catalog.points.choice import Place, can_be_point, find, path_text, split_place
from catalog.points.opening import listed_points, open_point, scope
from catalog.program import user_path
from catalog.screen.text import safe_text
from catalog.tree import PageSource
from catalog.vault import Vault
from mount.process.registry import Registry
from mount.process.rows import DriveRow
from mount.process.this import PROCESSES
from mount.view.names import true_path
from mount.view.nodes import Origin, View
from mount.view.point import PointView

if TYPE_CHECKING:
    from cache.reader import Reader


class DrivePath(NamedTuple):
    """A path in an open drive: the drive's row in the registry, and the path below its mount point."""

    drive: DriveRow
    below: bytes


class PointPath(NamedTuple):
    """A path in the point with this id, for callers that have it as raw bytes. `path` is absolute."""

    point: bytes
    path: bytes


class Argument(NamedTuple):
    """An argument, and what it names: a path in an open drive, or else POINT (`spec`) and a path in it."""

    text: str
    spec: str
    path: bytes
    drive: DrivePath | None


class Source(NamedTuple):
    """A place in a point. `text` is the argument that names it."""

    text: str
    point: Point
    place: Place

    @property
    def name(self) -> bytes:
        """The last part of the path; empty for a whole point."""
        return self.place.found.entry.name if self.place.found else b""

    @property
    def files(self) -> int:
        """The number of files, by the tree's totals."""
        if self.place.found is not None and not self.place.is_folder:
            return 1
        return self.place.folder.totals.files if self.place.folder is not None else 0

    @property
    def size(self) -> int:
        """The bytes of its files, by the tree's totals."""
        if self.place.found is not None and not self.place.is_folder:
            return self.place.found.entry.size
        return self.place.folder.totals.bytes if self.place.folder is not None else 0


def read_arguments(session: Session, places: Sequence[str | PointPath]) -> list[Argument]:
    """Parse arguments, without a request. Without --vault, the drives determine the vault. Raises UsageError."""
    texts = any(isinstance(place, str) for place in places)
    drives = Registry(session.settings, PROCESSES).drives() if texts else []
    arguments = []
    for text in places:
        if isinstance(text, PointPath):
            spec = text.point.hex()
            arguments.append(Argument(f"{spec[:8]}:{os.fsdecode(text.path)}", spec, text.path, None))
            continue
        drive = None if _names_point(text) else _in_drive(text, drives)
        if drive is None and text.startswith(("/", "./", "../", "~/")):
            raise UsageError(
                f"{text!r} is neither in an open drive nor a recovery point",
                "write POINT:PATH, e.g. `latest:/etc/hosts`, or a path in a drive that `rpdrive mounts` lists",
            )
        spec, path = ("", b"") if drive else split_place(text)
        arguments.append(Argument(text, spec, path, drive))
    vaults = {a.drive.drive.vault for a in arguments if a.drive}
    if len(vaults) > 1:
        raise UsageError("the paths are in drives of different vaults", "restore from one vault at a time")
    if vaults:
        (address,) = vaults
        if session.vault_option is None and all(a.drive for a in arguments):
            session.address = address
        elif session.address != address:
            raise UsageError(f"the drive shows the vault {address}, not {session.address}", "leave --vault out")
    return arguments


def _names_point(text: str) -> bool:
    """Whether a text means POINT[:PATH], even if the current folder is in a drive: it is no file there."""
    if os.path.isabs(text) or text.startswith(("~", ".")):
        return False
    return can_be_point(split_place(text)[0]) and not os.path.lexists(text)


def _in_drive(text: str, drives: list[DriveRow]) -> DrivePath | None:
    path = os.path.abspath(user_path(text)) + os.sep
    for drive in drives:
        top = drive.mount_point.rstrip(os.sep) + os.sep
        if os.path.normcase(path).startswith(os.path.normcase(top)):
            return DrivePath(drive, os.fsencode(path[len(top) :].replace(os.sep, "/")).strip(b"/"))
    return None


def resolve(
    vault: Vault,
    pages: Reader,
    arguments: list[Argument],
    machine: str | None,
    item: str | None,
    only: bytes | None = None,
) -> list[Source]:
    """Find what the arguments name, in points of the machine `only`. One listing, and one request for each point.

    Raises NotFound, AmbiguousName, Damaged and StoreError; UsageError if a point is of another machine than `only`.
    """
    points: dict[str, Point] = {}
    listed: Listed | None = None
    sources = []
    for argument in arguments:
        if argument.drive is not None:
            point, path = _origin(vault, pages, argument.drive, argument.text)
        else:
            path = argument.path
            if argument.spec not in points:
                if listed is None:
                    listed = listed_points(vault, machine, item)
                points[argument.spec] = _open(vault, listed, argument.spec, only)
            point = points[argument.spec]
        if only not in (None, point.machine):
            name = safe_text(point.machine_name)
            raise UsageError(
                f"the recovery point {point.id.hex()[:8]} is of the machine {name}, not of this one",
                f"add --machine {name} to restore it over the files of this machine, or use --to",
            )
        sources.append(place_in(pages, argument.text, point, path))
    return sources


def _open(vault: Vault, listed: Listed, spec: str, only: bytes | None) -> Point:
    """The point of the machine `only` that `spec` means; else that of another machine, to name it."""
    if only is not None:
        with suppress(NotFound):
            return open_point(vault, listed.of_machine(only), spec)
    return open_point(vault, listed, spec)


def place_in(pages: PageSource, text: str, point: Point, path: bytes) -> Source:
    """A path in a point. Raises NotFound, UsageError, Damaged and StoreError."""
    if b".." in path.split(b"/"):
        raise UsageError(f"{path_text(path)} holds `..`", "write the path without it")
    top = point.root.subtree() if point.root else None
    return Source(text, point, find(pages, top, path))


# --- drives -------------------------------------------------------------------------------------------------


def _origin(vault: Vault, reader: Reader, at: DrivePath, text: str) -> Origin:
    """The point, and the path in it, of a path in a drive. Raises NotFound, UsageError, Damaged and StoreError."""
    view = _view(vault, reader, at.drive)
    fold = at.drive.fold  # None unless the drive shows names as Windows has them
    origin = view.origin(at.below if fold is None else true_path(view.root, at.below, fold=fold))
    if origin is None:
        raise UsageError(f"{text} holds many recovery points", "name one of the folders in it, or `latest`")
    return origin


def _view(vault: Vault, reader: Reader, drive: DriveRow) -> View:
    """The view that a drive shows."""
    if drive.point is not None:
        return PointView(reader, open_point(vault, list_points(vault), drive.point))
    from mount.view.all_points import AllPointsView

    machine, item = scope(vault, drive.machine, drive.item)
    return AllPointsView(vault, reader, machine, item, forgotten=drive.machine is not None)
