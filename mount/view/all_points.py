"""The drive of all points: `<machine>/<item>/<local date and time>/…`, `latest`, and `.versions` next to them.

New points appear while the drive is mounted. The machines that have points are listed when the top is used, the
points of a machine when its folder is. When that listing is older than a few seconds, it is read again; while that
takes long or fails, the last listing serves. `latest` is a symlink: it can move without changing the meaning of any
path below a folder, so the kernel may keep what it knows of each point.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

from cache.memory import Lru
from cache.reader import Reader
from catalog.errors import NotFound
from catalog.format.records import Machine, Point, PointName
from catalog.format.sealed import Kind
from catalog.format.values import NOTHING, Totals
from catalog.names import WINDOWS
from catalog.points.choice import newest_first
from catalog.points.opening import first_that_opens, without_problems
from catalog.tree import ROOT_NUMBER
from catalog.vault import Vault
from mount.view.listing import Listing, shown_names
from mount.view.listings import Listings
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
from mount.view.numbers import ManyNumbers, Numbers
from mount.view.point import Pages, Tree, TreeFolder, records_births
from mount.view.renewed import AFTER_FAILURE_SECONDS, FRESH_SECONDS, Renewed
from mount.view.versions import ALL_VERSIONS, RECENT, VERSIONS, History

LATEST = b"latest"
_TREES = 1024  # roots of points kept
_HISTORIES = 20_000  # points of items whose `.versions` are kept, some 2 KB each
_ID = re.compile("[0-9a-f]{32}")
_log = logging.getLogger(__name__)
T = TypeVar("T")


class _Newest(NamedTuple):
    """The newest point of an item: by its name, and the one whose record opens (the same if none does)."""

    named: PointName
    opens: PointName


class AllPointsView(View):
    """All points, or those of a machine or an item (ids).

    Costs at first one listing of the machines that have points, one of their records, and a request for each of
    these; then one for each machine whose folder is used, and a request for each item in it.
    """

    changes = True

    def __init__(
        self,
        vault: Vault,
        reader: Reader,
        machine: bytes | None = None,
        item: bytes | None = None,
        *,
        forgotten: bool = False,
        fresh: float = FRESH_SECONDS,
        after_failure: float = AFTER_FAILURE_SECONDS,
    ) -> None:
        """`forgotten`: show forgotten machines too. `fresh` and `after_failure` in seconds, see Renewed."""
        self._vault, self._reader = vault, reader
        self._only_machine, self._only_item = machine, item
        self._forgotten = forgotten
        self._lock = threading.Lock()
        self._records: dict[bytes, Machine] = {}
        self._machine_names: dict[bytes, bytes] = {}
        self._named: set[bytes] = set()  # machines whose names were chosen, hidden ones included
        self._item_names: dict[tuple[bytes, bytes], str] = {}
        self._newest: dict[tuple[bytes, bytes], _Newest] = {}
        self._bases = ManyNumbers(os.urandom(16))
        self._tops: Numbers[tuple[bytes, ...]] = Numbers(2, LINK_BIT - 1)
        self._secret = os.urandom(16)  # nobody can choose names whose numbers in `.versions` are equal
        self._pages = Pages(reader)
        self._trees: Lru[PointName, TreeFolder] = Lru(_TREES)
        self._histories: dict[tuple[bytes, bytes, bool], History] = {}  # the most recently used last
        self._listings = Listings(vault, item, self._number, fresh=fresh, after_failure=after_failure)
        self.has_births = False
        self._machines = Renewed(
            self._list_machines, "the list of machines", fresh=fresh, after_failure=after_failure
        )
        self._machines.get()
        # Fixed: a drive can't change this while it is mounted.
        self.folds = {record.system for record in self._records.values()} == {WINDOWS}
        self.root = _Machines(self)

    # --- what there is ------------------------------------------------------------------------------------

    def _list_machines(self, last: dict[bytes, bytes] | None) -> dict[bytes, bytes]:
        """The machines that have points, by the names of their folders. Chooses these if there are new machines."""
        if self._only_machine is not None:
            found = [self._only_machine]
        else:
            folders = self._vault.store.folders("points/")
            found = [bytes.fromhex(name) for name in folders if _ID.fullmatch(name)]
        if not self._named.issuperset(found):
            self._name_machines(found)
        there = set(found)
        now = {name: machine for machine, name in self._machine_names.items() if machine in there}
        return last if last == now else now

    def _name_machines(self, found: list[bytes]) -> None:
        """Choose folder names for machines. 1 listing, and 1 request for each machine not seen before."""
        one = self._only_machine
        if one is None:
            records = self._vault.machines()
        else:
            records = {one: newest[1]} if (newest := self._vault.machine(one)) is not None else {}
        self._log_passed_over()
        self.has_births |= any(records_births(m.system) for m in records.values())
        known = self._records = {i: records[i] for i in found if i in records}
        hidden = {i for i in known if known[i].forgotten and not self._forgotten}
        order = sorted(known.keys() - hidden, key=lambda i: (known[i].created, i))
        named = {i: known[i].name for i in order} | {i: i.hex() for i in found if i not in known}
        self._machine_names, self._named = shown_names(named), set(found)

    def machine_folders(self) -> dict[bytes, bytes]:
        """Machine ids by the names of their folders. Not to be changed."""
        return self._machines.get()

    def listing(self, machine: bytes) -> Listing:
        """The points of a machine now; at most a few seconds old if the store answers."""
        return self._listings.of(machine)

    def _number(self, names: list[PointName]) -> None:
        """Give points their numbers, in their order, so that the numbers are the same at every mount."""
        for name in names:
            self.base(name)

    def known(self, machine: bytes) -> Listing | None:
        """The listing of a machine as it was last; None if it was not used."""
        return self._listings.known(machine)

    def newest_time(self, machine: bytes) -> int:
        """The time of a machine's newest point if its points were listed, else that of its registration. In ns."""
        listing, record = self.known(machine), self._records.get(machine)
        if listing is not None:
            return listing.newest
        return record.created if record is not None else 0

    def item_folders(self, machine: bytes) -> dict[bytes, bytes]:
        """Item ids by the names of their folders. 1 request for each item not seen before, for its newest point."""
        items = self.listing(machine).items
        unknown = [i for i in sorted(items) if (machine, i) not in self._item_names]
        tops = [items[i][-1] for i in unknown]
        records = self._vault.read_each(Kind.POINT, Point, tops, without_problems)
        for name, point in zip(tops, records, strict=True):
            key = machine, name.item
            if isinstance(point, Point):
                self._newest[key] = _Newest(name, name)
                self._item_names[key] = point.item_name
            else:
                self._item_names[key] = self._item_name(machine, name.item, items[name.item])
        names = shown_names({i: self._item_names[machine, i] for i in sorted(items)})
        return {name: item for item, name in names.items()}

    def _item_name(self, machine: bytes, item: bytes, points: list[PointName]) -> str:
        """The name of an item whose newest point does not open: from an older one, else its record, else its id."""
        found = self._find_newest(machine, item, points)
        if isinstance(found, Point):
            return found.item_name
        record = self._vault.items(machine).get(item)
        self._log_passed_over()
        return record.name if record is not None else item.hex()

    def newest(self, machine: bytes, item: bytes, points: list[PointName]) -> PointName:
        """The newest of an item's points whose record opens. 1 request when there is a new one."""
        known = self._newest.get((machine, item))
        if known is None or known.named != points[-1] or known.opens not in points:
            self._find_newest(machine, item, points)
        return self._newest[machine, item].opens

    def _find_newest(self, machine: bytes, item: bytes, points: list[PointName]) -> Point | None:
        found = first_that_opens(self._vault, newest_first(points))
        self._log_passed_over()
        opens = PointName.of(found) if isinstance(found, Point) else points[-1]
        self._newest[machine, item] = _Newest(points[-1], opens)
        return found if isinstance(found, Point) else None

    def _log_passed_over(self) -> None:
        for row in self._vault.passed_over.report():
            _log.warning("%s", row)

    def base(self, name: PointName) -> int:
        """The upper bits of all inode numbers in a point: 31 bits of its id, or the next free number."""
        key = b"%b%b%b%d %d" % (name.machine, name.item, name.id, name.time, name.sequence)
        return self._bases.of(key, int.from_bytes(name.id[:4])) << POINT_SHIFT

    def top_inode(self, *parts: bytes) -> int:
        """The inode number of a folder above the points, or of a link there: below those of all points."""
        return self._tops.of(parts, int.from_bytes(hashlib.sha256(b"\0".join(parts)).digest()[:4]))

    def tree(self, name: PointName) -> TreeFolder:
        """The root of a point. 1 request the first time, for its record."""
        root = self._trees.get(name)
        if root is None:
            point = without_problems(self._vault.point(name))
            root = Tree(self._reader, self._pages, point, self.base(name)).root()
            self._trees.put(name, root)
        return root

    def history(self, machine: bytes, item: bytes, *, whole: bool = False) -> History:
        """The `.versions` of an item, with its points as they are listed now; `whole`: its `.all-versions`."""

        def folders() -> dict[bytes, PointName]:
            listing = self.listing(machine)
            return listing.folders(item) if whole else listing.newest_folders(item, RECENT)

        key = machine, item, whole
        with self._lock:
            history = self._histories.pop(key, None)
            if history is None:
                name = b"%b%b%b" % (machine, item, b"all" if whole else b"")
                history = History(self._vault, self._reader, self._pages, folders, name, self._secret)
            self._histories[key] = history
        history.renew()
        with self._lock:
            self._drop_histories()
        return history

    def _drop_histories(self) -> None:
        """Free what was made for the histories that were used longest ago. With the lock."""
        kept = 0
        for n, (key, history) in enumerate(reversed([*self._histories.items()])):
            kept += history.size
            if n and kept > _HISTORIES:
                history.let_go()
                del self._histories[key]

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
        listing = self.listing(machine)
        if parts[2] == VERSIONS or (parts[2] == ALL_VERSIONS and listing.has_more(item, RECENT)):
            return self.history(machine, item, whole=parts[2] == ALL_VERSIONS).origin(inside)
        if parts[2] == LATEST:
            name = self.newest(machine, item, listing.items[item])
        else:
            name = _folder(listing.folders(item), parts[2])
        return Origin(self.tree(name).tree.point, inside)

    def totals(self) -> Totals:
        """Totals of the newest point of each item that was opened: others would have to be fetched."""
        totals = NOTHING
        for newest in list(self._newest.values()):
            root = self._trees.get(newest.opens)
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

    def pages(self) -> Iterator[EntryPage]:
        yield _Page(self._nodes())


