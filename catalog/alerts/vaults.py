"""What a look at a vault says: facts about its machines, its points and its rules. Pure.

Security facts are about acts. Each has marks that stay the same however often somebody looks, so that an act which
was acknowledged never comes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple, TypeAlias

import msgspec

from catalog.alerts.jobs import Names, job_facts, running_since
from catalog.alerts.looking import Key, Look, forgotten_by_hand
from catalog.alerts.overdue import Protected, hours, overdue_facts
from catalog.alerts.rules import DAY
from catalog.alerts.saving import saves_less, words_of
from catalog.alerts.state import MOST_MARKS, Fact, Facts
from catalog.format.ledger import ForgottenRow
from catalog.format.plan import Care
from catalog.format.records import Outcome, Point, PointName
from catalog.format.vaultfile import VaultFile
from catalog.ledger.state import Ledger, numbers_text
from catalog.notify.event import Severity
from catalog.schedule.due import BACKUP, grace
from catalog.schedule.history import Ran
from catalog.throttle.rates import never_goes

SKEW = 300 * 10**9  # ns
PURGE = 2 * DAY  # ns before forgotten points go
GENERATION = 10 * DAY  # ns
MUCH_LATER = 3 * DAY  # ns
LONG_PAUSE = 31 * DAY  # ns
OFF, ON = "off", "on"
_NEVER = Care(every=0)
_Pair: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}/[0-9a-f]{32}$")]


class Known(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was seen of a vault's own rules at the last look.

    `looked` is when that was (ns). `admins` are ids of keys (hex), True if a key signs only with a passphrase of
    its own. `place` says what the place of the store does, by name. `expected` are machines and items
    (`id/id`) of which backups were expected, and how late one might be (ns). `saved` says by the same names what
    their plans save.
    """

    number: int = 0
    soft_delete_days: int = 0
    immutable_days: int = 0
    immutable_locked: bool = False
    looked: int = 0
    admins: dict[str, bool] = {}
    place: dict[str, str] = {}
    expected: dict[_Pair, int] = {}
    saved: dict[_Pair, list[str]] = {}

    @classmethod
    def of(cls, look: Look, before: Known) -> Known:
        """What is to be known from this look on. What could not be read this time stays as it was."""
        file = look.file
        here = {machine.hex() for machine in look.machines}
        expected = {one: late for one, late in before.expected.items() if one.split("/")[0] not in here}
        for one, why in unexpected(look).items():
            if not why:
                expected[one] = grace(look.plans[_key_of(one)].plan)
        saved = {one: words for one, words in before.saved.items() if one.split("/")[0] not in here}
        saved |= {f"{m.hex()}/{i.hex()}": words_of(planned.plan) for (m, i), planned in look.plans.items() if i}
        place = {**before.place, **{name: state for name, state in look.place.items() if state in (ON, OFF)}}
        return cls(
            looked=look.now, number=max(file.number, before.number), soft_delete_days=file.soft_delete_days,
            immutable_days=file.immutable.days if file.immutable else 0,
            immutable_locked=bool(file.immutable and file.immutable.locked), admins=_admins(file), place=place,
            expected=expected, saved=saved,
        )  # fmt: skip


class _About(NamedTuple):
    """A vault, and where in it somebody looked."""

    look: Look
    names: Names
    scope: str

    def fact(
        self, kind: str, key: Key | None, title: str, text: str, marks: Iterable[str], cause: str = ""
    ) -> Fact:
        machine, item = (key[0].hex(), key[1].hex()) if key else ("", "")
        return Fact(
            kind, self.scope, self.look.vault.hex(), machine, item, cause,
            self.names.machine(machine) if machine else "", self.names.item(machine, item) if item else "",
            title=title, text=text, marks=tuple(marks)[:MOST_MARKS],
        )  # fmt: skip


def scope_of(vault: str) -> str:
    """Where facts of a look at a vault are found."""
    return f"vault/{vault}"


def names_of(look: Look) -> Names:
    """What people call the machines and items of a vault: their records, or else the newest point, says so."""
    machines = {point.machine.hex(): point.machine_name for point in look.newest.values()}
    items = {(p.machine.hex(), p.item.hex()): p.item_name for p in look.newest.values()}
    machines |= {one.hex(): machine.name for one, machine in look.machines.items()}
    items |= {(m.hex(), i.hex()): item.name for (m, i), item in look.items.items()}
    return Names(machines, items)


