"""The layout of a disk that carries a seed: its objects, `seed.json`, and the list of its objects.

    seed.json          which seed of which vault this is, the disk's number, and what is known of all disks
    objects.jsonl      the objects on this disk, in order of name: a JSON object in each line
    lists/<n>.jsonl    on the last disk: copies of the lists of the other disks
    packs/… meta/… index/… points/… jobs/… seeds/<id>.ended    objects, under their names in the vault

A disk has no vault.json and no key. Nothing on it is believed: sizes and counts have bounds, names are those of
kinds that travel, a list is in order, and `seed.json` has its hash. Objects are sealed, so names, sizes and hashes
are all that a disk tells of them. docs/seeding.md.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple, TypeAlias

import msgspec
from blake3 import blake3

from catalog.errors import Damaged, LocalError, NewerFormat, NotFound, StoreFull, StoreUnreachable
from catalog.format.seeds import SeedName
from catalog.store.name import RESERVED, is_name
from catalog.systems.this import SYSTEM

SEED_FILE, LIST_FILE, LISTS = "seed.json", "objects.jsonl", "lists"
TWIN_FILE = f"{RESERVED}/twin.json"  # of the store itself: no object
VERSION = 1
MAX_SEED_FILE = 1 << 20  # bytes
MAX_DISKS = 1000
MAX_LINE = 2048  # bytes, of a list
MAX_OBJECT = 1 << 48  # bytes; no pack is larger
HASH_BYTES = 32
# What travels, in the order of its import: nothing comes before what it refers to.
BULK = ("packs/", "meta/", "index/")
LAST = ("jobs/", "points/", "seeds/")
_ENDED = re.compile("seeds/[0-9a-f]{32}[.]ended")
_FULL = {28, 122}  # ENOSPC, EDQUOT

Hex16: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
Hex32: TypeAlias = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
DiskNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_DISKS)]
Label: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)]


class Listed(NamedTuple):
    """An object on a disk: its name in the vault, its size in bytes, and the BLAKE3 of its bytes (32 bytes)."""

    name: str
    size: int
    hash: bytes


class DiskRow(msgspec.Struct, kw_only=True, frozen=True):
    """A disk of a seed. `id` is drawn for the disk; `label` is for people.

    Of a finished disk: how many `objects` with how many `bytes` it has, and the BLAKE3 (hex) and the size of its
    list. `list` is empty while it is not finished.
    """

    number: DiskNumber
    id: Hex16
    label: Label = ""
    objects: Count = 0
    bytes: Count = 0
    list: Hex32 = ""
    list_bytes: Count = 0

    @property
    def is_finished(self) -> bool:
        return bool(self.list)


class SeedFile(msgspec.Struct, kw_only=True, frozen=True):
    """seed.json: disk `disk` of the seed `seed` of the vault `vault` (both as hex).

    `disks` are those that were known when it was written. With `complete` they are all there are, finished, and
    this is the last one: it has the points, the jobs and copies of all lists. `expires` is until when the seed may
    be imported (ns since the epoch, UTC, by the vault's clock), `machine` whose objects these are (hex).
    `check` is the BLAKE3 (hex) of the file with an empty `check`: a flipped bit is damage, and no other vault.
    """

    format: str = "rpdrive seed"
    version: Annotated[int, msgspec.Meta(ge=1)] = VERSION
    vault: Hex16
    seed: Hex16
    machine: Hex16
    expires: Annotated[int, msgspec.Meta(ge=0)]
    disk: DiskNumber
    disks: Annotated[tuple[DiskRow, ...], msgspec.Meta(min_length=1, max_length=MAX_DISKS)]
    complete: bool = False
    check: Hex32 = ""

    def checked(self) -> SeedFile:
        """The same with its `check`."""
        return msgspec.structs.replace(self, check=self._digest())

    def _digest(self) -> str:
        return blake3(_encoder.encode(msgspec.structs.replace(self, check=""))).hexdigest()

    @property
    def is_whole(self) -> bool:
        """Whether its `check` is right."""
        return self.check == self._digest()

    @property
    def row(self) -> DiskRow:
        """What it says of its own disk."""
        return next(row for row in self.disks if row.number == self.disk)

    @property
    def ended_name(self) -> str:
        """The name of the object that ends the seed, the last one to be imported."""
        return str(SeedName(bytes.fromhex(self.seed), is_ended=True))

    @property
    def record_name(self) -> str:
        """The name of the seed's record in the vault."""
        return str(SeedName(bytes.fromhex(self.seed)))


class TwinFile(msgspec.Struct, kw_only=True, frozen=True):
    """`.rpdrive/twin.json` in a twin: of which seed it has every object. Fields as those of SeedFile."""

    format: str = "rpdrive seed twin"
    version: Annotated[int, msgspec.Meta(ge=1)] = VERSION
    vault: Hex16
    seed: Hex16
    machine: Hex16
    expires: Annotated[int, msgspec.Meta(ge=0)]


class _Line(msgspec.Struct, kw_only=True):
    name: str
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_OBJECT)]
    blake3: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


