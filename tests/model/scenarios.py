"""The scenes that are searched, and the mutants that each of them kills."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from tests.model.design import DESIGN, Design
from tests.model.others import accident, forge, forget, give_up, hold, read, remember, serve, undelete, vanish
from tests.model.pruner import prune
from tests.model.store import ADMIN, READER, STORE, UPKEEP, WRITER, Old, Store
from tests.model.values import BEGIN, OLD, Ledger, Obj, Places, Point
from tests.model.world import Job, Limits, Role, Scene
from tests.model.writer import backup

FIRST, SECOND = Obj(0, OLD, ((0, 0), (1, 1))), Obj(1, OLD, ((2, 2), (3, 3)))
LONG_AGO = BEGIN - 500


def point(one: int, sequence: int, *places: int, checked: int = OLD, partial: bool = False) -> Point:
    """A point of the time `checked` that has the values of these places."""
    return Point(one, sequence, tuple((p, p) for p in places), checked, checked, checked, partial)


def unsound(one: int, sequence: int, *places: int) -> Point:
    return point(one, sequence, *places)._replace(modified=BEGIN - 1)


def writer(*jobs: tuple[int, ...], name: str = "writer", is_partial: bool = False) -> Role:
    return Role(name, WRITER, tuple(partial(backup, wants=wants, partial=is_partial) for wants in jobs))


def child(*wants: int) -> Role:
    """A backup that chose its parent, point 6, before that was forgotten."""
    return Role("writer", WRITER, (partial(backup, wants=wants, forgotten=(6,)),))


def upkeep(runs: int, *, name: str = "upkeep", merge: bool = False, cut: bool = False) -> Role:
    return Role(name, UPKEEP, (partial(prune, merge=merge, cut=cut),) * runs)


def other(name: str, may: frozenset[str], *jobs: Job) -> Role:
    return Role(name, may, jobs)


class Scenario(NamedTuple):
    """A scene by name. `kills` are the rules without which it goes wrong."""

    name: str
    store: Store
    roles: tuple[Role, ...]
    limits: Limits
    kills: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()  # steps that come first

    def scene(self, design: Design = DESIGN) -> Scene:
        return Scene(design, self.store, self.roles, self.limits, self.prologue)


def _vault(*points: Point, dead: tuple[tuple[int, int | None], ...] = (), **more: object) -> Store:
    dead = tuple((place, since or LONG_AGO) for place, since in dead)
    places = Places(1, LONG_AGO, dead) if dead else Places()
    return Store(objects=(FIRST, SECOND), points=points, places=places, serial=10)._replace(**more)  # type: ignore[arg-type]


LATE_POINT = other("late writer", STORE, partial(serve, point=unsound(6, 2, 2)))
STARTED = ("writer: now", "writer: packs", "writer: places", "writer: points")
FORGETS = other("admin", ADMIN, partial(forget, one=6, until=BEGIN))
FORGOTTEN = Ledger(1, ((6, BEGIN),))
LAST = point(6, 2, 2, checked=LONG_AGO)  # refers to the first block of the second pack


BEHIND = Scenario(
    "",
    _vault(
        point(5, 1, 0, 1),
        point(6, 2, 2, 3, checked=LONG_AGO),
        ledger=FORGOTTEN,
        lags=True,
        old_points=Old(BEGIN, (point(5, 1, 0, 1),)),
    ),
    (child(2), upkeep(1), upkeep(2, name="other host")),
    Limits(("G+",), 1, faults=1, kinds=frozenset({"behind"})),
    (),
    STARTED,
)

SCENARIOS = (
    # A backup takes a block from its mirror that nothing refers to any more.
    Scenario(
        "mirror",
        _vault(point(5, 1, 0, 1)),
        (writer((0, 2)), upkeep(2)),
        Limits(("L+", "G+"), 2),
        ("second_look", "two_marks", "time_before_second_look", "deadline_from_before_look"),
    ),
    # The same, and the block was found dead long before: it is deleted while the backup looks.
    Scenario(
        "deleted",
        _vault(point(5, 1, 0, 1), dead=((2, 0), (3, 0))),
        (writer((0, 2)), upkeep(2)),
        Limits(("L+", "G+"), 2),
        ("tombstones",),
    ),
    # A backup whose parent leads to hidden blocks; the parent is forgotten at once.
    Scenario(
        "parent",
        _vault(point(5, 1, 0, 1), LAST, dead=((2, 0), (3, 0)), ledger=FORGOTTEN),
        (child(2), upkeep(3)),
        Limits(("G+",), 2),
        ("gone_after_mark", "parent_looked_for_again", "since_restarts"),
    ),
    # Two hosts prune; one of them has slept.
    Scenario(
        "two hosts",
        _vault(point(5, 1, 0, 1), LAST, dead=((2, 0), (3, 0)), ledger=FORGOTTEN),
        (child(2), upkeep(1), upkeep(1, name="other host")),
        Limits((), 0),
        ("state_before_deletes", "compare_and_swap"),
    ),
    # One of them has a listing that was behind.
    BEHIND._replace(name="behind", kills=("records_before_points",)),
    BEHIND._replace(
        name="behind, and no state of its own",
        kills=("gone_after_own_state",),
        prologue=(*STARTED, "other host: records", "other host: points, behind"),
    ),
    # The writer sleeps between the pages of its listing.
    Scenario(
        "slow listing",
        _vault(point(5, 1, 0, 1), dead=((2, 0), (3, 0))),
        (writer((0, 2)), upkeep(3)),
        Limits(("G+",), 1),
        ("evidence_from_its_beginning",),
    ),
    # A point was written too late, and its backup did not live to see that something is missing.
    Scenario(
        "too late",
        _vault(point(5, 1, 0, 1)),
        (writer((0, 2), (0, 2)), upkeep(2)),
        Limits(("L-", "G+"), 2, crashes=1, faults=1, kinds=frozenset({"request hangs", "request fails"})),
        ("modified_when_stored", "deadline_of_each_attempt"),
    ),
    # A point that is not sound leads to a block that a host which has slept is about to delete.
    Scenario(
        "not sound",
        _vault(point(5, 1, 0, 1), dead=((2, 0), (3, 0))),
        (writer((2,)), upkeep(1), LATE_POINT),
        Limits(),
        ("unsound_parent_checked",),
    ),
    Scenario(
        "rescue",
        _vault(point(5, 1, 0, 1), dead=((2, 0), (3, 0))),
        (writer((2,)), upkeep(1), upkeep(1, name="other host"), LATE_POINT),
        Limits((), 0),
        ("hidden_for_ever",),
    ),
    # A point is gone, and the store refused to delete it.
    Scenario(
        "refused",
        _vault(point(5, 1, 0, 1), LAST, dead=((2, 0), (3, 0)), ledger=Ledger(2, (), ((6, 2),))),
        (writer((2,)), upkeep(2)),
        Limits((), 0, faults=1, kinds=frozenset({"refused"})),
        ("ledger_read_by_writers",),
    ),
    # A host has slept before it deletes; meanwhile all was deleted, and brought back by the store's means.
    Scenario(
        "brought back",
        _vault(point(5, 1, 0, 1), dead=((2, 0), (3, 0))),
        (
            writer((2,)),
            upkeep(1),
            upkeep(3, name="other host"),
            other("store", STORE, undelete),
        ),
        Limits(("G+",), 1),
        ("deletes_in_time",),
        ("upkeep: records", "upkeep: points", "upkeep: packs"),
    ),
    # The same, and the pack comes back after its first deletion.
    Scenario(
        "deleted again",
        _vault(point(5, 1, 0, 1), dead=((2, 0), (3, 0))),
        (writer((0, 2)), upkeep(4), other("store", STORE, undelete)),
        Limits(("G+",), 1),
        ("tombstones_restart",),
    ),
    # A merge, and a host that has slept.
    Scenario(
        "merge",
        _vault(point(5, 1, 0, 1), objects=(FIRST,)),
        (upkeep(2, merge=True), upkeep(1, name="other host")),
        Limits(("G+",), 2),
        ("orphans_through_state",),
    ),
    # A pack was moved, and its original deleted; the store brings it back.
    Scenario(
        "original comes back",
        _vault(
            point(5, 1, 0, 1),
            objects=(Obj(7, OLD, FIRST.blocks),),
            places=Places(1, LONG_AGO, (), ((0, 7), (1, 7)), ()),
            trash=(FIRST,),
        ),
        (upkeep(2), other("store", STORE, undelete)),
        Limits(("G+",), 1),
    ),
    # A merge beside a reader whose listings are behind, with a carrier that may be cut short.
    Scenario(
        "reader",
        _vault(point(5, 1, 0, 1), objects=(FIRST,), lags=True),
        (upkeep(2, merge=True), other("reader", READER, partial(read, one=5))),
        Limits(("L+", "G+"), 2, faults=2, kinds=frozenset({"cut short", "behind"})),
        ("originals_wait", "carrier_read_back"),
    ),
    Scenario(
        "cut",
        _vault(point(5, 1, 1), dead=((0, 0),), objects=(FIRST,)),
        (writer((0, 1)), upkeep(3, cut=True)),
        Limits(("G+",), 1),
        ("gaps_hidden",),
    ),
    Scenario(
        "young spans",
        _vault(point(5, 1, 2, 3), dead=((0, 0),)),
        (writer((1,)), upkeep(2, cut=True)),
        Limits(("G+",), 1),
        ("young_spans_kept",),
    ),
    Scenario(
        "partial",
        _vault(point(5, 1, 0, 1), point(6, 2, 2, checked=LONG_AGO, partial=True)),
        (writer((0, 2)), upkeep(2)),
        Limits(("G+",), 2),
        ("partials_are_roots",),
    ),
    Scenario(
        "own partial",
        _vault(point(5, 1, 0, 1)),
        (writer((0, 2), name="writer", is_partial=True), upkeep(2)),
        Limits(("L+", "G+"), 2),
        ("partial_points_looked_for",),
    ),
    # A machine that makes backups says that a point is gone.
    Scenario(
        "forged",
        _vault(point(5, 1, 0, 1), LAST),
        (upkeep(2), other("machine", STORE, partial(forge, ledger=Ledger(2, (), ((6, 2),))))),
        Limits(("G+",), 1),
        ("signatures",),
    ),
    # A point is forgotten; another admin undeletes it, and then holds it, while prune runs.
    Scenario(
        "ledger",
        _vault(point(5, 1, 0, 1), LAST),
        (
            upkeep(3),
            FORGETS,
            other("other admin", ADMIN, partial(remember, one=6), partial(hold, one=6)),
        ),
        Limits(("G+",), 1),
        ("holds",),
    ),
    Scenario(
        "accident",
        _vault(point(5, 1, 0, 1), point(6, 2, 2), point(7, 3, 0)),
        (upkeep(2), other("store", STORE, partial(accident, one=6))),
        Limits(("G+",), 2),
        ("gaps_refused",),
    ),
    # The record of the newest point is damaged, and somebody gives the point up while a child of it commits.
    Scenario(
        "given up",
        _vault(point(5, 1, 0, 1), LAST, dead=((2, 0), (3, 0))),
        (writer((2,)), upkeep(3), other("admin", ADMIN, partial(give_up, one=6, damaged=True))),
        Limits(("G+",), 2),
        ("accepted_waits", "accepted_in_time"),
        STARTED,
    ),
    # The same, if it vanished.
    Scenario(
        "vanished",
        _vault(point(5, 1, 0, 1), LAST, point(7, 3, 0), dead=((2, 0), (3, 0)), ledger=Ledger(1, ((7, 2 * BEGIN),))),
        (
            writer((2,)),
            upkeep(3),
            other("admin", ADMIN, partial(give_up, one=6, sequence=2, damaged=False)),
            other("store", STORE, partial(vanish, one=6)),
        ),
        Limits(("G+",), 2),
        (),
        STARTED,
    ),
    # Upkeep alone, which crashes, and whose requests fail: each of its moments must converge.
    Scenario(
        "crashes",
        _vault(point(5, 1, 1), LAST, dead=((0, 0),), ledger=FORGOTTEN),
        (upkeep(4, merge=True, cut=True),),
        Limits(("G+",), 3, crashes=2, faults=2, kinds=frozenset({"refused", "answer lost", "cut short"})),
    ),
    Scenario(
        "instead",
        _vault(
            point(5, 1, 0),
            objects=(SECOND,),
            places=Places(1, LONG_AGO, (), (), (), ((0, 2),)),
            points=(Point(5, 1, ((0, 2),), OLD, OLD, OLD),),
        ),
        (upkeep(2),),
        Limits(("G+",), 2),
        ("targets_marked",),
    ),
    Scenario(
        "young",
        _vault(point(5, 1, 0, 1), points=()),
        (writer((8,)), upkeep(2)),
        Limits(("L+", "G-"), 2),
        ("age",),
    ),
)

# All of it at once, for histories at random.
EVERYTHING = Scenario(
    "everything",
    _vault(point(5, 1, 0, 1), LAST, dead=((3, 0),), lags=True),
    (
        Role("writer", WRITER, (partial(backup, wants=(0, 2)), partial(backup, wants=(1, 2, 8), partial=True)) * 4),
        Role("clone", WRITER, (partial(backup, wants=(0, 3, 9)), partial(backup, wants=(8, 3))) * 4),
        upkeep(16, cut=True),
        upkeep(12, name="other host", merge=True),
        other("admin", ADMIN, *(partial(forget, one=one, until=BEGIN) for one in (6, *range(10, 40)))),
        other("third admin", ADMIN, *(partial(give_up, one=n, damaged=True) for n in (13, 19, 25))),
        other("other admin", ADMIN, partial(hold, one=12), *(partial(remember, one=n) for n in range(14, 30, 4))),
        other("store", STORE, undelete, undelete),
        other("reader", READER, *(partial(read, one=one) for one in (5, 6, *range(10, 30)))),
    ),
    Limits(
        ("L-", "L+", "G-", "G+", "15 d", "60 d"),
        48,
        crashes=6,
        faults=12,
        kinds=frozenset({"behind", "cut short", "answer lost", "refused", "request fails", "request hangs"}),
    ),
)
