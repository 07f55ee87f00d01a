"""File systems for WinFsp on the bridge: mounted here, and checked with well-known programs."""

from __future__ import annotations

import os
import random
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cache.reader import Reader
from catalog.format.values import Hole, NodeKind
from catalog.format.windows import Stream, Windows
from catalog.names import shown, true_name
from catalog.store.address import open_store
from catalog.vault import open_vault
from catalog.windows.descriptor import from_sddl
from mount.view.point import PointView
from tests.kit.drives import Home, Maker, add_machine, add_point, noise
from tests.kit.sources import every_kind_and_many
from tests.kit.vaults import PASSPHRASE, make_vault
from tests.kit.winfsp.bridge import Bridge, Mounted, Names
from tests.kit.winfsp.names import win32_path
from tests.kit.winfsp.reparse import TAG_MOUNT_POINT
from tests.kit.winfsp_drives import Served, serving
from tests.mount.winfsp.test_standin import Memfs

pytestmark = pytest.mark.needs_fuse


@pytest.fixture
def folder(winfsp: None, tmp_path: Path) -> Iterator[tuple[Memfs, Path]]:
    """memfs, mounted here."""
    place = tmp_path / "memfs"
    place.mkdir()
    with Memfs(case_preserved_names=1) as memfs, Mounted(Bridge(memfs.caller), place):
        yield memfs, place


def diff(one: Path, other: Path) -> list[str]:
    command: list[str | Path] = ["diff", "-r", "--no-dereference", one, other]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_tree_copied_onto_memfs_and_off_it_again(folder: tuple[Memfs, Path], tmp_path: Path) -> None:
    memfs, mounted = folder
    chance = random.Random(3)
    source = tmp_path / "source"
    for number in range(60):
        path = source / f"folder {number % 7}" / f"файл {number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice([0, 1, 4095, 4096, 70_000])))
    (source / "empty").mkdir()
    shutil.copytree(source, mounted / "copy", copy_function=shutil.copyfile)
    assert diff(source, mounted / "copy") == []
    expected = {"\\copy": None} | {
        "\\copy\\" + str(path.relative_to(source)).replace("/", "\\"): None if path.is_dir() else path.read_bytes()
        for path in source.rglob("*")
    }
    assert memfs.held() == expected
    (mounted / "copy" / "folder 1" / "файл 1.bin").write_bytes(b"changed")
    assert len(diff(source, mounted / "copy")) == 1


def test_renaming_deleting_and_times(folder: tuple[Memfs, Path]) -> None:
    _memfs, mounted = folder
    (mounted / "a").write_bytes(b"content")
    (mounted / "a").rename(mounted / "b")
    os.utime(mounted / "b", ns=(10**18 + 100, 10**18 + 200))
    assert (mounted / "b").stat().st_mtime_ns == 10**18 + 200
    with (mounted / "b").open("r+b") as file:
        file.truncate(3)
        file.seek(0, os.SEEK_END)
        file.write(b"!")
    assert (mounted / "b").read_bytes() == b"con!"
    (mounted / "f").mkdir()
    (mounted / "f" / "c").touch()
    with pytest.raises(OSError, match="not empty"):
        (mounted / "f").rmdir()
    shutil.rmtree(mounted / "f")
    assert os.listdir(mounted) == ["b"]
    with pytest.raises(FileNotFoundError):
        (mounted / "a").stat()
    with pytest.raises(FileExistsError):
        (mounted / "b").mkdir()


# --- our driver ---


def true(name: str) -> bytes:
    """The name that is shown so; those that were cut are not in these folders."""
    found = true_name(name)
    assert found is not None, name
    return found


DRIVE = Names(there=shown, here=true)


class Opened:
    """A real folder, backed up by the real command, its point on the driver, that on the bridge."""

    def __init__(self, source: Path, drive: Path, served: Served) -> None:
        self.source = source
        self.drive = drive
        self.served = served


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("bridge")
    make_vault(folder / "vault")
    home = Home(folder, folder / "vault")
    source = folder / "source"
    every_kind_and_many(source, names=500)
    os.truncate(source / "plain" / "only a hole", 10 << 20)  # to read zeros takes its time here
    os.truncate(source / "plain" / "holes", 41 << 20)
    home.run("backup", source)
    vault = open_vault(open_store(home.vault.as_uri()), passphrase=PASSPHRASE)
    reader = Reader(vault)
    view = PointView(reader, vault.point(vault.point_names()[0]))
    place = folder / "drive"
    place.mkdir()
    with serving(view, reader) as served, Mounted(Bridge(served.caller, DRIVE), place, keep=True):
        yield Opened(source, place / str(source).lstrip("/"), served)
    reader.close()


