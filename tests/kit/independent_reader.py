"""A second reader of vaults, written from docs/format.md alone, to prove that the page is sufficient.

It shares no code with the program and checks all that the page requires; it raises one of REFUSED. By hand:
RPDRIVE_PASSPHRASE=... python -m tests.kit.independent_reader VAULT POINT|latest OUT_DIR
"""

import base64
import hmac
import json
import os
import re
import sys
import unicodedata
from collections import namedtuple
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace as Entry
from typing import Any

import msgspec
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf import argon2, hkdf

FILE, FOLDER, SYMLINK, FIFO, CHARACTER, BLOCK, SOCKET = range(7)
PACKS, META = 1, 2  # kinds of blocks; 3 and 4 are the tables of contents of these packs
LIMITS = {PACKS: 8 << 20, META: 1 << 20, 3: 64 << 20, 4: 64 << 20}
OBJECT_KINDS = {"machines": 1, "items": 2, "points": 3, "index": 4, "jobs": 6}
VAULT_FILE = "format:text version:length id:text number:length created:text slots:map* mac:text"
SLOT = "id:text memory_kib:int passes:int lanes:int salt:text commitment:text wrapped:text created:text"
ENTRY = """name:bin kind:int mode:int owner:int size:int mtime:int ctime:int inode:int nlink:int link:int
    content:any xattrs:int more:map?"""
POINT = """id:id machine:id item:id machine_name:text item_name:text hostname:text system:text sequence:whole
    time:whole finished:whole paths:bin*"""
POINT_OPTIONAL = """previous:id? excludes:text* root:array? partial:bool trusted:int links:int tree_blocks:int
    fresh_blocks:int new_bytes:int stored_bytes:int problems:array* problem_count:int distinct_names:bool"""
WINDOWS = "created:int? security:whole? streams:array* reparse:whole? extended:whole? short:bin efs:whole?"
BOUNDS = {"whole": (0, 2**64 - 1), "int": (-(2**63), 2**64 - 1), "length": (1, 2**64 - 1), "level": (0, 8)}
BOUNDS["flags"] = (0, 2**32 - 1)
TYPES = {"id": bytes, "bin": bytes, "text": str, "bool": bool, "map": dict, "array": list, "any": object}
POINT_NAME = re.compile("points/(?:[0-9a-f]{32}/){2}[0-9]{8}T[0-9]{6}Z-([0-9]{8}|[1-9][0-9]{8,})-[0-9a-f]{32}")
REFUSED = (ValueError, LookupError, RecursionError, OSError, InvalidTag, zstandard.ZstdError, msgspec.MsgspecError)

Place = namedtuple("Place", "pack offset stored inner length id")  # an extent, with the pack's id itself
Page = namedtuple("Page", "place packs tables rows")  # `rows` is the last table of the page


def check(fits: object, why: str) -> None:
    if not fits:
        raise ValueError(why)


def typed(value: Any, kind: str) -> Any:
    """The value, if it has this type, named as in the page. `?` after a type means or nil, `*` an array of it."""
    if kind[-1] == "?":
        return None if value is None else typed(value, kind[:-1])
    if kind[-1] == "*":
        return [typed(element, kind[:-1]) for element in typed(value, "array")]
    if kind == "totals":
        return row(value, "whole whole whole whole", exactly=True)
    low, high = BOUNDS.get(kind, (0, 0))
    fits = type(value) is int and low <= value <= high if high else isinstance(value, TYPES[kind])
    check(fits and (kind != "id" or len(value) == 16), f"{value!r} is no {kind}")
    return value


def row(value: Any, kinds: str, exactly: bool = False) -> list[Any]:
    wanted, length = [kind.rpartition(":")[2] for kind in kinds.split()], len(typed(value, "array"))
    check(length == len(wanted) or (length > len(wanted) and not exactly), "number of elements")
    return [typed(element, kind) for element, kind in zip(value, wanted, strict=False)]


def fields(value: Any, kinds: str, optional: str = "") -> dict[str, Any]:
    always, maybe = (dict(field.split(":") for field in text.split()) for text in (kinds, optional))
    present = always | {name: maybe[name] for name in maybe.keys() & typed(value, "map").keys()}
    return {name: typed(value[name], kind) for name, kind in present.items()}


def add(several: list[Any]) -> Any:
    if isinstance(several[0], list):
        return [min(sum(column), 2**64 - 1) for column in zip(*several, strict=True)]
    return sum(several)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check(len(dict(pairs)) == len(pairs), "a field twice in vault.json")
    return dict(pairs)


