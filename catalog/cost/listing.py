"""What a vault costs, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from catalog.cost.model import Estimate, Line
from catalog.cost.money import Bill
from catalog.cost.use import Use
from catalog.cost.whatif import Value
from catalog.screen.text import counted, safe_text, size_text, table

NOT_INCLUDED = (
    "Not included: taxes, support, discounts, reserved capacity; versions, snapshots, soft delete and logs of the "
    "account; a CDN, private endpoints; what other programs do there"
)


class Found(NamedTuple):
    """What was looked at: objects and bytes by folder; `machines` of all, if not everything was counted."""

    address: str
    kinds: dict[str, tuple[float, float]]
    is_all: bool
    machines: int
    days: float


class Answer(NamedTuple):
    """What a vault costs `now` (None: there is none), and what it would `then`.

    `is_assumed`: no file says where it is.
    """

    found: Found | None
    now: Estimate | None
    then: Estimate | None
    changes: dict[str, Value]
    notes: Sequence[str]
    is_assumed: bool


def money_text(amount: float) -> str:
    """`0.00`, `12.30`, `1,234`; less than half a cent is `<0.01`."""
    if 0 < amount < 0.005:
        return "<0.01"
    return f"{amount:,.0f}" if abs(amount) >= 1_000 else f"{amount:,.2f}"


def answer_lines(answer: Answer) -> Iterator[str]:
    """The answer for people: the month by what it is for, then each restore and check."""
    one = answer.now or answer.then
    assert one is not None
    yield _head(answer.found, one)
    tariff = (answer.then or one).tariff
    if answer.found is not None:
        kinds = sorted(answer.found.kinds.items(), key=lambda one: -one[1][1])
        yield "Stored: " + ", ".join(f"{kind} {size_text(int(size))}" for kind, (_n, size) in kinds[:4] if size)
    if tariff.is_free:
        yield "A vault in a folder costs nothing but its disk, of which nothing is known here"
    else:
        yield (
            f"Prices in {tariff.currency} of {tariff.name}, written down on {tariff.date} in "
            f"{safe_text(tariff.file)} ({safe_text(tariff.source)}): they may be out of date"
        )
    if answer.is_assumed and not tariff.is_free:
        yield "Where the vault is, is assumed; say so with --what-if, or in prices.toml (docs/cost.md)"
    yield ""
    yield from _tables(answer)
    yield ""
    for note in answer.notes:
        yield f"Note: {note}"
    yield NOT_INCLUDED


def _head(found: Found | None, one: Estimate) -> str:
    s = one.shape
    what = ", ".join((
        _counted(s.machines, "machine"), _counted(s.machines * s.items, "item"),
        _counted(s.all_points, "recovery point"), f"{size_text(int(s.stored))} stored",
    ))  # fmt: skip
    if found is None:
        return f"A vault that does not exist: {what}"
    some = "" if found.is_all else f", by {counted(found.machines, 'machine')} drawn at random (--all counts all)"
    return f"{safe_text(found.address)}: {what}{some}"


def _counted(number: float, thing: str) -> str:
    return counted(round(number), thing)


def _tables(answer: Answer) -> Iterator[str]:
    now, then = answer.now, answer.then
    for title, which in (("A MONTH", "month"), ("EACH TIME", "once")):
        if which == "once":
            yield ""
        if now is not None and then is not None:
            yield from _compared(title, now, then, which).splitlines()
        elif (one := now or then) is not None:
            rows = [_row(line) for line in _lines(one, which)]
            columns = [title, "REQUESTS>", "SENT>", "FETCHED>", f"{one.tariff.currency}>"]
            yield from table(columns, rows).splitlines()


def _lines(one: Estimate, which: str) -> list[Line]:
    return [*one.month, one.total._replace(name="all")] if which == "month" else one.once


def _row(line: Line) -> list[str]:
    use = line.use
    return [
        line.name, f"{use.requests:,.0f}" if use.requests else "", size_text(int(use.sent)) if use.sent else "",
        size_text(int(use.received)) if use.received else "", money_text(line.bill.total),
    ]  # fmt: skip


def _compared(title: str, now: Estimate, then: Estimate, which: str) -> str:
    before = {line.name: line for line in _lines(now, which)}
    after = {line.name: line for line in _lines(then, which)}
    nothing = Line("", Use(), Bill())
    same = now.tariff.currency == then.tariff.currency
    rows = []
    names = [*before, *after]
    last = ["all"] if "all" in after else []
    for name in dict.fromkeys([*(name for name in names if name not in last), *last]):
        old, new = before.get(name, nothing), after.get(name, nothing)
        more = new.bill.total - old.bill.total
        rows.append([
            name, f"{old.use.requests:,.0f}", f"{new.use.requests:,.0f}", money_text(old.bill.total),
            money_text(new.bill.total), (f"{'+' if more >= 0 else '-'}{money_text(abs(more))}" if same else ""),
        ])  # fmt: skip
    columns = [title, "REQUESTS NOW>", "THEN>", f"{now.tariff.currency} NOW>", f"{then.tariff.currency} THEN>"]
    return table([*columns, "DIFFERENCE>"], rows)


def answer_json(answer: Answer) -> dict[str, Any]:
    """The answer for --json, with all numbers."""
    found = answer.found
    row: dict[str, Any] = {
        "vault": found.address if found else None,
        "what_if": {},
        "is_assumed": answer.is_assumed,
        "notes": list(answer.notes),
        "not_included": NOT_INCLUDED.partition(": ")[2],
    }
    if found is not None:
        row["stored"] = {kind: {"objects": n, "bytes": size} for kind, (n, size) in sorted(found.kinds.items())}
        row["counted"] = {"all": found.is_all, "machines": found.machines, "days": found.days}
    row["now"] = None if answer.now is None else estimate_json(answer.now)
    row["then"] = None if answer.then is None else estimate_json(answer.then)
    now, then = answer.now, answer.then
    if now is not None and then is not None and now.tariff.currency == then.tariff.currency:
        row["difference"] = then.total.bill.total - now.total.bill.total
    return row


def estimate_json(one: Estimate) -> dict[str, Any]:
    t = one.tariff
    return {
        "prices": {
            **{key: getattr(t.price, key) for key in ("provider", "region", "redundancy", "tier")},
            "currency": t.currency, "date": t.date.isoformat(), "source": t.source, "file": t.file,
        },
        "vault": msgspec.to_builtins(one.shape) | {"stored_bytes": one.shape.stored},
        "habits": msgspec.to_builtins(one.habits),
        "month": {line.name: line_json(line) for line in one.month},
        "total": line_json(one.total),
        "once": {line.name: line_json(line) for line in one.once},
    }  # fmt: skip


def line_json(line: Line) -> dict[str, Any]:
    use: dict[str, Any] = msgspec.to_builtins(line.use)
    sizes = {f"{key}_bytes": use.pop(key) for key in ("sent", "received", "copied")}
    money: dict[str, Any] = msgspec.to_builtins(line.bill)
    return {"requests": {"all": line.use.requests, **use}, **sizes, "money": {"all": line.bill.total, **money}}
