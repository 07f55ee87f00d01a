"""A reader of vaults, written from docs/format.md alone: what it can read, the page defines.

By hand: RPDRIVE_PASSPHRASE=… python -m tests.kit.independent_reader VAULT POINT|latest OUT_DIR
"""

from __future__ import annotations

import datetime
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.independent import ledger, sealing, shapes, tree
from tests.kit.independent.shapes import Damaged, Missing, Newer, Refused
from tests.kit.independent.stores import Folder, Objects, Store
from tests.kit.independent.tree import Entry, Extent, Pieces, Subtree

PACKS, META = 1, 2
FILE, FOLDER, SYMLINK, FIFO = tree.FILE, tree.FOLDER, tree.SYMLINK, tree.FIFO
REFUSED = Refused

__all__ = ["FIFO", "FILE", "FOLDER", "META", "PACKS", "REFUSED", "SYMLINK", "Objects", "Vault", "read_point"]

ID = "([0-9a-f]{32})"
VERSION = "([0-9]{8}|[1-9][0-9]{8,18})"
TIME = "([0-9]{8}T[0-9]{6}Z)"
POINT = re.compile(f"points/{ID}/{ID}/{TIME}-{VERSION}-{ID}(\\.partial)?")
JOB = re.compile(f"jobs/{ID}/{TIME}-{ID}")
MACHINE = re.compile(f"machines/{ID}/{VERSION}")
ITEM = re.compile(f"items/{ID}/{ID}/{VERSION}")
LEDGER = re.compile(f"ledger/{ID}/{ID}/{VERSION}")
PLACES = re.compile(rf"places/([0-9a-f]{{8}})(?:\.([0-9a-f]{{1,4}}))?/{VERSION}")


def version(digits: str) -> int | None:
    return int(digits) if 1 <= int(digits) <= 2**63 - 1 else None


def stamp(ns: int) -> str:
    when = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=ns // 10**9)
    return when.strftime("%Y%m%dT%H%M%SZ") if when.year >= 1000 else ""


def is_time(value: str) -> bool:
    try:
        return bool(datetime.datetime.strptime(value, "%Y%m%dT%H%M%SZ")) and value[13:15] < "60"
    except ValueError:
        return False


def match(pattern: re.Pattern[str], name: str) -> tuple[str, ...] | None:
    found = pattern.fullmatch(name) if name.isascii() else None
    return found.groups() if found else None


@dataclass(frozen=True)
class Point:
    name: str
    record: dict[str, Any]

    @property
    def order(self) -> tuple[int, int, bytes]:
        return self.record["sequence"], self.record["time"], self.record["id"]


def read_point_of(name: str, content: bytes) -> Point:
    named = match(POINT, name)
    record = shapes.point(shapes.unpack(content))
    if named is None or named != (
        record["machine"].hex(), record["item"].hex(), stamp(record["time"]), f"{record['sequence']:08}",
        record["id"].hex(), ".partial" if record["partial"] else None,
    ):  # fmt: skip
        raise Damaged("a point that is not that of its name")
    return Point(name, record)


def top_of(point: Point) -> Subtree | None:
    root = point.record["root"]
    return None if root is None else Subtree(root[0], Extent(*root[1:7]), root[7])


def read_machine(name: str, content: bytes) -> dict[str, Any]:
    record: dict[str, Any] = shapes.machine(shapes.unpack(content))
    named = match(MACHINE, name)
    if named is None or named[0] != record["id"].hex():
        raise Damaged("a machine that is not that of its name")
    return record


def read_item(name: str, content: bytes) -> dict[str, Any]:
    record: dict[str, Any] = shapes.item(shapes.unpack(content))
    named = match(ITEM, name)
    if named is None or named[:2] != (record["machine"].hex(), record["id"].hex()):
        raise Damaged("an item that is not that of its name")
    return record


def read_job(name: str, content: bytes) -> dict[str, Any]:
    record: dict[str, Any] = shapes.job(shapes.unpack(content))
    if match(JOB, name.removesuffix(".started")) != (
        record["machine"].hex(),
        stamp(record["time"]),
        record["id"].hex(),
    ):
        raise Damaged("a job that is not that of its name")
    return record


def read_index(content: bytes) -> dict[str, Any]:
    record: dict[str, Any] = shapes.index(shapes.unpack(content))
    for _, rows in record["packs"]:
        for row in rows:
            sealing.check_row(row)
    return record


