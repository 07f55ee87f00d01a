"""The drive of all points: `<machine>/<item>/<local date and time>/…`, `latest`, and `.versions` next to them.

New points appear while the drive is mounted. When one of the top folders is used, and the listing of the vault's
points is older than a few seconds, it is read again; while that takes long or fails, the last listing serves.
`latest` is a symlink: it can move without changing the meaning of any path below a folder, so the kernel may keep
what it knows of each point.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

from cache.memory import Lru
from cache.reader import Reader
from catalog.errors import Damaged, NewerFormat, NotFound, ObjectNotFound, RpdriveError
from catalog.format.records import Machine, PointName
from catalog.format.values import NOTHING, Totals
from catalog.names import WINDOWS
from catalog.points.choice import iter_items, latest
from catalog.tree import ROOT_NUMBER
from catalog.vault import Vault
from mount.view.nodes import (
    LINK_BIT,
    POINT_SHIFT,
    Attributes,
    EntryPage,
    Folder,
    Link,
    Node,
    Origin,
    View,
    folder_attributes,
    no_such,
    shown_ids,
    shown_name,
)
from mount.view.numbers import Numbers
from mount.view.point import Pages, Tree, TreeFolder, records_births
from mount.view.versions import VERSIONS, History

LATEST = b"latest"
FRESH_SECONDS = 5.0
AFTER_FAILURE_SECONDS = 30.0
PATIENCE_SECONDS = 2.0  # for a new listing, before the old one serves
_TREES = 1024  # roots of points kept
_TRIED = 5  # points of an item that are read for its name, if records are damaged
_BROKEN = (Damaged, ObjectNotFound, NewerFormat)  # errors of one object, not of the connection
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Listing:
    """The points of the vault at one moment, by machine and item."""

    def __init__(self, names: list[PointName]) -> None:
        self.machines: dict[bytes, dict[bytes, list[PointName]]] = {}
        for (machine, item), points in iter_items(names):
            self.machines.setdefault(machine, {})[item] = points
        self.newest = max((n.time for n in names), default=0)
        self._folders: dict[tuple[bytes, bytes], dict[bytes, PointName]] = {}

    def folders(self, machine: bytes, item: bytes) -> dict[bytes, PointName]:
        """The points of an item by the names of their folders. Computed once: `ls -l` asks for each point."""
        folders = self._folders.get((machine, item))
        if folders is None:
            folders = point_folders(self.machines.get(machine, {}).get(item, []))
            self._folders[machine, item] = folders
        return folders


class AllPointsView(View):
    """All points that `list_names` returns. It is called once at first; each call is one listing of the store."""

    changes = True

    def __init__(
        self,
        vault: Vault,
        reader: Reader,
        list_names: Callable[[], list[PointName]],
        *,
        forgotten: bool = False,
        fresh: float = FRESH_SECONDS,
        after_failure: float = AFTER_FAILURE_SECONDS,
    ) -> None:
        """`forgotten`: show forgotten machines too.

        A listing younger than `fresh` seconds is not read again, nor one that failed for `after_failure` seconds.
        """
        self._fresh, self._after_failure = fresh, after_failure
        self._vault = vault
        self._forgotten = forgotten
        self._reader = reader
        self._list_names = list_names
        self._lock = threading.Lock()
        self._renewal: threading.Event | None = None
        self._wait_until = 0.0  # for the renewal that is running
        self._listing = Listing(list_names())
        self._due = time.monotonic() + fresh
        self._machine_names: dict[bytes, bytes] = {}
        self._item_names: dict[tuple[bytes, bytes], str] = {}
        self._systems: set[str] = set()
        self._bases: Numbers[PointName] = Numbers(1, (1 << 64 - POINT_SHIFT) - 1)
        self._tops: Numbers[tuple[bytes, ...]] = Numbers(2, LINK_BIT - 1)
        self._secret = os.urandom(16)  # nobody can choose names whose numbers in `.versions` are equal
        self._pages = Pages(reader)
        self._trees: Lru[PointName, TreeFolder] = Lru(_TREES)
        self._histories: dict[tuple[bytes, bytes], History] = {}
        self.has_births = False
        self._name_machines(self._listing)
        self.folds = self._systems == {WINDOWS}  # fixed: a drive can't change this while it is mounted
        self.root = _Machines(self)

    # --- what there is ------------------------------------------------------------------------------------

    def listing(self) -> Listing:
        """The current points; at most a few seconds old if the store answers."""
        with self._lock:
            if self._renewal is None and time.monotonic() >= self._due:
                self._renewal = threading.Event()
                self._wait_until = time.monotonic() + PATIENCE_SECONDS
                threading.Thread(target=self._renew, args=(self._renewal,), name="points", daemon=True).start()
            renewal = self._renewal
        if renewal is not None:
            renewal.wait(max(self._wait_until - time.monotonic(), 0.0))
        return self._listing

    def _renew(self, done: threading.Event) -> None:
        wait = self._after_failure
        try:
            listing = Listing(self._list_names())
            if not listing.machines.keys() <= self._machine_names.keys():
                self._name_machines(listing)
            self._listing = listing
            wait = self._fresh
        except RpdriveError as e:
            _log.warning("cannot renew the list of points: %s", e)
        except Exception:  # noqa: BLE001 - the old listing serves, whatever the error
            _log.exception("cannot renew the list of points")
        finally:
            with self._lock:
                self._due = time.monotonic() + wait
                self._renewal = None
            done.set()

    def _name_machines(self, listing: Listing) -> None:
        """Choose folder names for machines. 1 listing, and 1 request for each machine not seen before."""
        if not listing.machines:
            return
        machines = self._machines(listing)
        self.has_births |= any(records_births(m.system) for m in machines.values())
        known = {i: machines[i] for i in listing.machines if i in machines}
        self._systems = {machine.system for machine in known.values()}
        hidden = {i for i in known if known[i].forgotten and not self._forgotten}
        order = sorted(known.keys() - hidden, key=lambda i: (known[i].created, i))
        named = {i: known[i].name for i in order} | {i: i.hex() for i in listing.machines if i not in known}
        self._machine_names = shown_names(named)

    def _machines(self, listing: Listing) -> dict[bytes, Machine]:
        """The records of machines, without those that can't be read."""
        try:
            return self._vault.machines()
        except _BROKEN as e:
            _log.warning("cannot read the record of a machine: %s", e)
        found = {}
        for machine in listing.machines:
            try:
                record = self._vault.machine(machine)
            except _BROKEN as e:
                _log.warning("the machine %s is shown by its id: %s", machine.hex(), e)
                continue
            if record is not None:
                found[machine] = record[1]
        return found

    def machine_folders(self) -> dict[bytes, bytes]:
        """Machine ids by the names of their folders."""
        machines = self.listing().machines
        return {name: machine for machine, name in self._machine_names.items() if machine in machines}

    def item_folders(self, machine: bytes) -> dict[bytes, bytes]:
        """Item ids by the names of their folders. 1 request for each item not seen before, for its newest point."""
        items = self.listing().machines.get(machine, {})
        unknown = [i for i in sorted(items) if (machine, i) not in self._item_names]
        try:
            for point in self._vault.points([latest(items[i]) for i in unknown]):
                self._item_names[machine, point.item] = point.item_name
        except _BROKEN:
            for i in unknown:
                self._item_names[machine, i] = self._item_name(items[i])
        names = shown_names({i: self._item_names[machine, i] for i in sorted(items)})
        return {name: item for item, name in names.items()}

    def _item_name(self, points: list[PointName]) -> str:
        """The name of an item with damaged points: from its newest readable point, else its record, else its id."""
        for name in points[: -_TRIED - 1 : -1]:
            try:
                return self._vault.point(name).item_name
            except _BROKEN as e:
                _log.warning("cannot read the record of a point: %s", e)
        item = points[-1].item
        try:
            return self._vault.items(points[-1].machine)[item].name
        except (KeyError, *_BROKEN) as e:
            _log.warning("the item %s is shown by its id: %s", item.hex(), e)
            return item.hex()

    def base(self, name: PointName) -> int:
        """The upper bits of all inode numbers in a point: 31 bits of its id, or the next free number."""
        return self._bases.of(name, int.from_bytes(name.id[:4])) << POINT_SHIFT

    def top_inode(self, *parts: bytes) -> int:
        """The inode number of a folder above the points, or of a link there: below those of all points."""
        return self._tops.of(parts, int.from_bytes(hashlib.sha256(b"\0".join(parts)).digest()[:4]))

    def tree(self, name: PointName) -> TreeFolder:
        """The root of a point. 1 request the first time, for its record."""
        root = self._trees.get(name)
        if root is None:
            root = Tree(self._reader, self._pages, self._vault.point(name), self.base(name)).root()
            self._trees.put(name, root)
        return root

    def history(self, machine: bytes, item: bytes) -> History:
        """The `.versions` of an item, with its points as they are listed now."""
        folders = self._listing.folders(machine, item)
        history = self._histories.get((machine, item))
        if history is None:
            history = History(self._vault, self._reader, self._pages, folders, self._secret)
            self._histories[machine, item] = history
        history.renew(folders)
        return history

    def narrow(self) -> None:
        self._pages.narrows = True

    def origin(self, path: bytes) -> Origin | None:
        """See View. Costs 1 request for a point not seen before, and those for the folders on the way."""
        parts = path.split(b"/", 3)
        if len(parts) < 3 or not parts[2]:
            return None
        machine = _folder(self.machine_folders(), parts[0])
        item = _folder(self.item_folders(machine), parts[1])
        inside = parts[3] if len(parts) > 3 else b""
        if parts[2] == VERSIONS:
            return self.history(machine, item).origin(inside)
        folders = self.listing().folders(machine, item)
        name = latest(list(folders.values())) if parts[2] == LATEST else _folder(folders, parts[2])
        return Origin(self.tree(name).tree.point, inside)

    def totals(self) -> Totals:
        """Totals of the newest point of each item that was opened: others would have to be fetched."""
        totals = NOTHING
        for items in self._listing.machines.values():
            for points in items.values():
                root = self._trees.get(latest(points))
                if root is not None:
                    totals = totals.plus(root.tree.point.totals)
        return totals


