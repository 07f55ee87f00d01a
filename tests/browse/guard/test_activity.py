"""How long nobody has used the page: what runs is use of it, and what only waits is none."""

from __future__ import annotations

from mount.browse.guard.activity import Activity
from tests.browse.guard.test_sessions import Clock


def test_time_passes_only_while_nothing_runs() -> None:
    clock, jobs = Clock(), [False]
    activity = Activity(clock, lambda: jobs[0])
    clock.now += 100
    assert activity.idle() == 100
    with activity.noted():
        clock.now += 100
        assert activity.idle() == 0
        with activity.noted():
            clock.now += 100
        clock.now += 100
        assert activity.idle() == 0
    clock.now += 7
    assert activity.idle() == 7
    with activity.noted(False):  # a stream of events, or somebody without a session
        clock.now += 3
    assert activity.idle() == 10
    jobs[0] = True
    assert activity.idle() == 0
    jobs[0] = False
    clock.now += 5
    assert activity.idle() == 5
