"""A folder as a zip archive, without HTTP: read back by unzip and zipfile; no name leads out."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from catalog.format.values import NodeKind
from catalog.names import shown
from mount.browse.resources.archives import zip_records as records
from mount.browse.resources.archives.contents import PIECE, CutShort
from mount.browse.resources.archives.stopping import Stopped
from mount.browse.resources.archives.zip import Zip, spelled
from tests.browse.have.trees import BIG, SECOND, SMALL, Tree
from tests.browse.have.trees import whole as whole_of

pytestmark = pytest.mark.needs_program("unzip")


@pytest.fixture(scope="module")
def whole(tree: Tree) -> bytes:
    return b"".join(Zip(tree.reader, tree.tops(b"home")).read())


def test_length_is_exact_and_known_without_reading_data(tree: Tree, whole: bytes) -> None:
    before = tree.reader.counters["bytes_served"]
    archive = Zip(tree.reader, tree.tops(b"home"))
    assert tree.reader.counters["bytes_served"] == before
    assert archive.length == len(whole)


def test_unzip_extracts_everything_to_its_folder(tree: Tree, whole: bytes, tmp_path: Path) -> None:
    file, top = tmp_path / "a.zip", tmp_path / "out" / "here"
    file.write_bytes(whole)
    top.mkdir(parents=True)
    environment = os.environ | {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
    subprocess.run(["unzip", "-q", file], cwd=top, env=environment, capture_output=True, timeout=60, check=True)
    for path, data in tree.contents.items():
        assert (top / spelled(path).decode()).read_bytes() == data, path
    assert (top / "home" / "attributes").stat().st_mode & 0o777 == 0o755
    assert (top / "home" / "attributes").stat().st_mtime == 1_600_000_000
    assert os.readlink(top / "home" / "link") == "many/file-001"
    assert (top / "home" / "empty").is_dir()
    assert sorted(p.name for p in top.iterdir()) == ["_missing.txt", "_names.txt", "home"]
    assert [p.name for p in top.parent.iterdir()] == ["here"]  # nothing got out
    names = (top / "_names.txt").read_text()
    assert f"home/{shown(b'raw ' + bytes([255, 254]))}  is  home/raw \\xff\\xfe" in names
    assert "  is  home/a\\\\..\\\\b" in names and "  is  home/C:evil" in names
    missing = (top / "_missing.txt").read_text()
    assert "home/fifo: " in missing and "home/null: " in missing and "socket" not in missing


def test_python_reads_every_member(tree: Tree, whole: bytes) -> None:
    with zipfile.ZipFile(BytesIO(whole)) as archive:
        assert archive.testzip() is None
        members = {m.filename: m for m in archive.infolist()}
        assert archive.read("home/big.bin") == BIG
    assert len(members) == SMALL + 25
    assert all("\\" not in name and ":" not in name and not name.startswith("/") for name in members)
    assert members["home/big.bin"].flag_bits & 8 and not members["home/owned"].flag_bits & 8
    assert members["home/empty/"].external_attr >> 16 == 0o41777


def test_sizes_and_offsets_beyond_4_gib(tree: Tree) -> None:
    """Without the contents: the archive is cut out of its records, and zipfile reads the directory."""
    huge = [
        tree.maker.node(name, NodeKind.FILE, size=size, content=tree.maker.file(b"x", size).content)
        for name, size in ((b"a", 5 << 30), (b"b", (1 << 32) - 1), (b"c", 3))
    ]
    point = tree.add(tree.maker.root(huge))
    archive = Zip(tree.reader, [whole_of(tree.reader, point)])
    holes = 0

    def without_contents(_reader: object, _content: object, size: int, begin: int = 0) -> Iterator[bytes]:
        nonlocal holes
        holes += size
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mount.browse.resources.archives.zip.contents", without_contents)
        data = b"".join(archive.read())
    assert archive.length == len(data) + holes
    # The directory says offsets of the whole archive: what stands before it is made up by as many bytes less.
    with zipfile.ZipFile(_Shifted(data, holes)) as opened:
        found = {m.filename: m for m in opened.infolist()}
    assert [found[f"top/{n}"].file_size for n in "abc"] == [5 << 30, (1 << 32) - 1, 3]
    assert found["top/c"].header_offset > 9 << 30


class _Shifted(BytesIO):
    """Bytes before which there are `shift` more that nobody reads."""

    def __init__(self, data: bytes, shift: int) -> None:
        super().__init__(data)
        self._shift = shift

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._shift + super().seek(offset - self._shift if whence == 0 else offset, whence)

    def tell(self) -> int:
        return super().tell() + self._shift


def test_sizes_are_those_of_the_bytes() -> None:
    for size in (0, 7, PIECE + 1, (1 << 32) - 1, 1 << 40):
        for ids, time in ((-1, -5), (0, 5 * SECOND), (7, (1 << 31) * SECOND), (7, 1_600_000_000 * SECOND)):
            fields = records.Fields("ü/x".encode(), 0o100644, time, ids, ids, size, size > PIECE)
            whole = len(records.local(fields, 1)) + size + len(records.descriptor(fields, 1))
            assert records.member_size(fields) == whole
            for offset in (0, (1 << 32) - 2, (1 << 32) - 1, 1 << 50):
                assert records.central_size(fields, offset) == len(records.central(fields, 1, offset))


def test_damage_cuts_the_archive() -> None:
    tree = Tree()
    archive = Zip(tree.reader, tree.tops(b"home"))
    tree.spoil(b"home/big.bin")
    got = 0
    with pytest.raises(CutShort, match=r"big\.bin"):
        for part in archive.read():
            got += len(part)
    assert got < archive.length
    tree.close()


def test_nobody_wants_it_any_more(tree: Tree) -> None:
    with pytest.raises(Stopped):
        Zip(tree.reader, tree.tops(b"home"), lambda: True)


def test_no_two_names_are_spelled_alike() -> None:
    names = [
        b"a\xff",
        "a\uf0ff".encode(),
        b"a\\b",
        "a\uf05cb".encode(),
        b"a:b",
        b"a\nb",
        b"a",
        b"aux",
        "\uf0ff".encode(),
    ]
    assert len({spelled(name) for name in names}) == len(names)
    assert spelled(b"plain/aux") == b"plain/aux"
    assert b"\\" not in spelled(b"x/..\\..\\y") and b":" not in spelled(b"C:/y")
