"""Alerts as states: which ones open, remind and resolve, given facts. Pure: no clock, no store, no file.

Facts say what is the case as far as somebody looked; their order and repetitions do not matter. An alert is one for
each key (kind, vault, machine, item and cause): more of the same only counts. Times are ns since the epoch (UTC).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from catalog.alerts.rules import DAY, REMIND_AFTER, REMIND_EVERY, RULES, Ends, Rule, rank
from catalog.notify.event import Severity

What: TypeAlias = Literal["opened", "reminded", "resolved"]
Untold: TypeAlias = Literal["", "opened", "reminded", "resolved"]
Key: TypeAlias = tuple[str, str, str, str, str]  # kind, vault, machine, item, cause
Details: TypeAlias = dict[str, str | int]
KEPT = 400 * DAY  # ns for which a closed alert stays
MOST_CLOSED = 1_000  # closed alerts that stay, besides those that facts still name
MOST_MARKS = 1_000  # of an alert
NAME, TEXT = 200, 2_000  # characters


class Fact(NamedTuple):
    """Something that is the case, or was done, and is a reason for an alert of the kind `id`.

    `vault`, `machine` and `item` are ids in hex, "" where the alert is not about one; `scope` says where somebody
    looked to find it (see Facts). `marks` name the occurrences, e.g. ids of jobs: each counts once, ever.
    """

    id: str
    scope: str
    vault: str = ""
    machine: str = ""
    item: str = ""
    cause: str = ""
    machine_name: str = ""
    item_name: str = ""
    severity: Severity | None = None  # None: that of the rule
    title: str = ""
    text: str = ""
    details: Mapping[str, str | int] = {}
    marks: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return self.id, self.vault, self.machine, self.item, self.cause


class Facts(NamedTuple):
    """All that was found. `looked` are scopes in which every fact was found, `unseen` parts of them that were not.

    A scope has the scopes below it: `vault/jobs` that of `vault/jobs/SRV01`. An alert resolves only if nobody names
    it who looked where it was named before: a vault that can't be reached resolves nothing.
    """

    facts: tuple[Fact, ...] = ()
    looked: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()

    def has_looked(self, scope: str) -> bool:
        return _within(scope, self.looked) and not _within(scope, self.unseen)

    def and_also(self, other: Facts) -> Facts:
        return Facts(self.facts + other.facts, self.looked | other.looked, self.unseen | other.unseen)


def _within(scope: str, scopes: Collection[str]) -> bool:
    parts = scope.split("/")
    return any("/".join(parts[:n]) in scopes for n in range(1, len(parts) + 1))


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alert, open or closed. Times are 0 for what has not happened.

    `count` counts occurrences since it opened. `marks` are those, as far as they are remembered; `known` are
    earlier ones, which were acknowledged. `scopes` name it now. `seen` is when a fact last named it, to the day.
    `untold` is a change that nobody has taken over yet.
    """

    id: str
    vault: str = ""
    machine: str = ""
    item: str = ""
    cause: str = ""
    machine_name: str = ""
    item_name: str = ""
    severity: Severity
    title: str
    text: str = ""
    details: Details = {}
    opened: int
    seen: int = 0
    reminded: int = 0
    resolved: int = 0
    acknowledged: int = 0
    reason: str = ""  # of the acknowledgement
    count: int = 1
    marks: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    untold: Untold = ""

    @property
    def key(self) -> Key:
        return self.id, self.vault, self.machine, self.item, self.cause

    @property
    def ref(self) -> str:
        """Eight hex digits that name the alert to a person. It has the same ones when it opens again."""
        return hashlib.blake2b("\0".join(self.key).encode(errors="replace"), digest_size=4).hexdigest()

    @property
    def is_open(self) -> bool:
        return not self.resolved

    @property
    def security(self) -> bool:
        return self.id in RULES and RULES[self.id].security


class Change(NamedTuple):
    """Something to tell: what happened to an alert, and the alert as it is now."""

    what: What
    alert: Alert
    time: int


class Step(NamedTuple):
    """All alerts after a step, open and closed, in the order of their opening; and what to tell, worst first."""

    alerts: tuple[Alert, ...]
    changes: tuple[Change, ...]


