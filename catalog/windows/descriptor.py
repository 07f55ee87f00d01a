"""Security descriptors: self-relative bytes, their parts, and SDDL. [MS-DTYP] 2.4.4 to 2.4.6 and 2.5.1.

Entries are kept whole, including those of unknown types. The bytes come from the machine that was backed up, so
malformed ones raise Damaged.
"""

from __future__ import annotations

import re
import struct
import uuid
from functools import lru_cache
from typing import NamedTuple

from catalog.errors import Damaged, UsageError
from catalog.windows import sid

DACL_PRESENT, SACL_PRESENT, SELF_RELATIVE = 0x4, 0x10, 0x8000
DACL_PROTECTED, SACL_PROTECTED = 0x1000, 0x2000
_ACL_FLAGS = {"P": 0x1000, "AR": 0x100, "AI": 0x400}  # of the DACL; those of the SACL are one bit higher
_NO_ACL = "NO_ACCESS_CONTROL"

INHERIT_ONLY = 0x8
READ_DATA, EXECUTE = 0x1, 0x20
READ_AND_EXECUTE = 0x1200A9  # FILE_GENERIC_READ and FILE_GENERIC_EXECUTE
GENERIC_ALL, GENERIC_EXECUTE, GENERIC_READ = 0x10000000, 0x20000000, 0x80000000
READONLY, DIRECTORY = 0x1, 0x10  # FILE_ATTRIBUTE_*

_TYPES = {
    "A": 0, "D": 1, "AU": 2, "AL": 3, "OA": 5, "OD": 6, "OU": 7, "OL": 8, "ML": 0x11, "SP": 0x13,
}  # fmt: skip
_OBJECT_TYPES = frozenset((5, 6, 7, 8))
_FLAGS = {"OI": 1, "CI": 2, "NP": 4, "IO": 8, "ID": 0x10, "SA": 0x40, "FA": 0x80}
_RIGHTS = {
    "CC": 0x1, "DC": 0x2, "LC": 0x4, "SW": 0x8, "RP": 0x10, "WP": 0x20, "DT": 0x40, "LO": 0x80, "CR": 0x100,
    "SD": 0x10000, "RC": 0x20000, "WD": 0x40000, "WO": 0x80000, "GA": GENERIC_ALL, "GX": GENERIC_EXECUTE,
    "GW": 0x40000000, "GR": GENERIC_READ,
}  # fmt: skip
_FILE_RIGHTS = {"FA": 0x1F01FF, "FR": 0x120089, "FW": 0x120116, "FX": 0x1200A0}
_LABEL_RIGHTS = {"NW": 0x1, "NR": 0x2, "NX": 0x4}

_HEAD = struct.Struct("<BBHIIII")  # revision, 0, control, offsets of owner, group, SACL, DACL
_ACL = struct.Struct("<BBHHH")  # revision, 0, bytes, entries, 0
_ACE = struct.Struct("<BBH")  # type, flags, bytes
_PARTS = re.compile(r"([OGDS]):")
_ENTRY = re.compile(r"\(([^()]*)\)")


class Ace(NamedTuple):
    """An access control entry. An entry of an unknown type has only `body`: everything after its header."""

    type: int
    flags: int
    mask: int
    sid: str
    object: bytes = b""  # GUIDs, unparsed, of entries that have them
    inherited_object: bytes = b""
    body: bytes = b""


class Acl(NamedTuple):
    revision: int
    entries: list[Ace]


class Descriptor(NamedTuple):
    """A parsed security descriptor. `owner` and `group` are `S-1-…`, empty for none.

    SE_DACL_PRESENT and SE_SACL_PRESENT in `control` say whether there is a list, which may still be None.
    """

    control: int
    owner: str
    group: str
    dacl: Acl | None
    sacl: Acl | None


# --- bytes ----------------------------------------------------------------------------------------------------


def parse(data: bytes) -> Descriptor:
    """A descriptor from its self-relative bytes. Raises Damaged."""
    if len(data) < _HEAD.size:
        raise Damaged("a security descriptor is truncated")
    revision, _zero, control, owner, group, sacl, dacl = _HEAD.unpack_from(data)
    if revision != 1 or not control & SELF_RELATIVE:
        raise Damaged("a security descriptor is malformed")
    return Descriptor(
        control,
        sid.take(data, owner)[0] if owner else "",
        sid.take(data, group)[0] if group else "",
        _acl(data, dacl) if control & DACL_PRESENT and dacl else None,
        _acl(data, sacl) if control & SACL_PRESENT and sacl else None,
    )


