"""Security descriptors as Windows handles them, as far as winfspy and WinFsp's access check need them.

Self-relative descriptors (MS-DTYP 2.4.6), their string form (2.5.1) and AccessCheck. Written apart from the
product's own parser, so that each can be held against the other. Not covered: object ACEs, conditional ACEs,
integrity labels, privileges other than traverse; a SACL is carried through but audits nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

READ_CONTROL, WRITE_DAC, DELETE, SYNCHRONIZE = 0x20000, 0x40000, 0x10000, 0x100000
FILE_READ_DATA, FILE_WRITE_DATA, FILE_APPEND_DATA = 1, 2, 4  # of a folder: list, add file, add folder
FILE_EXECUTE, FILE_DELETE_CHILD, FILE_READ_ATTRIBUTES = 0x20, 0x40, 0x80  # of a folder, execute is traverse
FILE_ALL_ACCESS = 0x1F01FF
FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE = 0x120089, 0x120116, 0x1200A0
MAXIMUM_ALLOWED = 0x02000000
GENERIC = {0x80000000: FILE_GENERIC_READ, 0x40000000: FILE_GENERIC_WRITE, 0x20000000: FILE_GENERIC_EXECUTE}
GENERIC_ALL = 0x10000000

OWNER_INFORMATION, GROUP_INFORMATION, DACL_INFORMATION, SACL_INFORMATION = 1, 2, 4, 8

DACL_PRESENT, SACL_PRESENT, SELF_RELATIVE = 0x0004, 0x0010, 0x8000
_CONTROLS = {  # letters in the string form, of the DACL's and of the SACL's part
    "D": (("P", 0x1000), ("AR", 0x0100), ("AI", 0x0400)),
    "S": (("P", 0x2000), ("AR", 0x0200), ("AI", 0x0800)),
}
_HEADER = struct.Struct("<BBHIIII")  # revision, sbz1, control, offsets of owner, group, SACL, DACL
_ACL = struct.Struct("<BBHHH")  # revision, sbz1, size, count, sbz2
_ACE = struct.Struct("<BBHI")  # type, flags, size, mask

ALLOWED, DENIED, AUDIT = 0, 1, 2
_TYPES = {"A": ALLOWED, "D": DENIED, "AU": AUDIT}
INHERIT_ONLY = 0x08
_ACE_FLAGS = {"OI": 0x01, "CI": 0x02, "NP": 0x04, "IO": INHERIT_ONLY, "ID": 0x10, "SA": 0x40, "FA": 0x80}
_RIGHTS = {
    "FA": FILE_ALL_ACCESS,
    "FR": FILE_GENERIC_READ,
    "FW": FILE_GENERIC_WRITE,
    "FX": FILE_GENERIC_EXECUTE,
    "GA": GENERIC_ALL,
    "GR": 0x80000000,
    "GW": 0x40000000,
    "GX": 0x20000000,
    "RC": READ_CONTROL,
    "SD": DELETE,
    "WD": WRITE_DAC,
    "WO": 0x80000,
    "CC": 0x1,
    "DC": 0x2,
    "LC": 0x4,
    "SW": 0x8,
    "RP": 0x10,
    "WP": 0x20,
    "DT": 0x40,
    "LO": 0x80,
    "CR": 0x100,
}
EVERYONE, AUTHENTICATED, USERS = "S-1-1-0", "S-1-5-11", "S-1-5-32-545"
_ALIASES = {
    "WD": EVERYONE,
    "CO": "S-1-3-0",
    "CG": "S-1-3-1",
    "OW": "S-1-3-4",
    "NU": "S-1-5-2",
    "IU": "S-1-5-4",
    "SU": "S-1-5-6",
    "AN": "S-1-5-7",
    "AU": AUTHENTICATED,
    "SY": "S-1-5-18",
    "LS": "S-1-5-19",
    "NS": "S-1-5-20",
    "BA": "S-1-5-32-544",
    "BU": USERS,
    "BG": "S-1-5-32-546",
}
_NAMES = {sid: alias for alias, sid in _ALIASES.items()}


class Ace(NamedTuple):
    type: int
    flags: int
    mask: int
    sid: str


class Descriptor(NamedTuple):
    """What a descriptor says. `dacl` None: there is none, and everything is allowed."""

    control: int
    owner: str | None
    group: str | None
    dacl: tuple[Ace, ...] | None
    sacl: tuple[Ace, ...] | None


class Token(NamedTuple):
    """The token of a caller: a user and groups. Ordinary users may traverse folders they can't list."""

    user: str = "S-1-5-21-1111111111-2222222222-3333333333-1001"
    groups: tuple[str, ...] = (EVERYONE, AUTHENTICATED, USERS)
    traverse: bool = True

    @property
    def sids(self) -> frozenset[str]:
        return frozenset((self.user, *self.groups))


