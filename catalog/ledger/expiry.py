"""What goes from an item by its policy: the ledger's rows of points that no reason keeps any more.

Points that go under a policy that has not changed have no soft delete. What goes because a policy was shortened
has: every point that an earlier policy would still keep, and whose last reason ended sooner than the days of soft
delete after the policy changed. So who notices within that time that a policy is wrong has lost nothing by it; and
it does not matter when upkeep runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from catalog.author import who
from catalog.errors import MissingData, RpdriveError, StoreError
from catalog.format.ledger import ForgottenRow, How
from catalog.format.records import Point, PointName
from catalog.format.sealed import Kind
from catalog.ledger.brake import FEW, looks_encrypted, too_many
from catalog.ledger.records import Ledger, Ledgers, Signer
from catalog.ledger.state import numbers_text
from catalog.points.opening import first_that_opens
from catalog.points.why import ended_text, holds_of
from catalog.policies.records import Policies
from catalog.promoted import Jumps
from catalog.retention.decide import SETTLED, Decision, Fact, Why, decide
from catalog.retention.policy import Policy, shortened
from catalog.retention.slots import DAY
from catalog.vault import Vault

OVERDUE = 31 * DAY  # a point that should have gone longer ago counts for the brake: a clock may have jumped
_BATCH = 500  # records that are read at once, to see which names are of points


class Expiry(NamedTuple):
    """What became of an item: points that go (`rows`), or why none does.

    `kept` points stay. `braked`: it is so unusual that somebody must confirm it; nothing was written then, nor with
    an `error`.
    """

    machine: bytes
    item: bytes
    rows: list[ForgottenRow]
    kept: int
    braked: str | None = None
    error: RpdriveError | None = None


def expire(
    vault: Vault,
    machine: bytes,
    now: int,
    signer: Signer | None,
    *,
    yes: bool = False,
    stored: Mapping[PointName, int] | None = None,
    opened: Collection[PointName] | None = None,
    ledgers: Ledgers | None = None,
    policies: Policies | None = None,
    verified: Collection[bytes] = (),
) -> list[Expiry]:
    """Write into the ledgers of a machine which points go by policy, and until when they can be had back.

    `now` is the store's time (ns). Without a `signer` nothing is written. `yes`: somebody has confirmed what the
    brake stops. What the caller has already can be given: the machine's points with the times of their objects
    (ns), those of them whose records opened, ledgers and policies. `verified` are ids of points all of which was
    read back.

    Costs 3 listings (of points, ledgers and policies), if they are not given; a request for each ledger and each
    record of a policy; for an item of which points go, one for each of its points, if `opened` is not given, and
    one to store its ledger. Raises StoreError; what is wrong with an item costs that item.
    """
    stored = dict(vault.stored_points(machine)) if stored is None else stored
    ledgers = ledgers or Ledgers(vault, machine)
    policies = policies or Policies(vault)
    items: dict[bytes, dict[PointName, int]] = {}
    for name, modified in stored.items():
        if name.machine == machine and not name.partial:
            items.setdefault(name.item, {})[name] = modified
    found = []
    for item, points in sorted(items.items()):
        one = _Item(vault, ledgers, policies, machine, item, now, opened, verified)
        try:
            found.append(one.expired(points, signer, yes=yes))
        except StoreError:
            raise
        except RpdriveError as e:
            found.append(Expiry(machine, item, [], len(points), error=e))
    return found


class _Item(NamedTuple):
    """An item whose points are looked at."""

    vault: Vault
    ledgers: Ledgers
    policies: Policies
    machine: bytes
    item: bytes
    now: int
    opened: Collection[PointName] | None
    verified: Collection[bytes]

    def expired(self, points: Mapping[PointName, int], signer: Signer | None, *, yes: bool) -> Expiry:
        ledger = self.ledgers.of(self.machine, self.item)
        doubt = None if yes else self.ledgers.doubt(self.machine, self.item)
        if doubt is not None:
            raise doubt
        policy = self.policies.policy(self.machine, self.item)
        shown = {name: modified for name, modified in points.items() if not ledger.is_hidden(name)}
        if not _going(self._decided(shown, policy, ledger)):
            return Expiry(self.machine, self.item, [], len(shown))
        # Only now the records: a name that anybody could have given to an object must not make a point go.
        real = self._opened(shown)
        decided = self._decided({name: shown[name] for name in real}, policy, ledger)
        going = _going(decided)
        if not going:
            return Expiry(self.machine, self.item, [], len(shown))
        refuse_gaps(ledger, points, real, self.vault.jumps)
        rows = self._rows(going, decided, policy, ledger)
        kept = len(shown) - len(rows)
        braked = None if yes else self._braked(going, rows, real)
        if braked is None and signer is not None:
            self.ledgers.change(
                self.machine, self.item, lambda found: self._with(found, rows), signer, self.now, despite=yes
            )
        return Expiry(self.machine, self.item, rows, kept, braked)

    def _with(self, ledger: Ledger, rows: Sequence[ForgottenRow]) -> Ledger:
        """A ledger with those of the rows that nobody has held or forgotten meanwhile."""
        return ledger.forget(
            row for row in rows if row.point not in ledger.forgotten and not ledger.is_held(row.point, self.now)
        )

    def _decided(self, points: Mapping[PointName, int], policy: Policy, ledger: Ledger) -> list[Decision]:
        facts = [Fact(n.id, n.sequence, n.time, modified, n.id in self.verified) for n, modified in points.items()]
        return decide(facts, policy, holds_of(ledger), self.now)

    def _opened(self, names: Collection[PointName]) -> list[PointName]:
        """Those of the names that are of points."""
        if self.opened is not None:
            return [name for name in names if name in self.opened]
        found, every = list[PointName](), list(names)
        for start in range(0, len(every), _BATCH):
            some = every[start : start + _BATCH]
            records = self.vault.read_each(Kind.POINT, Point, some)
            found += [name for name, record in zip(some, records, strict=True) if isinstance(record, Point)]
        return found

    # --- soft delete --------------------------------------------------------------------------------------

    def _rows(
        self, going: Sequence[Decision], decided: Sequence[Decision], policy: Policy, ledger: Ledger
    ) -> list[ForgottenRow]:
        softly = self._softly(going, decided, policy, ledger)
        later = self.now + soft_delete(self.vault)
        by = who()
        return [
            ForgottenRow(
                d.point.id,
                d.point.sequence,
                self.now,
                later if d.point.id in softly else self.now,
                How.SHORTENED if d.point.id in softly else How.BY_POLICY,
                ended_text(d),
                by,
            )
            for d in going
        ]

    def _softly(
        self, going: Sequence[Decision], decided: Sequence[Decision], policy: Policy, ledger: Ledger
    ) -> set[bytes]:
        """The points that go because a policy was shortened."""
        ends = {d.point.id: _end(d) for d in going}
        first, soft = min(ends.values()), soft_delete(self.vault)
        found = set[bytes]()
        for changed, before in self.policies.before(self.machine, self.item, first - soft):
            asked = {point for point, end in ends.items() if end <= changed + soft and point not in found}
            if asked and _is_shorter(before, policy):
                facts = [d.point for d in decided]
                then = decide(facts, before, holds_of(ledger), self.now)
                found |= {d.point.id for d in then if d.keep and d.point.id in asked}
            if len(found) == len(going):
                break
        return found

    # --- the brake ----------------------------------------------------------------------------------------

    def _braked(
        self, going: Sequence[Decision], rows: Sequence[ForgottenRow], names: Collection[PointName]
    ) -> str | None:
        """Why somebody must confirm that these points go; None if it is usual.

        That points go is usual; not so of those that go since a policy was shortened, and of those that should have
        gone more than a month ago.
        """
        soft = {row.point for row in rows if row.how == How.SHORTENED}
        unusual = sum(1 for d in going if d.point.id in soft or _end(d) < self.now - OVERDUE)
        many = too_many(unusual, len(names), few=FEW)
        if many is not None:
            return many
        ranked: Iterator[PointName] = iter(sorted(names, key=lambda n: (n.sequence, n.time, n.id), reverse=True))
        newest = first_that_opens(self.vault, ranked)
        return looks_encrypted(newest) if isinstance(newest, Point) else None


def refuse_gaps(ledger: Ledger, names: Collection[PointName], opened: Collection[PointName], jumps: Jumps) -> None:
    """Raise MissingData if points of an item vanished: what is left might not be what a policy was to choose from.

    `opened` are those of the names whose records opened.
    """
    highest = max([name.sequence for name in opened] + [ledger.highest])
    there = {name.sequence for name in names}
    missing = ledger.gaps(there, highest, skipped=jumps.skipped((ledger.machine, ledger.item), there))
    if missing:
        first, last = missing[0]
        more = f" and {len(missing) - 1} more ranges" if len(missing) > 1 else ""
        raise MissingData(
            f"{numbers_text(first, last)}{more} of item {ledger.item.hex()[:8]} vanished from the vault: "
            "no point of it goes",
            "bring them back from a copy of the vault, or accept the loss with `rpdrive forget --missing`",
        )


def soft_delete(vault: Vault) -> int:
    """How long a point that was forgotten can be had back (ns)."""
    return vault.file.soft_delete_days * DAY


def _going(decided: Sequence[Decision]) -> list[Decision]:
    return [d for d in decided if not d.keep]


def _end(d: Decision) -> int:
    """When the last reason of a point that goes ended (ns); at the earliest a day after it was stored."""
    erased = [r.until for r in d.ended if r.why is Why.ERASE_AFTER and r.until is not None]
    if erased:
        return min(erased)
    return max([r.until for r in d.ended if r.until is not None] + [d.point.modified + SETTLED])


def _is_shorter(before: Policy, policy: Policy) -> bool:
    """Whether `policy` may keep less than the one before."""
    return bool(before.unknown) or not before.is_complete or bool(shortened(before, policy))