def _acl(data: bytes, offset: int) -> Acl:
    if offset > len(data) - _ACL.size:
        raise Damaged("an access control list is outside its security descriptor")
    revision, _zero, size, count, _zeros = _ACL.unpack_from(data, offset)
    end = offset + size
    if size < _ACL.size or end > len(data):
        raise Damaged("an access control list is truncated")
    entries, at = [], offset + _ACL.size
    for _ in range(count):
        if at > end - _ACE.size:
            raise Damaged("an access control list has fewer entries than it says")
        kind, flags, length = _ACE.unpack_from(data, at)
        if length < _ACE.size or at + length > end:
            raise Damaged("an entry of an access control list is truncated")
        entries.append(_ace(kind, flags, data[at + _ACE.size : at + length]))
        at += length
    return Acl(revision, entries)


def _ace(kind: int, flags: int, body: bytes) -> Ace:
    if kind not in _TYPES.values():
        return Ace(kind, flags, 0, "", body=body)
    at = 4
    guids = [b"", b""]
    if kind in _OBJECT_TYPES:
        which = int.from_bytes(body[4:8], "little")
        at = 8
        for n in (0, 1):
            if which & (1 << n):
                guids[n] = body[at : at + 16]
                at += 16
    who, length = sid.take(body, at)
    return Ace(kind, flags, int.from_bytes(body[:4], "little"), who, guids[0], guids[1], body[at + length :])


def build(d: Descriptor) -> bytes:
    """The self-relative bytes, with the parts in Windows's order."""
    parts, offsets, at = [], [0, 0, 0, 0], _HEAD.size
    for place, part in (
        (2, _acl_bytes(d.sacl)), (3, _acl_bytes(d.dacl)),
        (0, sid.to_bytes(d.owner) if d.owner else b""), (1, sid.to_bytes(d.group) if d.group else b""),
    ):  # fmt: skip
        if part:
            offsets[place] = at
            parts.append(part)
            at += len(part)
    return _HEAD.pack(1, 0, d.control | SELF_RELATIVE, *offsets) + b"".join(parts)


def _acl_bytes(acl: Acl | None) -> bytes:
    if acl is None:
        return b""
    rows = []
    for a in acl.entries:
        body = a.body
        if a.sid:
            which = bool(a.object) | bool(a.inherited_object) << 1
            guids = which.to_bytes(4, "little") + a.object + a.inherited_object if a.type in _OBJECT_TYPES else b""
            body = a.mask.to_bytes(4, "little") + guids + sid.to_bytes(a.sid) + body
        rows.append(_ACE.pack(a.type, a.flags, _ACE.size + len(body)) + body)
    data = b"".join(rows)
    if _ACL.size + len(data) > 0xFFFF:
        raise UsageError("an access control list is larger than 64 KiB")
    return _ACL.pack(acl.revision, 0, _ACL.size + len(data), len(rows), 0) + data


# --- SDDL -----------------------------------------------------------------------------------------------------


def to_sddl(data: bytes) -> str:
    """A descriptor as SDDL, spelled as by Windows. Raises Damaged, and UsageError for entries without a text."""
    d = parse(data)
    text = f"O:{sid.letters(d.owner)}" if d.owner else ""
    text += f"G:{sid.letters(d.group)}" if d.group else ""
    if d.control & DACL_PRESENT:
        text += "D:" + _acl_text(d.dacl, d.control)
    if d.control & SACL_PRESENT:
        text += "S:" + _acl_text(d.sacl, d.control >> 1)
    return text


def _acl_text(acl: Acl | None, control: int) -> str:
    flags = "".join(letters for letters, bit in _ACL_FLAGS.items() if control & bit)
    return flags + (_NO_ACL if acl is None else "".join(map(_ace_text, acl.entries)))


def _ace_text(a: Ace) -> str:
    kind = next((letters for letters, number in _TYPES.items() if number == a.type), None)
    if kind is None or a.body or a.flags & ~sum(_FLAGS.values()):
        raise UsageError(f"an entry of type {a.type} in a security descriptor can't be shown as text")
    flags = "".join(letters for letters, bit in _FLAGS.items() if a.flags & bit)
    guids = (str(uuid.UUID(bytes_le=g)) if g else "" for g in (a.object, a.inherited_object))
    return "(" + ";".join((kind, flags, _rights_text(a), *guids, sid.letters(a.sid))) + ")"


def _rights_text(a: Ace) -> str:
    known = _LABEL_RIGHTS if a.type == _TYPES["ML"] else _RIGHTS
    whole = next((letters for letters, mask in _FILE_RIGHTS.items() if mask == a.mask), "")
    if whole or a.mask & ~sum(known.values()):
        return whole or f"0x{a.mask:x}"
    return "".join(letters for letters, bit in known.items() if a.mask & bit)