# --- folders of the top ---------------------------------------------------------------------------------------


class _Page(EntryPage):
    """All entries of a top folder."""

    __slots__ = ("_nodes", "names")

    def __init__(self, nodes: Mapping[bytes, Node]) -> None:
        self.names = list(nodes)
        self._nodes = list(nodes.values())

    def kind(self, n: int) -> tuple[int, int]:
        attributes = self._nodes[n].attributes
        return attributes.inode, stat.S_IFMT(attributes.mode)

    def node(self, n: int) -> Node:
        return self._nodes[n]


class _Top(Folder):
    """A folder above the points: its entries may change."""

    __slots__ = ("_view",)
    changes = True

    def __init__(self, view: AllPointsView, inode: int, time: int) -> None:
        super().__init__(folder_attributes(inode, time))
        self._view = view

    def _nodes(self) -> Mapping[bytes, Node]:
        raise NotImplementedError

    def lookup(self, name: bytes) -> Node:
        node = self._nodes().get(name)
        if node is None:
            raise no_such(name)
        return node

    def pages(self) -> Iterator[EntryPage]:
        yield _Page(self._nodes())


class _Machines(_Top):
    __slots__ = ()

    def __init__(self, view: AllPointsView) -> None:
        super().__init__(view, 1, view.listing().newest)

    def _nodes(self) -> Mapping[bytes, Node]:
        folders = self._view.machine_folders()
        return {name: _Items(self._view, folders[name]) for name in sorted(folders)}