ADMINISTRATOR = Token(
    "S-1-5-21-1111111111-2222222222-3333333333-500", (EVERYONE, AUTHENTICATED, USERS, "S-1-5-32-544")
)
STRANGER = Token("S-1-5-21-1111111111-2222222222-3333333333-1999", (EVERYONE, AUTHENTICATED, USERS))


def sid_bytes(sid: str) -> bytes:
    revision, authority, *parts = (int(part) for part in sid.removeprefix("S-").split("-"))
    return struct.pack(f"<BB6s{len(parts)}I", revision, len(parts), authority.to_bytes(6, "big"), *parts)


def sid_text(raw: bytes) -> str:
    """The SID that `raw` begins with; ValueError if it isn't whole."""
    if len(raw) < 8 or raw[0] != 1 or raw[1] > 15 or len(raw) < 8 + 4 * raw[1]:
        raise ValueError("not a SID")
    parts = struct.unpack_from(f"<{raw[1]}I", raw, 8)
    return "-".join(map(str, ("S", raw[0], int.from_bytes(raw[2:8], "big"), *parts)))


def parse(raw: bytes) -> Descriptor:
    """A self-relative descriptor; ValueError if it isn't a valid one."""
    try:
        revision, _sbz, control, owner, group, sacl, dacl = _HEADER.unpack_from(raw)
        if revision != 1 or not control & SELF_RELATIVE:
            raise ValueError("not a self-relative security descriptor")
        return Descriptor(
            control,
            sid_text(raw[owner:]) if owner else None,
            sid_text(raw[group:]) if group else None,
            tuple(_aces(raw[dacl:])) if control & DACL_PRESENT and dacl else None,
            tuple(_aces(raw[sacl:])) if control & SACL_PRESENT and sacl else None,
        )
    except struct.error as error:
        raise ValueError("a security descriptor that is cut off") from error


def _aces(raw: bytes) -> Iterator[Ace]:
    revision, _sbz, size, count, _sbz2 = _ACL.unpack_from(raw)
    if revision not in (2, 4) or size > len(raw) or size % 4:
        raise ValueError("not an ACL")
    offset = _ACL.size
    for _ in range(count):
        kind, flags, length, mask = _ACE.unpack_from(raw, offset)
        if kind not in _TYPES.values() or length % 4 or offset + length > size:
            raise ValueError("an ACE that this does not know")
        yield Ace(kind, flags, mask, sid_text(raw[offset + _ACE.size : offset + length]))
        offset += length


def build(descriptor: Descriptor) -> bytes:
    """The self-relative form, laid out as Windows does: header, SACL, DACL, owner, group."""
    parts: list[bytes] = []
    at = _HEADER.size

    def place(part: bytes | None) -> int:
        nonlocal at
        if part is None:
            return 0
        offset = at
        parts.append(part)
        at += len(part)
        return offset

    sacl = place(_acl(descriptor.sacl))
    dacl = place(_acl(descriptor.dacl))
    owner = place(sid_bytes(descriptor.owner) if descriptor.owner else None)
    group = place(sid_bytes(descriptor.group) if descriptor.group else None)
    control = descriptor.control | SELF_RELATIVE
    return _HEADER.pack(1, 0, control, owner, group, sacl, dacl) + b"".join(parts)


def _acl(aces: tuple[Ace, ...] | None) -> bytes | None:
    if aces is None:
        return None
    body = b"".join(
        _ACE.pack(ace.type, ace.flags, _ACE.size + len(sid_bytes(ace.sid)), ace.mask) + sid_bytes(ace.sid)
        for ace in aces
    )
    return _ACL.pack(2, 0, _ACL.size + len(body), len(aces), 0) + body


def from_sddl(text: str) -> bytes:
    """The descriptor that `text` writes out; ValueError where Windows would refuse it or this doesn't know it."""
    control = 0
    sids: dict[str, str] = {}
    lists: dict[str, tuple[Ace, ...]] = {}
    sections = re.split(r"([OGDS]):", text)
    if sections[0]:
        raise ValueError(f"not SDDL: {text}")
    for letter, content in zip(sections[1::2], sections[2::2], strict=True):
        if letter in sids or letter in lists:
            raise ValueError(f"not SDDL: {letter}: twice in {text}")
        if letter in "OG":
            sids[letter] = _sid(content)
            continue
        flags, *aces = re.split(r"(?=\()", content)
        while flags:
            bit = next(((name, bit) for name, bit in _CONTROLS[letter] if flags.startswith(name)), None)
            if bit is None:
                raise ValueError(f"not SDDL: {flags} in {text}")
            flags = flags[len(bit[0]) :]
            control |= bit[1]
        control |= DACL_PRESENT if letter == "D" else SACL_PRESENT
        lists[letter] = tuple(_ace(ace) for ace in aces)
    return build(Descriptor(control, sids.get("O"), sids.get("G"), lists.get("D"), lists.get("S")))