def step(alerts: Sequence[Alert], facts: Facts, now: int) -> Step:
    """The alerts after looking at facts at a time (ns). No kind can be switched off: who is told what is routing.

    The same facts at the same time change nothing more. A clock that was set back opens and reminds of nothing
    twice; one that was set on reminds once.
    """
    named = _merged(f for f in facts.facts if f.id in RULES)
    rows, closed, taken = [*alerts], _closed(alerts), set[Key]()
    changes: list[Change] = []
    for n, alert in enumerate(rows):
        key, rule = alert.key, RULES.get(alert.id)
        if not alert.is_open:
            continue
        if rule is None or key in taken:
            # Its kind is no more, or it is double.
            rows[n] = msgspec.structs.replace(alert, resolved=now, scopes=())
            continue
        taken.add(key)
        rows[n], change = _continued(alert, named.get(key), rule, facts, now)
        changes += [change] if change is not None else []
    for key in sorted(named.keys() - taken):
        past = [rows[n] for n in closed.get(key, ())]
        new = _opened(named[key], RULES[key[0]], past, now)
        if new is not None:
            changes.append(Change("opened", new, now))
            rows.append(new)
            for n in closed.get(key, ()):
                rows[n] = msgspec.structs.replace(rows[n], marks=(), known=())  # the new one has them
        else:
            rows[closed[key][-1]] = msgspec.structs.replace(past[-1], seen=_seen(past[-1], now))
    changes.sort(key=lambda c: (-rank(c.alert.severity), c.alert.key))
    return Step(_kept(rows, named.keys(), now), tuple(changes))


def acknowledge(alerts: Iterable[Alert], ref: str, now: int, reason: str = "") -> Step:
    """The alerts after a person acknowledged the open ones whose `ref` begins so.

    That resolves those about an act. Another one stays until its cause ends, and reminds of itself no more.
    """
    after, changes = [], []
    for alert in alerts:
        if alert.is_open and alert.ref.startswith(ref) and not alert.acknowledged:
            ended = RULES[alert.id].ends is not Ends.WITH_CAUSE if alert.id in RULES else True
            alert = msgspec.structs.replace(  # noqa: PLW2901
                alert, acknowledged=now, reason=reason, resolved=now if ended else 0
            )
            if ended:
                changes.append(Change("resolved", alert, now))
        after.append(alert)
    return Step(tuple(after), tuple(changes))


def _closed(alerts: Iterable[Alert]) -> dict[Key, list[int]]:
    """The places of the closed alerts of each key, oldest first."""
    found: dict[Key, list[int]] = {}
    for n, alert in enumerate(alerts):
        if not alert.is_open:
            found.setdefault(alert.key, []).append(n)
    return found


def _merged(facts: Iterable[Fact]) -> dict[Key, list[Fact]]:
    """The facts of each key, the worst first, in an order that does not depend on theirs."""
    rows: dict[Key, list[Fact]] = {}
    for fact in facts:
        rows.setdefault(fact.key, []).append(_short(fact))
    return {key: sorted(some, key=_weight) for key, some in rows.items()}


def _short(fact: Fact) -> Fact:
    """A fact with texts of bounded length: what a vault says has any length."""
    details = {
        name[:NAME]: value[:TEXT] if isinstance(value, str) else value for name, value in fact.details.items()
    }
    return fact._replace(
        title=fact.title[:NAME], text=fact.text[:TEXT], machine_name=fact.machine_name[:NAME],
        item_name=fact.item_name[:NAME], details=details,
    )  # fmt: skip


def _severity(fact: Fact) -> Severity:
    return fact.severity or RULES[fact.id].severity


def _weight(fact: Fact) -> tuple[int, str]:
    return -rank(_severity(fact)), repr((*fact[:-3], sorted(fact.details.items()), fact.marks))


def _marks(facts: list[Fact]) -> list[str]:
    return sorted({mark for fact in facts for mark in fact.marks})[:MOST_MARKS]


