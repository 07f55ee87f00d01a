"""vault.json: what a vault is, who may open it, and who may take points away. docs/format.md, "vault.json"."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from catalog.errors import Damaged, NewerFormat, Unwritable, WrongPassphrase
from catalog.format.admins import ALGORITHM, Admin, knows_admin
from catalog.format.keys import VERSION, Keys
from catalog.format.slots import RESTORE, SLOT_FIELDS, Slot, b64, check_costs, of, open_slot, unb64

MAX_VAULT_FILE = 1 << 20  # bytes
MAX_DEPTH = 32  # of nested arrays and objects
MAX_SLOTS = 32  # and as many admins
MAX_NUMBER = 2**63 - 1  # of versions of the file
SOFT_DELETE_DAYS = 14, 180  # least, which is the default, and most
MAX_IMMUTABLE_DAYS = 36_500
MAX_COPY_OF = 1000  # characters


class Immutable(msgspec.Struct, frozen=True):
    """The rule that nobody takes recovery points away before `days` are over. `locked`: it can't be undone."""

    days: int
    locked: bool

    @classmethod
    def from_json(cls, row: Any) -> Immutable | None:
        """The rule; None for none. Raises ValueError, TypeError or KeyError."""
        if row is None:
            return None
        found = cls(of(int, of(dict, row)["days"]), of(bool, row["locked"]))
        if not 1 <= found.days <= MAX_IMMUTABLE_DAYS:
            raise ValueError("immutable")
        return found


class CopyMark(msgspec.Struct, frozen=True):
    """This place is a copy of the vault at the address `of`, since `since` (ISO 8601); both are for people.

    It follows that place until it is promoted: `promoted` is when, in whole seconds since 1970 (UTC).
    """

    of: str
    since: str
    promoted: int | None = None

    @classmethod
    def from_json(cls, row: Any) -> CopyMark:
        """The mark. Raises ValueError, TypeError or KeyError."""
        promoted = of(dict, row)["promoted"]
        found = cls(of(str, row["of"]), of(str, row["since"]), None if promoted is None else of(int, promoted))
        if len(found.of) > MAX_COPY_OF or not 0 <= (found.promoted or 0) <= MAX_NUMBER:
            raise ValueError("copy")
        return found


_IMMUTABLE_FIELDS = frozenset(("days", "locked"))
_COPY_FIELDS = frozenset(("of", "since", "promoted"))