def test_diff_finds_nothing(opened: Opened) -> None:
    # diff refuses special files of equal names; the others are compared by find.
    lines = [line for line in diff(opened.source, opened.drive) if " is a " not in line]
    assert lines == []


def test_find_tells_the_same(opened: Opened) -> None:
    """Kinds, sizes, times (to 100 ns), targets of links, numbers of devices."""

    def told(top: Path) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for path in sorted(os.fsencode(top) + b"/" + name for name in walked(top)):
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            size = status.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else None
            target = os.readlink(path) if kind == stat.S_IFLNK else None
            device = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else None
            times = (status.st_mtime_ns // 100, status.st_ctime_ns // 100)
            found.append((path[len(os.fsencode(top)) :], kind, size, target, device, times))
        return found

    assert told(opened.drive) == told(opened.source)
    assert len(told(opened.source)) > 600


def walked(top: Path) -> list[bytes]:
    done = subprocess.run(["find", top, "-mindepth", "1", "-printf", "%P\\0"], capture_output=True, check=True)
    return [name for name in done.stdout.split(b"\0") if name]


def test_rsync_finds_nothing_to_do(opened: Opened) -> None:
    """Names, contents, links and times; it reads every file here and there."""
    for one, other in ((opened.source, opened.drive), (opened.drive, opened.source)):
        command = ["rsync", "-rltc", "--dry-run", "--itemize-changes", "--delete", f"{one}/", f"{other}/"]
        done = subprocess.run(command, capture_output=True, check=True)
        found = [line for line in done.stdout.splitlines() if not line.startswith(b"skipping non-regular file")]
        assert found == []


def test_many_programs_read_at_once(opened: Opened) -> None:
    def sums(top: Path) -> list[bytes]:
        command = f"find {top}/plain -type f -size -10M -print0 | xargs -0 -P 8 -n 3 sha256sum | sed 's|{top}||'"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=True)
        return sorted(done.stdout.splitlines())

    assert sums(opened.drive) == sums(opened.source)


