"""A folder as a tar archive, without HTTP: read back by GNU tar and tarfile, and resumed anywhere."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import tarfile
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import pytest

from catalog.errors import Damaged
from catalog.format.packs import Extent
from catalog.format.values import NodeKind
from mount.browse.resources.archives import tar as tar_module
from mount.browse.resources.archives.contents import CutShort, cut
from mount.browse.resources.archives.stopping import Stopped
from mount.browse.resources.archives.tar import Tar
from mount.browse.resources.archives.tar_headers import FILE, Fields, header, header_size, record, time_text
from tests.browse.have.trees import LONG, SECOND, SMALL, Tree
from tests.browse.have.trees import whole as whole_of

# The bytes of VERSION 1: if they change, downloads of before can't go on, and VERSION has to be another.
FROZEN = "24ee351210ee3a752f5453078b91098c"


@pytest.fixture(scope="module")
def whole(tree: Tree) -> bytes:
    return b"".join(Tar(tree.reader, tree.tops(b"home")).read())


def test_length_is_exact_and_known_without_reading_data(tree: Tree, whole: bytes) -> None:
    before = tree.reader.counters["bytes_served"]
    archive = Tar(tree.reader, tree.tops(b"home"))
    assert tree.reader.counters["bytes_served"] == before
    assert archive.length == len(whole) and archive.missing == 0


def test_bytes_are_a_pure_function_of_the_point(tree: Tree) -> None:
    first, second = (Tar(tree.reader, tree.tops(b"home/links", b"home/link-long")) for _ in range(2))
    assert first.etag == second.etag
    data = b"".join(first.read())
    assert data == b"".join(second.read())
    assert blake2b(data, digest_size=16).hexdigest() == FROZEN
    assert Tar(tree.reader, tree.tops(b"home/links")).etag != first.etag


def test_goes_on_from_any_offset(tree: Tree, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_module, "STRIDE", 3)
    archive = Tar(tree.reader, tree.tops(b"home"))
    monkeypatch.setattr(tar_module, "KEPT", 8)  # now every second member is dropped, again and again
    thinned = Tar(tree.reader, tree.tops(b"home"))
    rng = random.Random(4)
    offsets = [0, 1, 511, 512, 513, len(whole) - 1025, len(whole) - 1024, len(whole) - 1, len(whole)]
    for start in offsets + [rng.randrange(len(whole)) for _ in range(60)]:
        for one in (archive, thinned):
            assert b"".join(cut(one.read(start), 20_000)) == whole[start : start + 20_000], start
    start = offsets[-1] // 3
    assert b"".join(thinned.read(start)) == whole[start:]


def test_gnu_tar_extracts_everything(tree: Tree, whole: bytes, tmp_path: Path) -> None:
    command = [
        "tar",
        "-x",
        "-p",
        "--xattrs",
        "--xattrs-include=user.*",
        "--exclude=home/disk",
        "--exclude=home/null",
    ]
    done = subprocess.run(command, input=whole, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert b"annot" not in done.stderr  # but it warns of hdrcharset, which it obeys anyway, and of odd times
    top = os.fsencode(tmp_path)
    for path, data in tree.contents.items():
        with open(top + b"/" + path, "rb") as file:  # noqa: PTH123 - a path of bytes
            assert file.read() == data, path
    home = tmp_path / "home"
    assert (home / "attributes").stat().st_mode & 0o7777 == 0o4755
    assert (home / "attributes").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert (home / "empty").stat().st_mode & 0o7777 == 0o1777
    assert (home / "empty").stat().st_mtime_ns == -1_500_000_000
    assert (home / "owned").stat().st_mtime_ns == 9_999_999_999 * SECOND
    assert len({(home / "links" / name).stat().st_ino for name in ("first", "second", "third")}) == 1
    assert os.readlink(home / "link") == "many/file-001"
    assert os.readlink(os.fsencode(home) + b"/link-long") == b"\xfe/" * 100
    assert stat.S_ISFIFO((home / "fifo").stat().st_mode)
    assert not (home / "socket").exists()
    again = subprocess.run(["tar", "--diff", *command[2:]], input=whole, cwd=tmp_path, timeout=60, check=False)
    assert again.returncode == 0


def test_python_reads_every_field(tree: Tree, whole: bytes) -> None:
    with tarfile.open(fileobj=BytesIO(whole), errors="surrogateescape") as archive:
        members = {os.fsencode(m.name): m for m in archive}
    assert len(members) == SMALL + 26
    attributes = members[b"home/attributes"].pax_headers
    assert attributes["SCHILY.xattr.user.plain"] == "value\n\0="
    assert attributes["SCHILY.xattr.user.a%3Db%25c"] == "odd name"
    assert attributes["SCHILY.xattr.user.long"] == "x" * 2500
    owned = members[b"home/owned"]
    assert (owned.uid, owned.gid, owned.uname, owned.gname) == (3_000_000_000, 2_500_000, "ümläut" * 8, "g" * 40)
    disk = members[b"home/disk"]
    assert (disk.isblk(), disk.devmajor, disk.devminor) == (True, 259, 70000)
    assert members[b"home/null"].ischr()
    assert members[b"home/links/second"].linkname == "home/links/first"
    assert members[b"home/raw \xff\xfe"].pax_headers["hdrcharset"] == "BINARY"
    assert b"home/deep/" + LONG + b"/" + LONG in members


def test_a_file_of_terabytes_has_its_true_size(tree: Tree) -> None:
    size = 20 << 40
    node = tree.maker.node(b"huge", NodeKind.FILE, size=size, content=tree.maker.file(b"x", size).content)
    point = tree.add(tree.maker.root([node]))
    archive = Tar(tree.reader, [whole_of(tree.reader, point)])
    assert archive.length > size
    parts = archive.read(archive.length - 4096)
    assert b"".join(parts) == bytes(4096)
    head = next(archive.read())
    with tarfile.open(fileobj=BytesIO(head)) as opened:
        opened.next()
        found = opened.next()
        assert found is not None and (found.name, found.size) == ("top/huge", size)


def test_damage_cuts_the_archive_and_says_at_what() -> None:
    tree = Tree()
    archive = Tar(tree.reader, tree.tops(b"home"))
    tree.spoil(b"home/big.bin")
    got = 0
    with pytest.raises(CutShort, match=r"big\.bin") as raised:
        for part in archive.read():
            got += len(part)
    assert got < archive.length and raised.value.path == b"home/big.bin"
    tree.close()


def test_pages_that_cannot_be_read_cost_their_folder() -> None:
    tree = Tree()
    tops = tree.tops(b"home")
    sound = Tar(tree.reader, tops)
    many = tree.place(b"home/many").folder
    assert many is not None

    def leaf(at: Extent) -> object:
        if at == many.at:
            raise Damaged("spoiled")
        return original(at)

    original, level = tree.reader.leaf, many.level
    index = tree.reader.folder_index
    tree.reader.leaf = leaf  # type: ignore[method-assign, assignment]
    tree.reader.folder_index = leaf if level else index  # type: ignore[method-assign, assignment]
    original = index if level else original  # type: ignore[assignment]
    broken = Tar(tree.reader, tops)
    data = b"".join(broken.read())
    assert len(data) == broken.length and broken.missing == 1 and broken.etag != sound.etag
    start = len(data) // 2
    assert b"".join(broken.read(start)) == data[start:]
    with tarfile.open(fileobj=BytesIO(data), errors="surrogateescape") as archive:
        names = archive.getnames()
        text = archive.extractfile("_missing.txt")
        assert text is not None and b"home/many: the rest of this folder: spoiled" in text.read()
    assert "home/big.bin" in names and not any(n.startswith("home/many/") for n in names)
    with pytest.raises(Damaged, match="spoiled"):  # it was sound when it was measured
        list(sound.read())
    tree.close()


def test_nobody_wants_it_any_more(tree: Tree) -> None:
    with pytest.raises(Stopped):
        Tar(tree.reader, tree.tops(b"home"), lambda: True)


@pytest.mark.parametrize("length", [*range(85, 100), 985, 990, 995, 1000])
def test_a_record_says_its_own_length(length: int) -> None:
    text = record(b"path", b"x" * length)
    assert int(text.split(b" ")[0]) == len(text)


def test_times_are_exact() -> None:
    assert [time_text(ns) for ns in (0, 1, -1, 1_500_000_000, -1_500_000_000)] == [
        b"0", b"0.000000001", b"-0.000000001", b"1.5", b"-1.5",
    ]  # fmt: skip


def test_size_of_a_header_is_that_of_its_bytes() -> None:
    rng = random.Random(2)
    for _ in range(300):
        fields = Fields(
            rng.randbytes(rng.randrange(300)).replace(b"\0", b"x"), FILE, rng.randrange(0o10000),
            rng.randrange(2**32), rng.randrange(2**32), rng.randrange(2**40), rng.randrange(-(10**19), 10**20),
            target=b"t" * rng.randrange(200), xattrs=((b"user.x", bytes(rng.randrange(2000))),) * rng.randrange(3),
        )  # fmt: skip
        assert header_size(fields) == len(header(fields))