def from_sddl(text: str, domain: str = "") -> bytes:
    """The bytes of a descriptor. `domain` is the SID (`S-1-5-21-…`) for letters such as `DA`. Raises UsageError."""
    start, *rest = _PARTS.split(re.sub(r"\s", "", text))
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    if start or len(parts) * 2 != len(rest):
        raise UsageError(f"{text!r} is not a security descriptor")
    control = 0
    lists: dict[str, Acl | None] = {"D": None, "S": None}
    for name, present, shift in (("D", DACL_PRESENT, 0), ("S", SACL_PRESENT, 1)):
        if name in parts:
            flags, lists[name] = _acl_of(parts[name], domain)
            control |= present | flags << shift
    owner, group = (sid.from_letters(parts[name], domain) if name in parts else "" for name in "OG")
    return build(Descriptor(control, owner, group, lists["D"], lists["S"]))


def _acl_of(text: str, domain: str) -> tuple[int, Acl | None]:
    flags, end = 0, text.find("(") if "(" in text else len(text)
    words, entries = text[:end], text[end:]
    none = words.endswith(_NO_ACL)
    words = words.removesuffix(_NO_ACL)
    while words:
        letters = next((w for w in ("AR", "AI", "P") if words.startswith(w)), None)
        if letters is None:
            raise UsageError(f"{words!r} is not a flag of an access control list")
        flags |= _ACL_FLAGS[letters]
        words = words[len(letters) :]
    found = _ENTRY.findall(entries)
    if "".join(f"({e})" for e in found) != entries or (none and found):
        raise UsageError(f"{entries!r} is not a list of access control entries")
    if none:
        return flags, None
    rows = [_ace_of(e, domain) for e in found]
    return flags, Acl(4 if any(a.type in _OBJECT_TYPES for a in rows) else 2, rows)


def _ace_of(text: str, domain: str) -> Ace:
    fields = text.split(";")
    if len(fields) != 6 or fields[0].upper() not in _TYPES:
        raise UsageError(f"{text!r} is not a known access control entry")
    kind, flags, rights, guid, inherited, who = fields
    number = _TYPES[kind.upper()]
    known = _LABEL_RIGHTS if number == _TYPES["ML"] else _RIGHTS | _FILE_RIGHTS
    try:
        guids = [uuid.UUID(g).bytes_le if g else b"" for g in (guid, inherited)]
        mask = int(rights, 16) if rights[:2].lower() == "0x" else _sum(rights, known)
    except ValueError as e:
        raise UsageError(f"{text!r} has a malformed GUID or malformed rights") from e
    if mask >= 1 << 32 or (any(guids) and number not in _OBJECT_TYPES):
        raise UsageError(f"{text!r} is not an access control entry")
    return Ace(number, _sum(flags, _FLAGS), mask, sid.from_letters(who, domain), *guids)


def _sum(text: str, known: dict[str, int]) -> int:
    """The sum of the bits that SDDL's pairs of letters represent. Raises UsageError for an unknown pair."""
    bits = 0
    for pair in re.findall("..?", text.upper()):
        if pair not in known:
            raise UsageError(f"{pair!r} is not a flag or right of an access control entry")
        bits |= known[pair]
    return bits


# --- other systems --------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def synthesised(uid_sid: str, *, folder: bool) -> bytes:
    """A descriptor for entries of other systems: read and execute for the mounting user and for Administrators.

    It is protected, so nothing is inherited, and a copy gets the permissions of the folder it is copied to.
    """
    inherit = "OICI" if folder else ""
    entries = dict.fromkeys((uid_sid, sid.ADMINISTRATORS))
    rows = "".join(f"(A;{inherit};0x{READ_AND_EXECUTE:x};;;{who})" for who in entries)
    return from_sddl(f"O:{uid_sid}G:{uid_sid}D:P{rows}")


def mode(data: bytes | None, attributes: int) -> int:
    """Permission bits for other systems.

    The owner (on a drive: the user who mounted it) may read everything, and write unless the file is read-only.
    Others may read what everyone may read on Windows: nothing if the descriptor is missing or malformed.
    """
    folder = bool(attributes & DIRECTORY)
    owner = 0o700 if folder else 0o400 if attributes & READONLY else 0o600
    needed = READ_DATA | EXECUTE if folder else READ_DATA
    return owner | ((0o055 if folder else 0o044) if data is not None and _everybody_may(data, needed) else 0)


_EVERYBODY = frozenset((sid.EVERYONE, sid.AUTHENTICATED, sid.USERS))


def _everybody_may(data: bytes, needed: int) -> bool:
    try:
        d = parse(data)
    except Damaged:
        return False
    if d.dacl is None:
        return True  # without a list, everything is allowed
    left = needed
    for a in d.dacl.entries:
        if a.flags & INHERIT_ONLY or a.sid not in _EVERYBODY or a.type > 1:
            continue
        mask = a.mask
        if mask & (GENERIC_ALL | GENERIC_READ):
            mask |= READ_DATA
        if mask & (GENERIC_ALL | GENERIC_EXECUTE):
            mask |= EXECUTE
        if a.type == _TYPES["D"] and mask & left:
            return False
        if a.type == _TYPES["A"]:
            left &= ~mask
    return not left