def read_places(name: str, content: bytes) -> dict[str, Any]:
    record: dict[str, Any] = shapes.places(shapes.unpack(content))
    if match(PLACES, name) != (record["series"].hex(), record["digits"] or None, f"{record['number']:08}"):
        raise Damaged("a record of places that is not that of its name")
    if len({row[:2] for row in record["moved"]}) != len(record["moved"]):
        raise Damaged("a pack that was moved twice")
    for _, _, runs in record["moved"]:
        end = 0
        for carrier, start, length, at in runs:
            if carrier >= len(record["carriers"]) or start < end or max(start, at) + length > 2**48:
                raise Damaged("the runs of a pack")
            end = start + length
    return record


class Vault:
    """A vault that was opened with a passphrase (or its master key)."""

    def __init__(
        self, place: Store | Path, passphrase: str = "", *, master: bytes | None = None, wait: float = 2.0
    ) -> None:
        store: Store = Folder(place) if isinstance(place, Path) else place
        self.store, self.wait = store, wait
        data = store.get("vault.json")
        if data is None:
            raise Missing("vault.json")
        self.file = sealing.VaultFile.parse(data)
        self.keys = self.file.open(passphrase) if master is None else self.file.with_master(master)
        self.blocks: dict[tuple[int, bytes, int], bytes] = {}
        self.places: dict[str, list[dict[str, Any]]] = {}
        self.listed: dict[str, float] = {}

    # Records

    def content(self, kind: int, name: str) -> bytes:
        data = self.store.get(name)
        if data is None:
            raise Missing(name)
        if kind in sealing.SIGNED:
            return sealing.open_signed(self.keys, self.file.admins, kind, name, data)
        return sealing.open_object(self.keys, kind, name, data)

    def points(self, problems: list[tuple[str, Refused]] | None = None, *, partial: bool = False) -> list[Point]:
        """Points from the oldest to the newest of each item; those that do not open are problems."""
        found, taken = [], self.taken()
        for name in self.store.names("points/"):
            named = match(POINT, name)
            if named is None or not is_time(named[2]) or not version(named[3]) or (named[5] and not partial):
                continue
            if named[4] in taken.get(named[:2], ()):
                continue
            try:
                found.append(read_point_of(name, self.content(3, name)))
            except Refused as error:
                if problems is None:
                    raise
                problems.append((name, error))
        return sorted(found, key=lambda point: point.order)

    def taken(self) -> dict[tuple[str, ...], set[str]]:
        """Ids of the points that ledgers have taken away, by machine and item."""
        found: dict[tuple[str, ...], set[str]] = {}
        for record in self.newest(9, "ledger/", LEDGER, ledger.read_ledger):
            key = record["machine"].hex(), record["item"].hex()
            found[key] = {point.hex() for point in ledger.hidden(record)}
        return found

    def find(self, wanted: str) -> Point:
        """A point by its name or id, or the latest of all that open."""
        if match(POINT, wanted):
            return read_point_of(wanted, self.content(3, wanted))
        points = [p for p in self.points([]) if wanted in ("latest", p.record["id"].hex())]
        if not points:
            raise Missing(f"point {wanted}")
        return max(points, key=lambda point: (point.record["time"], point.order))

    def newest(
        self, kind: int, prefix: str, pattern: re.Pattern[str], parse: Callable[[str, bytes], dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """The newest record of each folder, of those that open."""
        folders: dict[str, list[tuple[int, str]]] = {}
        for name in self.store.names(prefix):
            named = match(pattern, name)
            if named and (number := version(named[-1])):
                folders.setdefault(name.rpartition("/")[0], []).append((number, name))
        for numbers in folders.values():
            for tried, (_, name) in enumerate(sorted(numbers, reverse=True), 1):
                try:
                    content = self.content(kind, name)
                    if kind not in sealing.SIGNED:
                        yield parse(name, content)
                        break
                except Refused as error:
                    if kind in sealing.SIGNED and tried > 100:
                        raise Damaged(f"no record that is signed among the newest 101: {name}") from error
                    continue
                yield parse(name, content)
                break

    def machines(self) -> list[dict[str, Any]]:
        return list(self.newest(1, "machines/", MACHINE, read_machine))

    def items(self) -> list[dict[str, Any]]:
        return list(self.newest(2, "items/", ITEM, read_item))

    def jobs(self) -> list[dict[str, Any]]:
        names = [name for name in self.store.names("jobs/") if (m := match(JOB, name)) and is_time(m[1])]
        return [read_job(name, self.content(6, name)) for name in names]

    # Blocks

    def list_places(self, series: str) -> None:
        self.places[series] = list(self.newest(7, f"places/{series}", PLACES, read_places))
        self.listed[series] = time.monotonic()

    def rows(self, pack: bytes, name: str) -> Iterator[tuple[dict[str, Any], tuple[Any, ...]]]:
        """Rows about a pack, those of the folder with the most digits first."""
        digits = pack.hex()
        for record in sorted(self.places.get(digits[:8], []), key=lambda r: len(r["digits"]), reverse=True):
            if digits[10:].startswith(record["digits"]) and record["series"] == pack[:4]:
                yield from ((record, row) for row in record[name] if row[0] == pack)

    def fetch(self, kind: int, pack: bytes, offset: int, stored: int) -> bytes | None:
        """Bytes of a pack or carrier; None if the store says that it does not exist."""
        digits = pack.hex()
        name = f"{'packs' if kind == 1 else 'meta'}/{digits[:8]}/{digits[10:12]}/{digits}"
        for _ in range(2):
            data = self.store.read(name, offset, stored)
            if data is None or len(data) == stored:
                return data
        raise Damaged(f"{name} is cut")

    def moved(self, kind: int, pack: bytes, offset: int, stored: int) -> bytes | None:
        for record, row in self.rows(pack, "moved"):
            if row[1] == kind:
                for carrier, start, length, at in row[2]:
                    if start <= offset and offset + stored <= start + length:
                        return self.fetch(kind, record["carriers"][carrier], at + offset - start, stored)
                return None
        return None

    def sealed(self, kind: int, pack: bytes, offset: int, stored: int) -> bytes:
        if not any(row[1] == kind for _, row in self.rows(pack, "moved")):
            data = self.fetch(kind, pack, offset, stored)
            if data is not None:
                return data
        series = pack[:4].hex()
        if time.monotonic() - self.listed.get(series, -60.0) >= 30:
            self.list_places(series)
        for pause in (0.0, self.wait):
            data = self.moved(kind, pack, offset, stored)
            if data is not None:
                return data
            time.sleep(pause)
            self.list_places(series)
        data = self.moved(kind, pack, offset, stored)
        if data is None:
            raise Missing(f"a block of pack {pack.hex()}")
        return data

    def block(self, kind: int, pack: bytes, offset: int, stored: int) -> bytes:
        key = kind, pack, offset
        if key not in self.blocks:
            if pack[4]:
                raise Newer(f"a pack of generation {pack[4]}")
            try:
                raw = sealing.open_block(self.keys, kind, pack, offset, self.sealed(kind, pack, offset, stored))
            except Damaged:
                raw = sealing.open_block(self.keys, kind, pack, offset, self.sealed(kind, pack, offset, stored))
            if len(self.blocks) > 16:
                del self.blocks[next(iter(self.blocks))]
            self.blocks[key] = raw
        return self.blocks[key]

    def chunk(self, at: Extent, kind: int, *, copies: bool = True) -> bytes:
        try:
            raw = self.block(kind, at.pack, at.offset, at.stored)
            data = raw[at.inner : at.inner + at.length]
            if len(data) != at.length or sealing.chunk_id(self.keys.chunk_ids, data) != at.id:
                raise Damaged("a chunk of another id")
            return data
        except (Damaged, Missing):
            series = at.pack[:4].hex()
            if copies and series not in self.listed:
                self.list_places(series)
            for _, row in self.rows(at.pack, "instead"):
                copy = Extent(*row[4])
                if copies and row[1:4] == (kind, at.offset, at.inner) and copy[4:] == at[4:]:
                    return self.chunk(copy, kind, copies=False)
            raise

    # Trees

    def page(self, at: Extent) -> bytes:
        return self.chunk(at, META)

    def walk(self, point: Point) -> Iterator[tuple[bytes, int, Entry]]:
        top = top_of(point)
        if top is not None:
            yield from tree.walk(self.page, top)

    def data(self, pieces: Pieces, size: int) -> Iterator[bytes | int]:
        """The contents of a file, in order: bytes, or the length of a hole."""
        for piece in tree.pieces_of(self.page, pieces, size):
            yield piece.length if piece.chunk is None else self.chunk(piece.chunk, PACKS)

    def value(self, value: bytes | Extent) -> bytes:
        return self.chunk(value, META) if isinstance(value, Extent) else value

    # Folders

    def restore(self, point: Point, target: Path) -> list[tuple[bytes, str]]:
        """Writes a point to an empty folder, and returns what could not be written."""
        problems: list[tuple[bytes, str]] = []
        links: dict[int, bytes] = {}
        folders: list[tuple[bytes, Entry]] = []
        root = os.fsencode(target)
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise FileExistsError(f"{target} is not empty")
        levels = [(b"", top_of(point))]
        while levels:
            above, below = levels.pop()
            try:
                for entry in tree.entries_of(self.page, below) if below else ():
                    path = above + entry.name
                    try:
                        self.write(entry, os.path.join(root, path), links)
                        if entry.kind == tree.FOLDER:
                            folders.append((os.path.join(root, path), entry))
                            levels.append((path + b"/", entry.below))
                    except (Refused, OSError, OverflowError) as error:
                        problems.append((path, f"{type(error).__name__}: {error}"))
            except Refused as error:
                problems.append((above, f"{type(error).__name__}: {error}"))
        for name, entry in reversed(folders):
            self.settle(entry, name)
        return problems

    def write(self, entry: Entry, name: bytes, links: dict[int, bytes]) -> None:
        if entry.damage:
            raise entry.damage
        if entry.link and entry.kind != tree.FOLDER and entry.link in links:
            os.link(links[entry.link], name, follow_symlinks=False)
            return
        if entry.kind == tree.FOLDER:
            os.mkdir(name)
            return
        if entry.kind == tree.FILE:
            self.write_file(entry.pieces, entry.size, name)
            for stream in entry.windows.streams if entry.windows else []:
                for _ in self.data(stream.content, stream.size):
                    pass
        elif entry.kind == tree.SYMLINK:
            os.symlink(entry.target, name)
        else:
            kind = {3: stat.S_IFIFO, 4: stat.S_IFCHR, 5: stat.S_IFBLK, 6: stat.S_IFSOCK}[entry.kind]
            os.mknod(name, kind | 0o600, os.makedev(*entry.device))
        self.settle(entry, name)
        if entry.link:
            links[entry.link] = name

    def write_file(self, pieces: Pieces, size: int, name: bytes) -> None:
        try:
            with open(name, "xb") as file:  # noqa: PTH123
                for part in self.data(pieces, size):
                    if isinstance(part, int):
                        file.truncate(file.seek(part, os.SEEK_CUR))
                    else:
                        file.write(part)
        except BaseException:
            os.unlink(name)
            raise

    def settle(self, entry: Entry, name: bytes) -> None:
        if os.geteuid() == 0 and entry.owner[0] >= 0:
            os.chown(name, *entry.owner[:2], follow_symlinks=False)
        for attribute, value in entry.xattrs:
            os.setxattr(name, attribute, self.value(value), follow_symlinks=False)
        if entry.kind != tree.SYMLINK:
            os.chmod(name, entry.mode)
        os.utime(name, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


@dataclass
class Found:
    """An entry of a point, with all that belongs to it. The content is read as it is asked for."""

    name: bytes
    number: int
    kind: int
    mode: int
    uid: int
    gid: int
    user: str
    group: str
    size: int
    mtime: int
    ctime: int
    inode: int
    nlink: int
    link: int
    target: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes]
    more: dict[str, Any] | None
    windows: Any
    below: Subtree | None
    content: Iterator[bytes | int]


def found(vault: Vault, number: int, entry: Entry) -> Found:
    if entry.damage:
        raise entry.damage
    windows = None
    if entry.windows:
        windows = {
            name: vault.value(value) if isinstance(value, Extent) else value
            for name, value in vars(entry.windows).items()
            if value is not None
        }
        windows["streams"] = {
            stream.name: (stream.size, vault.data(stream.content, stream.size)) for stream in entry.windows.streams
        }
    return Found(
        entry.name, number, entry.kind, entry.mode, *entry.owner, entry.size, entry.mtime, entry.ctime, entry.inode,
        entry.nlink, entry.link, entry.target, entry.device,
        {name: vault.value(value) for name, value in entry.xattrs}, entry.more, windows, entry.below,
        vault.data(entry.pieces, entry.size),
    )  # fmt: skip


def read_point(
    place: Store | Path, passphrase: str, wanted: str | None = None, *, wait: float = 2.0
) -> Iterator[tuple[bytes, Found]]:
    """Path and entry of all that is in a point, which is given by its name or id."""
    vault = Vault(place, passphrase, wait=wait)
    for path, number, entry in vault.walk(vault.find(wanted or "latest")):
        yield path, found(vault, number, entry)


def main() -> int:
    folder, wanted, target = sys.argv[1:4]
    vault = Vault(Path(folder), os.environ["RPDRIVE_PASSPHRASE"])
    problems: list[tuple[str, Refused]] = []
    for point in vault.points(problems):
        print(point.name, point.record["machine_name"], point.record["item_name"])
    failed = vault.restore(vault.find(wanted), Path(target))
    for path, reason in [(os.fsencode(name), f"{type(e).__name__}: {e}") for name, e in problems] + failed:
        print(f"{os.fsdecode(path)}: {reason}", file=sys.stderr)
    return 1 if failed or problems else 0


if __name__ == "__main__":
    sys.exit(main())