class _Items(_Top):
    __slots__ = ("_machine",)

    def __init__(self, view: AllPointsView, machine: bytes) -> None:
        newest = max((p[-1].time for p in view.listing().machines.get(machine, {}).values()), default=0)
        super().__init__(view, view.top_inode(machine), newest)
        self._machine = machine

    def _nodes(self) -> Mapping[bytes, Node]:
        folders = self._view.item_folders(self._machine)
        return {name: _Points(self._view, self._machine, folders[name]) for name in sorted(folders)}


class _Points(_Top):
    __slots__ = ("_item", "_machine")

    def __init__(self, view: AllPointsView, machine: bytes, item: bytes) -> None:
        points = view.listing().machines.get(machine, {}).get(item, [])
        super().__init__(view, view.top_inode(machine, item), points[-1].time if points else 0)
        self._machine = machine
        self._item = item

    def lookup(self, name: bytes) -> Node:
        listing = self._view.listing()
        if name == LATEST:
            return self._latest(listing)
        folders = listing.folders(self._machine, self._item)
        if name == VERSIONS and folders:
            return self._view.history(self._machine, self._item).root()
        point = folders.get(name)
        if point is None:
            raise no_such(name)
        return _PointFolder(self._view, point)

    def _nodes(self) -> Mapping[bytes, Node]:
        listing = self._view.listing()
        folders = listing.folders(self._machine, self._item)
        nodes: dict[bytes, Node] = {name: _PointFolder(self._view, folders[name]) for name in sorted(folders)}
        if folders:
            nodes[LATEST] = self._latest(listing)
            nodes[VERSIONS] = self._view.history(self._machine, self._item).root()
        return nodes

    def _latest(self, listing: Listing) -> Node:
        folders = listing.folders(self._machine, self._item)
        if not folders:
            raise no_such(LATEST)
        newest = latest(list(folders.values()))
        target = next(name for name, point in folders.items() if point == newest)
        # A new inode for each target, as if the link were replaced: a kernel's cache of the old one can't mislead.
        inode = self._view.top_inode(self._machine, self._item, LATEST, str(newest).encode())
        return _Latest(target, inode, newest.time)


