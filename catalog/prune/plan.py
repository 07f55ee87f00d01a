"""What a run of pruning does to the packs of a series: a pure function of what it has read.

tests/model/pruner.py is the model of it, which was explored; tests/upkeep/test_plan.py compares the two. The rules
and the reasons for each are in docs/prune-design.md. In doubt, bytes are kept.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import NamedTuple, TypeAlias

from catalog.errors import StoreError
from catalog.format.blocks import PackKind
from catalog.format.message import MAX_BLOCK, MAX_OFFSET
from catalog.format.packs import HEADER
from catalog.format.places import HIDDEN, PlacesRecord
from catalog.places import Run
from catalog.prune.segments import (
    EVERYTHING,
    NEW,
    Span,
    clipped,
    length,
    marked,
    put,
    ripe,
    within,
    without,
)
from catalog.prune.state import Key, State

HOUR = 3600 * 10**9  # ns
G = HIDDEN  # from hiding a block to deleting it
WAIT = 72 * HOUR  # from "its blocks are elsewhere" to deleting a pack: longer than a listing may be behind
DELETING = 21 * 3600.0  # s after its record was created in which a run may delete
_AT_ONCE = 512  # packs whose contents are looked for together
_MOST_NAMED = 3  # packs in a refusal
_MOST_ROWS = 1 << 18  # of a record; it has 16 MB then. What would need more waits for a later run
_MOST_IN_ONE = 1 << 12  # packs in a carrier
_MOST_SMALL = 1 << 14  # small objects that are moved in a run, the oldest ones


class Object(NamedTuple):
    """A listed pack or carrier. `size` in bytes, `modified` in ns by the store's clock."""

    key: Key
    size: int
    modified: int


class LivePack(NamedTuple):
    """The bytes of a pack that recovery points refer to."""

    key: Key
    spans: Sequence[Span]


class Facts(NamedTuple):
    """What a run has read of a series. Times in ns by the store's clock.

    `record` is the newest record of places, which was stored at `created`; `began` is before the points were
    listed. Nothing younger than `age`, at least G, is hidden, and nothing younger than `rests` is moved: the store
    would refuse to delete it. What is hidden stays for `g` after `given_up`, when a point was given up that no run
    had as a root. `g` and `wait` are less than G and WAIT in tests only. Of packs in `doubtful` a
    check has found blocks bad, where they are now.
    """

    record: PlacesRecord | None
    created: int
    began: int
    age: int = G
    rests: int = 0
    g: int = G
    wait: int = WAIT
    given_up: int = 0
    doubtful: Collection[Key] = ()


class Limits(NamedTuple):
    """Which moves pay. Bytes, but for `share` and `count`.

    An object is cut if `share` of it, and at least `waste`, may go. A cut of a pack of 32 MiB costs about six
    requests, as much as storing 2 MiB for a month; and the rest of it is written once more, and occupies its space
    twice for 72 hours. So at most a fifth of a vault is waste. Objects smaller than `small` are merged if there are
    `most` of one kind, into carriers of `target`.
    """

    share: float = 0.2
    waste: int = 1 << 20
    small: int = 4 << 20
    most: int = 64
    target: int = 32 << 20


class Move(NamedTuple):
    """A pack to be moved to a carrier, without the blocks in `drop`. All others stay, also those not known here.

    `source` is the object that they are read from, `size` its bytes; `runs` are those of the pack if that is a
    carrier. `kept` is about the number of bytes that are moved.
    """

    key: Key
    drop: tuple[Span, ...]
    source: Key
    size: int
    runs: tuple[Run, ...]
    kept: int


Ends: TypeAlias = Callable[[Sequence[Object]], Mapping[Key, int]]  # where the tables of contents of packs begin


class Totals(NamedTuple):
    """Bytes of a series: of all its objects, what points refer to, and what is hidden and waits."""

    stored: int = 0
    live: int = 0
    hidden: int = 0
    objects: int = 0


