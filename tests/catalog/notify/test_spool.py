"""What waits for targets: bounded, tolerant, and nothing lost that can be kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalog.notify import spool as module
from catalog.notify.event import Event, Ping, PingWhat, Severity
from catalog.notify.spool import HOUR, Spool, State, after_failure, is_due
from tests.catalog.notify.events import NOW, event


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "notify")


def titles(spool: Spool, target: str = "mail") -> list[str]:
    found = [spool.read(entry) for entry in spool.entries(target)]
    return [e.title if isinstance(e, Event) else "" for e in found]


def test_what_is_kept_comes_back_in_order(spool: Spool) -> None:
    made = [event(title=str(n), time=NOW + n) for n in range(3)]
    for n in (2, 0, 1):
        assert spool.add("mail", made[n], NOW + n)
    assert [spool.read(entry) for entry in spool.entries("mail")] == made
    assert os.stat(spool.entries("mail")[0].path).st_mode & 0o777 == 0o600
    assert spool.targets() == ["mail"] and spool.entries("hook") == []


def test_a_ping_is_kept_too(spool: Spool) -> None:
    ping = Ping(what=PingWhat.FAIL, kind="backup", time=NOW, text="no route")
    spool.add("alive", ping, NOW)
    assert spool.read(spool.entries("alive")[0]) == ping


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"event": {"what": "eaten"}}', b"{}", b"\xff", b"[" * 100_000]
)
def test_a_malformed_file_costs_only_itself(spool: Spool, data: bytes) -> None:
    spool.add("mail", event(title="good"), NOW)
    bad = spool.folder / "mail" / f"{NOW - 1:020d}-1-abcd.json"
    bad.write_bytes(data)
    (spool.folder / "mail" / "README").write_text("not ours")
    (spool.folder / "mail" / f"{NOW - 2:020d}-1-folder.json").mkdir()
    assert [t for t in titles(spool) if t] == ["good"]
    assert not bad.exists() and bad.with_suffix(".bad").exists()
    assert titles(spool) == ["good"]


@pytest.mark.parametrize("data", [b"", b"[]", b'{"failures": "x"}', b"\xff"])
def test_a_malformed_state_is_a_fresh_one(spool: Spool, data: bytes) -> None:
    (spool.folder / "mail").mkdir(parents=True)
    (spool.folder / "mail" / "state.json").write_bytes(data)
    assert spool.state("mail") == State()


def test_the_least_severe_and_oldest_go_when_it_is_full(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 3)
    severities = [Severity.CRITICAL, Severity.INFO, Severity.INFO, Severity.WARNING, Severity.CRITICAL]
    for n, severity in enumerate(severities):
        assert spool.add("mail", event(title=str(n), severity=severity), NOW + n)
    assert titles(spool) == ["0", "3", "4"]
    assert not spool.add("mail", event(title="5", severity=Severity.INFO), NOW + 5)
    assert titles(spool) == ["0", "3", "4"] and spool.state("mail").dropped == 3


def test_all_targets_together_are_bounded_by_bytes(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10_000)
    for n in range(30):
        spool.add("mail", event(text="x" * 500), NOW + n)
        spool.add("hook", event(text="x" * 500), NOW + n)
    sizes = [entry.size for name in ("mail", "hook") for entry in spool.entries(name)]
    assert sum(sizes) <= 10_000 and spool.state("mail").dropped > 0
    assert not spool.add("mail", event(text="x" * 20_000), NOW)


def test_waits_grow_to_an_hour() -> None:
    state, waits = State(), []
    for _ in range(8):
        state = after_failure(state, NOW, "no route")
        waits.append((state.next - NOW) // (60 * 10**9))
    assert waits == [4, 8, 16, 32, 60, 60, 60, 60] and state.since == NOW


def test_a_clock_that_was_set_back_does_not_stop_attempts() -> None:
    state = after_failure(State(), NOW, "no route")
    assert not is_due(state, NOW + 1)
    assert is_due(state, state.next)
    assert is_due(state, NOW - 24 * HOUR)


def test_a_target_fails_after_an_hour(spool: Spool) -> None:
    spool.add("mail", event(), NOW)
    spool.set_state("mail", State(failures=3, since=NOW, error="no route"))
    spool.add("hook", event(), NOW + HOUR)
    assert spool.failing(NOW + HOUR - 1) == []
    (row,) = spool.failing(NOW + HOUR)
    assert (row.target, row.since, row.waiting, row.error) == ("mail", NOW, 1, "no route")


def test_a_target_of_pings_fails_although_none_is_kept_so_long(spool: Spool) -> None:
    spool.set_state("alive", State(failures=9, since=NOW, error="no route"))
    assert [row.target for row in spool.failing(NOW + HOUR)] == ["alive"]


def test_a_target_that_took_all_does_not_fail(spool: Spool) -> None:
    spool.set_state("mail", State(error="some recipients were refused"))
    assert spool.failing(NOW + 100 * HOUR) == []


def test_a_lock_is_held_by_one(spool: Spool) -> None:
    with spool.locked("mail") as mine, spool.locked("mail") as second, spool.locked("hook") as other:
        assert (mine, second, other) == (True, False, True)
    with spool.locked("mail") as again:
        assert again


def test_what_a_killed_process_left_is_removed_in_time(spool: Spool) -> None:
    spool.add("mail", event(), NOW)
    left = spool.folder / "mail" / "x.json.17-ab.tmp"
    left.write_bytes(b"half")
    os.utime(left, ns=(NOW, NOW))
    spool.tidy("mail", NOW + HOUR)
    assert left.exists()
    spool.tidy("mail", NOW + 15 * module.DAY)
    assert not left.exists() and len(spool.entries("mail")) == 1