class _Latest(Link):
    __slots__ = ("target",)
    changes = True

    def __init__(self, target: bytes, inode: int, time: int) -> None:
        mode = stat.S_IFLNK | 0o777
        super().__init__(Attributes(inode, mode, *shown_ids(-1, -1), time, time, len(target)))
        self.target = target


class _PointFolder(Folder):
    """The root of a point, whose record is fetched only when the folder is opened: `ls -l` stays cheap."""

    __slots__ = ("_name", "_view")

    def __init__(self, view: AllPointsView, name: PointName) -> None:
        super().__init__(folder_attributes(view.base(name) | ROOT_NUMBER, name.time))
        self._view = view
        self._name = name

    def lookup(self, name: bytes) -> Node:
        return self._view.tree(self._name).lookup(name)

    def pages(self) -> Iterator[EntryPage]:
        return self._view.tree(self._name).pages()

    @property
    def made_on(self) -> str:
        return self._view.tree(self._name).made_on

    @property
    def distinct(self) -> bool:
        return self._view.tree(self._name).distinct

    def opened(self) -> Folder:
        return self._view.tree(self._name)


# --- names and numbers ----------------------------------------------------------------------------------------


def point_folders(points: list[PointName]) -> dict[bytes, PointName]:
    """Points by the names of their folders: local time, followed by a number if seconds are equal.

    No colons in it, so that Windows can show it.
    """
    folders: dict[bytes, PointName] = {}
    for point in sorted(points, key=lambda p: (p.time, p.sequence, p.id)):
        text = datetime.fromtimestamp(point.time // 10**9).strftime("%Y-%m-%d %H.%M.%S")
        name, number = text, 1
        while name.encode() in folders:
            number += 1
            name = f"{text} ({number})"
        folders[name.encode()] = point
    return folders


def _folder(folders: dict[bytes, T], name: bytes) -> T:
    found = folders.get(name)
    if found is None:
        raise NotFound(f"the drive has no folder {shown_name(name)}", "see `ls` of its mount point")
    return found


def shown_names(names: Mapping[bytes, str]) -> dict[bytes, bytes]:
    """Folder names for ids, in the order given; a name that is taken gets part of its id."""
    taken: dict[bytes, bytes] = {}
    for key, text in names.items():
        plain = "".join("_" if c in "/\0" else c for c in text).strip()
        if plain in ("", ".", ".."):
            plain = key.hex()
        name = plain.encode(errors="surrogateescape")[:200]
        if name in taken.values():
            name += f" ({key.hex()[:8]})".encode()
        taken[key] = name
    return taken