class Plan:
    """One run for one series. `take` the listings and the mark, then look at `refusal`, `deletes` and `moves`.

    `objects` and `live` come sorted by key. `ends` says where the tables of contents of packs begin (bytes); a pack
    that it doesn't know is kept as it is.
    """

    def __init__(self, facts: Facts, limits: Limits = Limits()) -> None:
        self._facts, self._limits = facts, limits
        self.before = State.of(facts.record, facts.created)
        self.state = self.before.copy()
        self.deletes: list[Object] = []
        self.missing: list[Key] = []
        self.totals = Totals()
        self._carriers = self.before.carriers()
        self._carried: dict[Key, list[Key]] = {}  # packs, by the carriers in which blocks of them are
        for key in self.before.moved:
            for carrier in self.before.holders(key):
                self._carried.setdefault(carrier, []).append(key)
        self._named = {*self.before.dead, *self.before.moved, *self.before.leaving, *self._carriers}
        self._objects: dict[Key, Object] = {}  # those that a row names, or that will have one
        self._live: dict[Key, Sequence[Span]] = {}  # of packs that a row names
        self._ends: dict[Key, int] = {}
        self._small: dict[Key, Object] = {}
        self._youngest: list[tuple[int, Key]] = []  # a heap of the same: the youngest first
        self._deleted: set[Key] = set()
        self._staying = {Key(row.kind, row.pack) for row in self.before.broken}
        self._packs_in = Counter(carrier for key in self.before.moved for carrier in self.before.holders(key))

    # --- what was read ------------------------------------------------------------------------------------

    def take(self, objects: Iterable[Object], live: Iterable[LivePack], ends: Ends) -> None:
        """Compare the listing of a series with the mark, and decide what is hidden and what may go."""
        stored = total = count = 0
        waiting: list[LivePack] = []  # live packs that are not where they were: their carriers may be listed yet
        rows = self._together(objects, live)
        while some := list(islice(rows, _AT_ONCE)):
            asked = [obj for obj, spans in some if obj is not None and self._is_partly_dead(obj, spans)]
            known = ends(asked) if asked else {}
            for obj, pack in some:
                total += length(pack.spans)
                if obj is None or (pack.spans and obj.size < pack.spans[-1][1]):
                    waiting.append(pack)
                if obj is not None:
                    stored, count = stored + obj.size, count + 1
                    self._look(obj, pack, known)
                elif pack.key in self._named:
                    self._live[pack.key] = pack.spans
        for pack in waiting:
            if not self._is_elsewhere(pack):
                self.missing.append(pack.key)
        self._mark()
        self.totals = Totals(stored, total, self._hidden_bytes(), count)

    @staticmethod
    def _together(objects: Iterable[Object], live: Iterable[LivePack]) -> Iterator[tuple[Object | None, LivePack]]:
        """Each object with its live bytes; and packs that have such and are not listed."""
        rest, last = iter(live), None
        pack = next(rest, None)
        for obj in objects:
            if last is not None and obj.key <= last:
                raise StoreError(
                    "the store's listing of packs is not in the order of names", "run the command again"
                )
            last = obj.key
            while pack is not None and pack.key < obj.key:
                yield None, pack
                pack = next(rest, None)
            if pack is not None and pack.key == obj.key:
                yield obj, pack
                pack = next(rest, None)
            else:
                yield obj, LivePack(obj.key, ())
        while pack is not None:
            yield None, pack
            pack = next(rest, None)

    def _is_old(self, obj: Object) -> bool:
        return self._facts.began - obj.modified >= self._facts.age

    def _is_partly_dead(self, obj: Object, pack: LivePack) -> bool:
        """Whether it takes the object's table of contents to say what of it is dead."""
        if obj.key in self._carriers:
            return True
        if obj.key in self.before.moved:
            return False
        return bool(pack.spans) and (self._is_old(obj) or obj.key in self.before.dead)

    def _look(self, obj: Object, pack: LivePack, ends: Mapping[Key, int]) -> None:
        key, end = obj.key, ends.get(obj.key)
        where = [EVERYTHING] if not pack.spans else [(HEADER.size, end)] if end is not None else []
        dead = without(where, pack.spans) if self._is_old(obj) else []
        if key in self._named or (dead and len(self._objects) < _MOST_ROWS):
            self._objects[key], self._live[key] = obj, pack.spans
            if end is not None:
                self._ends[key] = end
        is_alive = bool(pack.spans) or key in self._carried
        if obj.size < self._limits.small and is_alive and key not in self.before.moved:
            self._small[key] = obj
            heapq.heappush(self._youngest, (-obj.modified, key))
            if len(self._youngest) > _MOST_SMALL:
                del self._small[heapq.heappop(self._youngest)[1]]

    def _is_elsewhere(self, pack: LivePack) -> bool:
        """Whether what is not in the pack itself is in listed carriers, or known to be lost."""
        runs = self.before.moved.get(pack.key, ())
        there = [(run.start, run.end) for run in runs if self._holds(pack.key.kind, run)]
        left = without(pack.spans, there)
        lost = {row.offset for row in self.before.broken if (row.kind, row.pack) == pack.key}
        known = lost | {row.offset for row in self.before.instead if (row.kind, row.pack) == pack.key}
        return None in lost or all(_are_blocks(known, *span) for span in left)

    def _holds(self, kind: int, run: Run) -> bool:
        carrier = self._objects.get(Key(kind, run.holder))
        return carrier is not None and run.at + run.end - run.start <= carrier.size

    # --- the mark -----------------------------------------------------------------------------------------

    def _mark(self) -> None:
        state, left = self.state, dict(self.state.leaving)
        for key, obj in self._objects.items():
            self._mark_object(key, obj)
        for key in list(state.dead):
            self._remove(key)
        for key, since in left.items():
            if key in state.leaving:
                self._leave(key, since)

    def _mark_object(self, key: Key, obj: Object) -> None:
        state, old = self.state, self._is_old(obj)
        for pack in self._carried.get(key, ()):
            runs = [(run.start, run.end) for run in self.before.moved[pack] if run.holder == key.id]
            self._mark_spans(pack, runs, old=old)
        if key in self._carried:
            return
        if key in self.before.moved:  # its blocks are elsewhere
            state.leaving.setdefault(key, NEW)  # it may have come back
            return
        live = self._live.get(key, ())
        if key in state.leaving:
            if live:  # it came back, and a point refers to it
                del state.leaving[key]
                state.dead[key] = put(state.dead.get(key, ()), [EVERYTHING], None)
            return
        end = self._ends.get(key)
        if live:  # header and contents are no blocks: what was said of them stays
            self._mark_spans(key, [(HEADER.size, MAX_OFFSET if end is None else end)], old=old and end is not None)
        else:
            self._mark_spans(key, [EVERYTHING], old=old)

    def _mark_spans(self, pack: Key, where: Sequence[Span], *, old: bool) -> None:
        after = marked(self.state.dead.get(pack, ()), self._live.get(pack, ()), where, old=old)
        if after:
            self.state.dead[pack] = after

    def ripe(self, pack: Key) -> list[Span]:
        """The bytes of a pack that were dead for G before this run, by the record it read, and are dead now."""
        if self._facts.began - self._facts.given_up < self._facts.g:
            return []  # a child of that point may be about to commit
        return ripe(self.state.dead.get(pack, ()), self._live.get(pack, ()), self._facts.began - self._facts.g)

    def _remove(self, key: Key) -> None:
        """Let a pack go, if all that is left of it may."""
        state = self.state
        runs = state.moved.get(key)
        if runs:
            if not without([(run.start, run.end) for run in runs], self.ripe(key)):
                carriers = state.holders(key)
                del state.moved[key]
                self._bury(key)
                self._left(carriers)
        elif key not in self._objects:
            self._bury(key)
        elif not self._live.get(key) and not without([EVERYTHING], self.ripe(key)):
            self._delete(key)

    def _bury(self, key: Key) -> None:
        """A pack is gone: it stays hidden until all who saw it have looked again."""
        self.state.dead.pop(key, None)
        self.state.leaving[key] = NEW

    def _left(self, carriers: Iterable[Key]) -> None:
        """Note that a pack is no longer in these carriers. Those that nothing is in any more leave."""
        for one in carriers:
            self._packs_in[one] -= 1
            if not self._packs_in[one]:
                self.state.leaving[one] = NEW

    def _leave(self, key: Key, since: int) -> None:
        """Delete what has left for long enough; forget what was deleted."""
        runs = self.state.moved.get(key, ())
        if self._packs_in[key] or self._facts.began - since < (self._facts.wait if runs else self._facts.g):
            return
        if key not in self._objects:
            del self.state.leaving[key]
        elif all(self._holds(key.kind, run) for run in runs) and not (runs and self._is_doubtful(key)):
            self._delete(key)
            if not runs:
                self.state.leaving[key] = NEW  # it may have been back

    def _is_doubtful(self, key: Key) -> bool:
        """Whether blocks of a moved pack are known to be bad: its own object may have them whole."""
        return key in self._facts.doubtful or key in self._staying

    def _delete(self, key: Key) -> None:
        self.deletes.append(self._objects[key])
        self._deleted.add(key)

    # --- moves --------------------------------------------------------------------------------------------

    def moves(self, stay: Collection[Key] = ()) -> list[list[Move]]:
        """The packs to be moved, by carrier: those of which enough may go, then small ones, in order of time.

        Not from the objects of those in `stay`, nor of packs with blocks that are known to be broken: there a copy
        of the vault can put them right.
        """
        self._staying |= set(stay)
        # A pack whose original goes in this run stays where it is until that is gone.
        busy = self._deleted | self.state.leaving.keys()
        busy |= {carrier for key in self._deleted for carrier in self.state.holders(key)}
        cut = [obj for obj in self._cut_objects() if obj.key not in busy]
        moves = [move for obj in cut for move in self._moves_of(obj)]
        found, taken = list(self._grouped(moves)), {move.key for move in moves}
        busy |= {obj.key for obj in cut}
        small = sorted((obj for obj in self._small.values() if self._may_move(obj)), key=lambda obj: obj.modified)
        for kind in (PackKind.DATA, PackKind.TREE):
            some = [obj for obj in small if obj.key.kind == kind and obj.key not in busy]
            if len(some) >= self._limits.most:
                moves = [move for obj in some for move in self._moves_of(obj) if move.key not in taken]
                found.extend(self._grouped(moves))
        room = _MOST_ROWS - len(self.state.moved)
        while found and sum(map(len, found)) > room:
            found.pop()
        return found

    def _may_move(self, obj: Object) -> bool:
        packs = self._carried.get(obj.key) or [obj.key]
        return self._facts.began - obj.modified >= self._facts.rests and self._staying.isdisjoint(packs)

    def _cut_objects(self) -> list[Object]:
        """Packs and carriers of which enough may go, in order."""
        found = []
        for key, obj in sorted(self._objects.items()):
            end = self._ends.get(key)
            if end is None or key in self.state.moved or not self._may_move(obj):
                continue
            if key in self._carried:
                packs = self._packs_of(key)
                used = sum(r.end - r.start for p in packs for r in self.state.moved[p] if r.holder == key.id)
                waste = end - HEADER.size - used + sum(length(self._droppable(p)) for p in packs)
            else:
                waste = length(self._droppable(key))
            if waste and waste >= max(self._limits.waste, self._limits.share * obj.size):
                found.append(obj)
        return found

    def _packs_of(self, carrier: Key) -> list[Key]:
        """The packs of which blocks are in a carrier."""
        return [pack for pack in self._carried.get(carrier, ()) if pack in self.state.moved]

    def _droppable(self, pack: Key) -> list[Span]:
        """The bytes of blocks of a pack that may go now, where they are."""
        return within(self.ripe(pack), self._held(pack))

    def _held(self, pack: Key) -> list[Span]:
        """The bytes of a pack that are blocks: in carriers, or between its header and its contents."""
        runs = self.state.moved.get(pack)
        if runs:
            return [(run.start, run.end) for run in runs]
        end = self._ends.get(pack)
        return [] if end is None else [(HEADER.size, end)]

    def _moves_of(self, obj: Object) -> Iterator[Move]:
        """The moves that empty an object: of the pack itself, or of all packs in a carrier."""
        for pack in self._packs_of(obj.key) if obj.key in self._carried else [obj.key]:
            held = self._held(pack) or [(HEADER.size, obj.size)]  # its contents say where the blocks of a pack end
            drop = within(self.ripe(pack), held)
            kept = length(held) - length(drop)
            if kept and (self.state.holders(pack) or {pack}) == {obj.key}:
                yield Move(pack, tuple(drop), obj.key, obj.size, self.state.moved.get(pack, ()), kept)

    def _grouped(self, moves: list[Move]) -> Iterator[list[Move]]:
        group: list[Move] = []
        size = 0
        for move in moves:
            is_full = size >= self._limits.target or len(group) >= _MOST_IN_ONE
            if group and (group[0].key.kind != move.key.kind or is_full):
                yield group
                group, size = [], 0
            group.append(move)
            size += move.kept
        if group:
            yield group

    def moved(self, carrier: Key, packs: Mapping[Key, tuple[Run, ...]]) -> None:
        """Note that blocks of packs are in a carrier now, which was read back, and their other blocks nowhere."""
        state = self.state
        before = {key: state.holders(key) for key in packs}
        for key, runs in packs.items():
            assert runs and all(run.holder == carrier.id for run in runs)
            state.moved[key] = runs
            dead = clipped(state.dead.get(key, ()), [(run.start, run.end) for run in runs])
            state.dead.pop(key, None)
            if dead:
                state.dead[key] = dead
        for key, carriers in before.items():
            self._packs_in[carrier] += 1
            if carriers:
                self._left(carriers)
            else:
                state.leaving[key] = NEW

    # --- results ------------------------------------------------------------------------------------------

    def refusal(self) -> str:
        """Why this series can't be pruned now; empty if it can."""
        if not self.missing:
            return ""
        named = ", ".join(f"{'packs' if k.kind == 1 else 'meta'} {k.id.hex()}" for k in self.missing[:_MOST_NAMED])
        more = len(self.missing) - _MOST_NAMED
        return f"recovery points refer to packs that the vault lacks: {named}" + (
            f" and {more} more" if more > 0 else ""
        )

    def is_changed(self) -> bool:
        return not self.state.same_as(self.before)

    def freed(self) -> int:
        """Bytes of the objects that are to be deleted."""
        return sum(obj.size for obj in self.deletes)

    def _hidden_bytes(self) -> int:
        """Bytes that are hidden and dead, or in objects that leave."""
        total = 0
        for key, segments in self.state.dead.items():
            obj = self._objects.get(key)
            most = [(0, obj.size)] if obj is not None and key not in self.state.moved else self._held(key)
            dead = [(s.start, s.end) for s in segments if s.since is not None]
            total += length(within(dead, most))
        return total + sum(self._objects[key].size for key in self.state.leaving if key in self._objects)


def _are_blocks(known: Collection[int | None], start: int, end: int) -> bool:
    """Whether bytes can be blocks with these offsets alone: how long each is, isn't known."""
    offsets = sorted(offset for offset in known if offset is not None and start <= offset < end)
    return bool(offsets) and offsets[0] == start and all(b - a <= MAX_BLOCK for a, b in pairwise([*offsets, end]))
