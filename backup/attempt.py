"""One attempt at a backup: the walk, and the writes in their order.

The order is an invariant: data packs, tree packs, index object, point. Nothing refers to what the store has not
acknowledged, so a run that ends at any instant leaves a vault in which everything that is referred to exists; what
it had sent is found again through the mirror's journal. Before each point, partial ones included, the store is
looked at again: whatever the point relies on must still be there, or the attempt must be repeated.
"""

from __future__ import annotations

import math
import os
import platform
import time
from typing import Generic, NamedTuple

from msgspec.structs import replace

from backup.evidence import AGE, Evidence, Fatal, StartOver
from backup.lineage import Ancestry, Lineage
from backup.pipeline import Pipeline
from backup.previous import PreviousPoint
from backup.run import Result, Run
from backup.systems.base import File, Folder, Stat
from backup.walk import Walk
from catalog.errors import MissingData, TooLate
from catalog.format.records import IndexObject, Point, PointName, Root, encode_record
from catalog.format.sealed import Kind, seal_object
from catalog.format.values import Subtree
from catalog.format.writing import TREE_BLOCK_RAW
from catalog.interruption import check
from catalog.store.deadline import Deadline
from catalog.vault import Stored

SCATTERED = 2  # a tree in more than this many times the blocks of a fresh one (and 2) is written afresh
INDEX_BYTES, INDEX_SECONDS = 256 << 20, 60.0  # an index object at least this often
TRIES = 3  # at writing a point, if a deadline passes
_RACY = 20 * 10**6  # ns; a file changed within a tick of the clock after it was read shows no new ctime


class Start(NamedTuple):
    """The start time of a run: by a clock for durations (s), and in UTC (ns)."""

    monotonic: float
    time: int

    @classmethod
    def now(cls) -> Start:
        return cls(time.monotonic(), time.time_ns())


