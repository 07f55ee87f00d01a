"""What is recognised on disks, beside what blkid and sfdisk say of the same; and bytes that nobody would write."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.disks.geometry import FORMAT, Geometry, decode, encode, look
from catalog.disks.probe import Contents, Read, probe
from catalog.disks.tables import partition_table

MIB = 1 << 20
LABEL, UUID = "a label", "0dcb3f3c-7a3c-4f2f-9a53-0d4c2bb7a001"


def reader(data: bytes) -> Read:
    return lambda offset, length: data[offset : offset + length]


def of_file(path: Path) -> Read:
    def read(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    return read


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def run(*command: str | Path, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout


TOOLS = ("mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkswap", "blkid")
MADE = {
    "ext2": (["mkfs.ext2", "-q", "-U", UUID, "-L", LABEL], 8),
    "ext3": (["mkfs.ext3", "-q", "-U", UUID, "-L", LABEL], 16),
    "ext4": (["mkfs.ext4", "-q", "-U", UUID, "-L", LABEL], 16),
    "xfs": (["mkfs.xfs", "-q", "-m", f"uuid={UUID}", "-L", LABEL], 300),
    "btrfs": (["mkfs.btrfs", "-q", "-U", UUID, "-L", LABEL], 120),
    "swap": (["mkswap", "-q", "-U", UUID, "-L", LABEL], 8),
}


@pytest.mark.needs_program(*TOOLS)
@pytest.mark.parametrize("kind", MADE)
def test_what_blkid_says_is_recognised(kind: str, tmp_path: Path) -> None:
    command, size = MADE[kind]
    disk = sparse(tmp_path / "disk", size * MIB)
    run(*command, disk)
    told = dict(line.split("=", 1) for line in run("blkid", "-p", "-o", "export", disk).splitlines())
    found = probe(of_file(disk), size * MIB)
    assert (found.kind, found.uuid, found.label) == (told["TYPE"], told["UUID"], told["LABEL"].replace("\\ ", " "))
    if kind not in ("swap", "xfs"):
        assert found.state == "clean"
        assert found.size == size * MIB
    assert found.is_file_system is (kind != "swap")


GPT = """label: gpt
unit: sectors
1 : start=2048, size=20480, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI system"
3 : start=22528, size=40960, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="root ü"
"""
DOS = """label: dos
unit: sectors
1 : start=2048, size=20480, type=83, bootable
2 : start=22528, size=60000, type=5
5 : start=24576, size=10240, type=83
6 : start=36864, size=10240, type=82
"""


@pytest.mark.needs_program("sfdisk")
@pytest.mark.parametrize("script", [GPT, DOS], ids=["gpt", "dos"])
def test_partitions_are_those_of_sfdisk(script: str, tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk", 64 * MIB)
    run("sfdisk", "-q", disk, text=script)
    told = json.loads(run("sfdisk", "--json", disk))["partitiontable"]
    table = partition_table(of_file(disk), 64 * MIB)
    assert (table.kind, table.damaged) == (told["label"], False)
    assert [(p.start // 512, p.size // 512) for p in table.partitions] == [
        (p["start"], p["size"]) for p in told["partitions"]
    ]
    assert [p.type for p in table.partitions] == [p["type"].lower().zfill(2) for p in told["partitions"]]
    assert [p.name for p in table.partitions] == [p.get("name", "") for p in told["partitions"]]
    assert [str(disk) + str(p.number) for p in table.partitions] == [p["node"] for p in told["partitions"]]
    if table.kind == "gpt":
        raw = bytearray(disk.read_bytes())
        raw[1024 + 40] ^= 1
        assert partition_table(reader(bytes(raw)), 64 * MIB).damaged


@pytest.mark.needs_program("sfdisk", "mkfs.ext4")
def test_what_partitions_hold(tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk", 64 * MIB)
    run("sfdisk", "-q", disk, text=GPT)
    run("mkfs.ext4", "-q", "-E", f"offset={22528 * 512}", disk, "20M")
    contents, table, slots = look(of_file(disk), 64 * MIB)
    assert contents == Contents()
    assert table.kind == "gpt"
    assert [(s.partition.number, s.contents.kind) for s in slots] == [(1, ""), (3, "ext4")]


def test_bits_of_a_file_system_that_was_in_use() -> None:
    block = bytearray(4096)
    block[1024 + 0x38 : 1024 + 0x3A] = b"\x53\xef"
    block[1024 + 0x3A] = 1
    block[1024 + 0x5C] = 4
    assert probe(reader(bytes(block)), 4096).state == "clean"
    block[1024 + 0x60] = 4  # the journal has what the file system has not
    assert probe(reader(bytes(block)), 4096).state == "dirty"


def member(kind: str) -> bytes:
    data = bytearray(1 << 17)
    match kind:
        case "crypto_LUKS":
            data[:6] = b"LUKS\xba\xbe"
        case "LVM2_member":
            data[512:520], data[536:544] = b"LABELONE", b"LVM2 001"
        case "linux_raid_member":
            data[4096:4100] = b"\xfc\x4e\x2b\xa9"
        case "vfat":
            data[510:512], data[82:90], data[67:71] = b"\x55\xaa", b"FAT32   ", b"\x78\x56\x34\x12"
        case "ntfs":
            data[510:512], data[3:11] = b"\x55\xaa", b"NTFS    "
    return bytes(data)


@pytest.mark.parametrize("kind", ["crypto_LUKS", "LVM2_member", "linux_raid_member", "vfat", "ntfs"])
def test_what_is_made_by_hand(kind: str) -> None:
    contents, table, _slots = look(reader(member(kind)), 1 << 17)
    assert contents.kind == kind
    assert not table.partitions
    if kind == "vfat":
        assert contents.uuid == "1234-5678"


def test_raid_at_the_end() -> None:
    data = bytearray(1 << 20)
    data[(1 << 20) - (64 << 10) :][:4] = b""
    data[(1 << 20) - (64 << 10) : (1 << 20) - (64 << 10) + 4] = b"\xfc\x4e\x2b\xa9"
    assert probe(reader(bytes(data)), 1 << 20).kind == "linux_raid_member"


@given(
    st.integers(0, 2**32),
    st.integers(0, 200_000),
    st.lists(st.tuples(st.integers(0, 199_999), st.binary(max_size=16))),
)
def test_bytes_that_nobody_would_write(seed: int, size: int, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(random.Random(seed).randbytes(size) if seed % 2 else size)
    for at, what in [*changes, (510, b"\x55\xaa"), (512, b"EFI PART"), (1024 + 0x38, b"\x53\xef")][: seed % 6 * 2]:
        data[at : at + len(what)] = what
    data = data[:size]
    contents, table, slots = look(reader(bytes(data)), size)
    assert len(slots) == len(table.partitions) <= 2 * 256
    shown = Geometry(FORMAT, 1, "a.img", "/dev/a", size, contents=contents, table=table, slots=slots)
    assert decode(encode(shown)) == shown


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": "rpdrive image"}', b"\xff\xfe", b"{" * 1000])
def test_a_json_file_of_something_else(data: bytes) -> None:
    assert decode(data) is None


def test_partitions_beyond_all_disks(tmp_path: Path) -> None:
    """As numbers they are more than a system call takes, and more than JSON has."""
    far = (1 << 64) - 1
    rows = b"".join(
        bytes([n]) * 32 + struct.pack("<QQQ", first, last, 0) + bytes(72)
        for n, (first, last) in enumerate(
            [(2048, 4095), (far - 1, far - 1), (2048, far - 1), (1 << 40, 1 << 41)], 1
        )
    )
    header = b"EFI PART" + struct.pack("<IIIIQQQQ", 0x10000, 92, 0, 0, 1, far, 34, far) + bytes(16)
    header += struct.pack("<QIII", 2, 4, 128, zlib.crc32(rows))
    header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    data = bytes(510) + b"\x55\xaa" + header.ljust(512, b"\0") + rows
    with sparse(tmp_path / "disk", 8 << 20).open("r+b") as file:
        file.write(data)
    contents, table, slots = look(of_file(tmp_path / "disk"), 8 << 20)
    assert [(s.partition.number, s.partition.start, s.partition.size) for s in slots] == [(1, 1 << 20, 1 << 20)]
    assert encode(Geometry(FORMAT, 1, "d.img", "d", 8 << 20, contents=contents, table=table, slots=slots))
