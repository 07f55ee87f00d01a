"""What a restore refuses: leaving the target, writing into the vault; and how it reports damage."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import Damaged, LocalError
from catalog.format.packs import Extent
from catalog.format.pages import decode_leaf
from catalog.format.values import NodeKind
from catalog.store.memory import MemoryStore
from mount.restore.conflict import Policy
from mount.restore.disk.posix import PosixDisk
from mount.restore.disk.this import THIS_DISK
from mount.restore.folder import Folder
from mount.restore.folder_table import FolderTable
from mount.restore.selection import Selection
from mount.restore.target import Refused, Target
from tests.kit.drives import Home, Maker, noise
from tests.kit.restoring import a_point, restore, temporaries
from tests.kit.stores import MOST
from tests.kit.vaultmaker import open_empty
from tests.kit.vaults import make_vault


def all_below(top: Path) -> list[str]:
    return sorted(os.path.join(above, name) for above, folders, names in os.walk(top) for name in folders + names)


@pytest.mark.parametrize("policy", list(Policy))
def test_symlinks_in_the_target_lead_nowhere(tmp_path: Path, policy: Policy) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (outside / "precious").write_bytes(b"precious")
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    inner = [maker.file(b"precious", b"attack"), maker.folder(b"deeper", [maker.file(b"x", b"attack")])]
    root = maker.root(
        [maker.folder(b"folder", inner), maker.file(b"file", b"attack"), maker.file(b"gone", b"attack")]
    )
    (target / "folder").symlink_to(outside)
    (target / "file").symlink_to(outside / "precious")
    (target / "gone").symlink_to(outside / "new")
    before = all_below(outside)
    restore(vault, a_point(root), target, policy=policy)
    assert all_below(outside) == before and (outside / "precious").read_bytes() == b"precious"
    assert os.readlink(target / "folder") == str(outside)
    assert temporaries(tmp_path) == []
    if policy is Policy.OVERWRITE:
        assert (target / "file").read_bytes() == b"attack" and not (target / "file").is_symlink()


def test_a_symlink_of_the_point_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    links = a_point(maker.root([maker.node(b"folder", NodeKind.SYMLINK, content=os.fsencode(outside))]))
    maker = Maker(vault)
    folders = a_point(maker.root([maker.folder(b"folder", [maker.file(b"x", b"attack")])]))
    restore(vault, links, tmp_path / "to")
    assert restore(vault, folders, tmp_path / "to", policy=Policy.OVERWRITE).lost == 1
    assert all_below(outside) == []


def test_a_folder_swapped_for_a_symlink_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    target = Target(THIS_DISK, os.fsencode(tmp_path / "to"), make=True)
    folder = FolderTable(target.root).add(target.root, b"folder")
    target.make(folder)
    target.close_folders()
    (tmp_path / "to/folder").rmdir()
    (tmp_path / "to/folder").symlink_to(tmp_path / "outside")
    with pytest.raises(Refused):
        target.handle(folder)
    with pytest.raises(Refused):
        target.handle(Folder(9, folder, b"below"))


@pytest.mark.parametrize("name", [b"..", b".", b"", b"../x", b"/etc/passwd", b"a/b", b"a\0b"])
def test_names_that_would_leave_are_no_names(name: bytes) -> None:
    import msgspec

    entry = [name, 0, 0o644, 0, 0, 0, 0, 1, 1, 0, [], -1, None]
    page = msgspec.msgpack.encode([[], [[0, 0, "", ""]], [], [entry]])
    with pytest.raises(Damaged):
        decode_leaf(page, Extent(bytes(16), 0, 1, 0, len(page), bytes(16)))


@pytest.mark.needs_root
def test_missing_and_damaged_packs_cost_their_files_only(tmp_path: Path) -> None:
    store = MemoryStore()
    vault = open_empty(store)
    maker = Maker(vault)
    nodes = [maker.file(b"good", b"good"), maker.file(b"lost", b"lost")]
    lost = maker.data.names[-1]
    nodes.append(maker.file(b"large", noise(300_000), 70_000, noise(300_000, 2)))
    damaged = maker.data.names[-1]
    nodes.append(maker.file(b"good too", noise(400_000)))
    root = maker.root(nodes)
    store.delete(lost)
    data = bytearray(store.get(damaged, MOST))
    data[len(data) // 2] ^= 1
    store.delete(damaged)
    store.create(damaged, [data])
    report = restore(vault, a_point(root), tmp_path)
    assert sorted(p.path for p in report.problems) == [b"large", b"lost"]
    assert (report.lost, report.damaged, report.written) == (2, 2, 2)
    assert sorted(os.listdir(tmp_path)) == ["good", "good too"]
    assert (tmp_path / "good too").read_bytes() == noise(400_000)


def test_when_nothing_can_be_restored_it_is_an_error(tmp_path: Path) -> None:
    make_vault(tmp_path / "vault")
    home = Home(tmp_path, tmp_path / "vault")
    source = tmp_path / "file"
    source.write_bytes(b"contents")
    home.run("backup", source)
    home.run("restore", f"latest:{source}", "--to", tmp_path / "before")
    packs = [p for p in (tmp_path / "vault" / "packs").rglob("*") if p.is_file()]
    for pack in packs:
        pack.unlink()
    done = home.run("restore", f"latest:{source}", "--to", tmp_path / "after", exit_code=9)
    assert "nothing could be restored" in done.stderr and "is missing from the vault" in done.stderr
    assert os.listdir(tmp_path / "after") == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["latest"], 2, "a restore needs either --to or --in-place"),
        (["latest", "--to", "{}/x", "--in-place"], 2, "a restore needs either --to or --in-place"),
        (["latest", "--to", "{}/x", "--on-conflict", "perhaps"], 2, "use copy, overwrite, skip or newer"),
        (["latest", "--to", "{}/x", "--owner-by", "luck"], 2, "use id or name"),
        (["latest", "--to", "{}/x", "--exclude", "!"], 2, "malformed --exclude pattern"),
        (["latest", "--to", ""], 2, "the value of --to is empty"),
        (["latest", "--to", "{}/x", "--include", "x" * 100_000], 2, "has more than"),
        (["latest", "--to", "{}/x", "--include", "a\udcff"], 4, "matches --include"),
        (["latest", "--to", "{}/vault/packs"], 2, "is in the vault"),
        (["latest", "--to", "{}/home/state"], 2, "is in rpdrive's own folder"),
        (["latest:../../etc/passwd", "--to", "{}/x"], 2, "holds `..`"),
        (["latest:no/such", "--to", "{}/x"], 4, "there is no /no"),
        (["12:34:56", "--to", "{}/x"], 4, ""),
        (["/no/drive/here", "--to", "{}/x"], 2, "neither in an open drive nor a recovery point"),
    ],
)
def test_what_is_refused_before_any_work(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    make_vault(tmp_path / "vault")
    home = Home(tmp_path, tmp_path / "vault")
    source = tmp_path / "file"
    source.write_bytes(b"contents")
    home.run("backup", source)
    done = home.run("restore", *(a.format(tmp_path) for a in arguments), exit_code=code)
    assert says in done.stderr, done.stderr
    assert all_below(tmp_path / "x") == []


def test_patterns_ignore_case_if_asked_to(tmp_path: Path) -> None:
    make_vault(tmp_path / "vault")
    home = Home(tmp_path, tmp_path / "vault")
    source = tmp_path / "File"
    source.write_bytes(b"contents")
    home.run("backup", source)
    include = ["restore", "latest", "--to", str(tmp_path / "x"), "--include", "fiLE"]
    home.run(*include, "--match-case", exit_code=4)
    home.run(*include, "--ignore-case")
    assert all_below(tmp_path / "x")[-1].endswith("/File")


class ReadOnly(PosixDisk):
    """A file system below the target, or the target's own, that takes no changes."""

    def __init__(self, whole: bool) -> None:
        self.whole = whole

    def is_read_only(self, fd: int) -> bool:  # type: ignore[override]
        return self.whole

    def mkdir(self, name: bytes, mode: int, *, dir_fd: int | None = None) -> None:  # type: ignore[override]
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_read_only_target_is_not_told_to_make_room(tmp_path: Path) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    point = a_point(maker.root([maker.folder(b"folder", [maker.file(b"x", b"x")]), maker.file(b"z", b"z")]))
    with pytest.raises(LocalError, match="Read-only file system") as caught:
        restore(vault, point, tmp_path / "a", disk=ReadOnly(True))
    assert "mount that file system for writing" in caught.value.advice and "space" not in caught.value.advice
    # One that is mounted below the target costs what belongs there.
    report = restore(vault, point, tmp_path / "b", disk=ReadOnly(False))
    assert [p.path for p in report.problems] == [b"folder"] and (tmp_path / "b" / "z").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_target_is(tmp_path: Path, number: int) -> None:
    class Full(PosixDisk):
        def pwrite(self, fd: int, data: Any, position: int) -> int:
            raise OSError(number, os.strerror(number))

        def makedirs(self, path: bytes) -> None:  # type: ignore[override]
            if path.endswith(b"c"):
                raise OSError(number, os.strerror(number))
            os.makedirs(path, exist_ok=True)

    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    point = a_point(maker.root([maker.file(b"x", b"x")]))
    for name in ("a", "c"):
        with pytest.raises(LocalError, match=os.strerror(number)) as caught:
            restore(vault, point, tmp_path / name, disk=Full())
        assert "free some space" in caught.value.advice


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize(
    ("includes", "path", "found"),
    [
        (["*.txt"], b"", True),
        (["*.nothing"], b"", False),
        (["/folder"], b"folder", True),
        (["/folder"], b"folder/x.txt", True),
        (["x.*"], b"folder/x.txt", True),
        (["*.md"], b"folder/x.txt", False),
        (["empty"], b"", True),
    ],
)
def test_include_that_fits_nothing(
    tmp_path: Path, includes: list[str], path: bytes, found: bool, dry: bool
) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    point = a_point(maker.root([maker.folder(b"folder", [maker.file(b"x.txt", b"x")]), maker.folder(b"empty", [])]))
    selection = Selection(includes)
    report = restore(vault, point, tmp_path, path, selection=selection, dry_run=dry)
    assert report.problems == [] and selection.found == found
    assert found or all_below(tmp_path) == []


def test_exclude_takes_a_file_that_was_named(tmp_path: Path) -> None:
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    point = a_point(maker.root([maker.file(b"x.txt", b"x")]))
    report = restore(vault, point, tmp_path, b"x.txt", selection=Selection([], ["*.txt"]))
    assert report.written == 0 and all_below(tmp_path) == []