def test_a_copy_off_the_drive_is_the_source(opened: Opened, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", "--no-dereference", opened.drive / "plain", tmp_path], check=True)
    lines = [line for line in diff(opened.source / "plain", tmp_path / "plain") if " is a " not in line]
    assert lines == []


def test_writing_is_refused(opened: Opened) -> None:
    small, new = opened.drive / "plain" / "small", opened.drive / "new"
    for write, *arguments in (
        (new.touch,), (new.mkdir,), (small.unlink,), (small.write_bytes, b""), (small.rename, new),
        (os.utime, small),
    ):  # fmt: skip
        with pytest.raises(OSError, match="Read-only file system"):
            write(*arguments)


def test_names_of_every_kind_come_through_win32_and_back(tmp_path: Path) -> None:
    """Every name that is listed is one that Win32 leaves as it is, and opens what it says; none is listed twice."""
    chance = random.Random(11)
    parts = [
        b"a",
        b"A",
        b"\xc3\xa9",
        b"e\xcc\x81",
        b".",
        b" ",
        b":",
        b"*",
        b"\\",
        b"\xff",
        b"\x01",
        b"CON",
        b"nul",
        b"\xef\x80\xba",
    ]
    names = {
        b"com1",
        b"LPT9.txt",
        b"con .x",
        b"n" * 255,
        b"\xff" * 255,
        "🎈".encode() * 60,
        b"...",
        b" ",
        b"a.",
        b"a. ",
    }
    while len(names) < 200:
        name = b"".join(chance.choices(parts, k=chance.randint(1, 6)))
        if name not in (b".", b".."):
            names.add(name)
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    point = add_point(vault, m.root([m.file(name, name * 3) for name in sorted(names)]), 1)
    reader = Reader(vault)
    place = tmp_path / "drive"
    place.mkdir()
    with serving(PointView(reader, point), reader, "W:") as served:
        listed = served.caller.names("\\", length=700)
        assert len(listed) == len(set(listed)) == len(names)
        for spelled in listed:
            assert win32_path("\\" + spelled) == "\\" + spelled
            assert true_name(spelled) is None or served.caller.read("\\" + spelled) == true(spelled) * 3
        with Mounted(Bridge(served.caller, DRIVE), place):
            assert set(os.listdir(os.fsencode(place))) == names
            for name in names:
                with open(os.path.join(os.fsencode(place), name), "rb") as file:  # noqa: PTH123 - bytes
                    assert file.read() == name * 3
    reader.close()


NATIVE = Names(there=bytes.decode, here=str.encode)


def test_a_point_of_windows(tmp_path: Path) -> None:
    """Streams, junctions, and names of whatever case, where no two differ in case only."""
    vault = make_vault(tmp_path / "vault")
    add_machine(vault, system="Windows")
    m = Maker(vault)
    junction = _junction("\\??\\C:\\Users")
    zone, large = b"[ZoneTransfer]\r\nZoneId=3\r\n", noise(40_000)

    def known(attributes: int, *streams: Stream, reparse: bytes | None = None) -> Windows:
        own = from_sddl("O:BAG:SYD:P(A;;FA;;;BA)(A;;0x1200a9;;;WD)")
        return Windows(attributes, 1_500_000_000_123_456_700, own, list(streams), reparse=reparse)

    def stream(name: str, *parts: bytes | int) -> Stream:
        pieces = [Hole(p) if isinstance(p, int) else m.data.block([p])[0] for p in parts]
        return Stream(name, sum(p.length for p in pieces), m.trees.pieces(pieces))

    nodes = [
        m.file(b"Report.docx", b"text", windows=known(0x20, stream("Zone.Identifier", zone))),
        m.file(b"NUL.txt", b"as it was", windows=known(0x20)),
        m.file(b"streams", b"", windows=known(0x20, stream("a", large, 5000, b"end"), stream("empty"))),
        m.folder(b"Folder", [m.file(b"In It", b"x", windows=known(0x21))], windows=known(0x10)),
        m.node(b"junction", NodeKind.SYMLINK, content=b"x", windows=known(0x410, reparse=junction)),
    ]
    m.data.finish()
    point = add_point(vault, m.root(nodes), 1, system="Windows")
    reader = Reader(vault)
    place = tmp_path / "drive"
    place.mkdir()
    view = PointView(reader, msgspec.structs.replace(point, distinct_names=True))
    with serving(view, reader, "W:") as served, Mounted(Bridge(served.caller, NATIVE), place):
        assert sorted(os.listdir(place)) == ["Folder", "NUL.txt", "Report.docx", "junction", "streams"]
        assert (place / "Report.docx").read_bytes() == b"text"
        assert (place / "REPORT.DOCX").read_bytes() == b"text"
        assert (place / "folder" / "in it").read_bytes() == b"x"
        assert os.listxattr(place / "Report.docx") == ["user.ads.Zone.Identifier"]
        assert os.getxattr(place / "Report.docx", "user.ads.Zone.Identifier") == zone
        assert os.getxattr(place / "streams", "user.ads.a") == large + bytes(5000) + b"end"
        assert os.getxattr(place / "streams", "user.ads.empty") == b""
        assert os.readlink(place / "junction") == "\\??\\C:\\Users"
        with pytest.raises(FileNotFoundError):
            (place / "report.doc").stat()
    reader.close()


def _junction(target: str) -> bytes:
    path = target.encode("utf-16-le")
    body = struct.pack("<HHHH", 0, len(path), len(path) + 2, 0) + path + bytes(4)
    return struct.pack("<IHH", TAG_MOUNT_POINT, len(body), 0) + body


# --- what the bridge brought to light ---


def test_a_listing_in_many_parts_is_one_walk(tmp_path: Path) -> None:
    """A listing over many buffers: an entry without room in one is kept for the next, not listed again."""
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    names = [b"name %05d" % number for number in range(6000)]
    point = add_point(vault, m.root([m.node(name, content=[]) for name in names]), 1)
    reader = Reader(vault)
    with serving(PointView(reader, point), reader, "W:") as served:
        operations = served.drive.operations
        opened = operations.open("\\", 0, 0)
        begun: list[Any] = []
        entries = operations.tree.entries

        def watched(*where: Any) -> Any:
            begun.append(where[1])
            return entries(*where)

        operations.tree.entries = watched  # type: ignore[method-assign, assignment]
        listed: list[str] = []
        marker, whole = None, False
        while not whole:
            rows, whole = operations.rows_after(opened, marker, 700)
            listed += [row[104:].decode("utf-16-le") for row in rows]
            marker = listed[-1]
        assert listed == [name.decode() for name in names]
        assert begun == [None]
    reader.close()


def test_an_entry_that_is_damaged_does_not_end_a_listing(tmp_path: Path) -> None:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    names = [b"name %03d" % number for number in range(200)]
    # An entry without contents is malformed, wherever in the folder it is.
    point = add_point(
        vault, m.root([m.node(name, content=None if n % 3 else []) for n, name in enumerate(names)]), 1
    )
    reader = Reader(vault)
    with serving(PointView(reader, point), reader, "W:") as served:
        for length in (200, 700, 4096):
            assert served.caller.names("\\", length=length) == [name.decode() for name in names]
    reader.close()