def _sid(text: str) -> str:
    if text in _ALIASES:
        return _ALIASES[text]
    if not re.fullmatch(r"S-1-\d+(-\d+)+", text):
        raise ValueError(f"not a SID: {text}")
    return text


def _ace(text: str) -> Ace:
    fields = text.removeprefix("(").removesuffix(")").split(";")
    if len(fields) != 6 or fields[0] not in _TYPES or fields[3] or fields[4]:
        raise ValueError(f"not an ACE that this knows: {text}")
    flags = sum(_ACE_FLAGS[fields[1][i : i + 2]] for i in range(0, len(fields[1]), 2))
    rights = fields[2]
    mask = 0
    if rights.startswith("0x"):
        mask = int(rights, 16)
    else:
        for i in range(0, len(rights), 2):
            mask |= _RIGHTS[rights[i : i + 2]]
    return Ace(_TYPES[fields[0]], flags, mask, _sid(fields[5]))


def to_sddl(raw: bytes, which: int = 0xF) -> str:
    """The parts of a descriptor that `which` asks for, as text."""
    descriptor = parse(raw)
    text = ""
    if which & OWNER_INFORMATION and descriptor.owner:
        text += "O:" + _NAMES.get(descriptor.owner, descriptor.owner)
    if which & GROUP_INFORMATION and descriptor.group:
        text += "G:" + _NAMES.get(descriptor.group, descriptor.group)
    for letter, bit, aces in (("D", DACL_INFORMATION, descriptor.dacl), ("S", SACL_INFORMATION, descriptor.sacl)):
        if which & bit and aces is not None:
            text += f"{letter}:" + "".join(name for name, flag in _CONTROLS[letter] if descriptor.control & flag)
            text += "".join(map(_ace_text, aces))
    return text


def _ace_text(ace: Ace) -> str:
    kind = next(name for name, value in _TYPES.items() if value == ace.type)
    flags = "".join(name for name, bit in _ACE_FLAGS.items() if ace.flags & bit)
    whole = {mask: name for name, mask in _RIGHTS.items()}
    rights = whole.get(ace.mask, f"0x{ace.mask:x}")
    return f"({kind};{flags};{rights};;;{_NAMES.get(ace.sid, ace.sid)})"


def mapped(access: int) -> int:
    """Generic rights replaced by those of files."""
    for generic, rights in GENERIC.items():
        if access & generic:
            access = access & ~generic | rights
    return access & ~GENERIC_ALL | FILE_ALL_ACCESS if access & GENERIC_ALL else access


def granted(raw: bytes, token: Token, desired: int) -> int | None:
    """What AccessCheck grants `token`, None where it denies. With MAXIMUM_ALLOWED, all that may be had.

    ValueError of a descriptor that is none, or without an owner or a group.
    """
    descriptor = parse(raw)
    if descriptor.owner is None or descriptor.group is None:
        raise ValueError("a security descriptor without owner or group")
    desired = mapped(desired)
    wanted, most = desired & ~MAXIMUM_ALLOWED, bool(desired & MAXIMUM_ALLOWED)
    allowed = denied = 0
    if descriptor.dacl is None:
        allowed = FILE_ALL_ACCESS
    else:
        if descriptor.owner in token.sids:
            allowed |= READ_CONTROL | WRITE_DAC
        for ace in descriptor.dacl:
            if ace.flags & INHERIT_ONLY or ace.sid not in token.sids:
                continue
            if ace.type == ALLOWED:
                allowed |= mapped(ace.mask) & ~denied
            elif ace.type == DENIED:
                denied |= mapped(ace.mask) & ~allowed
    if wanted & ~allowed:
        return None
    return wanted | allowed if most else wanted


def changed(raw: bytes, which: int, modification: bytes) -> bytes:
    """`raw` with the parts that `which` names taken from `modification`, as SetPrivateObjectSecurity does."""
    old, new = parse(raw), parse(modification)
    control = old.control
    if which & DACL_INFORMATION:
        control = control & ~0x1504 | new.control & 0x1504
    if which & SACL_INFORMATION:
        control = control & ~0x2A10 | new.control & 0x2A10
    return build(
        Descriptor(
            control,
            new.owner if which & OWNER_INFORMATION else old.owner,
            new.group if which & GROUP_INFORMATION else old.group,
            new.dacl if which & DACL_INFORMATION else old.dacl,
            new.sacl if which & SACL_INFORMATION else old.sacl,
        )
    )
