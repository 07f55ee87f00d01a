"""One attempt at a backup: the walk, and the writes in their order.

The order is an invariant: data packs, tree packs, index object, point. Nothing refers to what the store has not
acknowledged, so a run that ends at any instant leaves a vault in which everything that is referred to exists; what
it had sent is found again through the mirror's journal.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Generic, NamedTuple

from backup.mirroring import gather_evidence
from backup.pipeline import Pipeline
from backup.previous import PreviousPoint
from backup.run import Result, Run
from backup.systems.base import File, Folder, Stat
from backup.walk import Walk
from catalog.errors import LocalError
from catalog.format.records import IndexObject, Point, PointName, Root, encode_record
from catalog.format.sealed import Kind, seal_object
from catalog.format.values import Subtree
from catalog.format.writing import TREE_BLOCK_RAW

SCATTERED = 2  # a tree in more than this many times the blocks of a fresh one (and 2) is written afresh
INDEX_BYTES, INDEX_SECONDS = 256 << 20, 60.0  # an index object at least this often
_RACY = 20 * 10**6  # ns; a file changed within a tick of the clock after it was read shows no new ctime


class Start(NamedTuple):
    """The start time of a run: by a clock for durations (s), and in UTC (ns)."""

    monotonic: float
    time: int

    @classmethod
    def now(cls) -> Start:
        return cls(time.monotonic(), time.time_ns())


class Lineage(NamedTuple):
    """The newest whole point, which the new one follows; and the point to compare with, which may be partial."""

    newest: PointName | None
    parent: Point | None

    @property
    def sequence(self) -> int:
        """The sequence number of the new point."""
        return self.newest.sequence + 1 if self.newest else 1


class Attempt(Generic[Folder, File, Stat]):
    """One attempt, to be run once. With `dry`, it writes nothing.

    `record_bytes` are the bytes of index objects and points written so far, by attempts before it included.
    """

    def __init__(
        self, run: Run[Folder, File, Stat], lineage: Lineage, start: Start, *, dry: bool, record_bytes: int = 0
    ) -> None:
        self.record_bytes = record_bytes
        self._run, self._lineage, self._start, self._dry = run, lineage, start, dry
        parent = lineage.parent
        self._pipeline = Pipeline(run.vault, run.mirror, run.machine.id, level=run.level)
        self._previous = PreviousPoint()
        if parent is not None:
            trusted = parent.trusted or parent.time
            # Its tree may refer to packs whose loss was noticed after it was made.
            missing = self._pipeline.trees.missing = run.mirror.lost_since(trusted)
            self._previous = PreviousPoint(
                root=parent.root.subtree() if parent.root else None,
                trusted=trusted - _RACY,
                links=parent.links,
                missing=missing,
                afresh=parent.tree_blocks > SCATTERED * parent.fresh_blocks + 2,
                compare_modes=run.system.status_has_mode,
            )
        self.progress = run.progress
        self.progress.reset(self._pipeline.sent, parent.totals if parent else None)
        self._walk = Walk(run, self._previous, None if dry else self._pipeline, self.tick)
        self._indexed = 0  # bytes of data packs at the last index object
        self._next_partial = time.monotonic() + run.partial_seconds
        self._next_index = time.monotonic() + INDEX_SECONDS

    def run(self) -> Result:
        """Walk and commit. Raises Damaged if the parent point's tree is damaged."""
        run, progress = self._run, self.progress
        try:
            root = self._walk.run()
            point = None if self._dry else self._commit(root)
        finally:
            self._pipeline.stop()
        return Result(
            point,
            self._lineage.parent,
            point.totals if point else progress.totals(),
            progress,
            self.record_bytes,
            run.problems.listed,
            run.problems.count,
            time.monotonic() - self._start.monotonic,
        )

    def tick(self) -> None:
        """Record completed uploads; write an index object or a partial point if due. Called during the walk."""
        if self._dry:
            return
        self._pipeline.advance()
        now = time.monotonic()
        unlisted = self._pipeline.sent.data_bytes - self._indexed
        if unlisted >= INDEX_BYTES or (unlisted and now >= self._next_index):
            self._publish()
        if now >= self._next_partial:
            root = self._walk.so_far()
            self._pipeline.flush_trees()
            self._publish()
            self.record_bytes += self._run.vault.add_point(self._point(self._settled(root), is_partial=True))
            self._next_partial = time.monotonic() + self._run.partial_seconds

    def _publish(self) -> None:
        """Write an index object that lists the packs not listed yet."""
        vault, mirror = self._run.vault, self._run.mirror
        self._indexed = self._pipeline.sent.data_bytes
        self._next_index = time.monotonic() + INDEX_SECONDS
        packs = mirror.unpublished()
        if not packs:
            return
        name = f"index/{self._run.machine.id.hex()}/{os.urandom(16).hex()}"
        data = seal_object(vault.keys, Kind.INDEX, name, encode_record(IndexObject(packs=packs)))
        vault.store.create(name, [data])
        self.record_bytes += len(data)
        mirror.published(name, [p.pack for p in packs])

    def _commit(self, root: Subtree | None) -> Point:
        vault, mirror, trees = self._run.vault, self._run.mirror, self._pipeline.trees
        self._pipeline.flush()
        if self._previous.afresh and not self._differs() and not trees.sent:
            trees.discard()  # nothing has changed: keep the scattered tree, which costs nothing
            root = self._previous.root
        else:
            self._pipeline.flush_trees()
        self._publish()
        if mirror.evidence_due():
            gone = gather_evidence(mirror, vault, self._run.machine, self._start.time)
            if gone:
                raise LocalError(f"{gone} packs vanished from the vault during the backup", "run the backup again")
        point = self._point(self._settled(root))
        self.record_bytes += vault.add_point(point)
        mirror.committed()
        return point

    def _differs(self) -> bool:
        p, parent = self.progress, self._lineage.parent
        return parent is None or parent.partial or bool(p.new or p.changed or p.removed)

    def _settled(self, root: Subtree | None) -> Subtree | None:
        return root and root._replace(at=self._pipeline.trees.resolve(root.at))

    def _point(self, root: Subtree | None, *, is_partial: bool = False) -> Point:
        now, began = time.time_ns(), self._start.time
        run, walk, sent = self._run, self._walk, self._pipeline.sent
        newest, parent = self._lineage
        kept = root is not None and root == self._previous.root and parent is not None
        trusted = 0
        if is_partial:  # it has entries of the parent, and is trusted no more than that
            trusted = min(began, (parent.trusted or parent.time) if parent else began)
        return Point(
            id=os.urandom(16),
            machine=run.machine.id,
            item=run.item.id,
            machine_name=run.machine.name,
            item_name=run.item.name,
            hostname=socket.gethostname(),
            system=run.system.name,
            sequence=self._lineage.sequence,
            previous=newest.id if newest else None,
            time=now if is_partial else began,
            finished=now,
            paths=run.selection.paths,
            excludes=run.selection.excludes,
            root=Root.of(root) if root else None,
            partial=is_partial,
            trusted=trusted,
            links=walk.links.highest,
            tree_blocks=parent.tree_blocks if kept and parent else len(walk.tree_blocks),
            fresh_blocks=parent.fresh_blocks if kept and parent else walk.page_bytes // TREE_BLOCK_RAW + 1,
            new_bytes=sent.new_bytes,
            stored_bytes=sent.data_bytes + sent.tree_bytes,
            problems=run.problems.listed,
            problem_count=run.problems.count,
            distinct_names=walk.distinct_names and not is_partial,
        )
