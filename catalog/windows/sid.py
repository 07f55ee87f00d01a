"""Security identifiers (SIDs) as bytes, as `S-1-…` and as SDDL's two letters. [MS-DTYP] 2.4.2; Sddl.h."""

from __future__ import annotations

import re
import struct

from catalog.errors import Damaged, UsageError

MOST = 15  # sub-authorities
_TEXT = re.compile(r"S-1-(0x[0-9a-f]{12}|0|[1-9][0-9]{0,9})((?:-(?:0|[1-9][0-9]{0,9}))*)", re.IGNORECASE)

ADMINISTRATORS, SYSTEM, EVERYONE = "S-1-5-32-544", "S-1-5-18", "S-1-1-0"
USERS, AUTHENTICATED = "S-1-5-32-545", "S-1-5-11"

# The same on every machine.
ALIASES = {
    "WD": EVERYONE, "CO": "S-1-3-0", "CG": "S-1-3-1", "OW": "S-1-3-4", "NU": "S-1-5-2", "IU": "S-1-5-4",
    "SU": "S-1-5-6", "AN": "S-1-5-7", "ED": "S-1-5-9", "PS": "S-1-5-10", "AU": AUTHENTICATED, "RC": "S-1-5-12",
    "SY": SYSTEM, "LS": "S-1-5-19", "NS": "S-1-5-20", "WR": "S-1-5-33", "BA": ADMINISTRATORS, "BU": USERS,
    "BG": "S-1-5-32-546", "PU": "S-1-5-32-547", "AO": "S-1-5-32-548", "SO": "S-1-5-32-549", "PO": "S-1-5-32-550",
    "BO": "S-1-5-32-551", "RE": "S-1-5-32-552", "RU": "S-1-5-32-554", "RD": "S-1-5-32-555", "NO": "S-1-5-32-556",
    "MU": "S-1-5-32-558", "LU": "S-1-5-32-559", "IS": "S-1-5-32-568", "CY": "S-1-5-32-569", "ER": "S-1-5-32-573",
    "CD": "S-1-5-32-574", "AC": "S-1-15-2-1", "LW": "S-1-16-4096", "ME": "S-1-16-8192", "HI": "S-1-16-12288",
    "SI": "S-1-16-16384",
}  # fmt: skip
_LETTERS = {sid: alias for alias, sid in ALIASES.items()}
# The last number of SIDs that belong to a domain, or to the machine itself.
_OF_DOMAIN = {
    "RO": 498, "LA": 500, "LG": 501, "DA": 512, "DU": 513, "DG": 514, "DC": 515, "DD": 516, "CA": 517, "SA": 518,
    "EA": 519, "PA": 520,
}  # fmt: skip


def take(data: bytes, offset: int = 0) -> tuple[str, int]:
    """The SID at an offset, and its length in bytes. Raises Damaged."""
    if not 0 <= offset <= len(data) - 8:
        raise Damaged("a security identifier is outside the security descriptor")
    revision, count = data[offset], data[offset + 1]
    if revision != 1 or count > MOST or offset + 8 + 4 * count > len(data):
        raise Damaged("a security identifier is malformed")
    authority = int.from_bytes(data[offset + 2 : offset + 8], "big")
    numbers = struct.unpack_from(f"<{count}I", data, offset + 8)
    first = str(authority) if authority < 1 << 32 else f"0x{authority:012x}"
    return "-".join(("S-1", first, *map(str, numbers))), 8 + 4 * count


def to_bytes(text: str) -> bytes:
    """A SID from `S-1-…`. Raises UsageError."""
    found = _TEXT.fullmatch(text)
    numbers = [int(n) for n in found[2].split("-")[1:]] if found else []
    if found is None or len(numbers) > MOST or any(n >= 1 << 32 for n in numbers):
        raise UsageError(f"{text!r} is not a security identifier")
    authority = int(found[1], 16 if found[1][:2].lower() == "0x" else 10)
    return bytes((1, len(numbers))) + authority.to_bytes(6, "big") + struct.pack(f"<{len(numbers)}I", *numbers)


def letters(sid: str) -> str:
    """A SID in SDDL: its two letters if it has some, else `S-1-…`."""
    return _LETTERS.get(sid, sid)


def from_letters(text: str, domain: str = "") -> str:
    """A SID from SDDL. `domain` is the SID of the domain that some letters refer to. Raises UsageError."""
    name = text.upper()
    if name in ALIASES:
        return ALIASES[name]
    if name in _OF_DOMAIN and domain:
        return f"{domain}-{_OF_DOMAIN[name]}"
    return take(to_bytes(text))[0]
