"""What the engine does with workers that come, go, refuse and make things up: on a pool in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import msgspec
import pytest

from catalog.errors import FleetFailed, StoreUnreachable
from mount.fleet.engine import TRIES, Ended, Fleet
from mount.fleet.pieces import (
    MOST_BODY,
    Failure,
    Order,
    Piece,
    Reply,
    decode_order,
    decode_reply,
    decode_result,
    encode_order,
    own_version,
)

VAULT = bytes(16)


def order_of(piece: Piece | None) -> bytes:
    kind, name, body = ("", "", b"") if piece is None else piece[:3]
    return encode_order(Order(own_version(), "run", VAULT, "vault", kind=kind, id=name, body=body))


def piece(n: int, kind: str = "echo") -> Piece:
    return Piece(kind, f"piece {n}", str(n).encode(), f"piece {n}")


class FakePool:
    """Workers that answer at once, by their name: `good…`, `locked…`; `odd…` answers what is no answer.

    A worker in `lost` never answers a piece, and is gone the next time that somebody looks.
    """

    def __init__(self, *names: str, depth: int = 1) -> None:
        self.depth, self.spare = depth, list[str]()  # those that come in place of lost ones
        self.names, self.lost, self.deadly = list(names), set[str](), set[str]()
        self.done: list[Ended] = []
        self.asked: list[tuple[str, str]] = []  # worker, piece
        self.cancelled: list[str] = []
        self.failing = 0  # tries of pieces that fail, from now on
        self.now = 0.0

    def members(self) -> Mapping[str, str]:
        return {name: f"host of {name}" for name in self.names}

    def start(self, ticket: str, order: bytes, worker: str) -> None:
        what = decode_order(order)
        self.asked.append((worker, what.id))
        if what.kind and worker in self.names and (worker in self.lost or what.id in self.deadly):
            self.names.remove(worker)
            self.names += [self.spare.pop()] if self.spare else []
        if worker not in self.names:
            return
        self.done.append(Ended(ticket, self._answer(worker, what)))

    def _answer(self, one: str, what: Order) -> object:
        given: dict[str, Any] = {"id": what.id, "worker": one, "host": f"host of {one}", "seconds": 0.5}
        if one.startswith("locked"):
            given["failure"] = Failure("Locked", "the vault is locked there", "unlock it there")
        elif one.startswith("odd") and what.kind:
            return {"not": "bytes"}
        elif what.kind and self.failing:
            self.failing -= 1
            given |= {"failure": Failure("StoreUnreachable", "no answer"), "again": True}
        else:
            given["result"] = what.body
        return msgspec.msgpack.encode(Reply(**given))

    def ended(self, seconds: float) -> list[Ended]:
        self.now += 1.0
        found, self.done = self.done, []
        return found

    def cancel(self, tickets: Iterable[str]) -> None:
        self.cancelled += tickets

    def close(self) -> None:
        self.names.clear()


def fleet_on(pool: FakePool, said: list[str] | None = None, **options: Any) -> Fleet:
    return Fleet(pool, order_of, (said if said is not None else []).append, clock=lambda: pool.now, **options)


def test_each_piece_has_one_outcome_and_as_many_are_out_as_there_are_workers() -> None:
    pool = FakePool("good1", "good2")
    fleet = fleet_on(pool)
    taken = 0

    def pieces() -> Iterable[Piece]:
        nonlocal taken
        for n in range(20):
            taken += 1
            yield piece(n)

    for count, outcome in enumerate(fleet.run(pieces()), 1):
        assert outcome.result is not None and f"piece {int(outcome.result)}" == outcome.piece.id
        assert taken <= count + 2
    assert count == 20
    assert (fleet.counts.pieces, fleet.counts.tasks, fleet.counts.workers, fleet.counts.busy) == (20, 20, 2, 10.0)


def test_a_worker_without_the_key_is_told_of_once_and_gets_nothing() -> None:
    pool, said = FakePool("locked1", "good1", "locked2"), list[str]()
    outcomes = list(fleet_on(pool, said).run(piece(n) for n in range(5)))
    assert len(outcomes) == 5
    assert {one for one, name in pool.asked if name} == {"good1"}
    assert said == [
        f"the worker on host of locked{n} gets nothing to do: the vault is locked there; unlock it there"
        for n in (1, 2)
    ]


def test_without_any_worker_that_can_it_ends() -> None:
    pool = FakePool("locked1")
    with pytest.raises(FleetFailed, match=r"no worker can do anything.*the vault is locked there"):
        list(fleet_on(pool, patience=5.0).run([piece(1)]))


def test_a_piece_of_a_lost_worker_is_done_by_another() -> None:
    pool = FakePool("bad", "good1")
    pool.lost.add("bad")
    fleet = fleet_on(pool)
    outcomes = list(fleet.run(piece(n) for n in range(6)))
    assert sorted(o.piece.id for o in outcomes) == [f"piece {n}" for n in range(6)]
    assert all(o.error is None for o in outcomes)
    assert (fleet.counts.gone, fleet.counts.lost) == (1, 1)


def test_a_piece_whose_workers_are_all_lost_waits_for_a_new_one() -> None:
    pool = FakePool("bad", depth=2)
    pool.lost.add("bad")
    pool.spare.append("good9")
    fleet = fleet_on(pool)
    outcomes = list(fleet.run(piece(n) for n in range(6)))
    assert sorted(o.piece.id for o in outcomes) == [f"piece {n}" for n in range(6)]
    assert {one for one, name in pool.asked if name} == {"bad", "good9"}
    assert (fleet.counts.gone, fleet.counts.lost) == (1, 2)


def test_workers_may_come_while_it_runs_and_have_work_waiting() -> None:
    """As an adaptive cluster adds them: it sees two pieces for each worker that it has."""
    pool = FakePool("good1", depth=2)
    found = []
    for outcome in fleet_on(pool).run(piece(n) for n in range(12)):
        found.append(outcome.piece.id)
        if len(found) == 4:
            pool.names.append("good2")
    assert len(set(found)) == 12
    assert [one for one, name in pool.asked if name][:2] == ["good1", "good1"]
    assert "good2" in {one for one, name in pool.asked if name}


def test_what_waits_at_one_worker_is_given_to_one_that_has_nothing_to_do() -> None:
    pool = FakePool("good1", "good2", depth=2)
    slow = {"piece 0", "piece 2"}  # the first pieces of good1

    real = pool._answer
    held: list[tuple[str, str, Order]] = []

    def start(ticket: str, order: bytes, worker: str) -> None:
        what = decode_order(order)
        pool.asked.append((worker, what.id))
        if what.id in slow and worker == "good1" and what.kind:
            held.append((ticket, worker, what))
        else:
            pool.done.append(Ended(ticket, real(worker, what)))

    pool.start = start  # type: ignore[method-assign]
    found = []
    for outcome in fleet_on(pool).run(piece(n) for n in range(4)):
        found.append(outcome.piece.id)
        if len(found) == 3:
            (ticket, worker, what) = next(row for row in held if row[2].id not in found)
            pool.done.append(Ended(ticket, real(worker, what)))
    assert sorted(found) == [f"piece {n}" for n in range(4)]
    assert len([name for _one, name in pool.asked if name]) == 5  # one of them was given to the other
    assert len(pool.cancelled) == 1


def test_a_piece_that_costs_three_workers_is_given_up_and_those_that_waited_behind_it_are_not() -> None:
    pool = FakePool("good1", depth=2)
    pool.deadly.add("piece 0")
    pool.spare += ["good4", "good3", "good2"]
    fleet = fleet_on(pool)
    outcomes = {outcome.piece.id: outcome.error for outcome in fleet.run(piece(n) for n in range(4))}
    assert type(outcomes.pop("piece 0")) is FleetFailed
    assert outcomes == {f"piece {n}": None for n in range(1, 4)}
    assert (fleet.counts.gone, fleet.counts.failed) == (3, 1)


def test_a_piece_that_fails_is_tried_elsewhere_and_then_given_up() -> None:
    pool = FakePool("good1", "good2", "good3")
    pool.failing = 2
    fleet = fleet_on(pool)
    assert [o.error for o in fleet.run([piece(1)])] == [None]
    assert fleet.counts.again == 2
    assert len({one for one, name in pool.asked if name}) == 3
    pool.failing = TRIES
    (outcome,) = fleet.run([piece(2)])
    assert type(outcome.error) is StoreUnreachable and "piece 2, on host of good" in str(outcome.error)
    assert fleet.counts.failed == 1


def test_what_is_no_answer_is_not_believed() -> None:
    fleet = fleet_on(FakePool("odd1"))
    (outcome,) = fleet.run([piece(1)])
    assert type(outcome.error) is FleetFailed and fleet.counts.tasks == TRIES


def test_a_piece_can_be_added_while_others_run_and_what_is_out_is_cancelled() -> None:
    pool = FakePool("good1")
    fleet, found = fleet_on(pool), list[str]()
    for outcome in fleet.run(piece(n) for n in range(2)):
        found.append(outcome.piece.id)
        if outcome.piece.id == "piece 0":
            fleet.add(piece(9))
    assert found == ["piece 0", "piece 9", "piece 1"]
    with closing(fleet.run(piece(n) for n in range(100))) as run:
        next(run)
    assert len(pool.cancelled) <= 1


def test_a_piece_that_is_too_long_costs_itself_alone() -> None:
    def order_or_not(one: Piece | None) -> bytes:
        if one is not None and one.id == "piece 1":
            raise FleetFailed("too long")
        return order_of(one)

    pool = FakePool("good1")
    fleet = Fleet(pool, order_or_not, pytest.fail, clock=lambda: pool.now)
    outcomes = {outcome.piece.id: outcome.error for outcome in fleet.run(piece(n) for n in range(3))}
    assert type(outcomes.pop("piece 1")) is FleetFailed
    assert outcomes == {"piece 0": None, "piece 2": None}


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", "text", None, msgspec.msgpack.encode({"id": 1}), b"\x91" * 100_000], ids=str
)
def test_malformed_bytes_are_refused(data: object) -> None:
    with pytest.raises(ValueError):
        decode_reply(data, "")
    with pytest.raises(ValueError):
        decode_order(data)


def test_an_answer_is_that_of_its_own_piece() -> None:
    reply = Reply(id="a", worker="w", host="h", seconds=0.0, result=b"")
    assert decode_reply(msgspec.msgpack.encode(reply), "a") == reply
    for wrong in (reply, msgspec.structs.replace(reply, id="b", result=None)):
        with pytest.raises(ValueError):
            decode_reply(msgspec.msgpack.encode(wrong), "b")
    with pytest.raises(ValueError):
        encode_order(Order("1", "r", VAULT, "v", kind="echo", body=bytes(MOST_BODY + 1)))
    with pytest.raises(Exception, match="malformed"):
        decode_result(b"\x01", str)
