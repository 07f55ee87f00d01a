"""A folder of a recovery point: any part of its entries, in any order, at once."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

import msgspec

from catalog.errors import Damaged, NotFound
from catalog.format.records import PointName
from catalog.format.values import NodeKind, Subtree
from mount.browse.resources.opened import At, Opened
from mount.browse.resources.table import NAME, Order, Row
from mount.browse.resources.walks import Folders, Open
from mount.browse.resources.wire import Named, name_of, path64, when
from mount.view.point import Tree, TreeFolder

SAFE = (1 << 53) - 1  # the largest number that JavaScript keeps exact
_ALL = 1 << 32  # more entries than a folder has
_PATIENCE = 1.0  # seconds
_DEEPEST = 64  # folders on the way that have one folder each
_ABOVE = 100  # folders on the way that are named, below the root

_folders: WeakKeyDictionary[Opened, Folders] = WeakKeyDictionary()
_lock = threading.Lock()


class EntryRow(Named, kw_only=True, omit_defaults=True):
    """An entry in a list. `size` in bytes: of a folder, of all files below it, of which there are `files`."""

    n: int
    kind: str
    size: int
    time: str | None
    files: int | None = None
    target: str | None = None
    target_bytes: str | None = None
    hidden: bool = False


class Above(msgspec.Struct, kw_only=True):
    """A folder on the way to another."""

    name: str
    path64: str


class FolderPage(msgspec.Struct, kw_only=True):
    """Some entries of a folder.

    `total` entries were read so far; `state` says whether these are all. Of them, `shown` pass the filter, and
    `rows` are those at the places `from` and after. `missing`: this point has no such folder, and `nearest` is the
    one above that it has. `selected`: the path is that of a file, whose folder this is: the file's number, and
    `selected_at` its place among the rows.
    `problems`: what of the folder could not be read.
    """

    point: str
    machine: str
    item: str
    time: str | None
    path: str
    path64: str
    n: int
    above: list[Above]
    order: str
    desc: bool
    filter: str
    natural: bool
    state: str
    read: int
    total: int
    shown: int
    start: int = msgspec.field(name="from")
    rows: list[EntryRow]
    previous: str | None
    next: str | None
    selected: int | None = None
    selected_at: int | None = None
    missing: bool = False
    nearest: str | None = None
    problems: list[str] = []


class Rank(msgspec.Struct, kw_only=True):
    """The place of a row in a list. `found`: it begins with what was asked for; else it is what comes next."""

    start: int = msgspec.field(name="from")
    found: bool
    state: str


class Choice(msgspec.Struct, kw_only=True, frozen=True):
    """The order of a list, and what it shows."""

    order: str = NAME
    desc: bool = False
    filter: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it is the order in which a folder is read."""
        return self.order == NAME and not self.desc and not self.filter


def folders_of(opened: Opened) -> Folders:
    """The folders that are open in pages of this vault."""
    with _lock:
        found = _folders.get(opened)
        if found is None:
            found = _folders[opened] = Folders(opened.reader)
        return found


def folder(
    opened: Opened,
    point: str,
    at: bytes | int,
    choice: Choice,
    start: int = 0,
    count: int = 200,
    *,
    descend: bool = False,
) -> FolderPage:
    """`count` entries of a folder, from place `start` on. Raises NotFound, Damaged and StoreError.

    With `descend`, of the first folder below with more in it than one folder: roots of points have only the folders
    on the way to what was saved.

    While the folder is read, its first entries are given in the order of their names, whatever was asked for. The
    path of a file gives the folder that it is in. A path that the point does not have gives no entries, but the
    nearest folder above.
    """
    tree = opened.tree(point)
    before, after = neighbours(opened, tree.name)
    page = FolderPage(
        point=point, machine=tree.name.machine.hex(), item=tree.name.item.hex(), time=when(tree.point.time),
        path="", path64="", n=0, above=[], order=choice.order, desc=choice.desc, filter=choice.filter,
        natural=True, state="whole", read=0, total=0, shown=0, start=start, rows=[], previous=before, next=after,
    )  # fmt: skip
    try:
        place = opened.find(point, at)
    except NotFound:
        if isinstance(at, int):
            raise
        _name(page, at)
        page.missing, page.nearest = True, path64(nearest(tree, at))
        return page
    file: bytes | None = None
    if not place.is_folder:
        above, _slash, file = place.path.rpartition(b"/")
        page.selected = place.number
        place = opened.find(point, above or b"/")
    if descend and file is None:
        place = _descended(place)
    _name(page, place.path)
    page.n = place.number
    one = _read(opened, place, choice, start + count)
    order = _fill(page, one, choice, count)
    if file is not None:
        index = one.table.index(file)
        page.selected_at = next((at for at, n in enumerate(order) if n == index), None)
    return page


