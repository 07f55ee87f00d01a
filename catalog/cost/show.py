"""The work of `rpdrive vault cost`: look at the vault, reckon, and print."""

from __future__ import annotations

from pathlib import Path

from catalog.access.session import Session
from catalog.cost.habits import habits_of
from catalog.cost.listing import Answer, Found, answer_json, answer_lines
from catalog.cost.look import look
from catalog.cost.model import Estimate, Habits, Keeps, estimate
from catalog.cost.model import added as monthly
from catalog.cost.money import MONTH
from catalog.cost.places import USUAL, priced, provider_of
from catalog.cost.prices import FOLDER, Place, Table, load
from catalog.cost.whatif import Case, Value, changed, parse, scaled
from catalog.screen.output import print_json, say

# What is reckoned with for a vault that does not exist, unless --what-if says otherwise.
PLANNED = Habits(
    backups=MONTH, check_1=MONTH, check_2=MONTH, prunes=MONTH, tests=MONTH / 7, change=0.01,
    keeps=Keeps(daily=30, weekly=12, monthly=12),
)  # fmt: skip

_WHERE = {"region", "redundancy", "tier"}  # the changes that say where a vault is


def show(session: Session, what_if: list[str], prices: Path | None, *, everything: bool, as_json: bool) -> None:
    """Print what a vault costs. Raises UsageError, LocalError and StoreError."""
    changes = parse(what_if)
    table = load(session.settings.where("config"), prices)
    answer = (
        _planned(table, changes) if "size" in changes else _real(session, table, changes, everything=everything)
    )
    if as_json:
        given = dict(word.split("=", 1) for text in what_if for word in text.split())
        print_json(answer_json(answer) | {"what_if": given})
    else:
        for line in answer_lines(answer):
            say(line)


def _planned(table: Table, changes: dict[str, Value]) -> Answer:
    """What a vault would cost that does not exist."""
    case = changed(Case(size=1, files=1, habits=PLANNED, place=USUAL), changes)
    return Answer(None, None, _estimate(table, case), changes, [], not changes.keys() >= _WHERE)


def _estimate(table: Table, case: Case) -> Estimate:
    place = Place(address="") if case.provider == FOLDER else case.place
    tariff = table.tariff(case.provider, place.region, place.redundancy, place.tier)
    return estimate(case.shape(), case.habits, tariff, leaves=case.place.leaves, new=None)


def _real(session: Session, table: Table, changes: dict[str, Value], *, everything: bool) -> Answer:
    """What the vault costs, and what it would."""
    provider = provider_of(session.address)
    known = priced(table, session.address)  # before the passphrase is asked for
    vault = session.open_vault()
    looked = look(vault, everything=everything)
    habits, notes = habits_of(vault, looked)
    shape = looked.shape
    added = (looked.data * MONTH / looked.days, looked.trees * MONTH / looked.days)
    found = Found(session.address, looked.kinds, looked.is_all, len(looked.items), looked.days)
    now = estimate(shape, habits, known.tariff, leaves=known.leaves, new=added)
    if not changes:
        return Answer(found, now, None, changes, notes, known.is_assumed)
    place = table.place(session.address) or USUAL
    before = Case(
        machines=shape.machines, items=shape.items, size=max(shape.size, 1.0), files=max(shape.files, 1.0),
        ratio=shape.newest / shape.size if shape.size else 1.0,
        points=None if habits.keeps.is_set else max(shape.points, 1.0), habits=habits, provider=provider,
        place=place,
    )  # fmt: skip
    after = changed(before, changes)
    there = _estimate(table, after)
    grown, more = scaled(shape, before, after), _more(before, after)
    leaves = after.place.leaves and after.provider != FOLDER
    then = estimate(grown, after.habits, there.tariff, leaves=leaves, new=(added[0] * more, added[1] * more))
    is_known = place is not USUAL or changes.keys() >= _WHERE
    return Answer(found, now, then, changes, notes, after.provider != FOLDER and not is_known)


def _more(before: Case, after: Case) -> float:
    """How many times as much a machine stores in a month by the model after a change."""
    was, will = (sum(monthly(case.shape(), case.habits)) for case in (before, after))
    return will / was if was else 1.0
