"""What is to be restored: a user's words, POINT[:PATH] or a path in an open drive, made places in points."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from catalog.access.session import Session
from catalog.errors import Damaged, NotFound, UsageError
from catalog.format.pages import Leaf
from catalog.format.records import Point, PointName
from catalog.format.values import NodeKind, Subtree
from catalog.machines.registry import choose_named
from catalog.points.choice import (
    Place,
    choose,
    choose_point,
    find,
    latest,
    lookup_meant,
    path_text,
    point_names,
    split_place,
)
from catalog.tree import ROOT_NUMBER, Found, PageSource
from catalog.vault import Vault
from mount.process.registry import Registry
from mount.process.rows import DriveRow
from mount.process.this import PROCESSES
from mount.view.names import Names
from mount.view.nodes import Folder, Node
from mount.view.point import PointView

if TYPE_CHECKING:
    from cache.reader import Reader


class DrivePath(NamedTuple):
    """A path in a drive that is open: the drive's row in the registry, and the path below its mount point."""

    drive: DriveRow
    below: bytes


class Wish(NamedTuple):
    """What one argument names. `text` is the argument."""

    text: str
    spec: str
    path: bytes
    drive: DrivePath | None


class Source(NamedTuple):
    """A place in a point. `way` are the folders above it, from the root."""

    text: str
    point: Point
    place: Place
    way: list[Found]

    @property
    def name(self) -> bytes:
        """The last part of its path; empty for a whole point."""
        return self.place.found.entry.name if self.place.found else b""

    @property
    def files(self) -> int:
        """How many files it is, as far as the tree's totals say."""
        if self.place.found is not None and not self.place.is_folder:
            return 1
        return self.place.folder.totals.files if self.place.folder is not None else 0


def read_wishes(session: Session, texts: list[str]) -> list[Wish]:
    """Arguments understood, without asking the vault. Drives say which vault, if none was named. UsageError."""
    drives = Registry(session.settings, PROCESSES).drives()
    wishes = []
    for text in texts:
        drive = _in_drive(text, drives)
        if drive is None and text.startswith(("/", "./", "../", "~/")):
            raise UsageError(
                f"{text!r} is neither in an open drive nor a recovery point",
                "write POINT:PATH, as `latest:/etc/hosts`, or a path in a drive that `rpdrive mounts` lists",
            )
        spec, path = ("", b"") if drive else split_place(text)
        wishes.append(Wish(text, spec, path, drive))
    vaults = {w.drive.drive.vault for w in wishes if w.drive}
    if len(vaults) > 1:
        raise UsageError("the paths are in drives of different vaults", "restore from one vault at a time")
    if vaults:
        (address,) = vaults
        if session.vault_option is None and (len(wishes) == sum(1 for w in wishes if w.drive)):
            session.address = address
        elif session.address != address:
            raise UsageError(f"the drive shows the vault {address}, not {session.address}", "leave --vault out")
    return wishes


def _in_drive(text: str, drives: list[DriveRow]) -> DrivePath | None:
    path = os.path.abspath(Path(text).expanduser()) + os.sep
    for drive in drives:
        top = drive.mount_point.rstrip(os.sep) + os.sep
        if os.path.normcase(path).startswith(os.path.normcase(top)):
            return DrivePath(drive, os.fsencode(path[len(top) :].replace(os.sep, "/")).strip(b"/"))
    return None


def resolve(vault: Vault, pages: Reader, wishes: list[Wish], machine: str | None, item: str | None) -> list[Source]:
    """Wishes to places. One listing, and one request for each point.

    NotFound, AmbiguousName, Damaged, StoreError.
    """
    points: dict[str, Point] = {}
    names: list[PointName] | None = None
    sources = []
    for wish in wishes:
        if wish.drive is not None:
            point, path = _from_drive(vault, pages, wish.drive, wish.text)
        else:
            path = wish.path
            if wish.spec not in points:
                if names is None:
                    names = point_names(vault, machine, item)
                points[wish.spec] = vault.point(choose_point(names, wish.spec))
            point = points[wish.spec]
        sources.append(place_in(pages, wish.text, point, path))
    return sources