class VaultFile(msgspec.Struct, frozen=True):
    """vault.json: public, authenticated under the master key. `number` counts its versions from 1.

    `admins` are the keys that may sign records. For `soft_delete_days` a point that somebody takes away can still
    be brought back. `parsed` is the JSON that `decode` read: the MAC also covers what this version doesn't know.
    `copy` is set where the file lies in a copy of the vault.
    """

    vault_id: bytes
    number: int
    created: str
    slots: tuple[Slot, ...]
    admins: tuple[Admin, ...] = ()
    soft_delete_days: int = SOFT_DELETE_DAYS[0]
    immutable: Immutable | None = None
    mac: bytes = b""
    parsed: Mapping[str, Any] | None = None
    copy: CopyMark | None = None

    @property
    def is_following(self) -> bool:
        """Whether this is a copy that only `rpdrive vault copy` writes: it was not promoted."""
        return self.copy is not None and self.copy.promoted is None

    def _body(self) -> dict[str, Any]:
        mark = {} if self.copy is None else {"copy": msgspec.structs.asdict(self.copy)}
        return mark | {
            "format": "rpdrive vault",
            "version": VERSION,
            "id": self.vault_id.hex(),
            "number": self.number,
            "created": self.created,
            "slots": [s.to_json() for s in self.slots],
            "admins": [a.to_json() for a in self.admins],
            "soft_delete_days": self.soft_delete_days,
            "immutable": None if self.immutable is None else msgspec.structs.asdict(self.immutable),
        }

    def changed(self, **fields: Any) -> VaultFile:
        """The file with other values of these fields. It has no MAC until it is encoded."""
        return msgspec.structs.replace(self, **fields, mac=b"")

    def encode(self, keys: Keys) -> bytes:
        """The file's bytes. Raises NewerFormat if it was read with parts that this version would drop.

        Raises Unwritable if no reader would take it.
        """
        if self.parsed is not None and not _knows(self.parsed):
            raise NewerFormat("vault.json holds fields that this rpdrive doesn't know, so it can't change the file")
        if max(len(self.slots), len(self.admins)) > MAX_SLOTS:
            raise Unwritable(f"vault.json would have more than {MAX_SLOTS} keys of a kind")
        row = self._body()
        row["mac"] = b64(_mac(row, keys))
        return json.dumps(row, indent=2, ensure_ascii=True).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> VaultFile:
        """Parse, without authenticating. Raises NewerFormat or Damaged."""
        try:
            if len(data) > MAX_VAULT_FILE:
                raise ValueError("too long")
            row = json.loads(data, object_pairs_hook=_without_repeats)
            if _is_deep(row):
                raise ValueError("nested too deeply")
            if row["format"] != "rpdrive vault":
                raise ValueError("not a vault")
            version = of(int, row["version"])
            if version > VERSION:
                raise NewerFormat(f"the vault has format version {version}; this rpdrive reads version {VERSION}")
            slots = of(list, row["slots"])
            if version != VERSION or len(slots) > MAX_SLOTS:
                raise ValueError("version or slots")
            known = tuple(Slot.from_json(s) for s in slots if s["kdf"] == "argon2id")
            if slots and not known:
                raise NewerFormat("the vault has only key slots of kinds that this rpdrive doesn't know")
            vault_id = of(str, row["id"])
            if not re.fullmatch("[0-9a-f]{32}", vault_id):
                raise ValueError("vault id")
            number, created, mac = of(int, row["number"]), of(str, row["created"]), unb64(row["mac"])
            admins, days = _admins(of(list, row["admins"])), of(int, row["soft_delete_days"])
            if not 1 <= number <= MAX_NUMBER:
                raise ValueError("number")
            if not SOFT_DELETE_DAYS[0] <= days <= SOFT_DELETE_DAYS[1]:
                raise ValueError("soft_delete_days")
            immutable = Immutable.from_json(row["immutable"])
            copy = CopyMark.from_json(row["copy"]) if "copy" in row else None
            return cls(bytes.fromhex(vault_id), number, created, known, admins, days, immutable, mac, row, copy)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise Damaged("vault.json is malformed", RESTORE) from e

    def unlock(self, passphrase: str) -> Keys:
        """The keys, from a passphrase. Raises WrongPassphrase, or Damaged if the file was changed."""
        check_costs(self.slots)
        wrong: WrongPassphrase | None = None
        for slot in self.slots:
            try:
                master = open_slot(slot, self.vault_id, passphrase)
            except WrongPassphrase as e:
                wrong = e
                continue
            return self.verify(Keys(master, self.vault_id))
        raise wrong or Damaged("vault.json has no key slot", RESTORE)

    def verify(self, keys: Keys) -> Keys:
        """Check the file's MAC under these keys and return them. Raises Damaged if the MAC is wrong."""
        row = self._body() if self.parsed is None else self.parsed
        if not hmac.compare_digest(_mac(row, keys), self.mac):
            raise Damaged(
                "vault.json has been changed since rpdrive wrote it, or belongs to another vault",
                RESTORE,
            )
        return keys


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError if a field repeats: readers would differ in which one they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field repeats")
    return found


def _is_deep(value: object) -> bool:
    """Whether JSON is nested more deeply than it may be."""
    level = [value]
    for _depth in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, dict | list) for inner in level)


def _mac(row: Mapping[str, Any], keys: Keys) -> bytes:
    """HMAC of the file's canonical JSON: all fields but `mac`, names sorted, no spaces, ASCII."""
    signed = {k: v for k, v in row.items() if k != "mac"}
    body = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.digest(keys.vault_file, body.encode(), hashlib.sha256)


_FIELDS = frozenset(
    ("format", "version", "id", "number", "created", "slots", "admins", "soft_delete_days", "immutable", "mac")
) | {"copy"}


def _knows(row: Mapping[str, Any]) -> bool:
    return (
        row.keys() <= _FIELDS
        and all(s.keys() <= SLOT_FIELDS for s in row["slots"])
        and all(knows_admin(a) for a in row["admins"])
        and (row["immutable"] is None or row["immutable"].keys() <= _IMMUTABLE_FIELDS)
        and row.get("copy", {}).keys() <= _COPY_FIELDS
    )


def _admins(rows: list[Any]) -> tuple[Admin, ...]:
    """The admins with keys of a kind that this version knows. Raises ValueError, TypeError or KeyError."""
    if len(rows) > MAX_SLOTS:
        raise ValueError("admins")
    known = tuple(Admin.from_json(a) for a in rows if of(str, a["algorithm"]) == ALGORITHM)
    if len({a.id for a in known}) < len(known):
        raise ValueError("an admin twice")
    return known
