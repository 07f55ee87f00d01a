"""Marks: finds all that the roots refer to, and what of it is damaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from catalog.format.blocks import PackKind
from catalog.format.packs import SERIES_BYTES
from catalog.format.places import InsteadRow, PlacesRecord
from catalog.format.records import Machine, PointName
from catalog.mark.faults import MOST_POINTS, Fault, FaultKind, Harm, Harmed, IsBad, Problem
from catalog.mark.ids import Ids
from catalog.mark.live import Live
from catalog.mark.roots import NoRoot, Root, Roots
from catalog.mark.source import RangeSource
from catalog.mark.walk import Walk
from catalog.screen.phases import Follower, NoFollower, Phase
from catalog.vault import Vault

AHEAD = 4  # roots whose first pages are fetched ahead of need, all at once


class Marked:
    """What a mark found. A context manager; `close` removes its temporary files.

    `live` are the bytes of packs that the roots refer to. If `is_blind`, some of them are not known: nothing may be
    deleted. `faults` says why, and what else is wrong. `harmed` are the points that can't give back files. `pages`
    and `entries` count what was read in this run. `seen` are the references to pages that were followed.
    """

    def __init__(self, live: Live, seen: Ids) -> None:
        self.live, self.seen = live, seen
        self.faults: list[Fault] = []
        self.harmed: dict[PointName, Harmed] = {}
        self.is_blind = False
        self.pages = self.entries = 0
        self.lost: frozenset[tuple[PackKind, bytes]] = frozenset()  # packs with blocks that can't be read
        self.unknown: frozenset[tuple[PackKind, bytes]] = frozenset()  # and of which no record says that of all
        self.hiding: frozenset[bytes] = frozenset()  # references in `seen` below which not everything is known

    @property
    def damaged(self) -> list[Fault]:
        """The faults that hide what is live."""
        return [fault for fault in self.faults if fault.is_blinding]

    def __enter__(self) -> Marked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.live.close()
        self.seen.close()


def mark(
    vault: Vault,
    roots: Roots,
    *,
    machines: Mapping[bytes, Machine] | None = None,
    places: Sequence[PlacesRecord] | None = None,
    is_bad: IsBad | None = None,
    begun: Marked | None = None,
    follow: Follower | None = None,
) -> Marked:
    """Mark from these roots. Reads each distinct page of their trees once, but for those that `begun` has seen.

    `machines` are the records of machines, by id, whose `shares` say to which other series pages may refer, and
    `places` the newest records of places of all series of these machines; None: they are read. The targets of
    `instead` rows of what is live are live, too. `is_bad` says which blocks of data packs can't be read, so that
    the files are found that have them. A partial point that is surely damaged hides nothing: it is no root.

    Raises StoreError; what can't be read because it is damaged or missing becomes a fault.
    """
    known = vault.machines() if machines is None else machines
    if places is None:
        series = sorted({root.name.machine[:SERIES_BYTES] for root in roots.roots})
        places = [record for one in series for record in vault.places.newest(one)]
    marked = begun or Marked(Live(), Ids())
    try:
        with RangeSource(vault) as source:
            _Run(marked, source, known, places, is_bad, follow or NoFollower()).all(roots)
        _add_targets(marked.live, places)
    except BaseException:
        marked.close()
        raise
    return marked


class _Run:
    def __init__(
        self,
        marked: Marked,
        source: RangeSource,
        machines: Mapping[bytes, Machine],
        places: Sequence[PlacesRecord],
        is_bad: IsBad | None,
        follow: Follower,
    ) -> None:
        self._marked, self._source, self._machines, self._follow = marked, source, machines, follow
        self._walk = Walk(source, marked.live, marked.seen, places, is_bad, self._tick)
        self._points: dict[Problem, tuple[bytes, list[PointName]]] = {}
        self._done = self._total = 0

    def all(self, roots: Roots) -> None:
        """Follow all roots."""
        marked, self._total = self._marked, len(roots.roots)
        for n, root in enumerate(roots.roots):
            self._ahead(roots.roots[n + 1 : n + 1 + AHEAD] if n % AHEAD == 0 else ())
            self._one(root)
            self._done += 1
            self._tick()
        marked.faults = [_unread(one) for one in roots.unread]
        marked.is_blind |= bool(roots.unread)
        for p, (path, points) in self._points.items():
            marked.faults.append(Fault(p.kind, path, p.reason, tuple(points), p.at, p.object, p.acknowledged))
        marked.lost, marked.unknown = frozenset(self._walk.lost), frozenset(self._walk.unknown)
        marked.hiding = self._walk.hiding

    def _ahead(self, roots: Iterable[Root]) -> None:
        """Begin to read the trees of these roots that were not followed before."""
        trees = [(root.point.root.subtree(), self._allowed(root)) for root in roots if root.point.root is not None]
        self._source.ready(tree.at for tree, allowed in trees if not self._walk.is_seen(tree, allowed))

    def _allowed(self, root: Root) -> set[bytes]:
        machine = self._machines.get(root.name.machine)
        shares = machine.shares if machine is not None else []
        return {one[:SERIES_BYTES] for one in (root.name.machine, *shares)}

    def _one(self, root: Root) -> None:
        if root.point.root is None:
            return
        harm = self._walk.tree(root.point.root.subtree(), self._allowed(root))
        for problem, path in harm.problems.items():
            _path, points = self._points.setdefault(problem, (path, []))
            if len(points) < MOST_POINTS:
                points.append(root.name)
        if harm.paths:
            self._marked.harmed[root.name] = Harmed(harm.files, tuple(harm.paths))
        self._marked.is_blind |= _hides(root, harm)

    def _tick(self) -> None:
        walk, marked = self._walk, self._marked
        marked.pages, marked.entries = walk.pages, walk.entries
        more = f"{walk.pages:,} pages with {walk.entries:,} entries"
        self._follow.phase(Phase("reading trees", self._done, self._total, "points", more))


def _hides(root: Root, harm: Harm) -> bool:
    """Whether it is not known what a point refers to, and it must stay."""
    return any(p.is_blinding and not (root.name.partial and p.sure) for p in harm.problems)


def _unread(one: NoRoot) -> Fault:
    return Fault(FaultKind.POINT, b"", str(one.error), (one.name,), object=str(one.name))


def _add_targets(live: Live, places: Iterable[PlacesRecord]) -> None:
    """Add the other copies of what is live and lost, and the copies of these."""
    rows = [row for record in places for row in record.instead]
    if not rows:
        return
    wanted: dict[tuple[int, bytes], set[int]] = {}
    by_block: dict[tuple[int, bytes, int], list[InsteadRow]] = {}
    for row in rows:
        wanted.setdefault((row.kind, row.pack), set()).add(row.offset)
        by_block.setdefault((row.kind, row.pack, row.offset), []).append(row)
    found = set[tuple[int, bytes, int]]()
    for kind in (PackKind.DATA, PackKind.TREE):
        for pack, spans in live.spans(kind):
            for offset in wanted.get((kind, pack), ()):
                if any(start <= offset < end for start, end in spans):
                    found.add((kind, pack, offset))
    todo = list(found)
    while todo:
        for row in by_block.get(todo.pop(), ()):
            live.add(row.kind, row.extent.pack, row.extent.offset, row.extent.stored)
            target = row.kind, row.extent.pack, row.extent.offset
            if target not in found:
                found.add(target)
                todo.append(target)
