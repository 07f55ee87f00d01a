"""Reads and writes the records of retention of an open vault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from catalog.errors import Damaged
from catalog.format.retention import (
    Retention,
    Unknown,
    decode_retention,
    encode_retention,
    policy_folder,
    policy_named,
)
from catalog.format.sealed import Kind
from catalog.retention.policy import Level, Policy, effective
from catalog.signing import signing_key
from catalog.vault import Vault

_JUNK = "bring that object back from a copy of the vault; if it is lost, or junk, delete it"
_AGAIN = "write a new one with `rpdrive policy set --replace`"
UNREADABLE = "a record that can't be read"  # among the unknown fields of a level: nothing is removed then


class Policies:
    """The newest records of retention in a vault. One listing, when it is made, and one request for each level.

    A record that an admin signed and that is malformed is noted in the vault's `passed_over`. An earlier one does
    not count in its place: it could keep less.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._numbers: dict[bytes, dict[int, int]] = {}  # by level: when each was stored, by the store's clock (ns)
        self._levels: dict[bytes, Level] = {}
        self._doubtful: set[bytes] = set()
        self._policies: dict[tuple[bytes | None, bytes | None], Policy] = {}
        for info in vault.store.list("policies/"):
            named = policy_named(info.name)
            if named is not None:
                self._numbers.setdefault(named[0], {})[named[1]] = info.modified

    @property
    def ids(self) -> list[bytes]:
        """The ids of the vault, the machines and items that may have records."""
        return list(self._numbers)

    def level(self, what: str, name: str, level: bytes) -> Level:
        """What the vault, a machine or an item says. Raises StoreError, or Damaged if nobody signed its records."""
        found = self._levels.get(level)
        if found is None:
            found = self._levels[level] = self._read(Level(what, name, level))
        return found

    def _read(self, level: Level, below: int | None = None) -> Level:
        """The newest record of a level; or the newest of those with a number `below` this one."""
        numbers = [n for n in self._numbers.get(level.id, ()) if below is None or n < below]
        found = self._vault.signed.among(Kind.RETENTION, policy_folder(level.id), numbers) if numbers else None
        if below is None and numbers:
            self._note_doubts(level.id)
        if found is None:
            return level
        try:
            record, unknown = decode_retention(found.content, found.name)
        except Damaged as e:
            error = Damaged(str(e), _AGAIN)
            error.__cause__ = e
            self._vault.passed_over.note(found.name, error, lost=True)
            return level._replace(number=found.number, unknown={UNREADABLE: None})
        return level._replace(number=found.number, record=record, unknown=unknown)

    def _note_doubts(self, level: bytes) -> None:
        """Note that a later record of a level may be there that does not open: an earlier one could keep less."""
        for name in self._vault.signed.doubts(policy_folder(level)):
            error = Damaged(
                f"{name} does not open, and may be the policy that counts: nothing goes by policy", _JUNK
            )
            self._vault.passed_over.note(name, error, lost=True)
            self._doubtful.add(level)

    def suppose(self, level: Level) -> None:
        """Take a level as it is given here, and not as it is in the vault."""
        self._levels[level.id] = level

    def of_vault(self) -> Level:
        return self.level("vault", "", self._vault.id)

    def policy(self, machine: bytes, item: bytes) -> Policy:
        """The policy of the points of an item. Raises as `level`, and LocalError for an unknown time zone."""
        key = machine, item
        if key not in self._policies:
            levels = [self.level("item", "", item), self.level("machine", "", machine), self.of_vault()]
            policy = effective(levels, immutable_days(self._vault))
            if self._doubtful.intersection(level.id for level in levels):
                policy = replace(policy, unknown=(*policy.unknown, UNREADABLE))
            self._policies[key] = policy
        return self._policies[key]

    def changed_since(self, since: int) -> list[bytes]:
        """The levels whose newest object was stored since a time, by the store's clock (ns). No request."""
        return [level for level, numbers in self._numbers.items() if numbers[max(numbers)] >= since]

    def changes(self, level: Level, since: int) -> Iterator[tuple[int, Level, Level]]:
        """When, by the store's clock (ns), a level changed since a time: what it was before, and was then.

        The last change comes first. One request for each earlier record. Raises StoreError, and Damaged.
        """
        while level.number and (when := self._numbers[level.id][level.number]) >= since:
            before = self._read(Level(level.what, level.name, level.id), below=level.number)
            yield when, before, level
            level = before

    def before(self, machine: bytes, item: bytes, since: int) -> Iterator[tuple[int, Policy]]:
        """When, by the store's clock (ns), an item's policy changed since a time, and what it was before.

        The last change comes first. One request for each earlier record. Raises as `policy`.
        """
        levels = [self.level("item", "", item), self.level("machine", "", machine), self.of_vault()]
        while True:
            changes = [(self._numbers[level.id][level.number], n) for n, level in enumerate(levels) if level.number]
            when, last = max(changes, default=(-1, 0))
            if when < since:
                return
            now = levels[last]
            levels[last] = self._read(Level(now.what, now.name, now.id), below=now.number)
            yield when, effective(levels, immutable_days(self._vault))


def immutable_days(vault: Vault) -> int:
    """For how many days the vault keeps every point; 0 if it doesn't."""
    return 0 if vault.file.immutable is None else vault.file.immutable.days


def add_retention(vault: Vault, level: Level, record: Retention, unknown: Unknown) -> int:
    """Sign a record and store it after the newest one of its level. Returns its number.

    `record.number` is not looked at. Raises Locked if the signing key needs a passphrase of its own, ObjectChanged
    if somebody else was faster, or another StoreError.
    """
    admin, private = signing_key(vault)

    def content(number: int) -> bytes:
        return encode_retention(msgspec.structs.replace(record, number=number), unknown)

    return vault.signed.add(Kind.RETENTION, policy_folder(level.id), content, admin, private, after=level.number)
