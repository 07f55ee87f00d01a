"""One backup: compare with the previous point, store what is new, commit one recovery point.

The order of writes is an invariant: data packs, tree packs, index object, point. Nothing refers to what the
store has not acknowledged, so a run that ends at any instant leaves a vault in which everything that is
referred to exists; what it had sent is found again through the mirror's journal.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backup.mirror import Mirror
from backup.pipeline import LEVEL, Pipeline
from backup.previous import ByChange, Previous
from backup.progress import Progress
from backup.selection import Selection
from backup.systems.base import System
from backup.systems.this import this_system
from backup.walk import Walk
from catalog.errors import Damaged, LocalError, ObjectNotFound
from catalog.format.records import (
    IndexObject,
    Item,
    Machine,
    Point,
    PointName,
    Problem,
    Root,
    decode_record,
    encode_record,
)
from catalog.format.sealed import Kind, open_object, seal_object
from catalog.format.values import Subtree, Totals
from catalog.format.writing import TREE_BLOCK_RAW
from catalog.tree import PageSource
from catalog.vault import Vault

SCATTERED = 2  # a tree in more than this many times the blocks of a fresh one (and 2) is written afresh
INDEX_BYTES, INDEX_SECONDS = 256 << 20, 60.0  # an index object at least this often
PARTIAL_SECONDS = 15 * 60.0  # a partial point this often
_RACY = 20 * 10**6  # ns; a file changed within a tick of the clock after it was read shows no new ctime
_PROBLEMS = 1000  # that stand in a point


@dataclass
class Result:
    """What a run did. `point` is None for a dry run; sizes in bytes, `seconds` from beginning to commit."""

    point: Point | None
    previous: Point | None
    totals: Totals
    progress: Progress
    record_bytes: int
    problems: list[Problem]
    problem_count: int
    seconds: float


class Backup:
    """One run of one item of this machine. `progress` may be watched; `on_problem` is told of each problem."""

    def __init__(
        self,
        vault: Vault,
        pages: PageSource,
        mirror: Mirror,
        machine: Machine,
        item: Item,
        selection: Selection,
        *,
        level: int = LEVEL,
        partial_seconds: float = PARTIAL_SECONDS,
        system: System | None = None,
    ) -> None:
        self.progress = Progress()
        self._vault, self._pages, self._mirror = vault, pages, mirror
        self._machine, self._item, self._selection = machine, item, selection
        self._level, self._partial_seconds = level, partial_seconds
        self._system = system or this_system(fetch=selection.fetch)
        self.on_problem: Callable[[Problem], None] = lambda problem: None
        self._record_bytes = 0
        self._problems: list[Problem] = []
        self._problem_count = 0
        self._newest: PointName | None = None  # whole point, which the new one comes after
        self._parent: Point | None = None  # to compare with; may be a partial one

    def run(self, *, dry: bool = False) -> Result:
        """Back up and commit; `dry` only looks. StoreError, LocalError; unreadable files are problems."""
        try:
            return self._run(dry)
        except sqlite3.Error as e:
            raise LocalError(
                f"the mirror of the index failed: {e}",
                "check that the disk of the state folder has room; if the file is damaged, remove it",
            ) from e

    def _run(self, dry: bool) -> Result:
        self._began, self._time = time.monotonic(), time.time_ns()
        self._choose_parent()
        self._refresh_mirror(dry=dry)
        self._system.raise_limits()
        problems, count = list(self._problems), self._problem_count
        try:
            with _deep_folders():
                return self._attempt(dry)
        except Damaged as e:
            if self._parent is None:
                raise
            self._parent = None  # its tree can't be read: everything is read and compared by content
            self._problems, self._problem_count = problems, count
            self._problem(b"", f"the tree of the point before can't be used ({e}); everything was read again")
            with _deep_folders():
                return self._attempt(dry)

    # --- before the walk ----------------------------------------------------------------------------------

    def _choose_parent(self) -> None:
        """The newest point to compare with, partial ones included; and the newest whole one, to count from."""
        names = self._vault.point_names(self._machine.id, self._item.id, partial=True)
        self._newest = max((n for n in names if not n.partial), key=lambda n: n.sequence, default=None)
        self._sequence = self._newest.sequence + 1 if self._newest else 1
        best = max(names, key=lambda n: (n.sequence, not n.partial, n.time), default=None)
        if best is not None:
            try:
                self._parent = self._vault.point(best)
            except (Damaged, ObjectNotFound) as e:
                self._problem(b"", f"the point before can't be used ({e}); everything is read again")

    def _refresh_mirror(self, *, dry: bool) -> None:
        """Take in this machine's index objects, and look whether the packs they name are still there."""
        known = self._mirror.mirrored()
        store, keys = self._vault.store, self._vault.keys
        for info in store.list(f"index/{self._machine.id.hex()}/"):
            if info.name in known:
                known.discard(info.name)
                continue
            try:
                raw = open_object(keys, Kind.INDEX, info.name, store.get(info.name))
                self._mirror.mirror(info.name, decode_record(IndexObject, raw, info.name).packs)
            except Damaged as e:
                self._problem(info.name.encode(), f"{e}; what it lists is stored again")
        if known and not dry:  # some index objects are gone: the vault may be an older copy of itself
            self._mirror.forget_objects(known)
        if self._mirror.evidence_due() and not dry:
            self._gather_evidence()

    def _gather_evidence(self) -> int:
        """See which packs exist: one request for 5,000 of them, every other day. How many are newly gone."""
        present = set()
        for folder in ("packs/", "meta/"):
            for info in self._vault.store.list(folder):
                try:
                    present.add(bytes.fromhex(info.name.rsplit("/", 1)[1]))
                except ValueError:
                    pass  # not ours
        return self._mirror.evidence(present, self._time)

    # --- the run ------------------------------------------------------------------------------------------

    def _attempt(self, dry: bool) -> Result:
        parent = self._parent
        self._pipeline = Pipeline(self._vault, self._mirror, level=self._level)
        progress = self.progress
        progress.reset(self._pipeline.sent, parent.totals if parent else None)
        self._next_partial = time.monotonic() + self._partial_seconds
        self._next_index = time.monotonic() + INDEX_SECONDS
        self._indexed = 0
        previous = Previous()
        if parent is not None:
            trusted = parent.trusted or parent.time
            # Its tree may refer to packs that were seen to be gone only after it was made.
            missing = self._pipeline.trees.missing = self._mirror.lost_since(trusted)
            previous = (ByChange if self._system.keeps_more else Previous)(
                root=parent.root.subtree() if parent.root else None,
                trusted=trusted - _RACY,
                links=parent.links,
                missing=missing,
                afresh=parent.tree_blocks > SCATTERED * parent.fresh_blocks + 2,
            )
        self._previous = previous
        try:
            self._walk = Walk(
                self._vault,
                self._pages,
                None if dry else self._pipeline,
                self._selection,
                previous,
                progress,
                self._problem,
                lambda: None if dry else self._tick(),
                self._system,
            )
            root = self._walk.run()
            point = None if dry else self._commit(root)
        finally:
            self._pipeline.stop()
        return Result(
            point,
            parent,
            point.totals if point else progress.totals(),
            progress,
            self._record_bytes,
            self._problems,
            self._problem_count,
            time.monotonic() - self._began,
        )

    def _tick(self) -> None:
        """Now and then during the walk: note what has arrived; an index object, a partial point."""
        self._pipeline.advance()
        now = time.monotonic()
        unlisted = self._pipeline.sent.data_bytes - self._indexed
        if unlisted >= INDEX_BYTES or (unlisted and now >= self._next_index):
            self._publish()
        if now >= self._next_partial:
            root = self._walk.so_far()
            self._pipeline.flush_trees()
            self._publish()
            self._record_bytes += self._vault.add_point(self._point(self._settled(root), is_partial=True))
            self._next_partial = time.monotonic() + self._partial_seconds

    def _publish(self) -> None:
        """Write an index object of the packs that none lists yet."""
        self._indexed = self._pipeline.sent.data_bytes
        self._next_index = time.monotonic() + INDEX_SECONDS
        packs = self._mirror.unpublished()
        if not packs:
            return
        name = f"index/{self._machine.id.hex()}/{os.urandom(16).hex()}"
        data = seal_object(self._vault.keys, Kind.INDEX, name, encode_record(IndexObject(packs=packs)))
        self._vault.store.create(name, [data])
        self._record_bytes += len(data)
        self._mirror.published(name, [p.pack for p in packs])

    def _commit(self, root: Subtree | None) -> Point:
        self._pipeline.flush()
        trees = self._pipeline.trees
        if self._previous.afresh and not self._differs() and not trees.sent:
            trees.discard()  # nothing had changed: the scattered tree serves as well, and costs nothing
            root = self._previous.root
        else:
            self._pipeline.flush_trees()
        self._publish()
        if self._mirror.evidence_due():
            gone = self._gather_evidence()
            if gone:
                raise LocalError(f"{gone} packs vanished from the vault during the backup", "run it again")
        point = self._point(self._settled(root))
        self._record_bytes += self._vault.add_point(point)
        self._mirror.committed()
        return point

    def _differs(self) -> bool:
        p = self.progress
        return self._parent is None or self._parent.partial or bool(p.new or p.changed or p.removed)

    def _settled(self, root: Subtree | None) -> Subtree | None:
        return root and root._replace(at=self._pipeline.trees.resolve(root.at))

    def _point(self, root: Subtree | None, *, is_partial: bool = False) -> Point:
        now = time.time_ns()
        parent, sent = self._parent, self._pipeline.sent
        kept = root is not None and root == self._previous.root and parent is not None
        trusted = 0
        if is_partial:  # its tree holds entries of the parent's, which are no surer than they were there
            trusted = min(self._time, (parent.trusted or parent.time) if parent else self._time)
        return Point(
            id=os.urandom(16),
            machine=self._machine.id,
            item=self._item.id,
            machine_name=self._machine.name,
            item_name=self._item.name,
            hostname=socket.gethostname(),
            system=self._system.name,
            sequence=self._sequence,
            previous=self._newest.id if self._newest else None,
            time=now if is_partial else self._time,
            finished=now,
            paths=self._selection.paths,
            excludes=self._selection.excludes,
            root=Root.of(root) if root else None,
            partial=is_partial,
            trusted=trusted,
            links=self._walk.links.highest,
            tree_blocks=parent.tree_blocks if kept and parent else len(self._walk.tree_blocks),
            fresh_blocks=parent.fresh_blocks if kept and parent else self._walk.page_bytes // TREE_BLOCK_RAW + 1,
            new_bytes=sent.new_bytes,
            stored_bytes=sent.data_bytes + sent.tree_bytes,
            problems=self._problems,
            problem_count=self._problem_count,
            distinct_names=self._walk.distinct_names and not is_partial,
        )

    def _problem(self, path: bytes, reason: str) -> None:
        problem = Problem(path, reason)
        self._problem_count += 1
        if len(self._problems) < _PROBLEMS:
            self._problems.append(problem)
        self.on_problem(problem)


_walks: list[int] = []  # the limit from before the first of the walks under way in this process
_walks_lock = threading.Lock()


@contextmanager
def _deep_folders() -> Iterator[None]:
    """Let the walk have a few frames for each level of folders, however many there are.

    For its time only: decoders in C recurse too, and with such a limit garbage that is nested deeply enough
    ends the process instead of being refused.
    """
    with _walks_lock:
        _walks.append(_walks[0] if _walks else sys.getrecursionlimit())
        sys.setrecursionlimit(max(_walks[0], 100_000))
    try:
        yield
    finally:
        with _walks_lock:
            before = _walks.pop()
            if not _walks:
                sys.setrecursionlimit(before)