def rank(opened: Opened, point: str, at: bytes | int, choice: Choice, prefix: str) -> Rank:
    """The place of the first row whose name begins with `prefix`, whatever its case. Raises as `folder`."""
    one = _read(opened, opened.find(point, at), choice, _ALL)
    if not one.whole:
        return Rank(start=0, found=False, state="reading")
    table = one.table
    order = table.order(choice.order, descending=choice.desc, only=choice.filter)
    place, found = table.rank(order, prefix, choice.order, descending=choice.desc)
    return Rank(start=place, found=found, state="whole")


def neighbours(opened: Opened, name: PointName, *, fresh: bool = False) -> tuple[str | None, str | None]:
    """The ids of the points of the item before and after one; None for none.

    By the last listing, without a request; with `fresh`, by one that is a few seconds old at most.
    """
    listing = None if fresh else opened.view.known(name.machine)
    points = (listing or opened.listing(name.machine)).items.get(name.item, [])
    try:
        n = points.index(name)
    except ValueError:
        return None, None
    before = points[n - 1].id.hex() if n else None
    return before, points[n + 1].id.hex() if n + 1 < len(points) else None


def nearest(tree: Tree, path: bytes) -> bytes:
    """The deepest folder on a path that a point has."""
    node, found = tree.root(), b""
    for name in path.split(b"/")[1:]:
        entry = node.find(name)
        below = None if entry is None else entry[0].leaf.entries[entry[1]]
        if entry is None or below is None or below.kind != NodeKind.FOLDER:
            break
        inside = entry[0].node(entry[1])
        if not isinstance(inside, TreeFolder):
            break
        node, found = inside, found + b"/" + name
    return found or b"/"


def _descended(place: At) -> At:
    """The folder itself, or the first below it that has more than one folder in it."""
    try:
        for _level in range(_DEEPEST):
            folder = subtree_of(place)
            if folder is None or folder.level:
                break
            page = next(place.tree.all_pages(folder, place.number))
            if [entry.kind for entry in page.leaf.entries] != [NodeKind.FOLDER]:
                break
            place = At(place.tree, place.path.rstrip(b"/") + b"/" + page.names[0], page, 0)
    except Damaged:
        pass  # this folder can be read, and says what is wrong below
    return place


def subtree_of(place: At) -> Subtree | None:
    """The pages of a folder. Raises NotFound if it is something else, and Damaged."""
    if place.page is None:
        root = place.tree.point.root
        return root.subtree() if root is not None else None
    if not place.is_folder:
        raise NotFound("this is not a folder in this recovery point", "open the folder above it")
    return place.page.leaf.subtree(place.page.leaf.entries[place.index])


def _read(opened: Opened, place: At, choice: Choice, rows: int) -> Open:
    return folders_of(opened).get(subtree_of(place), rows if choice.is_plain else _ALL, _PATIENCE)


def _name(page: FolderPage, path: bytes) -> None:
    """Put a path into a page, and the folders on the way to it."""
    page.path, page.path64 = name_of(path)[0], path64(path)
    if path == b"/":
        return
    page.above.append(Above(name="/", path64=path64(b"/")))
    names = path.split(b"/")[1:-1]
    for n, name in list(enumerate(names, 1))[-_ABOVE:]:
        page.above.append(Above(name=name_of(name)[0], path64=path64(b"/" + b"/".join(names[:n]))))


def _fill(page: FolderPage, one: Open, choice: Choice, count: int) -> Order:
    """Put the rows of a folder that is open into a page. Returns the order that they are in."""
    is_whole = one.whole  # read once: it may become whole meanwhile
    table, total = one.table, one.table.count
    page.read = page.total = page.shown = total
    page.state = "whole" if is_whole else "reading"
    page.problems = list(one.problems)
    page.natural = is_whole and table.natural
    if is_whole:
        order = table.order(choice.order, descending=choice.desc, only=choice.filter)
        page.shown = len(order)
    else:
        order = range(total)
        page.order, page.desc, page.filter = NAME, False, ""
    page.rows = [_row(table.row(n), page.n) for n in order[page.start : page.start + count]]
    return order


def _row(row: Row, folder: int) -> EntryRow:
    name, raw = name_of(row.name)
    target, target_raw = (None, None) if row.target is None else name_of(row.target)
    return EntryRow(
        name=name, name_bytes=raw, n=folder + row.number, kind=row.kind, size=min(row.size, SAFE),
        time=when(row.time or 1), files=row.files if row.kind == "folder" else None,
        target=target, target_bytes=target_raw, hidden=row.hidden,
    )  # fmt: skip