class Attempt(Generic[Folder, File, Stat]):
    """One attempt, to be run once. With `dry`, it writes nothing.

    `record_bytes` are the bytes of index objects and points written so far, by attempts before it included.
    """

    def __init__(
        self,
        run: Run[Folder, File, Stat],
        ancestry: Ancestry[Folder, File, Stat],
        lineage: Lineage,
        evidence: Evidence,
        start: Start,
        *,
        dry: bool,
        record_bytes: int = 0,
    ) -> None:
        self.record_bytes = record_bytes
        self._run, self._evidence, self._start, self._dry = run, evidence, start, dry
        self._ancestry, self._lineage = ancestry, lineage
        parent = lineage.parent
        self._pipeline = Pipeline(run.vault, run.mirror, run.machine.id, evidence.find, level=run.level)
        self._previous = PreviousPoint()
        run.mirror.begin_attempt()
        if parent is not None:
            self._previous = PreviousPoint(
                root=parent.root.subtree() if parent.root else None,
                trusted=(parent.trusted or parent.time) - _RACY,
                links=parent.links,
                afresh=parent.tree_blocks > SCATTERED * parent.fresh_blocks + 2,
                compare_modes=run.system.status_has_mode,
            )
        if parent is not None and not dry:
            doubtful = not lineage.sound or run.mirror.lost_since_whole(run.item.id)
            self._pipeline.trees.gone = evidence.gone
            pages = run.pages if doubtful else None
            self._previous = replace(self._previous, lossy=evidence.lossy, gone=evidence.gone, pages=pages)
            if not lineage.sound:
                self._previous = replace(self._previous, hides=evidence.hides)
        self.progress = run.progress
        self.progress.reset(self._pipeline.sent, parent.totals if parent else None)
        self._walk = Walk(run, self._previous, None if dry else self._pipeline, self.tick)
        self._indexed = 0  # bytes of data packs at the last index object
        # What a point that is not sound refers to is known to be there only once the walk has passed it.
        self._next_partial = time.monotonic() + run.partial_seconds if lineage.sound else math.inf
        self._next_index = time.monotonic() + INDEX_SECONDS

    def run(self) -> Result:
        """Walk and commit. Raises Damaged if the parent point's tree is damaged."""
        run, progress = self._run, self.progress
        try:
            run.begin(dry=self._dry)
            root = self._walk.run()
            point = None if self._dry else self._commit(root)
        except (KeyboardInterrupt, SystemExit):
            run.vault.store.stop_waiting()
            raise
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
            run.reads.notes,
        )

    def tick(self) -> None:
        """Record completed uploads; write an index object or a partial point if due. Called during the walk."""
        check()
        if self._dry:
            return
        self._pipeline.advance()
        self._run.guard.check()
        self._run.source.check()
        now = time.monotonic()
        unlisted = self._pipeline.sent.data_bytes - self._indexed
        if unlisted >= INDEX_BYTES or (unlisted and now >= self._next_index):
            self._publish()
        if now >= self._next_partial:
            root = self._walk.so_far()
            self._pipeline.flush_trees()
            self._publish()
            self._write(root, is_partial=True)
            self._next_partial = time.monotonic() + self._run.partial_seconds

    def _publish(self) -> None:
        """Write an index object that lists the packs not listed yet."""
        vault, mirror = self._run.vault, self._run.mirror
        self._indexed = self._pipeline.sent.data_bytes
        self._next_index = time.monotonic() + INDEX_SECONDS
        for packs in mirror.unpublished():
            name = f"index/{self._run.machine.id.hex()}/{os.urandom(16).hex()}"
            data = seal_object(vault.keys, Kind.INDEX, name, encode_record(IndexObject(packs=packs)))
            vault.store.create(name, [data])
            self.record_bytes += len(data)
            mirror.published(name, [p.pack for p in packs])

    def _commit(self, root: Subtree | None) -> Point:
        run, trees = self._run, self._pipeline.trees
        run.guard.end()
        self._pipeline.flush()
        if self._previous.afresh and not self._differs() and not trees.sent:
            trees.discard()  # nothing has changed: keep the scattered tree, which costs nothing
            root = self._previous.root
        else:
            self._pipeline.flush_trees()
        self._publish()
        point = self._write(root)
        name = PointName.of(point)
        run.mirror.committed(run.item.id, str(name))
        run.seen.note(name)
        return point

    def _write(self, root: Subtree | None, *, is_partial: bool = False) -> Point:
        """Look at the store again, and write a point. Raises StartOver, or Fatal if it was too late."""
        vault, late = self._run.vault, None
        self._run.source.check(final=True)
        for _ in range(TRIES):
            until = Deadline.after(AGE / 2 / 1e9)  # from before the look: what was seen counts for no longer
            now = vault.store.now()
            self._evidence.renew(now)
            self._lineage = self._ancestry.still(self._lineage)
            point = self._point(self._settled(root), now, is_partial=is_partial)
            try:
                stored = vault.add_point(point, until=until)
            except TooLate as e:  # the machine slept: look again, unless it was stored and the answer lost
                infos = list(vault.store.list(str(PointName.of(point))))
                if not infos:
                    late = e
                    continue
                stored = Stored(infos[0].size, infos[0].modified)
            self.record_bytes += stored.size
            if stored.modified - now > AGE:  # it slept within the request
                self._check_late(point)
            return point
        assert late is not None
        raise late

    def _check_late(self, point: Point) -> None:
        """Look again after a point was written later than it may have been. Raises Fatal."""
        try:
            self._evidence.renew(point.checked + 2 * AGE)
            self._ancestry.still(self._lineage)
            if not self._ancestry.counts(PointName.of(point)):
                raise StartOver("another point of its number is gone, and readers take it for that one")
        except StartOver as e:
            what = f"the recovery point {point.id.hex()[:8]} can't be relied on: {e}"
            raise Fatal(MissingData(what, "run the backup again at once: it does not rely on this point")) from e

    def _differs(self) -> bool:
        p, parent = self.progress, self._lineage.parent
        return parent is None or parent.partial or bool(p.new or p.changed or p.removed)

    def _settled(self, root: Subtree | None) -> Subtree | None:
        return root and root._replace(at=self._pipeline.trees.resolve(root.at))

    def _point(self, root: Subtree | None, checked: int, *, is_partial: bool) -> Point:
        now, began = time.time_ns(), self._run.reads.time or self._start.time
        run, walk, sent = self._run, self._walk, self._pipeline.sent
        parent = self._lineage.parent
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
            hostname=platform.node(),
            system=run.system.name,
            sequence=self._lineage.sequence,
            previous=self._lineage.previous,
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
            checked=checked,
            kind=run.source.kind,
            volumes=run.reads.volumes,
        )