_encoder = msgspec.json.Encoder()
_seed_decoder = msgspec.json.Decoder(SeedFile)
_twin_decoder = msgspec.json.Decoder(TwinFile)
_line_decoder = msgspec.json.Decoder(_Line)


def travels(name: str) -> bool:
    """Whether an object of this name can be on a disk."""
    return is_name(name) and (name.startswith((*BULK, "jobs/", "points/")) or bool(_ENDED.fullmatch(name)))


def hash_of(parts: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """The BLAKE3 of these bytes end to end."""
    found = blake3()
    for part in parts:
        found.update(part)
    return found.digest()


# --- seed.json --------------------------------------------------------------------------------------------


def read_seed_file(root: Path) -> SeedFile | None:
    """The seed.json in a folder; None if there is none. Raises Damaged, NewerFormat or StoreUnreachable."""
    try:
        with _file(root, SEED_FILE) as file:
            data = file.read(MAX_SEED_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise StoreUnreachable(f"{root}/{SEED_FILE} can't be read: {e.strerror or e}", "look after the disk") from e
    return decode_seed_file(data, f"{root}/{SEED_FILE}")


def decode_seed_file(data: bytes, what: str) -> SeedFile:
    """seed.json from its bytes. `what` names it in errors. Raises Damaged or NewerFormat."""
    if len(data) > MAX_SEED_FILE:
        raise Damaged(f"{what} is too large")
    try:
        found = _seed_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Damaged(f"{what} is malformed: {e}", "take another copy of it from the machine that wrote it") from e
    if found.format != "rpdrive seed":
        raise Damaged(f"{what} is no file of a seed")
    if found.version > VERSION:
        raise NewerFormat(f"{what} has version {found.version}; this rpdrive reads version {VERSION}")
    if not found.is_whole:
        raise Damaged(f"{what} has been changed", "take another copy of it from the machine that wrote it")
    numbers = [row.number for row in found.disks]
    if numbers != sorted(set(numbers)) or found.disk not in numbers:
        raise Damaged(f"{what} does not list its disks in order")
    if found.complete and (numbers != list(range(1, len(numbers) + 1)) or found.disk != numbers[-1]):
        raise Damaged(f"{what} says that it lists all disks, and does not")
    if found.complete and not all(row.is_finished for row in found.disks):
        raise Damaged(f"{what} says that all disks are finished, and they are not")
    return found


def write_seed_file(root: Path, file: SeedFile) -> None:
    """Write or replace seed.json, durably. Raises StoreFull, StoreUnreachable or LocalError."""
    data = msgspec.json.format(_encoder.encode(file.checked()), indent=2) + b"\n"
    _write(root / SEED_FILE, [data])


def read_twin_file(root: Path) -> TwinFile | None:
    """What a folder is the twin of; None if it is none. Raises Damaged, NewerFormat or StoreUnreachable."""
    path = root / TWIN_FILE
    try:
        with _file(root, TWIN_FILE) as file:
            found = _twin_decoder.decode(file.read(MAX_SEED_FILE))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise StoreUnreachable(f"{path} can't be read: {e.strerror or e}", "look after the disk") from e
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Damaged(f"{path} is malformed: {e}", "name the disks of the seed instead") from e
    if found.format != "rpdrive seed twin":
        raise Damaged(f"{path} is no file of a twin")
    if found.version > VERSION:
        raise NewerFormat(f"{path} has version {found.version}; this rpdrive reads version {VERSION}")
    return found


def write_twin_file(root: Path, file: TwinFile) -> None:
    """Write or replace what a folder is the twin of. Raises as `write_seed_file`."""
    _write(root / TWIN_FILE, [msgspec.json.format(_encoder.encode(file), indent=2) + b"\n"])


# --- lists ------------------------------------------------------------------------------------------------


class Written(NamedTuple):
    """A list that was written: how many objects with how many bytes, its hash (hex) and its size."""

    objects: int
    bytes: int
    list: str
    list_bytes: int


def list_path(root: Path, disk: int, of: SeedFile | None) -> Path:
    """Where the list of disk `disk` is in a folder; its own list if `of`, its seed.json, says that it is that."""
    own = of is not None and of.disk == disk
    return root / LIST_FILE if own else root / LISTS / f"{disk}.jsonl"


def write_list(path: Path, rows: Iterable[Listed]) -> Written:
    """Write the list of a disk's objects, which come in order of name. Raises as `write_seed_file`.

    Takes no more memory for many rows than for few.
    """
    counts, found = [0, 0, 0], blake3()

    def lines() -> Iterator[bytes]:
        before = ""
        for name, size, digest in rows:
            assert name > before and travels(name)
            before = name
            line = _encoder.encode(_Line(name=name, size=size, blake3=digest.hex())) + b"\n"
            found.update(line)
            counts[0], counts[1], counts[2] = counts[0] + 1, counts[1] + size, counts[2] + len(line)
            yield line

    _write(path, lines())
    return Written(counts[0], counts[1], found.hexdigest(), counts[2])


def check_list(path: Path, row: DiskRow) -> None:
    """Compare a list's bytes with what seed.json says of it. Raises Damaged, NotFound or StoreUnreachable."""
    found, size = blake3(), 0
    with _opened(path) as file:
        for data in _pieces(file, path):
            size += len(data)
            if size > row.list_bytes:
                break
            found.update(data)
    if size != row.list_bytes or found.hexdigest() != row.list:
        raise Damaged(f"{path} is not the list that seed.json tells of", "take another copy of the disk")


def read_list(path: Path, row: DiskRow) -> Iterator[Listed]:
    """The objects in a list, in order of name: each line is checked, and at the end the whole list.

    So what it yields is not proven before it ends: `check_list` proves it before. Raises Damaged, NotFound or
    StoreUnreachable.
    """
    found, size, objects, total, before = blake3(), 0, 0, 0, ""
    with _opened(path) as file:
        for line in _lines(file, path):
            size += len(line)
            if size > row.list_bytes:
                break
            found.update(line)
            try:
                one = _line_decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
                raise Damaged(f"{path} is malformed in line {objects + 1}: {e}") from e
            if not travels(one.name) or one.name <= before:
                raise Damaged(f"{path} lists in line {objects + 1} what can't be on a disk, or not in order")
            before, objects, total = one.name, objects + 1, total + one.size
            yield Listed(one.name, one.size, bytes.fromhex(one.blake3))
    if size != row.list_bytes or found.hexdigest() != row.list or (objects, total) != (row.objects, row.bytes):
        raise Damaged(f"{path} is not the list that seed.json tells of", "take another copy of the disk")


# --- files ------------------------------------------------------------------------------------------------


def _file(root: Path, name: str) -> BinaryIO:
    """Open a regular file below a folder; a symlink, a FIFO or a device is none. Raises OSError."""
    return os.fdopen(SYSTEM.open_below(str(root), name), "rb")


def _opened(path: Path) -> BinaryIO:
    try:
        return os.fdopen(SYSTEM.open_file(str(path)), "rb")
    except FileNotFoundError as e:
        raise NotFound(f"{path} is missing", "take another copy of the disk") from e
    except OSError as e:
        raise StoreUnreachable(f"{path} can't be read: {e.strerror or e}", "look after the disk") from e


def _pieces(file: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        while data := file.read(1 << 20):
            yield data
    except OSError as e:
        raise StoreUnreachable(f"{path} can't be read: {e.strerror or e}", "look after the disk") from e


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        while line := file.readline(MAX_LINE):
            yield line
    except OSError as e:
        raise StoreUnreachable(f"{path} can't be read: {e.strerror or e}", "look after the disk") from e


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole and durable, in place of one that is there. Raises as `write_seed_file`.

    Others may have had the disk: what is a symlink there is not followed out of it.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(exist_ok=True)
        if path.parent.name in (LISTS, RESERVED) and path.parent.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, f"{path.parent} is a symlink")
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as e:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            pass
        if e.errno in _FULL:
            advice = (
                "make room there, but leave what rpdrive wrote; if it is the last disk, adding another one with"
                " `rpdrive seed add-disk` will do, too; then run the command again"
            )
            raise StoreFull(f"there is no room for {path}", advice) from e
        raise LocalError(
            f"{path} can't be written: {e.strerror or e}", "check that the disk is there and writable"
        ) from e


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