def _opened(facts: list[Fact], rule: Rule, past: list[Alert], now: int) -> Alert | None:
    best, marks = facts[0], _marks(facts)
    known: list[str] = []
    if rule.ends is not Ends.WITH_CAUSE:
        known = _bounded([m for p in past for m in (*p.known, *p.marks)], marks)
        marks = [m for m in marks if m not in set(known)]
        if past and not marks:
            return None
        best = next((fact for fact in facts if not fact.marks or {*fact.marks} & {*marks}), best)  # not old news
    once = rule.ends is Ends.AT_ONCE
    return Alert(
        id=best.id, vault=best.vault, machine=best.machine, item=best.item, cause=best.cause,
        machine_name=best.machine_name, item_name=best.item_name, severity=_severity(best),
        title=best.title or best.id, text=best.text, details=dict(best.details), opened=now, seen=now,
        resolved=now if once else 0, count=max(len(marks), 1), marks=tuple(marks),
        known=tuple(known), scopes=() if once else tuple(sorted({f.scope for f in facts})),
    )  # fmt: skip


def _seen(alert: Alert, now: int) -> int:
    """When a fact named it last, to the day: otherwise its file would be written each time that somebody looks."""
    return alert.seen if alert.seen <= now < alert.seen + DAY else now


def _bounded(marks: list[str], named: list[str]) -> list[str]:
    """So many of the marks: those that facts still name, and the last of the others."""
    return sorted(marks, key=set(named).__contains__)[-MOST_MARKS:]


def _continued(
    alert: Alert, facts: list[Fact] | None, rule: Rule, looked: Facts, now: int
) -> tuple[Alert, Change | None]:
    """An open alert after a look, and what to tell of it."""
    scopes = {s for s in alert.scopes if not looked.has_looked(s)} | {f.scope for f in facts or ()}
    if not scopes and rule.ends is Ends.WITH_CAUSE:
        alert = msgspec.structs.replace(alert, resolved=now, scopes=())
        return alert, Change("resolved", alert, now)
    if alert.reminded > now or (alert.opened > now and not alert.reminded):
        alert = msgspec.structs.replace(alert, reminded=now)  # the clock was set back: reminders count from now on
    before = alert.severity
    if facts is not None:
        best = facts[0]
        severity = max(before, _severity(best), key=rank)  # it never seems to get better before its end
        marks = _marks(facts)
        new = [m for m in marks if m not in {*alert.marks, *alert.known}]
        alert = msgspec.structs.replace(
            alert, severity=severity, title=best.title or best.id, text=best.text,
            details=dict(best.details), machine_name=best.machine_name or alert.machine_name,
            item_name=best.item_name or alert.item_name, seen=_seen(alert, now), count=alert.count + len(new),
            marks=tuple(_bounded([*alert.marks, *new], marks)),
        )  # fmt: skip
    alert = msgspec.structs.replace(alert, scopes=tuple(sorted(scopes)))
    worse = rank(alert.severity) > rank(before)
    if not worse and (alert.acknowledged or not _is_due(alert, now)):
        return alert, None
    alert = msgspec.structs.replace(alert, reminded=now)
    return alert, Change("reminded", alert, now)


def _is_due(alert: Alert, now: int) -> bool:
    """Whether a time to remind of an alert has come that nobody was reminded at."""
    age = now - alert.opened
    if age < 0:
        return now - alert.reminded >= REMIND_EVERY
    due = max((after for after in REMIND_AFTER if after <= age), default=0)
    if due == REMIND_AFTER[-1]:
        due += (age - due) // REMIND_EVERY * REMIND_EVERY
    return due > 0 and alert.reminded < alert.opened + due


def _kept(rows: list[Alert], named: Collection[Key], now: int) -> tuple[Alert, ...]:
    """The alerts that stay: the open ones, the newest of each key that facts still name, and the newest of all."""
    newest = {alert.key: n for n, alert in enumerate(rows)}
    old = [
        n
        for n, alert in enumerate(rows)
        if not alert.is_open and not (alert.key in named and newest[alert.key] == n)
    ]
    gone = {n for n in old if max(rows[n].resolved, rows[n].seen) <= now - KEPT} | {*old[:-MOST_CLOSED]}
    return tuple(alert for n, alert in enumerate(rows) if n not in gone)