def vault_facts(look: Look, known: Known) -> Facts:
    """All that a look says, after what was known of the vault's own rules before (`number` 0: nothing)."""
    vault = look.vault.hex()
    about = _About(look, names_of(look), scope_of(vault))
    runs = [ran for ran in look.runs if not is_forgotten(look, ran.machine)]
    found = job_facts(
        runs, f"{about.scope}/jobs", about.names, look.now, boots_of(runs), look.dense, alive_in(look)
    )
    found += overdue_facts(protected(look), f"{about.scope}/plans", about.names, look.now)
    for key in sorted({*look.ledgers, *look.gaps, *look.newest}):
        ledger = look.ledgers.get(key, Ledger(*key))
        found += _deleted(about, key, ledger)
        found += _purged(about, key, ledger)
    found += _untrusted(about)
    found += [_shortened(about, n) for n in range(len(look.shortened))]
    found += _lowered(about, known)
    found += _silenced(about, known)
    found += _saving_less(about, known)
    found += _clock(about)
    rule = look.file.immutable
    # Prune lengthens a lock once half of the rule's days are left.
    soon = min(GENERATION, rule.days * DAY // 4) if rule is not None else 0
    if look.locked_until is not None and look.locked_until < look.stored_now + soon:
        text = (
            f"the first of them ends in {hours(look.locked_until - look.stored_now)}; `rpdrive prune` extends them"
        )
        found.append(about.fact("lock.expiring", None, "locks of the store end soon", text, ()))
    return Facts(tuple(found), frozenset([about.scope]))


def protected(look: Look, here: str = "") -> list[Protected]:
    """The items and machines with a plan, each with its runs. Forgotten machines are left out.

    `here` is the machine (id in hex) of which the runs have all restore tests: those stay on the machine.

    Of an item only its newest point is one: a job may say what it likes, and a point is not newer than its object.
    """
    runs: dict[str, list[Ran]] = {}
    for ran in look.runs:
        runs.setdefault(ran.machine, []).append(ran)
    vault, found, boots = look.vault.hex(), list[Protected](), boots_of(look.runs)
    for (machine, item), planned in sorted(look.plans.items()):
        if is_forgotten(look, machine.hex()):
            continue
        plan, running = planned.plan, 0
        if item:
            point = look.newest.get((machine, item))
            if (machine, item) in look.travelling or (point is None and (machine, b"") in look.travelling):
                continue  # its backups are on their way; the machine itself says if one is late
            some = [] if point is None else [_ran_of(look, point)]
            own = [ran for ran in runs.get(machine.hex(), ()) if ran.item == item.hex()]
            running = running_since(own, look.now, boots, (machine, item) in look.alive)
        else:
            some = [ran for ran in runs.get(machine.hex(), ()) if ran.kind != BACKUP.kind]
            plan = msgspec.structs.replace(plan, schedule=None)
        if machine.hex() != here:  # it says itself if one is late
            plan = msgspec.structs.replace(plan, restore_test=_NEVER)
        since = planned.since if planned.since <= look.now else 0  # whoever writes a plan says when
        found.append(Protected(vault, machine.hex(), item.hex(), plan, some, since, running))
    return found


def is_forgotten(look: Look, machine: str) -> bool:
    """Whether a machine (id in hex) was forgotten: nothing is expected of it."""
    known = look.machines.get(bytes.fromhex(machine)) if machine else None
    return known is not None and known.forgotten


def alive_in(look: Look) -> set[tuple[str, str]]:
    """The machines and items whose backup shows signs of life."""
    return {(machine.hex(), item.hex()) for machine, item in look.alive}


def _ran_of(look: Look, point: Point) -> Ran:
    stored = look.points.get(PointName.of(point), point.time)
    return Ran(
        id=point.id.hex(), vault=look.vault.hex(), machine=point.machine.hex(), kind=BACKUP.kind,
        item=point.item.hex(), started=min(point.time, stored), finished=stored, outcome=str(Outcome.COMPLETED),
    )  # fmt: skip


def boots_of(runs: Iterable[Ran]) -> dict[str, str]:
    """What tells the last known start of each machine from others."""
    newest: dict[str, Ran] = {}
    for ran in runs:
        if ran.boot and (ran.machine not in newest or ran.started > newest[ran.machine].started):
            newest[ran.machine] = ran
    return {machine: ran.boot for machine, ran in newest.items()}


# --- what was taken away --------------------------------------------------------------------------------------


def _deleted(about: _About, key: Key, ledger: Ledger) -> list[Fact]:
    rows = forgotten_by_hand(ledger)[-MOST_MARKS:]
    lost = [
        n for first, last in about.look.gaps.get(key, ()) for n in range(first, min(last, first + MOST_MARKS) + 1)
    ]
    if key not in about.look.newest and key not in about.look.unread and (rows or lost):
        marks = [f"forgotten:{row[0].hex()}" for row in rows] + [f"vanished:{n}" for n in lost]
        how = "vanished from the vault" if lost else f"was forgotten{_by(rows[-1][3:])}"
        return [about.fact("item.deleted", key, "all recovery points are gone", f"the last of them {how}", marks)]
    found = []
    if rows:
        count = "1 recovery point was" if len(rows) == 1 else f"{len(rows):,} recovery points were"
        text = f"{count} forgotten by hand, the last one{_by(rows[-1][3:])}"
        marks = [f"forgotten:{row[0].hex()}" for row in rows]
        found.append(about.fact("point.deleted", key, "recovery points were forgotten", text, marks, "forgotten"))
    if lost:
        some = ", ".join(numbers_text(first, last) for first, last in about.look.gaps[key][:3])
        text = f"{some} vanished from the vault, and no ledger says why (docs/forget.md)"
        marks = [f"vanished:{n}" for n in lost]
        found.append(about.fact("point.deleted", key, "recovery points vanished", text, marks, "vanished"))
    return found


def _by(row: tuple[str, str]) -> str:
    reason, by = row
    return (f" by {by}" if by else "") + (f": {reason}" if reason else "")


def _purged(about: _About, key: Key, ledger: Ledger) -> list[Fact]:
    """Points that were forgotten, and go for good soon. Those that go by an unchanged policy have no such time."""
    now = about.look.stored_now or about.look.now
    rows = [row for row in ledger.forgotten.values() if _goes(row, now) and not ledger.is_held(row.point, now)]
    there = {name.id for name in about.look.points.of(key)} if rows else set()
    rows = [row for row in rows if row.point in there]
    if not rows:
        return []
    first = min(row.until for row in rows)
    count = "1 forgotten recovery point goes" if len(rows) == 1 else f"{len(rows):,} forgotten recovery points go"
    when = f"from {hours(first - now)} on" if first > now else "at the next prune"
    text = f"{count} for good {when}; `rpdrive undelete` keeps them"
    return [about.fact("purge.upcoming", key, "forgotten points go for good", text, (r.point.hex() for r in rows))]


def _goes(row: ForgottenRow, now: int) -> bool:
    return row.until - row.since > DAY and row.until <= now + PURGE


def _untrusted(about: _About) -> list[Fact]:
    groups: dict[Key, list[str]] = {}
    for name in about.look.untrusted:
        groups.setdefault((name.machine, name.item), []).append(name.id.hex())
    text = (
        "the store's clock does not confirm the time that it says, or it was copied: it is kept, and replaces none"
    )
    return [
        about.fact("time.untrusted", key, "a recovery point has a wrong time", f"{ids[0][:8]}: {text}", ids)
        for key, ids in sorted(groups.items())
    ]


# --- the vault's rules ----------------------------------------------------------------------------------------


def _shortened(about: _About, n: int) -> Fact:
    one = about.look.shortened[n]
    level, key = one.level, None
    if level.what == "machine":
        key = level.id, b""
    elif level.what == "item":
        key = next((k for k in sorted(about.look.items) if k[1] == level.id), None)
    text = f"the policy of {level} keeps less than before: {', '.join(one.fields)}"
    return about.fact("policy.shortened", key, "a policy was shortened", text, [str(one.number)], level.id.hex())


def _admins(file: VaultFile) -> dict[str, bool]:
    return {admin.id.hex(): not admin.wrapped for admin in file.admins}


def _lowered(about: _About, known: Known) -> list[Fact]:
    """What protects less than at the last look. Without one, nothing."""
    if not known.number:
        return []
    file, mark = about.look.file, str(about.look.file.number)
    found = list[tuple[str, str, str]]()
    if file.number < known.number:
        text = f"vault.json is number {file.number}, and number {known.number} was seen: an older one was put back"
        found.append(("rollback", text, f"{file.number}<{known.number}"))
    if file.soft_delete_days < known.soft_delete_days:
        than = f"{file.soft_delete_days} days instead of {known.soft_delete_days}"
        found.append(("soft_delete", f"what is forgotten can be brought back for {than}", mark))
    days = file.immutable.days if file.immutable else 0
    if days < known.immutable_days:
        now = f"for {days} days" if days else "no more"
        found.append(("immutable", f"the vault is immutable {now}, instead of {known.immutable_days} days", mark))
    elif known.immutable_locked and not (file.immutable and file.immutable.locked):
        found.append(("immutable", "the rule that the vault is immutable is not locked any more", mark))
    admins = _admins(file)
    new = sorted(admins.keys() - known.admins.keys())
    if new and known.admins:
        text = f"another admin key may sign: {', '.join(new)} (docs/protect.md)"
        found.append(("admins", text, ",".join(new)))
    if any(known.admins.values()) and not all(admins.values()):
        found.append(("pin", "an admin key signs without a passphrase of its own now", mark))
    for name, state in sorted(about.look.place.items()):
        if state == OFF and known.place.get(name) == ON:
            found.append(
                (f"place {name}", f"the store's place was switched off: {name}", f"{name}:{about.look.now}")
            )
    title = "the vault is protected less"
    return [about.fact("protection.lowered", None, title, text, [m], cause) for cause, text, m in found]


def unexpected(look: Look) -> dict[str, str]:
    """Why no backup of an item with a plan is expected for long; "" if one is. By `id/id` of machine and item."""
    found = {}
    for (machine, item), planned in look.plans.items():
        if not item:
            continue
        plan, pause, why = planned.plan, planned.plan.paused_at(look.now), ""
        if is_forgotten(look, machine.hex()):
            why = "the machine was forgotten"
        elif plan.stopped is not None:
            why = "its plan was stopped"
        elif plan.schedule is None or not (plan.schedule.times or plan.schedule.every):
            why = "its plan has no times any more"
        elif pause is not None and (not pause.until or _paused_until(look, (machine, item), pause.until)):
            why = "its plan is paused for long, or without an end"
        elif never_goes(plan.throttle):
            why = "the limits of its plan let nothing go to or from the vault at any time"
        found[f"{machine.hex()}/{item.hex()}"] = why
    return found


def _paused_until(look: Look, key: Key, until: int) -> bool:
    """Whether a pause until a time (ns) is long, also as one of several."""
    point = look.newest.get(key)
    return until - look.now > LONG_PAUSE or (point is not None and look.now - point.time > LONG_PAUSE)


def _key_of(one: str) -> Key:
    machine, item = one.split("/")
    return bytes.fromhex(machine), bytes.fromhex(item)


def _silenced(about: _About, known: Known) -> list[Fact]:
    """Items of which backups were expected at the last look and no more: a plan is not signed, so anybody who makes
    backups can stop one, and then nothing is late."""
    why, found = unexpected(about.look), list[Fact]()
    here = {machine.hex() for machine in about.look.machines}
    for one, before in known.expected.items():
        key = _key_of(one)
        planned = about.look.plans.get(key)
        reason = why.get(one, "its plan is gone" if key[0].hex() in here else "")
        if not reason and planned is not None and one in why:
            late = grace(planned.plan)
            if late > MUCH_LATER and late > 4 * before:
                reason = f"a backup is late only after {hours(late)}, and was after {hours(before)}"
        if reason:
            mark = f"{reason}:{planned.since if planned is not None else 0}"
            text = f"{reason}: if it is not backed up, no other alert will say so"
            title = "backups are not expected as before"
            found.append(about.fact("protection.lowered", key, title, text, [mark], "plan"))
    return found


def _saving_less(about: _About, known: Known) -> list[Fact]:
    """Items of which the plan saves less than at the last look: their backups come, and miss something."""
    found = []
    for one, words in known.saved.items():
        key = _key_of(one)
        planned = about.look.plans.get(key)
        if planned is None or is_forgotten(about.look, key[0].hex()) or not saves_less(planned.plan, words):
            continue
        text = "its plan has fewer paths than before, or leaves out more; `rpdrive plan show` says what it has now"
        mark = f"{planned.since}:{','.join(words_of(planned.plan))}"
        fact = about.fact("protection.lowered", key, "a plan saves less than before", text, [mark], "saves")
        found.append(fact._replace(severity=Severity.WARNING))
    return found


def _clock(about: _About) -> list[Fact]:
    look = about.look
    apart = look.stored_now - look.now
    if not look.stored_now or abs(apart) <= SKEW:
        return []
    which = "ahead of" if apart > 0 else "behind"
    text = f"the store's clock is {hours(abs(apart))} {which} this machine's; prune refuses to run by such clocks"
    return [about.fact("clock.skew", None, "clocks differ", text, ())]
