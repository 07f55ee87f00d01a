"""The rules of the protocol. All of them are the design; a mutant is the design without one of them."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Design:
    # The writer.
    second_look: bool = True  # records of places are read again before a point is written
    evidence_from_its_beginning: bool = True  # a listing is as old as when it began
    time_before_second_look: bool = True  # `checked` is before what was looked at
    parent_looked_for_again: bool = True  # it must still be listed, and not gone by the ledger, before a point
    ledger_read_by_writers: bool = True  # a point that is gone is no parent, though it is still listed
    unsound_parent_checked: bool = True  # of a parent that is not sound, nothing is kept that is hidden
    deadline_from_before_look: bool = True  # the deadline counts from before the look, as `checked` does
    partial_points_looked_for: bool = True  # a partial point is written as a whole one is
    deadline_of_each_attempt: bool = True  # a request is not made again once it is too late
    gaps_hidden: bool = True  # what was cut from a pack is gone, though its other blocks are there
    # The store.
    modified_when_stored: bool = True  # not when the file was written that became the object
    # Upkeep.
    records_before_points: bool = True  # the state is read before the points are listed
    gone_after_mark: bool = True  # a point leaves the roots at the end of a run that had it as a root
    gone_after_own_state: bool = True  # of a run whose own state was stored
    hidden_for_ever: bool = True  # what is found alive again is not offered again
    since_restarts: bool = True  # found dead again, a block has its whole time again
    two_marks: bool = True  # dead in a mark G after the state that hid it, too
    age: bool = True  # nothing younger than G is hidden
    state_before_deletes: bool = True  # the next state is stored before anything is deleted
    deletes_in_time: bool = True  # and nothing is deleted long after that
    compare_and_swap: bool = True  # the next state is stored only if it is absent
    tombstones: bool = True  # a deleted pack stays hidden for G
    tombstones_restart: bool = True  # for another G, if it came back and is deleted again
    orphans_through_state: bool = True  # an unknown carrier leaves through a state
    originals_wait: bool = True  # packs that were moved stay for a day
    carrier_read_back: bool = True  # a carrier is read before a state names it
    young_spans_kept: bool = True  # a cut leaves out only what may be deleted
    partials_are_roots: bool = True
    signatures: bool = True  # a record that no admin signed says nothing
    gaps_refused: bool = True  # a number that is missing without a reason stops the run
    accepted_waits: bool = True  # nothing is deleted within G after a point was given up that no run had as a root
    accepted_in_time: bool = True  # that is not written long after the time that it says
    targets_marked: bool = True  # the copy that stands in for a lost block is alive
    holds: bool = True  # a point that is held does not go


DESIGN = Design()
RULES = tuple(field.name for field in fields(Design))
