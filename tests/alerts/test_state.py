"""Alerts as states: each kind opens once, reminds, and resolves with its cause. All of it is pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.alerts.rules import DAY, RULES, Ends
from catalog.alerts.state import Alert, Fact, Facts, Step, acknowledge, step
from catalog.notify.event import Severity

HOUR = 3600 * 10**9
T = 1_800_000_000 * 10**9
VAULT, MACHINE, ITEM = "aa", "bb", "cc"


def fact(kind: str, *marks: str, scope: str = "vault", cause: str = "", severity: Severity | None = None) -> Fact:
    return Fact(
        kind,
        scope,
        VAULT,
        MACHINE,
        ITEM,
        cause,
        "SRV01",
        "files",
        severity=severity,
        title=kind,
        text="t",
        marks=marks,
    )


def seen(*facts: Fact, looked: Iterable[str] = ("vault",), unseen: Iterable[str] = ()) -> Facts:
    return Facts(facts, frozenset(looked), frozenset(unseen))


def told(result: Step) -> list[tuple[str, str]]:
    return [(change.what, change.alert.id) for change in result.changes]


def open_of(result: Step) -> list[Alert]:
    return [alert for alert in result.alerts if alert.is_open]


@pytest.mark.parametrize("kind", RULES)
def test_each_kind_opens_once_and_ends_as_its_rule_says(kind: str) -> None:
    rule = RULES[kind]
    first = step((), seen(fact(kind, "1")), T)
    assert told(first) == [("opened", kind)]
    assert first.changes[0].alert.severity is rule.severity
    again = step(first.alerts, seen(fact(kind, "1")), T + HOUR)
    assert told(again) == []
    gone = step(again.alerts, seen(), T + 2 * HOUR)
    if rule.ends is Ends.WITH_CAUSE:
        assert told(gone) == [("resolved", kind)]
        assert told(step(gone.alerts, seen(fact(kind, "1")), T + 3 * HOUR)) == [("opened", kind)]
    elif rule.ends is Ends.AT_ONCE:
        assert not open_of(first)
        assert told(gone) == []
        assert told(step(gone.alerts, seen(fact(kind, "1", "2")), T + 3 * HOUR)) == [("opened", kind)]
    else:
        assert told(gone) == [], "an act does not end by itself"
        done = acknowledge(gone.alerts, gone.alerts[0].ref, T + 3 * HOUR, "it was me")
        assert told(done) == [("resolved", kind)]
        assert told(step(done.alerts, seen(fact(kind, "1")), T + 4 * HOUR)) == [], "the same act is known"
        more = step(done.alerts, seen(fact(kind, "1", "2")), T + 4 * HOUR)
        assert told(more) == [("opened", kind)]
        assert open_of(more)[0].count == 1


def test_more_of_the_same_counts() -> None:
    result = step((), seen(fact("point.deleted", "1")), T)
    result = step(result.alerts, seen(fact("point.deleted", "1", "2"), fact("point.deleted", "3")), T + HOUR)
    assert told(result) == []
    assert [alert.count for alert in result.alerts] == [3]


def test_reminders_come_after_1_3_and_7_days_and_then_weekly() -> None:
    result = step((), seen(fact("backup.overdue")), T)
    days = []
    for hour in range(1, 24 * 30):
        result = step(result.alerts, seen(fact("backup.overdue")), T + hour * HOUR)
        days += [hour / 24 for _change in result.changes]
    assert days == [1, 3, 7, 14, 21, 28]


def test_a_clock_set_on_reminds_once_and_one_set_back_of_nothing() -> None:
    result = step((), seen(fact("backup.overdue")), T)
    back = step(result.alerts, seen(fact("backup.overdue")), T - 400 * DAY)
    assert told(back) == []
    on = step(back.alerts, seen(fact("backup.overdue")), T + 300 * DAY)
    assert told(on) == [("reminded", "backup.overdue")]
    back = step(on.alerts, seen(fact("backup.overdue")), T + 2 * DAY)
    assert told(back) == []
    assert len(open_of(back)) == 1
    again = step(back.alerts, seen(fact("backup.overdue")), T + 7 * DAY)
    assert told(again) == [("reminded", "backup.overdue")], "a clock that was ahead does not silence it for a year"


def test_what_opened_by_a_clock_that_was_ahead_reminds_weekly() -> None:
    alerts = step((), seen(fact("backup.overdue")), T + 400 * DAY).alerts
    days = []
    for day in range(30):
        result = step(alerts, seen(fact("backup.overdue")), T + day * DAY)
        alerts = result.alerts
        days += [day for _change in result.changes]
    assert days == [7, 14, 21, 28]


def test_more_marks_than_are_remembered_count_once() -> None:
    many = tuple(f"{n:05d}" for n in range(1500))
    result = step((), seen(fact("point.deleted", *many)), T)
    for hour in range(1, 4):
        result = step(result.alerts, seen(fact("point.deleted", *many)), T + hour * HOUR)
    assert [alert.count for alert in result.alerts] == [1000]
    result = acknowledge(result.alerts, result.alerts[0].ref, T + 4 * HOUR)
    assert told(step(result.alerts, seen(fact("point.deleted", *many)), T + 5 * HOUR)) == []


def test_worse_is_told_at_once_and_better_is_not() -> None:
    result = step((), seen(fact("backup.failed", "1", cause="StoreFull")), T)
    critical = fact("backup.failed", "1", "2", cause="StoreFull", severity=Severity.CRITICAL)
    result = step(result.alerts, seen(critical), T + HOUR)
    assert told(result) == [("reminded", "backup.failed")]
    assert result.changes[0].alert.severity is Severity.CRITICAL
    result = step(result.alerts, seen(fact("backup.failed", "2", cause="StoreFull")), T + 2 * HOUR)
    assert told(result) == []
    assert result.alerts[0].severity is Severity.CRITICAL


def test_what_was_acknowledged_reminds_no_more_and_ends_with_its_cause() -> None:
    result = step((), seen(fact("backup.overdue")), T)
    quiet = acknowledge(result.alerts, result.alerts[0].ref, T + HOUR, "on its way to the museum")
    assert told(quiet) == []
    later = step(quiet.alerts, seen(fact("backup.overdue")), T + 30 * DAY)
    assert told(later) == []
    assert told(step(later.alerts, seen(), T + 31 * DAY)) == [("resolved", "backup.overdue")]


def test_only_who_looked_there_resolves() -> None:
    both = [fact("backup.overdue", scope="local/aa"), fact("backup.overdue", scope="vault/aa/jobs")]
    result = step((), seen(*both, looked=("local/aa", "vault/aa")), T)
    assert told(result) == [("opened", "backup.overdue")]
    assert told(step(result.alerts, seen(looked=("local/aa",)), T + HOUR)) == [], "the vault still says so"
    assert told(step(result.alerts, seen(looked=()), T + HOUR)) == []
    unseen = seen(looked=("local/aa", "vault/aa"), unseen=("vault/aa/jobs",))
    result = step(result.alerts, unseen, T + HOUR)
    assert told(result) == []
    assert told(step(result.alerts, seen(looked=("vault/aa",)), T + 2 * HOUR)) == [("resolved", "backup.overdue")]


def test_kinds_that_this_version_does_not_know_are_no_alerts() -> None:
    assert step((), seen(fact("backup.bored")), T) == ((), ())
    later = Alert(id="backup.bored", severity=Severity.INFO, title="t", opened=T)
    assert open_of(step([later], seen(), T + 1)) == []


def test_texts_have_a_bounded_length() -> None:
    long = fact("backup.failed", "1")._replace(
        text="x" * 10**6, item_name="n" * 10**6, details={"error": "e" * 10**6}
    )
    assert len(msgspec.json.encode(step((), seen(long), T).alerts)) < 10_000


def test_looking_again_changes_nothing_within_a_day() -> None:
    """So that no file is written each time."""
    first = step((), seen(fact("point.deleted", "1"), fact("backup.overdue")), T)
    assert step(first.alerts, seen(fact("point.deleted", "1"), fact("backup.overdue")), T + 20 * HOUR) == (
        first.alerts,
        (),
    )
    known = acknowledge(first.alerts, first.alerts[1].ref, T)
    assert (
        step(known.alerts, seen(fact("point.deleted", "1"), fact("backup.overdue")), T + 20 * HOUR)[0]
        == known.alerts
    )


FACTS = st.builds(
    lambda kind, mark, scope, cause, severe, text: fact(
        kind, *mark, scope=scope, cause=cause, severity=Severity.CRITICAL if severe else None
    )._replace(text=text, details={"n": text}),
    st.sampled_from(["backup.failed", "backup.overdue", "point.deleted", "backup.missed", "backup.unusual"]),
    st.lists(st.sampled_from("1234"), max_size=2),
    st.sampled_from(["local", "vault", "vault/jobs"]),
    st.sampled_from(["", "StoreFull"]),
    st.booleans(),
    st.sampled_from("xy"),
)
LOOKS = st.tuples(
    st.lists(FACTS, max_size=6), st.sets(st.sampled_from(["local", "vault"])), st.integers(-40, 40), st.booleans()
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LOOKS, max_size=6), st.randoms(use_true_random=False))
def test_laws(looks: list[tuple[list[Fact], set[str], int, bool]], random: object) -> None:
    alerts: tuple[Alert, ...] = ()
    now, balance = T, Counter[tuple[str, ...]]()
    for facts, looked, days, ack in looks:
        now += days * DAY
        result = step(alerts, seen(*facts, looked=looked), now)
        shuffled = [*facts, *facts]
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        assert step(alerts, seen(*shuffled, looked=looked), now) == result, "order and repetition do not matter"
        assert step(result.alerts, seen(*facts, looked=looked), now) == (result.alerts, ()), "idempotent"
        for change in result.changes:
            if RULES[change.alert.id].ends is not Ends.AT_ONCE:
                balance[change.alert.key] += {"opened": 1, "reminded": 0, "resolved": -1}[change.what]
        alerts = result.alerts
        if ack:
            for alert in open_of(result)[:1]:
                done = acknowledge(alerts, alert.ref, now)
                alerts = done.alerts
                for change in done.changes:
                    balance[change.alert.key] -= 1
        opened = Counter(alert.key for alert in alerts if alert.is_open)
        assert opened == +balance, "told of once for each that is open"
        assert all(n == 1 for n in opened.values()), "no duplicates"
        assert msgspec.json.decode(msgspec.json.encode(alerts), type=tuple[Alert, ...]) == alerts
    ended = step(alerts, seen(looked=["local", "vault"]), now)
    assert all(RULES[a.id].ends is Ends.BY_HAND for a in open_of(ended)), "each ends with its cause"


def test_closed_alerts_are_bounded_and_an_act_that_is_still_named_stays_known() -> None:
    result = step((), seen(fact("point.deleted", "1")), T)
    alerts = acknowledge(result.alerts, result.alerts[0].ref, T).alerts
    for n in range(1500):
        noise = fact("backup.missed", str(n), cause=str(n))
        alerts = step(alerts, seen(fact("point.deleted", "1"), noise), T + n * HOUR).alerts
    assert len(alerts) <= 1003
    late = step(alerts, seen(fact("point.deleted", "1")), T + 900 * DAY)
    assert told(late) == []
    assert [alert.id for alert in late.alerts] == ["point.deleted"]
