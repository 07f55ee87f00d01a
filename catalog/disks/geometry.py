"""The geometry of an image: what its JSON file beside it says, written by a backup and believed by nobody else."""

from __future__ import annotations

import msgspec

from catalog.disks.probe import Contents, Read, probe
from catalog.disks.tables import Partition, Table, partition_table

MOST = 256 << 10  # bytes of such a file; a longer one is not read
SUFFIX, BESIDE = b".img", b".json"
FORMAT, VERSION = "rpdrive image", 1
UNREADABLE = 1000  # ranges that are listed


class Slot(msgspec.Struct, frozen=True):
    """A partition, and what it holds."""

    partition: Partition
    contents: Contents


class Geometry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image's geometry. Sizes in bytes.

    `consistency` says in what state it was read: `at rest` (nothing had it in use), `snapshot` (of one instant, and
    its journals replayed), `crash-like` (of one instant, or of none, as after a power failure), `file`. `contents`
    are those of a device without partitions. `unreadable` are ranges (start, end) that the device could not read:
    they are zeros in the image.
    """

    format: str
    version: int
    image: str
    source: str
    size: int
    logical_sector: int = 512
    physical_sector: int = 512
    model: str = ""
    mounted_at: str = ""
    consistency: str = ""
    contents: Contents = Contents()
    table: Table = Table()
    slots: list[Slot] = []
    unreadable: list[tuple[int, int]] = []
    unreadable_bytes: int = 0

    @property
    def places(self) -> list[tuple[int, int, int, Contents]]:
        """Number (0: the whole), start, size and contents of whatever may hold a file system."""
        if not self.table.partitions:
            return [(0, 0, self.size, self.contents)]
        return [(s.partition.number, s.partition.start, s.partition.size, s.contents) for s in self.slots]


def encode(geometry: Geometry) -> bytes:
    """The bytes of the JSON file: for people, too."""
    return msgspec.json.format(msgspec.json.encode(geometry), indent=2) + b"\n"


def decode(data: bytes) -> Geometry | None:
    """A geometry; None for bytes that are none, or of a later kind."""
    if len(data) > MOST:
        return None
    try:
        found = msgspec.json.decode(data, type=Geometry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if found.format == FORMAT and found.version == VERSION and found.size >= 0 else None


def look(read: Read, size: int) -> tuple[Contents, Table, list[Slot]]:
    """What `size` bytes hold: a file system, or partitions with theirs. Raises what `read` raises."""
    contents = probe(read, size)
    if contents.kind and contents.kind != "iso9660":  # hybrid images have both
        return contents, Table(), []
    table = partition_table(read, size)
    slots = []
    for partition in table.partitions:
        extent = min(partition.size, max(size - partition.start, 0))

        def inner(offset: int, length: int, start: int = partition.start, end: int = extent) -> bytes:
            return read(start + offset, max(min(length, end - offset), 0))

        slots.append(Slot(partition, probe(inner, extent)))
    return (Contents() if table.partitions else contents), table, slots
