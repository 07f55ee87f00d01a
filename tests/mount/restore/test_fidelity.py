"""All metadata is restored as root; as another user, what that user may set, and the rest is reported."""

from __future__ import annotations

import gc
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cache.reader import Reader
from catalog.format.values import Owner
from catalog.points.choice import choose_point
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.vault import open_vault
from mount.restore.disk import posix
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.this import THIS_DISK
from mount.restore.job import without_collection
from mount.restore.selection import Selection
from tests.kit.drives import Home, acl
from tests.kit.restoring import assert_same_attributes, assert_same_trees, restore, temporaries
from tests.kit.sources import every_kind_and_deep
from tests.kit.vaultmaker import open_empty
from tests.kit.vaults import PASSPHRASE, make_vault

pytestmark = pytest.mark.needs_root

NOBODY = 65534


class Source(Home):
    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.source = folder / "source"
        every_kind_and_deep(self.source)
        self.run("backup", self.source)
        self.path = f"latest:{self.source}"

    def as_nobody(self, to: Path, *paths: bytes, **options: Any) -> dict[str, Any]:
        """Restore in a process of another user, who can't read Python's folder: everything is imported before."""
        vault = open_vault(LocalStore(self.vault), passphrase=PASSPHRASE)
        point = vault.point(choose_point(vault.point_names(), "latest"))
        Selection(["*"])
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                report = restore(vault, point, to, *paths, **options)
                problems = [(os.fsdecode(p.path), p.reason) for p in report.problems]
                os.write(writer, json.dumps({"problems": problems, "lost": report.lost}).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        with open(reader, "rb") as pipe:  # noqa: PTH123 - a descriptor
            told = pipe.read()
        assert os.waitpid(child, 0)[1] == 0, "see the traceback above"
        found: dict[str, Any] = json.loads(told)
        return found


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    folder = Path(tempfile.mkdtemp(prefix="rpdrive-restore-"))  # not pytest's: nobody but root may enter that
    try:
        yield Source(folder)
    finally:
        shutil.rmtree(folder)


def test_root_gets_everything(source: Source, tmp_path: Path) -> None:
    done = source.run("restore", source.path, "--to", tmp_path / "new" / "target")
    found = tmp_path / "new" / "target" / "source"
    assert_same_trees(found, source.source)
    assert_same_attributes(found, source.source)
    for name in ("holes", "only a hole"):
        assert (found / name).stat().st_blocks <= (source.source / name).stat().st_blocks
    assert stat.S_ISSOCK((found / "socket").lstat().st_mode)
    assert "problem" not in done.stdout
    assert temporaries(tmp_path) == []


def test_a_whole_point_is_restored_below_the_target(source: Source, tmp_path: Path) -> None:
    source.run("restore", "latest", "--to", tmp_path, "--verify")
    assert_same_trees(tmp_path / str(source.source).lstrip("/"), source.source)


def test_inherited_acls_give_way(source: Source, tmp_path: Path) -> None:
    entries = ((1, 7, 0xFFFFFFFF), (2, 7, 4321), (4, 7, 0xFFFFFFFF), (0x10, 7, 0xFFFFFFFF), (0x20, 7, 0xFFFFFFFF))
    os.setxattr(tmp_path, "system.posix_acl_default", acl(*entries))
    tmp_path.chmod(0o2755)
    os.chown(tmp_path, -1, 4711)
    source.run("restore", source.path, "--to", tmp_path)
    assert_same_trees(tmp_path / "source", source.source)


def test_another_user_gets_what_it_may(source: Source) -> None:
    target = source.folder / "as nobody"
    for folder in (source.folder, *source.vault.rglob("*"), source.vault):
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    target.mkdir()
    os.chown(target, NOBODY, NOBODY)
    report = source.as_nobody(target, os.fsencode(source.source))
    told = {(path, reason) for path, reason in report["problems"]}
    assert ("source/null", "it could not be written: only root may create a char device") in told
    assert ("source/loop", "it could not be written: only root may create a block device") in told
    assert ("source/small", "its owner root could not be set: this needs root") in told
    assert any(path == "source/attributed/file" and "security.capability" in why for path, why in told)
    assert report["lost"] == 2
    found = target / "source"
    for name in ("small", "big", "holes", "mode 4711", "one more"):
        ours, theirs = ((top / name) for top in (found, source.source))
        assert ours.read_bytes() == theirs.read_bytes()
        assert ours.stat().st_mtime_ns == theirs.stat().st_mtime_ns
        assert ours.stat().st_uid == NOBODY
    # A set-user-id bit would mean another user now: it stays away where the owner could not be set.
    assert stat.S_IMODE((found / "mode 4711").stat().st_mode) == 0o711
    assert (found / "one").samefile(found / "folder" / "another one")
    plain = target / "plain"
    report = source.as_nobody(
        plain, os.fsencode(source.source), permissions=False, selection=Selection([], ["null", "loop"])
    )
    assert report == {"problems": [], "lost": 0}
    assert stat.S_IMODE((plain / "source" / "small").stat().st_mode) == 0o644
    assert stat.S_IMODE((plain / "source" / "mode 6755").stat().st_mode) == 0o755
    assert os.getxattr(plain / "source" / "attributed" / "file", "user.text") == b"text"


@pytest.mark.parametrize("shown", [True, False])
def test_the_umask_is_left_as_it_is(shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from /proc, or, on systems that don't show it, by setting it twice."""
    if not shown:
        monkeypatch.setattr(posix, "STATUS", Path("/no/such/file"))
    before = os.umask(0o027)
    try:
        assert posix.current_umask() == 0o027
    finally:
        left = os.umask(before)
    assert left == 0o027


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_left_as_it_is(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ValueError), without_collection():
            assert not gc.isenabled()
            raise ValueError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_owners_by_name(source: Source, tmp_path: Path) -> None:
    told: list[tuple[bytes, str]] = []
    reader = Reader(open_empty(MemoryStore()), memory=1 << 20)
    metadata = THIS_DISK.metadata(reader, lambda p, r: told.append((p, r)), permissions=True, owners_by_name=True)
    path = tmp_path / "file"
    known, unknown = Owner(4242, 4243, "daemon", "nogroup"), Owner(4242, 4243, "unheard", "")
    for owner, ids in ((known, (1, 65534)), (unknown, (4242, 4243))):
        path.touch()
        with path.open("rb") as file:
            metadata.set_on_file(file.fileno(), Attributes(0, 0o640, owner, 10**18, None), lambda: b"x", plain=True)
        assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (*ids, 0o640)
    assert told == [(b"x", "this system has no user unheard: restored with the number 4242")]
    reader.close()