def place_in(pages: PageSource, text: str, point: Point, path: bytes) -> Source:
    """A path in a point, with the folders on the way. NotFound, Damaged, StoreError."""
    top = _top(point)
    if b".." in path.split(b"/"):
        raise UsageError(f"{path_text(path)} holds `..`", "write the path without it")
    parts = [p for p in path.split(b"/") if p not in (b"", b".")]
    way: list[Found] = []
    below, number = top, ROOT_NUMBER
    for part in parts[:-1]:
        found = lookup_meant(pages, below, number, part)
        if found is None:
            break  # `find` says what is missing
        way.append(found)
        below, number = _below(found.leaf, found), found.number
    return Source(text, point, find(pages, top, b"/".join(parts)), way)


def _below(leaf: Leaf, found: Found) -> Subtree | None:
    return leaf.subtree(found.entry) if found.entry.kind == NodeKind.FOLDER else None


def _top(point: Point) -> Subtree | None:
    try:
        return point.root.subtree() if point.root else None
    except (TypeError, ValueError) as e:
        raise Damaged("the recovery point's root can't be understood") from e


# --- drives -------------------------------------------------------------------------------------------------


def _from_drive(vault: Vault, reader: Reader, at: DrivePath, text: str) -> tuple[Point, bytes]:
    from mount.view.all_points import LATEST, AllPointsView

    row = at.drive
    if row.point is not None:
        point = vault.point(choose(vault, row.point, None, None))
        return point, _true_path(row, PointView(reader, point).root, at.below)
    parts = at.below.split(b"/", 3)
    if len(parts) < 3 or not parts[2]:
        raise UsageError(f"{text} holds many recovery points", "name one of the folders in it, or `latest`")
    names = _names(vault, row.machine, row.item)
    view = AllPointsView(vault, reader, lambda: names)
    parts[:3] = _true_path(row, view.root, b"/".join(parts[:3])).split(b"/")
    machine = _folder(view.machine_folders(), parts[0])
    item = _folder(view.item_folders(machine), parts[1])
    folders = view.listing().folders(machine, item)
    name = latest(list(folders.values())) if parts[2] == LATEST else _folder(folders, parts[2])
    point = vault.point(name)
    return point, _true_path(row, PointView(reader, point).root, parts[3]) if len(parts) > 3 else b""


def _true_path(row: DriveRow, root: Folder, path: bytes) -> bytes:
    """A path on a drive as it is in the point. A row that has `fold` is of a drive with Windows' names.

    NotFound, Damaged, StoreError.
    """
    if row.fold is None:
        return path
    names, way = Names(fold=row.fold), list[bytes]()
    node: Node = root
    for part in path.split(b"/"):
        found = names.find(node, os.fsdecode(part)) if isinstance(node, Folder) else None
        if found is None:
            raise NotFound(f"the drive has no {path_text(path)}", "see `dir` of the folder")
        way.append(found[0])
        node = found[1]
    return b"/".join(way)


def _names(vault: Vault, machine: str | None, item: str | None) -> list[PointName]:
    """The points that a drive of this machine or item shows."""
    machine_id = choose_named(vault.machines(), machine, "machine").id if machine is not None else None
    if item is None:
        return vault.point_names(machine_id)
    items = {i.id: i for i in vault.items().values() if machine_id in (None, i.machine)}
    chosen = choose_named(items, item, "item")
    return vault.point_names(chosen.machine, chosen.id)


def _folder(folders: dict[bytes, Any], name: bytes) -> Any:
    found = folders.get(name)
    if found is None:
        raise NotFound(f"the drive has no folder {path_text(name)}", "see `ls` of its mount point")
    return found
