"""The vault that the page shows: its listings, points and trees, shared by all requests. Thread-safe."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cache.memory import Lru
from cache.reader import Reader
from catalog.access.session import Session
from catalog.direct import DirectSource
from catalog.errors import LocalError, NotFound, NoVault, ObjectNotFound, RpdriveError
from catalog.format.records import Point, PointName
from catalog.format.values import NodeKind
from catalog.ledger.listed import Listed
from catalog.ledger.records import Ledgers
from catalog.machines.registry import id_here
from catalog.tree import ROOT_NUMBER
from catalog.vault import Vault
from catalog.vault_json import read_vault_file
from mount.browse.resources.bus import Bus
from mount.browse.resources.near_records import NearRecords
from mount.browse.resources.streams import Streams
from mount.browse.resources.wire import id_of
from mount.view.all_points import AllPointsView
from mount.view.listing import Listing
from mount.view.point import Tree, TreeFolder, TreePage

if TYPE_CHECKING:
    from cache.disk import DiskCache

_POINTS = 1024  # records kept
_AT_ONCE = 8  # requests
_NAMES = 200_000  # names of points kept by id
MEMORY = 48 << 20  # bytes of blocks
PAGES = 16 << 20  # bytes of tree blocks
_CHOOSE = "it may have been forgotten: choose another in the calendar"
_ID = re.compile("[0-9a-f]{32}")
_SAME = 5.0  # seconds for which the vault at the address is taken to be the one that was found there


class At:
    """An entry of a point, or its root, whose `page` is None. `path` is absolute, `number` that of a walk."""

    __slots__ = ("index", "number", "page", "path", "tree")

    def __init__(self, tree: Tree, path: bytes, page: TreePage | None, index: int) -> None:
        self.tree, self.path, self.page, self.index = tree, path, page, index
        self.number = ROOT_NUMBER if page is None else page.numbers[index]

    @property
    def is_folder(self) -> bool:
        return self.page is None or self.page.leaf.entries[self.index].kind == NodeKind.FOLDER

    def folder(self) -> TreeFolder:
        """The folder. Raises NotFound if it is something else."""
        node = self.tree.root() if self.page is None else self.page.node(self.index)
        if not isinstance(node, TreeFolder):
            raise NotFound("this is not a folder in this recovery point", "open the folder above it")
        return node


class Opened:
    """A vault that is open, and what was read of it.

    `read_only`: nothing of this machine may be changed: no restores, no drives. `bus` tells the open pages what
    changed, `streams` are the downloads that run. Closed with `close`.
    """

    def __init__(self, session: Session, vault: Vault, *, read_only: bool = False) -> None:
        self.session, self.vault, self.read_only = session, vault, read_only
        if session.is_local:
            vault.keep_records(NearRecords())
        self.bus = Bus()
        self.streams = Streams(lambda stream: self.bus.publish("job", stream))
        self._closing: list[Callable[[], object]] = []
        self._disk = _disk(session)
        self.reader = Reader(vault, disk=self._disk, memory=MEMORY, page_memory=PAGES)
        self._lock = threading.Lock()
        self._view: AllPointsView | None = None
        self._points: Lru[bytes, Point] = Lru(_POINTS)
        self._names: dict[bytes, PointName] = {}
        self._machines: set[bytes] = set()  # those that had points
        self._same_until, self._replaced = 0.0, ""

    @property
    def view(self) -> AllPointsView:
        """The drive of all points: it keeps listings, names and trees. 1 listing, and 1 for machines, at first."""
        with self._lock:
            if self._view is None:
                self._view = AllPointsView(self.vault, self.reader, forgotten=True)
            return self._view

    def listing(self, machine: bytes) -> Listing:
        """The points of a machine that are not hidden, a few seconds old at most. 2 listings if they are stale.

        Raises NoVault if there are none any more because another vault is at the address.
        """
        listing = self.view.listing(machine)
        if not listing.names and machine in self._machines:
            self.check_same()
            self._machines.discard(machine)
        self._remember(listing.names)
        return listing

    def stored(self) -> set[bytes]:
        """The machines that have points now. 1 listing."""
        return {bytes.fromhex(name) for name in self.vault.store.folders("points/") if _ID.fullmatch(name)}

    def machines(self) -> list[bytes]:
        """The machines that have points, seconds old at most. 1 listing if it is stale. Raises as `listing`."""
        found = list(self.view.machine_folders().values())
        self.saw(found)
        return found

    def saw(self, machines: Collection[bytes]) -> None:
        """Take these for all machines that have points now.

        Raises NoVault if one that had some is not among them because another vault is at the address.
        """
        if not self._machines <= set(machines):
            self.check_same()
        self._machines = set(machines)

    def check_same(self) -> None:
        """Raise NoVault if the vault was taken away, or another one is at its address. 1 request every few seconds.

        For when something is missing or doesn't open that was there: all that is read would be of the other one.
        """
        with self._lock:
            if time.monotonic() >= self._same_until:
                self._replaced = self._other_vault()
                self._same_until = time.monotonic() + _SAME
            replaced = self._replaced
        if replaced:
            raise NoVault(replaced, "put the vault back; or end this page, and run `rpdrive browse` again")

    def _other_vault(self) -> str:
        """What is at the address instead of the vault, in words; empty if it is there, or can't be asked for."""
        try:
            found = read_vault_file(self.vault.store).vault_id
        except NoVault as e:
            return str(e)
        except RpdriveError:
            return ""
        if found == self.vault.id:
            return ""
        return (
            f"another vault is at {self.vault.store.url} now: {found.hex()[:8]}, "
            f"and not {self.vault.id.hex()[:8]}, which this page shows"
        )

    def _remember(self, names: list[PointName]) -> None:
        with self._lock:
            if len(self._names) > _NAMES:
                self._names.clear()
            self._names.update((name.id, name) for name in names)
            self._machines = self._machines.union(name.machine for name in names)

    def name(self, point: str) -> PointName:
        """The name of a point by its id (32 hexadecimal digits). Raises NotFound if it is hidden, or nowhere.

        An id that was not listed yet costs a listing of all points, up to this one. No other name is kept.
        """
        raw = id_of(point)
        found = self._names.get(raw) or self._look_for(raw)
        if found is None:
            raise NotFound(f"there is no recovery point {point[:8]}", _CHOOSE)
        return found

    def _look_for(self, raw: bytes) -> PointName | None:
        """A point by its id: among those of this machine first, then of others, several machines at once."""
        here, machines, stop = id_here(self.session.settings, self.vault), self.stored(), threading.Event()
        self.saw(machines)

        def look(machine: bytes) -> PointName | None:
            for stored in self.vault.stored_points(machine):
                if stop.is_set():
                    break
                if stored[0].id == raw and not stored[0].partial:
                    names = Listed(self.vault, [stored], Ledgers(self.vault, machine, stored[0].item)).visible()
                    return names[0] if names else None
            return None

        found = look(here) if here in machines else None
        if found is None:
            with ThreadPoolExecutor(_AT_ONCE, "points") as pool:
                try:
                    found = next(filter(None, pool.map(look, sorted(machines - {here}))), None)
                finally:
                    stop.set()
                    pool.shutdown(cancel_futures=True)
        if found is not None:
            self._remember([found])
        return found

    def remember(self, names: list[PointName]) -> None:
        """Know these points by their ids from now on: they were listed, and are not hidden."""
        self._remember(names)

    def tree(self, point: str) -> Tree:
        """The tree of a point. 1 request for a point not seen before. Raises NotFound and Damaged."""
        name = self.name(point)
        with self._gone(name):
            return self.view.tree(name).tree

    @contextmanager
    def _gone(self, name: PointName) -> Iterator[None]:
        """What is raised if a point's record was there when it was listed, and isn't now: NotFound, or NoVault."""
        try:
            yield
        except ObjectNotFound as e:
            self.check_same()
            with self._lock:
                self._names.pop(name.id, None)
            raise NotFound(f"recovery point {name.id.hex()[:8]} is gone from the vault", _CHOOSE) from e

    def point(self, point: str) -> Point:
        """The record of a point, without its problems. Raises as `tree`."""
        return self.tree(point).point

    def whole_point(self, point: str) -> Point:
        """The record of a point with its problems. 1 request for one not seen before."""
        name = self.name(point)
        with self._lock:
            found = self._points.get(name.id)
        if found is None:
            with self._gone(name):
                found = self.vault.point(name)
            with self._lock:
                self._points.put(name.id, found)
        return found

    def find(self, point: str, at: bytes | int) -> At:
        """An entry by its path (absolute) or its number in a walk. Raises NotFound, Damaged and StoreError."""
        tree = self.tree(point)
        if isinstance(at, int):
            if at == ROOT_NUMBER:
                return At(tree, b"/", None, 0)
            names, page, n = tree.place(at)
            return At(tree, b"/" + b"/".join(names), page, n)
        place = At(tree, b"/", None, 0)
        path = b""
        for name in at.split(b"/")[1:] if at != b"/" else ():
            found = place.folder().find(name)
            path += b"/" + name
            if found is None:
                raise NotFound(
                    "this path is not in this recovery point", "look for it in another one, by `versions`"
                )
            place = At(tree, path, *found)
        return place

    def direct(self) -> DirectSource:
        """A source of pages for one thread, which reads many points once."""
        return DirectSource(self.vault)

    def at_close(self, end: Callable[[], object]) -> None:
        """Call a function before the vault is closed; it must not wait."""
        self._closing.append(end)

    def close(self) -> None:
        self.bus.close()
        for end in self._closing:
            end()
        self.reader.close()
        if self._disk is not None:
            self._disk.close()


def _disk(session: Session) -> DiskCache | None:
    """The disk cache; None for a vault in a folder of this machine, as for drives."""
    if session.is_local:
        return None
    from cache.disk import DiskCache

    try:
        return DiskCache(session.settings.cache)
    except LocalError:
        return None
