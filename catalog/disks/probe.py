"""What a partition, or an image of one, holds: recognised by its first bytes, without mounting it.

Nothing from a disk is believed: offsets are bounded, texts are cut, and what makes no sense is nothing. Kinds have
the names that blkid gives them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

import msgspec

Read: TypeAlias = Callable[[int, int], bytes]  # (offset, length): fewer bytes at the end, none beyond it

CLEAN, DIRTY = "clean", "dirty"
MEMBERS = {"LVM2_member", "linux_raid_member", "zfs_member", "bcache", "drbd"}  # parts of something larger
HEAD = 68 << 10  # bytes at the start in which everything is recognised, but for two old forms of RAID


class Contents(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was recognised. `kind` is empty for nothing known; `size` in bytes, 0 if it isn't said.

    `state`: `clean` or `dirty` (a journal must be replayed before all is there); empty if that can't be seen.
    """

    kind: str = ""
    uuid: str = ""
    label: str = ""
    size: int = 0
    state: str = ""

    @property
    def is_file_system(self) -> bool:
        return bool(self.kind) and self.kind not in MEMBERS | {"swap", "crypto_LUKS", "BitLocker"}

    def __str__(self) -> str:
        if not self.kind:
            return "nothing that is known"
        return self.kind + (f" {self.label!r}" if self.label else "") + (f" {self.uuid}" if self.uuid else "")


def probe(read: Read, size: int) -> Contents:
    """What the `size` bytes that `read` reads hold. Raises what `read` raises."""
    head = read(0, HEAD)
    for look in (_members, _ext, _xfs, _btrfs, _fat, _others):
        found = look(head)
        if found is not None:
            return found
    return _raid_at_end(read, size)


def text_of(raw: bytes) -> str:
    """A label: up to its first zero, without what can't be shown."""
    text = raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else "?" for c in text)[:256]


def uuid_of(raw: bytes) -> str:
    """16 bytes as a UUID is written; empty for zeros."""
    if len(raw) != 16 or not any(raw):
        return ""
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _u16(head: bytes, at: int) -> int:
    return int.from_bytes(head[at : at + 2], "little")


def _u32(head: bytes, at: int) -> int:
    return int.from_bytes(head[at : at + 4], "little")


def _u64(head: bytes, at: int) -> int:
    return int.from_bytes(head[at : at + 8], "little")


def _members(head: bytes) -> Contents | None:
    if head[:6] == b"LUKS\xba\xbe":
        return Contents("crypto_LUKS", uuid=text_of(head[168:208]))
    for sector in range(4):
        at = sector * 512
        if head[at : at + 8] == b"LABELONE" and head[at + 24 : at + 32] == b"LVM2 001":
            inner = at + _u32(head, at + 20)
            return Contents("LVM2_member", uuid=text_of(head[inner : inner + 32]))
    for at in (0, 4096):
        if _u32(head, at) == 0xA92B4EFC:
            return Contents("linux_raid_member", uuid_of(head[at + 16 : at + 32]), text_of(head[at + 32 : at + 64]))
    for page in (4096, 8192, 16384, 65536):
        if head[page - 10 : page] in (b"SWAPSPACE2", b"SWAP-SPACE"):
            return Contents("swap", uuid_of(head[1036:1052]), text_of(head[1052:1068]))
    return None


def _raid_at_end(read: Read, size: int) -> Contents:
    """RAID superblocks of the versions 0.90 and 1.0 are at the end."""
    for at in ((size & ~0xFFFF) - (64 << 10), ((size >> 9) - 16 & ~7) << 9):
        if at > 0 and read(at, 4) == b"\xfc\x4e\x2b\xa9":
            return Contents("linux_raid_member")
    return Contents()


def _ext(head: bytes) -> Contents | None:
    s = head[1024:2048]
    if len(s) < 1024 or _u16(s, 0x38) != 0xEF53 or _u32(s, 0x18) > 6:
        return None
    compatible, incompatible, state = _u32(s, 0x5C), _u32(s, 0x60), _u16(s, 0x3A)
    blocks = _u32(s, 4) | (_u32(s, 0x150) << 32 if incompatible & 0x80 else 0)
    kind = "ext4" if incompatible & 0x2C0 else "ext3" if compatible & 4 else "ext2"
    if incompatible & 8:
        kind = "jbd"
    # 4: the journal must be replayed; 1: unmounted cleanly, which file systems with a journal always say.
    dirty = bool(incompatible & 4) or not state & 1 or bool(state & 2)
    size = blocks << (10 + _u32(s, 0x18))
    return Contents(kind, uuid_of(s[0x68:0x78]), text_of(s[0x78:0x88]), size, DIRTY if dirty else CLEAN)


def _xfs(head: bytes) -> Contents | None:
    if head[:4] != b"XFSB":
        return None
    block, blocks = struct.unpack_from(">IQ", head, 4)
    if not 512 <= block <= 65536:
        return None
    return Contents("xfs", uuid_of(head[32:48]), text_of(head[108:120]), block * blocks)


def _btrfs(head: bytes) -> Contents | None:
    s = head[64 << 10 :]
    if s[64:72] != b"_BHRfS_M":
        return None
    state = DIRTY if _u64(s, 96) else CLEAN  # a log of fsyncs since the last transaction
    return Contents("btrfs", uuid_of(s[32:48]), text_of(s[299:555]), _u64(s, 112), state)


def _fat(head: bytes) -> Contents | None:
    if head[510:512] != b"\x55\xaa":
        return None
    name, sector = head[3:11], _u16(head, 11)
    if name == b"NTFS    ":
        return Contents("ntfs", f"{_u64(head, 72):016X}", size=_u64(head, 40) * sector)
    if name == b"-FVE-FS-":
        return Contents("BitLocker")
    if name == b"EXFAT   ":
        shift = head[108]
        size = _u64(head, 72) << shift if 9 <= shift <= 12 else 0
        return Contents("exfat", _serial(head[100:104]), size=size, state=DIRTY if head[106] & 2 else CLEAN)
    if head[82:90] == b"FAT32   ":
        serial, label, flags = head[67:71], head[71:82], head[65]
    elif head[54:62] in (b"FAT12   ", b"FAT16   ", b"FAT     "):
        serial, label, flags = head[39:43], head[43:54], head[37]
    else:
        return None
    size = (_u16(head, 19) or _u32(head, 32)) * sector
    shown = text_of(label)
    return Contents(
        "vfat", _serial(serial), "" if shown == "NO NAME" else shown, size, DIRTY if flags & 1 else CLEAN
    )


def _serial(raw: bytes) -> str:
    h = raw[::-1].hex().upper()
    return f"{h[:4]}-{h[4:]}"


def _others(head: bytes) -> Contents | None:
    if head[:4] == b"hsqs":
        return Contents("squashfs", size=_u64(head, 40), state=CLEAN)
    if head[32769:32774] == b"CD001":
        return Contents("iso9660", label=text_of(head[32808:32840]), state=CLEAN)
    if _u32(head, 1024) == 0xF2F52010:
        return Contents("f2fs", uuid_of(head[1024 + 108 : 1024 + 124]))
    if _u32(head, 1024) == 0xE0F5E1E2:
        return Contents("erofs", state=CLEAN)
    return None