def unframe(frame: bytes, limit: int) -> bytes:
    codec, length, payload = frame[0], int.from_bytes(frame[1:5], "big"), frame[5:]
    check(codec <= 1, "newer: codec")
    check(len(frame) >= 5 and length <= limit, "raw length above the limit")
    if codec == 1:
        head = zstandard.get_frame_parameters(payload)
        check(head.content_size == length and not head.dict_id, "content size of zstd")
        payload = zstandard.ZstdDecompressor().decompress(payload, length, allow_extra_data=False)
    check(len(payload) == length, "raw length")
    return payload


class Vault:
    """A vault in a local folder, unlocked."""

    def __init__(self, folder: str | os.PathLike[str], passphrase: str) -> None:
        self.folder, self.block = Path(folder), lru_cache(maxsize=8)(self._block)
        text = (self.folder / "vault.json").read_bytes()
        check(len(text) <= 1 << 20, "vault.json is too long")
        file = json.loads(text.decode("utf-8"), object_pairs_hook=once)
        check(typed(file, "map").get("format") == "rpdrive vault", "this is no vault")
        check(typed(file.get("version"), "length") == 1, "newer: vault.json")
        check(fields(file, VAULT_FILE) and len(file["slots"]) <= 32, "number of slots")
        check(re.fullmatch("[0-9a-f]{32}", file["id"]), "vault id")
        self.id = bytes.fromhex(file["id"])
        master = self._master_key(file["slots"], unicodedata.normalize("NFC", passphrase).encode("utf-8"))
        names = "chunk ids", "data packs", "tree packs", "records", "index", "vault file"
        self.keys = {n: hkdf.HKDF(SHA256(), 32, self.id, b"rpdrive/1 " + n.encode()).derive(master) for n in names}
        stated = file.pop("mac")
        canonical = json.dumps(file, sort_keys=True, separators=(",", ":")).encode("ascii")
        mac = hmac.digest(self.keys["vault file"], canonical, "sha256")
        check(stated == base64.b64encode(mac).decode(), "MAC of vault.json")

    def _master_key(self, slots: list[Any], text: bytes) -> bytes:
        known = [fields(slot, SLOT) for slot in slots if typed(slot.get("kdf"), "text") == "argon2id"]
        check(known, "newer: no slot of a known kind")
        for slot in known:
            memory, passes, lanes = slot["memory_kib"], slot["passes"], slot["lanes"]
            check(8 * lanes <= memory <= 1 << 20 and 1 <= passes <= 16 and 1 <= lanes <= 64, "limits of a slot")
            secrets = [base64.b64decode(slot[name], validate=True) for name in ("salt", "commitment", "wrapped")]
            check([len(secret) for secret in secrets] == [16, 32, 48], "lengths in a slot")
            salt, commitment, wrapped = secrets
            kdf = argon2.Argon2id(salt=salt, length=64, iterations=passes, lanes=lanes, memory_cost=memory)
            both = kdf.derive(text)
            bound = b"rpdrive/1 slot" + self.id + f"|{memory}|{passes}|{lanes}|{slot['id']}".encode("ascii")
            if hmac.compare_digest(commitment, hmac.digest(both[32:], bound, "sha256")):
                return AESGCM(both[:32]).decrypt(bytes(12), wrapped, bound)
        raise ValueError("the passphrase opens no slot")

    def record(self, name: str) -> Any:
        """The content of a sealed object."""
        sealed, kind = (self.folder / name).read_bytes(), OBJECT_KINDS[name.partition("/")[0]]
        check(sealed[:4] == b"RPDS" and len(sealed) > 40, f"{name} is no sealed object")
        check(sealed[4] <= 1, f"newer: {name}")
        check(sealed[5] == kind, f"{name} is of another kind")
        check(sealed[6:8] == bytes(2), f"newer: key of {name}")
        purpose = self.keys["index" if kind == 4 else "records"]
        key = hkdf.HKDF(SHA256(), 32, sealed[8:40], b"rpdrive/1 object").derive(purpose)
        frame = AESGCM(key).decrypt(bytes(12), sealed[40:], sealed[:8] + self.id + name.encode("ascii"))
        return msgspec.msgpack.decode(unframe(frame, 256 << 20))

    def _block(self, pack: bytes, offset: int, stored: int, kind: int) -> bytes:
        folder, purpose = ("packs", "data packs") if kind % 2 else ("meta", "tree packs")
        key = hkdf.HKDFExpand(SHA256(), 32, b"rpdrive/1 pack" + pack).derive(self.keys[purpose])
        bound = b"RPDB" + bytes([1, kind]) + self.id + pack + offset.to_bytes(8, "big")
        check(pack[4] == 0, "newer: key of a pack")
        path = self.folder / folder / pack.hex()[:8] / pack.hex()[10:12] / pack.hex()
        check(offset + stored <= path.stat().st_size, f"{path} is cut off")
        with path.open("rb") as file:
            file.seek(offset)
            sealed = file.read(stored)
        return unframe(AESGCM(key).decrypt(offset.to_bytes(12, "big"), sealed, bound), LIMITS[kind])

    def chunk(self, place: Place, kind: int) -> bytes:
        raw = self.block(place.pack, place.offset, place.stored, kind)
        chunk = raw[place.inner : place.inner + place.length]
        check(place[4:] == (len(chunk), blake3(chunk, key=self.keys["chunk ids"]).digest(16)), "chunk id")
        return chunk

    def points(self) -> list[str]:
        """Names of recovery points, grouped by item, in order of sequence."""
        found = (path.relative_to(self.folder).as_posix() for path in self.folder.glob("points/*/*/*"))
        matches = [match for match in map(POINT_NAME.fullmatch, found) if match]
        return [match[0] for match in sorted(matches, key=lambda match: (match[0][:73], int(match[1]), match[0]))]

    def point(self, name: str) -> dict[str, Any]:
        point = fields(self.record(name), POINT, POINT_OPTIONAL)
        made = datetime.fromtimestamp(point["time"] // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
        owner = f"points/{point['machine'].hex()}/{point['item'].hex()}"
        own = f"{owner}/{made}-{point['sequence']:08}-{point['id'].hex()}"
        check(name == own + ".partial" * point.get("partial", False), "the record of another point")
        return point

    def page(self, place: Place, kinds: str) -> Page:
        packs, *tables, rows = row(msgspec.msgpack.decode(self.chunk(place, META)), "id* " + kinds, exactly=True)
        check(rows, "an empty page")
        return Page(place, packs, tables, rows)

    def place(self, page: Page, extent: Any, kind: int = META) -> Place:
        pack, offset, stored, *chunk = row(extent, "whole whole whole whole length id")
        check(stored or (kind == META and (page.packs[pack], offset) == page.place[:2]), "stored is 0 elsewhere")
        return Place(page.packs[pack], offset, stored or page.place.stored, *chunk)

    def leaves(self, at: Place, level: int, kinds: list[str], whole: Any, first: Any = None) -> Iterator[Any]:
        """Leaves of a folder with their totals, or leaves of pieces with the bytes that they cover."""
        page = self.page(at, "array*" if level else kinds[0])
        check(first is None or page.rows[0][:1] == [first], "first name of a page")
        if level == 0:
            yield page, whole
            return
        children = [row(child, kinds[1]) for child in page.rows]
        check(whole == add([child[-1] for child in children]), "totals of an index page")
        for *names, extent, below in children:
            yield from self.leaves(self.place(page, extent), level - 1, kinds, below, *names)

    def walk(self, path: bytes, number: int, at: Place, level: int, whole: list[int]) -> Iterator[Any]:
        """Paths from the root and entries of everything below a folder with this number."""
        last, number = b"", number + 1
        for page, totals in self.leaves(at, level, ["array* array* array*", "bin array totals"], whole):
            entries = [self.entry(page, values) for values in page.rows]
            check(totals == add([entry.totals for entry in entries]), "totals of a leaf")
            for entry in entries:
                check(entry.name > last, "order of names")
                last, entry.number, number = entry.name, number, number + entry.totals[0]
                yield path + entry.name, entry
                if entry.below:
                    yield from self.walk(path + entry.name + b"/", entry.number, *entry.below)

    def entry(self, page: Page, values: Any) -> Entry:
        names = [field.partition(":")[0] for field in ENTRY.split()]
        found = Entry(**dict(zip(names, row(values, ENTRY), strict=True)))
        check(re.fullmatch(rb"(?!\.{1,2}\Z)[^/\0]{1,1024}", found.name), f"the name {found.name!r}")
        owners, sets = page.tables
        check(0 <= found.owner < len(owners) and -1 <= found.xattrs < len(sets), "an index outside its table")
        found.uid, found.gid, found.user, found.group = row(owners[found.owner], "int int text text", exactly=True)
        found.xattrs = self.set(page, sets[found.xattrs]) if found.xattrs >= 0 else {}
        found.windows = self.windows(page, found.more) if "attributes" in (found.more or {}) else None
        kind, content, found.totals = found.kind, found.content, [1, 0, 0, int(bool(found.xattrs))]
        found.target, found.device, found.below, found.content = None, None, None, ()
        if kind == FILE:
            found.content = self.content(page, content, typed(found.size, "whole"))
            found.totals[1:3] = 1, found.size
        elif kind == FOLDER and content is not None:
            level, extent, totals = row(content, "level array totals", exactly=True)
            found.below, found.totals = (self.place(page, extent), level, totals), add([found.totals, totals])
        elif kind == SYMLINK:
            found.target = typed(content, "bin")
        elif kind in (CHARACTER, BLOCK):
            found.device = tuple(row(content, "whole whole", exactly=True))
        elif kind in (FIFO, SOCKET):
            check(content is None, "content of a FIFO or socket")
        return found

    def set(self, page: Page, attributes: Any) -> dict[bytes, bytes]:
        pairs = [row(attribute, "bin any", exactly=True) for attribute in typed(attributes, "array")]
        check([name for name, _ in pairs] == sorted({name for name, _ in pairs}), "order of xattrs")
        return {n: v if isinstance(v, bytes) else self.chunk(self.place(page, v), META) for n, v in pairs}

    def windows(self, page: Page, more: dict[str, Any]) -> dict[str, Any]:
        """An entry's Windows metadata by key; streams as name -> (size, content)."""
        found = fields(more, "attributes:flags", WINDOWS)
        for key in {"security", "reparse", "extended"} & {
            name for name, value in found.items() if value is not None
        }:
            referred = self.set(page, page.tables[1][found[key]])
            check(list(referred) == [key.encode()], "the set of a value")
            found[key] = referred[key.encode()]
        streams = [row(stream, "bin whole any") for stream in found.get("streams", [])]
        check([name for name, *_ in streams] == sorted({name for name, *_ in streams}), "order of streams")
        for text in [name.decode("utf-8", "surrogatepass") for name, *_ in streams]:
            units = len(text.encode("utf-16-le", "surrogatepass")) // 2
            check(1 <= units <= 255 and not set("/\\:\0") & set(text), "name of a stream")
        found["streams"] = {name: (size, self.content(page, content, size)) for name, size, content in streams}
        return found

    def content(self, page: Page, content: Any, size: int) -> Iterator[bytes | int]:
        paged, leaves = None, iter([(page, size)])
        if isinstance(content, dict):
            paged = fields(content, "l:level a:array n:whole d:id")
            leaves = self.leaves(self.place(page, paged["a"]), paged["l"], ["array*", "array length"], size)
        data, hole, digest = 0, 0, blake3()
        for leaf, covers in leaves:
            rows = typed(leaf.rows if paged else content, "array*")
            pieces = [
                typed(piece[0], "length") if len(piece) == 1 else self.place(leaf, piece, PACKS) for piece in rows
            ]
            check(covers == sum(p if isinstance(p, int) else p.length for p in pieces), "length of pieces")
            for piece in pieces:
                if isinstance(piece, int):
                    hole += piece
                    yield piece
                else:
                    digest.update(hole.to_bytes(8, "big") + bytes(16) if hole else b"")
                    digest.update(piece.length.to_bytes(8, "big") + piece.id)
                    data, hole = data + piece.length, 0
                    yield self.chunk(piece, PACKS)
        digest.update(hole.to_bytes(8, "big") + bytes(16) if hole else b"")
        check(paged is None or (paged["n"], paged["d"]) == (data, digest.digest(16)), "digest of a file")


def read_point(vault: str | os.PathLike[str], passphrase: str, point: str | None = None) -> Iterator[Any]:
    """Paths and entries of the point with this name or id, or of the last one; each folder before its contents.

    An entry has name, kind, mode, uid, gid, user, group, size, mtime, ctime, inode, nlink, link, number; xattrs
    (a dict); target of a symlink; device (a pair); content of a file, to iterate over once (bytes, or the int size
    of a hole); windows (None, or a dict by the keys of `more`, in which streams are name -> size and content)."""
    opened = Vault(vault, passphrase)
    names = [name for name in opened.points() if point is None or name == point or name.endswith("-" + point)]
    check(names, "there is no such point")
    if root := opened.point(names[-1]).get("root"):
        level, *place, totals = row(root, "level id whole length whole length id totals")
        yield from opened.walk(b"", 1, Place(*place), level, totals)


def main() -> None:
    vault, point, out = sys.argv[1:]
    Path(out).mkdir(parents=True)
    for path, entry in read_point(vault, os.environ["RPDRIVE_PASSPHRASE"], None if point == "latest" else point):
        target = Path(out, os.fsdecode(path))
        if entry.kind == FOLDER:
            target.mkdir()
        elif entry.kind == SYMLINK:
            target.symlink_to(os.fsdecode(entry.target))
        elif entry.kind == FILE:
            with target.open("xb") as file:
                for piece in entry.content:
                    file.seek(piece, os.SEEK_CUR) if isinstance(piece, int) else file.write(piece)
                file.truncate(entry.size)


if __name__ == "__main__":
    main()
