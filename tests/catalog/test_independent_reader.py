"""Vaults that the program writes, read by a reader written from docs/format.md alone (independent_reader.py)."""

import ast
import grp
import hashlib
import json
import os
import pwd
import random
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kit import independent_reader as reader
from tests.kit.independent import checks, ledger, plans, retention, sealing, seeds, shapes, tree
from tests.kit.independent.tree import Extent, Subtree

ROOT = Path(__file__).parents[2]
DECOMPOSED = "a passphrase of the te\u0301st"  # not in form C
MIB = 1 << 20
VECTORS = ROOT / "tests" / "vectors"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="holes, xattrs and names that are not UTF-8")


def run(home: Path, vault: Path, *arguments: str | bytes | Path) -> None:
    environment = os.environ | {"RPDRIVE_HOME": str(home), "RPDRIVE_PASSPHRASE": DECOMPOSED}
    command = [sys.executable, "-m", "rpdrive", "--vault", str(vault), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def mixed(seed: int, size: int) -> bytes:
    """Bytes, half of which can be compressed."""
    source = random.Random(seed)
    parts = (source.randbytes(MIB // 2) + source.randbytes(MIB // 4).hex().encode() for _ in range(size // MIB + 1))
    return b"".join(parts)[:size]


def holed(path: Path, size: int, *data: tuple[int, int]) -> None:
    """Make a file of this size, with data at these offsets and of these lengths, and holes elsewhere."""
    with path.open("wb") as file:
        for offset, length in data:
            file.seek(offset)
            file.write(mixed(offset, length))
        file.truncate(size)


def make(source: Path) -> None:
    (source / "empty folder").mkdir(parents=True)
    (source / "empty file").touch()
    (source / "small").write_bytes(b"small\n")
    at = os.fsencode(source)
    for raw in (
        b"\xff\xfe not UTF-8",
        b"line\nfeed",
        b"a\\b",
        b"n" * 255,
        b"\xe9" * 255,
        b"\xc3\xa9",
        b"e\xcc\x81",
    ):
        Path(os.fsdecode(at + b"/" + raw)).write_bytes(raw * 3)
    (source / os.fsdecode(b"folder \x80")).mkdir(mode=0o1770)
    (source / "links").mkdir()
    for name in ("first", "second"):
        (source / "links" / name).write_bytes(name.encode() * 1000)
        (source / "links" / f"{name} again").hardlink_to(source / "links" / name)
    (source / "another link").hardlink_to(source / "links" / "first")
    (source / "links" / "symlink").symlink_to("first")
    os.link(source / "links" / "symlink", source / "links" / "symlink again", follow_symlinks=False)
    (source / "dangling").symlink_to(os.fsdecode(b"nowhere/\xff"))
    (source / "to a folder").symlink_to("links", target_is_directory=True)
    os.mkfifo(source / "fifo", 0o620)
    holed(source / "hole at the start", 3 * MIB, (2 * MIB, MIB))
    holed(source / "hole in the middle", 3 * MIB, (0, MIB), (2 * MIB, MIB))
    holed(source / "hole at the end", 3 * MIB, (0, MIB))
    holed(source / "all hole", 5 * MIB)
    holed(source / "many holes", 64 * MIB, *((number * MIB, 4096) for number in range(60)))
    (source / "large").write_bytes(mixed(1, 48 * MIB))
    (source / "many").mkdir()
    for number in range(5000):
        content = b"%d" % number if number % 10 == 0 else b""
        (source / "many" / f"{number * 7919 % 5003:05} of many").write_bytes(content)
    (source / "setuid").write_bytes(b"#!/bin/false\n")
    (source / "setuid").chmod(0o6711)
    (source / "no access").write_bytes(b"closed")
    (source / "no access").chmod(0)
    for odd, time in (("before 1970", -1_500_000_001), ("before 1901", -3 * 10**18), ("in 2300", 10**19 + 7)):
        (source / odd).touch()
        os.utime(source / odd, ns=(0, time))  # the file system may round the time
    for path in (source / "small", source / "links"):
        os.setxattr(path, "user.ten", b"\x00123456789")
        os.setxattr(path, b"user.\xff", b"")


def edit(source: Path) -> None:
    with (source / "large").open("r+b") as file:
        file.seek(20 * MIB)
        file.write(b"other bytes" * 1000)
    shutil.copytree(source / "links", source / "empty folder" / "copied")
    (source / "many" / "00100 of many").unlink()
    (source / "many" / "a new one").write_bytes(b"new")
    (source / "small").chmod(0o4755)
    (source / "another link").unlink()
    (source / "links" / "second").rename(source / "links" / "moved")
    os.truncate(source / "hole at the end", 4 * MIB + 1)
    os.utime(source / "empty file", ns=(1, 1_234_567_890_123_456_789))


def ends_of_data(path: Path) -> list[tuple[int, int]]:
    """Where data begins and ends in a file, according to its file system."""
    found, at = list[tuple[int, int]](), 0
    with path.open("rb") as file:
        while True:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return found
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, at))


def gone_through(content: Iterator[bytes | int]) -> tuple[bytes, list[tuple[int, int]]]:
    whole, found = bytearray(), [(0, 0)]
    for piece in content:
        start = len(whole)
        whole += bytes(piece) if isinstance(piece, int) else piece
        if not isinstance(piece, int):
            found.append((found.pop()[0], len(whole)) if found[-1][1] == start else (start, len(whole)))
    return bytes(whole), [pair for pair in found if pair[0] < pair[1]]


KINDS = {
    stat.S_IFREG: reader.FILE,
    stat.S_IFDIR: reader.FOLDER,
    stat.S_IFLNK: reader.SYMLINK,
    stat.S_IFIFO: reader.FIFO,
}


def named(get: Callable[[int], Any], number: int) -> str:
    try:
        return str(get(number)[0])
    except KeyError:
        return ""


def compare(path: bytes, entry: Any) -> None:
    here = Path(os.fsdecode(path))
    status = here.lstat()
    assert entry.kind == KINDS[stat.S_IFMT(status.st_mode)]
    assert entry.mode == stat.S_IMODE(status.st_mode)
    assert (entry.uid, entry.gid) == (status.st_uid, status.st_gid)
    assert (entry.user, entry.group) == (named(pwd.getpwuid, status.st_uid), named(grp.getgrgid, status.st_gid))
    assert (entry.mtime, entry.ctime) == (status.st_mtime_ns, status.st_ctime_ns)
    assert entry.inode == status.st_ino
    assert entry.nlink == (1 if entry.kind == reader.FOLDER else status.st_nlink)
    assert (entry.link > 0) == (entry.nlink > 1)
    assert entry.xattrs == {
        os.fsencode(name): os.getxattr(here, name, follow_symlinks=False)
        for name in os.listxattr(here, follow_symlinks=False)
    }
    if entry.kind == reader.FILE:
        assert entry.size == status.st_size
        content, data = gone_through(entry.content)
        assert content == here.read_bytes()
        assert data == ends_of_data(here)
    if entry.kind == reader.SYMLINK:
        assert entry.target == os.readlink(path)


def check_pack(folder: Path, vault: reader.Vault, pack: bytes, kind: int) -> list[Any]:
    """Check a whole pack by its table of contents, which reading does not need. Returns the table."""
    text = pack.hex()
    data = (folder / ("packs", "meta")[kind - 1] / text[:8] / text[10:12] / text).read_bytes()
    assert (data[:8], data[-4:]) == (b"RPDPACK\x01", b"RPDT")
    start, stored = int.from_bytes(data[-16:-8], "big"), int.from_bytes(data[-8:-4], "big")
    assert start + stored + 16 == len(data)
    table = sealing.open_pack(vault.keys, kind, pack, data, blocks=True)
    end = 8
    for offset, length, lengths, ids in table:
        assert (offset, len(ids)) == (end, 16 * len(lengths))
        for index, size in enumerate(lengths):
            chunk = ids[16 * index : 16 * index + 16]
            vault.chunk(Extent(pack, offset, length, sum(lengths[:index]), size, chunk), kind)
        assert len(vault.block(kind, pack, offset, length)) == sum(lengths)
        end = offset + length
    assert end == start
    return table


def check_objects(folder: Path) -> None:
    """Check that every object of a vault is as the page says, also those that reading does not need."""
    vault, tables, indexed = reader.Vault(folder, DECOMPOSED), dict[bytes, Any](), dict[bytes, Any]()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        first, *rest = name.split("/")
        if path.is_dir() or first == ".rpdrive":
            continue
        match first:
            case "packs":
                tables[bytes.fromhex(path.name)] = check_pack(folder, vault, bytes.fromhex(path.name), reader.PACKS)
            case "meta":
                check_pack(folder, vault, bytes.fromhex(path.name), reader.META)
            case "index":
                indexed |= dict(reader.read_index(vault.content(4, name))["packs"])
            case "machines":
                record = reader.read_machine(name, vault.content(1, name))
                assert rest == [record["id"].hex(), "00000001"]
            case "items":
                record = reader.read_item(name, vault.content(2, name))
                assert rest == [record["machine"].hex(), record["id"].hex(), "00000001"]
            case "points":
                assert reader.read_point_of(name, vault.content(3, name)).name == name
            case "jobs":
                record = reader.read_job(name, vault.content(6, name))
                named = rest[1].removesuffix(".started")[-32:]
                assert (rest[0], named) == (record["machine"].hex(), record["id"].hex())
            case "vault":
                assert path.read_bytes() == (folder / "vault.json").read_bytes()
            case _:
                assert name == "vault.json"
    assert indexed == tables


def compare_point(vault: Path, point: str, sources: list[Path]) -> list[Any]:
    """Check that a point holds everything in the sources, and nothing else."""
    wanted, above = set[bytes](), set[bytes]()
    for source in sources:
        above.update(os.fsencode(folder) for folder in source.parents[:-1])
        wanted.add(os.fsencode(source))
        for folder, folders, files in os.walk(os.fsencode(source)):
            wanted.update(os.path.join(folder, name) for name in folders + files)
    entries, links = list[Any](), dict[tuple[int, int], set[int]]()
    for path, entry in reader.read_point(vault, DECOMPOSED, point):
        full = b"/" + path
        assert entry.number == len(entries) + 2
        entries.append(entry)
        if full in above:
            assert entry.kind == reader.FOLDER
            assert entry.mode == stat.S_IMODE(os.lstat(full).st_mode)
            above.remove(full)
            continue
        wanted.remove(full)
        compare(full, entry)
        status = os.lstat(full)
        if entry.link:
            links.setdefault((status.st_dev, status.st_ino), set()).add(entry.link)
    assert not wanted
    assert not above
    assert all(len(numbers) == 1 for numbers in links.values())
    assert len(set().union(*links.values())) == len(links)
    return entries


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """A tree, and a file with a large xattr on a file system that supports one, if there is any."""
    source = tmp_path_factory.mktemp("independent") / "source"
    make(source)
    found = [source]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as other:
        file = Path(other, "xattrs")
        file.write_bytes(b"x")
        try:
            os.setxattr(file, "user.large", random.Random(2).randbytes(20_000))
            os.setxattr(file, "user.small", b"0123456789")
            found.append(Path(other))
        except OSError:
            pass
        yield found


def everything(vault: Path, point: str) -> list[Any]:
    """All contents of a point, in few bytes."""
    found = []
    for path, entry in reader.read_point(vault, DECOMPOSED, point):
        said = {name: value for name, value in vars(entry).items() if name not in ("content", "below")}
        content, data = gone_through(entry.content)
        found.append((path, said, hashlib.sha256(content).digest(), data))
    return found


def refused(vault: Path, name: str, old: bytes, new: bytes, point: str) -> None:
    """Check that the reader refuses a point with these bytes changed in an object; then restore the object."""
    path = vault / name
    whole = path.read_bytes()
    assert whole.count(old) >= 1
    path.write_bytes(whole.replace(old, new, 1))
    with pytest.raises(reader.REFUSED):
        everything(vault, point)
    path.write_bytes(whole)


@pytest.mark.needs_root
def test_reads_what_the_program_writes(tmp_path: Path, sources: list[Path]) -> None:
    home, vault = tmp_path / "home", tmp_path / "vault"
    run(home, vault, "vault", "create")
    run(home, vault, "backup", *sources)
    (first,) = (point.name for point in reader.Vault(vault, DECOMPOSED).points())
    entries = {entry.name: entry for entry in compare_point(vault, first, sources)}
    assert entries[b"many"].below.level > 0, "a folder of several pages"
    if len(sources) > 1:
        assert len(entries[b"xattrs"].xattrs[b"user.large"]) == 20_000, "a value out of line"
    pieces = {entry.name: entry.content for _, entry in reader.read_point(vault, DECOMPOSED) if entry.kind == 0}
    assert len(list(pieces[b"many holes"])) > 32, "a file whose pieces are in pages"
    before = everything(vault, first)

    edit(sources[0])
    run(home, vault, "backup", *sources)
    points = [point.name for point in reader.Vault(vault, DECOMPOSED).points()]
    assert points[0] == first
    assert len(points) == 2
    compare_point(vault, points[1], sources)
    assert everything(vault, first) == before
    check_objects(vault)


def paged(entries: list[Any]) -> dict[str, Any]:
    """The content of a file whose pieces are in pages."""
    found: dict[str, Any] = next((entry[10] for entry in entries if isinstance(entry[10], dict)), {})
    return found


# Changes to the entries of a leaf, each of which makes the page malformed.
CHANGES: dict[str, Callable[[list[Any]], Any]] = {
    "order of names": lambda entries: entries.reverse(),
    "an entry is missing": lambda entries: len(entries) > 1 and entries.pop(),
    "a name that leads up": lambda entries: entries[0].__setitem__(0, b".."),
    "a name that leads on": lambda entries: entries[0].__setitem__(0, b"a/b"),
    "owner outside its table": lambda entries: entries[0].__setitem__(3, 99),
    "negative owner": lambda entries: entries[0].__setitem__(3, -1),
    "xattrs outside their table": lambda entries: entries[0].__setitem__(11, 99),
    "size": lambda entries: [entry.__setitem__(4, entry[4] + 1) for entry in entries if entry[1] == 0],
    "a number that is true": lambda entries: entries[0].__setitem__(2, True),
    "too few elements": lambda entries: entries[0].pop(),
    "digest": lambda entries: paged(entries).update(d=bytes(16)),
    "bytes that are not holes": lambda entries: paged(entries).update(n=1),
    "a level of pieces": lambda entries: paged(entries).update(l=9),
}


@pytest.mark.slow
def test_refuses_changed_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, vault, source = tmp_path / "home", tmp_path / "vault", tmp_path / "source"
    source.mkdir()
    (source / "a file").write_bytes(mixed(3, MIB))
    holed(source / "holes", 3 * MIB, (MIB, 100))
    holed(source / "many holes", 40 * MIB, *((number * MIB, 4096) for number in range(40)))
    (source / "link").symlink_to("a file")
    run(home, vault, "vault", "create")
    run(home, vault, "backup", source)
    (point,) = (found.name for found in reader.Vault(vault, DECOMPOSED).points())

    with pytest.raises(reader.REFUSED, match="passphrase"):
        reader.Vault(vault, DECOMPOSED + " ")
    refused(vault, "vault.json", b'"created"', b'"treated"', point)
    refused(vault, "vault.json", b'"created":', b'"created":"", "created":', point)
    refused(vault, point, b"RPDS\x01\x03\x00", b"RPDS\x01\x03\x01", point)
    for pack in (*vault.glob("packs/*/*/*"), *vault.glob("meta/*/*/*")):
        start = pack.read_bytes()[:200]
        refused(vault, pack.relative_to(vault).as_posix(), start, start[:-1] + bytes([start[-1] ^ 1]), point)
    other = point[:-1] + ("0" if point[-1] != "0" else "1")
    (vault / other).write_bytes((vault / point).read_bytes())
    with pytest.raises(reader.REFUSED):
        everything(vault, other)
    (vault / other).unlink()
    everything(vault, point)

    chunk = reader.Vault.chunk
    for what, change in CHANGES.items():

        def changed(
            self: reader.Vault, place: Any, kind: int, change: Callable[[list[Any]], Any] = change
        ) -> bytes:
            raw = chunk(self, place, kind)
            page = msgspec.msgpack.decode(raw) if kind == reader.META else None
            if page is None or len(page) != 4:
                return raw
            change(page[3])
            return msgspec.msgpack.encode(page)

        with monkeypatch.context() as patch, pytest.raises(reader.REFUSED):
            patch.setattr(reader.Vault, "chunk", changed)
            everything(vault, point)
            print(f"read in spite of {what}")

    monkeypatch.setenv("RPDRIVE_PASSPHRASE", DECOMPOSED)
    monkeypatch.setattr("sys.argv", ["independent_reader", str(vault), point, str(tmp_path / "out")])
    assert reader.main() == 0
    out = tmp_path / "out" / source.relative_to("/")
    assert (out / "a file").read_bytes() == (source / "a file").read_bytes()
    assert (out / "holes").read_bytes() == (source / "holes").read_bytes()
    assert (out / "link").readlink() == Path("a file")


def golden(name: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    vector = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return vector, {path: bytes.fromhex(data) for path, data in vector["objects"].items()}


@pytest.mark.parametrize("name", ["vault.json", "windows.json", "moved.json"])
def test_reads_golden_vaults(name: str) -> None:
    vector, objects = golden(name)
    vault = reader.Vault(reader.Objects(objects), vector["passphrase"])
    assert len(vault.machines()) == len(vault.items()) == len(vault.jobs()) == 1
    assert [point.name for point in vault.points()] == [vector["point"]]
    for stored, data in objects.items():
        if stored.startswith(("packs/", "meta/")):
            check = sealing.open_carrier if data.startswith(b"RPDCARR") else sealing.open_pack
            kind = reader.PACKS if stored.startswith("packs/") else reader.META
            check(vault.keys, kind, bytes.fromhex(stored[-32:]), data, blocks=True)
    found = []
    for path, entry in reader.read_point(reader.Objects(objects), vector["passphrase"], wait=0):
        content: Any = [piece if isinstance(piece, int) else piece.hex() for piece in entry.content]
        if entry.kind == reader.FOLDER:
            content = list(entry.below.totals or ()) if entry.below else None
        elif entry.kind != reader.FILE:
            content = {reader.SYMLINK: entry.target.hex(), 4: [*entry.device], 5: [*entry.device]}.get(entry.kind)
        found.append(
            {
                "name": entry.name.hex(),
                "path": path.hex(),
                "owner": [entry.uid, entry.gid, entry.user, entry.group],
                "content": content,
                "xattrs": {key.hex(): value.hex() for key, value in entry.xattrs.items()},
            }
            | {name: getattr(entry, name) for name in SAME}
        )
    wanted = [{name: row[name] for name in found[0]} for row in vector["tree"]]
    assert found == wanted


SAME = ("kind", "mode", "size", "mtime", "ctime", "inode", "nlink", "link", "number")


def test_reads_golden_records_of_retention() -> None:
    keys = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    opened = sealing.Keys(bytes.fromhex(keys["master"]), bytes.fromhex(keys["vault_id"]))
    for row in json.loads((VECTORS / "retention.json").read_text(encoding="utf-8")):
        sealed = bytes.fromhex(row["sealed"])
        content = sealing.open_signed(opened, sealing.read_admins([row["admin"]]), 5, row["name"], sealed)
        record = retention.read_retention(row["name"], content)
        said = {name: record[name] for name in row["record"]}
        for name in ("daily", "weekly", "monthly", "yearly"):
            if name in said:
                said[name] = {field: said[name][field] for field in row["record"][name]}
        assert said | {"id": said["id"].hex()} == row["record"]


def test_reads_golden_records_of_seeds() -> None:
    keys = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    opened = sealing.Keys(bytes.fromhex(keys["master"]), bytes.fromhex(keys["vault_id"]))
    for row in json.loads((VECTORS / "seeds.json").read_text(encoding="utf-8")):
        content = sealing.open_object(opened, 13, row["name"], bytes.fromhex(row["sealed"]))
        record = seeds.read_seed(row["name"], content)
        assert {name: in_hex(record[name]) for name in row["record"]} == row["record"]


def test_reads_golden_records_of_checks() -> None:
    keys = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    opened = sealing.Keys(bytes.fromhex(keys["master"]), bytes.fromhex(keys["vault_id"]))
    for row in json.loads((VECTORS / "checks.json").read_text(encoding="utf-8")):
        content = sealing.open_object(opened, 10, row["name"], bytes.fromhex(row["sealed"]))
        record = checks.read_checks(row["name"], content)
        assert {name: in_hex(record[name]) for name in row["record"]} == row["record"]


def test_reads_the_golden_record_of_a_start() -> None:
    keys = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    opened = sealing.Keys(bytes.fromhex(keys["master"]), bytes.fromhex(keys["vault_id"]))
    (row,) = json.loads((VECTORS / "starts.json").read_text(encoding="utf-8"))
    record = reader.read_job(row["name"], sealing.open_object(opened, 6, row["name"], bytes.fromhex(row["sealed"])))
    assert said_in(in_hex(record), row["record"]) == row["record"]
    assert (record["outcome"], record["finished"]) == ("running", 0)


@pytest.mark.parametrize("file", ["plans.json", "plan_kinds.json"])
def test_reads_golden_records_of_plans(file: str) -> None:
    keys = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    opened = sealing.Keys(bytes.fromhex(keys["master"]), bytes.fromhex(keys["vault_id"]))
    for row in json.loads((VECTORS / file).read_text(encoding="utf-8")):
        content = sealing.open_object(opened, 12, row["name"], bytes.fromhex(row["sealed"]))
        record = plans.read_plan(row["name"], content)
        assert said_in(in_hex(record), row["record"]) == row["record"]


def test_reads_golden_records_of_volumes() -> None:
    keys = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    opened = sealing.Keys(bytes.fromhex(keys["master"]), bytes.fromhex(keys["vault_id"]))
    for row in json.loads((VECTORS / "volumes.json").read_text(encoding="utf-8")):
        kind, shape = (2, shapes.item) if row["what"] == "item" else (3, shapes.point)
        content = sealing.open_object(opened, kind, row["name"], bytes.fromhex(row["sealed"]))
        record = shape(shapes.unpack(content))
        assert said_in(in_hex(record), row["record"]) == row["record"]
        assert record["kind"] == "volume"


def said_in(value: Any, said: Any) -> Any:
    """A value without the fields of maps that `said` leaves out, since they have their defaults."""
    if isinstance(value, dict):
        return {name: said_in(value[name], one) for name, one in said.items()}
    return [said_in(a, b) for a, b in zip(value, said, strict=True)] if isinstance(value, list) else value


def in_hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: in_hex(one) for name, one in value.items()}
    return [in_hex(one) for one in value] if isinstance(value, list | tuple) else value


def test_reads_golden_ledgers() -> None:
    keys = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    opened = sealing.Keys(bytes.fromhex(keys["master"]), bytes.fromhex(keys["vault_id"]))
    for row in json.loads((VECTORS / "ledger.json").read_text(encoding="utf-8")):
        sealed = bytes.fromhex(row["sealed"])
        content = sealing.open_signed(opened, sealing.read_admins([row["admin"]]), 9, row["name"], sealed)
        record = ledger.read_ledger(row["name"], content)
        assert {name: in_hex(value) for name, value in record.items()} == row["record"]
        taken = [point for field in ("forgotten", "gone") for point, *_ in row["record"][field]]
        assert {point.hex() for point in ledger.hidden(record)} == set(taken)


def read_all(vault: reader.Vault, point: str) -> None:
    for _, number, entry in vault.walk(vault.find(point)):
        for _ in reader.found(vault, number, entry).content:
            pass
        for stream in entry.windows.streams if entry.windows else []:
            for _ in vault.data(stream.content, stream.size):
                pass


def read_pages(level: int, pages: list[bytes]) -> None:
    """Reads a folder from pages given in the order in which a reader asks for them; the last again and again."""
    rest = list(pages)

    def fetch(at: Extent) -> bytes:
        return rest.pop(0) if len(rest) > 1 else rest[0]

    top = Subtree(level, Extent(bytes(16), 8, 99, 0, 1, bytes(16)), None)
    entries = tree.walk(fetch, top) if len(pages) == 1 else ((b"", 0, e) for e in tree.entries_of(fetch, top))
    for _, _, entry in entries:
        if entry.damage:
            raise entry.damage
        for _ in tree.pieces_of(fetch, entry.pieces, entry.size):
            pass
        for stream in entry.windows.streams if entry.windows else []:
            for _ in tree.pieces_of(fetch, stream.content, stream.size):
                pass


RECORDS: dict[int, Callable[[str, bytes], Any]] = {
    1: reader.read_machine,
    2: reader.read_item,
    3: reader.read_point_of,
    4: lambda name, content: reader.read_index(content),
    6: reader.read_job,
}


def test_reads_the_mark_of_a_copy() -> None:
    keys = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    for row in json.loads((VECTORS / "copies.json").read_text(encoding="utf-8")):
        read = sealing.VaultFile.parse(bytes.fromhex(row["file"]))
        read.with_master(bytes.fromhex(keys["master"]))
        assert read.copy == row["copy"] and read.fields["number"] == row["number"]


def read_fault(read: dict[str, Any]) -> None:
    known = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    master = bytes.fromhex(known["master"])
    keys = sealing.Keys(master, bytes.fromhex(read.get("vault_id", known["vault_id"])))
    data = bytes.fromhex(read.get("data", ""))
    match read["how"]:
        case "admin":
            sealing.open_admin(keys, read["admin"], read["passphrase"])
        case "block":
            pack, sealed = bytes.fromhex(read["pack"]), bytes.fromhex(read["sealed"])
            sealing.open_block(keys, read["kind"], pack, read["offset"], sealed)
        case "pack":
            sealing.open_pack(keys, read["kind"], bytes.fromhex(read["pack"]), data, blocks=True)
        case "carrier":
            sealing.open_carrier(keys, read["kind"], bytes.fromhex(read["id"]), data, blocks=True)
        case "object":
            RECORDS[read["kind"]](read["name"], sealing.open_object(keys, read["kind"], read["name"], data))
        case "signed":
            sealing.open_signed(keys, sealing.read_admins(read["admins"]), read["kind"], read["name"], data)
        case "places":
            reader.read_places(read["name"], bytes.fromhex(read["content"]))
        case "seed":
            seeds.read_seed(read["name"], bytes.fromhex(read["content"]))
        case "checks":
            checks.read_checks(read["name"], bytes.fromhex(read["content"]))
        case "plan":
            plans.read_plan(read["name"], bytes.fromhex(read["content"]) + bytes(read.get("zeros", 0)))
        case "retention":
            retention.read_retention(read["name"], bytes.fromhex(read["content"]))
        case "ledger":
            ledger.read_ledger(read["name"], bytes.fromhex(read["content"]))
        case "pages":
            read_pages(read["level"], [bytes.fromhex(page) for page in read["pages"]])
        case "vault":
            vector, objects = golden(read.get("base", "vault.json"))
            for name, text in read["replace"].items():
                objects.pop(name, None)
                if text is not None:
                    objects[name] = bytes.fromhex(text)
            opened = bytes.fromhex(read["master"]) if "master" in read else None
            passphrase = read.get("passphrase", vector["passphrase"])
            read_all(reader.Vault(reader.Objects(objects), passphrase, master=opened, wait=0), vector["point"])
        case other:
            raise AssertionError(other)


ERRORS = {
    "Damaged": shapes.Damaged,
    "NewerFormat": shapes.Newer,
    "MissingData": shapes.Missing,
    "WrongPassphrase": shapes.WrongPassphrase,
    "Locked": shapes.Locked,
}


@pytest.mark.parametrize("name", sorted(path.stem for path in (VECTORS / "faults").iterdir()))
def test_refuses_every_fault(name: str) -> None:
    fault = json.loads((VECTORS / "faults" / f"{name}.json").read_text(encoding="utf-8"))
    with pytest.raises(shapes.Refused) as caught:
        read_fault(fault["read"])
    assert caught.type is ERRORS[fault["error"]]


def test_is_small_and_shares_no_code() -> None:
    modules = set[str]()
    for path in (Path(reader.__file__), *sorted(Path(tree.__file__).parent.glob("*.py"))):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 530
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                modules.update(name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                modules.add(str(node.module))
    used = {m.partition(".")[0] if not m.startswith("tests.kit.independent") else "" for m in modules}
    assert used - sys.stdlib_module_names == {"", "blake3", "cryptography", "msgspec", "zstandard"}