class _Machines(_Top):
    __slots__ = ()

    def __init__(self, view: AllPointsView) -> None:
        super().__init__(view, ROOT_NUMBER, max(map(view.newest_time, view.machine_folders().values()), default=0))

    def lookup(self, name: bytes) -> Node:
        machine = self._view.machine_folders().get(name)
        if machine is None:
            raise no_such(name)
        return _Items(self._view, machine)

    def _nodes(self) -> Mapping[bytes, Node]:
        folders = self._view.machine_folders()
        return {name: _Items(self._view, folders[name]) for name in sorted(folders)}


class _Items(_Top):
    __slots__ = ("_machine",)

    def __init__(self, view: AllPointsView, machine: bytes) -> None:
        super().__init__(view, view.top_inode(machine), view.newest_time(machine))
        self._machine = machine

    def lookup(self, name: bytes) -> Node:
        item = self._view.item_folders(self._machine).get(name)
        if item is None:
            raise no_such(name)
        return _Points(self._view, self._machine, item)

    def _nodes(self) -> Mapping[bytes, Node]:
        folders = self._view.item_folders(self._machine)
        return {name: _Points(self._view, self._machine, folders[name]) for name in sorted(folders)}


class _Points(_Top):
    __slots__ = ("_item", "_machine")

    def __init__(self, view: AllPointsView, machine: bytes, item: bytes) -> None:
        listing = view.known(machine)
        points = listing.items.get(item, []) if listing is not None else []
        super().__init__(view, view.top_inode(machine, item), points[-1].time if points else 0)
        self._machine = machine
        self._item = item

    def lookup(self, name: bytes) -> Node:
        listing = self._view.listing(self._machine)
        if name == LATEST:
            return self._latest(listing)
        folders = listing.folders(self._item)
        if name == VERSIONS and folders:
            return self._view.history(self._machine, self._item).root()
        if name == ALL_VERSIONS and listing.has_more(self._item, RECENT):
            return self._view.history(self._machine, self._item, whole=True).root()
        point = folders.get(name)
        if point is None:
            raise no_such(name)
        return _PointFolder(self._view, point)

    def _nodes(self) -> Mapping[bytes, Node]:
        listing = self._view.listing(self._machine)
        folders = listing.folders(self._item)
        nodes: dict[bytes, Node] = {name: _PointFolder(self._view, folders[name]) for name in sorted(folders)}
        if folders:
            nodes[LATEST] = self._latest(listing)
            nodes[VERSIONS] = self._view.history(self._machine, self._item).root()
        if listing.has_more(self._item, RECENT):
            nodes[ALL_VERSIONS] = self._view.history(self._machine, self._item, whole=True).root()
        return nodes

    def _latest(self, listing: Listing) -> Node:
        folders = listing.folders(self._item)
        if not folders:
            raise no_such(LATEST)
        newest = self._view.newest(self._machine, self._item, listing.items[self._item])
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
        self._view = view
        self._name = name

    @property
    def attributes(self) -> Attributes:  # type: ignore[override] # a driver keeps a node of each point that was listed
        return folder_attributes(self._view.base(self._name) | ROOT_NUMBER, self._name.time)

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


def _folder(folders: dict[bytes, T], name: bytes) -> T:
    found = folders.get(name)
    if found is None:
        raise NotFound(f"the drive has no folder {shown_name(name)}", "see `ls` of its mount point")
    return found
