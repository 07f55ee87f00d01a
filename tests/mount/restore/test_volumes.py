"""Restores of whole volumes, on real file systems: where files go, what is refused before, and roll-backs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cache.reader import Reader
from catalog.format.records import ItemKind, Volume
from catalog.store.local import LocalStore
from mount.restore.conflict import Policy
from mount.restore.job import PAGES, TREES
from mount.restore.options import Options
from mount.restore.report import Report
from mount.restore.source import place_in
from mount.restore.volume.whole import WholeRestore, whole_volume
from tests.kit.backing import back_up
from tests.kit.cli import Terminal
from tests.kit.drives import noise
from tests.kit.exfat import PROGRAMS, exfat
from tests.kit.inside import Inside
from tests.kit.loops import mounted
from tests.kit.restoring import assert_same_trees
from tests.kit.vaults import new_vault

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_fuse,
    pytest.mark.needs_program("btrfs", "mkfs.btrfs", "mkfs.ext4", "mkfs.xfs", "rsync", "setfacl", *PROGRAMS),
]
LOST = "--exclude=/lost+found"


class World:
    """A volume with files of many kinds, and its recovery point."""

    def __init__(self, folder: Path, srv: Path) -> None:
        self.cli, self.srv, self.folder = Inside(folder), srv, folder
        new_vault(LocalStore(self.cli.vault))
        (srv / "www" / "deep").mkdir(parents=True)
        (srv / "www" / "page").write_bytes(noise(300_000))
        os.link(srv / "www" / "page", srv / "second")
        os.symlink("page", srv / "www" / "link")
        os.mkfifo(srv / "www" / "fifo")
        for n in range(5):
            (srv / "www" / "deep" / f"{n}").write_bytes(noise(3_000, n))
        os.setxattr(srv / "www" / "page", "user.note", b"kept")
        subprocess.run(["setfacl", "-m", "u:1000:r", srv / "second"], check=True)
        os.chown(srv, 1000, 1001)
        srv.chmod(0o2750)
        os.setxattr(srv, "user.volume", b"root")
        self.cli.ok("backup", "--volume", srv, "--item", "srv")

    def restore(self, *args: str | Path) -> str:
        return self.cli.ok("restore", "latest", *args)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("volumes")
    with mounted(folder / "srv", "ext4", options="acl,user_xattr") as srv:
        yield World(folder, srv)


def state_of(top: Path) -> dict[str, tuple[object, ...]]:
    """What is at each path: kind and mode, owner, size, mtime, and contents of files."""
    found: dict[str, tuple[object, ...]] = {}
    for above, folders, names in os.walk(top):
        for name in [".", *folders, *names]:
            path = Path(above, name)
            st = path.lstat()
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            if path.name == "lost+found":
                continue  # the file system's own
            found[str(path.relative_to(top))] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, data)
    return found


# --- to another place ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_new_file_system_becomes_the_volume(world: World, tmp_path: Path, kind: str) -> None:
    with mounted(tmp_path / "new", kind) as new:
        world.restore("--to", new)
        # XFS shows each ACL once more, as an attribute of its own.
        assert_same_trees(new, world.srv, LOST, flags="-aHASc" if kind == "xfs" else "-aHAXSc")
        assert os.getxattr(new / "www" / "page", "user.note") == b"kept"
        st = new.stat()  # the root of the volume itself
        assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (1000, 1001, 0o2750)
        assert os.getxattr(new, "user.volume") == b"root"


def test_a_path_in_a_volume_is_restored_by_its_name(world: World, tmp_path: Path) -> None:
    world.cli.ok("restore", f"latest:{world.srv}/www/deep", "--to", tmp_path / "out")
    assert_same_trees(tmp_path / "out" / "deep", world.srv / "www" / "deep")


def test_all_reasons_at_once_and_nothing_is_written(world: World, tmp_path: Path) -> None:
    with exfat(tmp_path, 4 << 20) as stick:
        inside, fs = stick / "inside", os.statvfs(stick)
        (stick / "full").write_bytes(bytes(fs.f_bavail * fs.f_frsize - 100_000))
        text = world.cli.fails("restore", "latest", "--to", inside, code=11)
        for reason in ("nothing is mounted at", "are needed, and", "1 symlink, 1 hard link", "2 ACLs", "--force"):
            assert reason in text, (reason, text)
        assert sorted(os.listdir(stick)) == ["full"]
        told = world.cli.run("restore", "latest", "--to", inside, "--dry-run", "--json")
        assert told.returncode == 3 and len(json.loads(told.stdout)["refusals"]) == 3
        assert sorted(os.listdir(stick)) == ["full"]


def test_forced_into_a_folder(world: World, tmp_path: Path) -> None:
    world.cli.fails("restore", "latest", "--to", tmp_path / "plain", code=11)
    assert not (tmp_path / "plain").exists()
    world.restore("--to", tmp_path / "plain", "--force")
    assert_same_trees(tmp_path / "plain", world.srv, LOST)


# --- roll-backs ---------------------------------------------------------------------------------------------------


def spoil(srv: Path) -> None:
    """Change a volume in every way that a roll-back undoes."""
    (srv / "www" / "page").write_bytes(b"changed")
    (srv / "www" / "deep" / "0").unlink()
    (srv / "www" / "deep" / "1").unlink()
    (srv / "www" / "deep" / "1").mkdir()  # a folder where a file belongs
    (srv / "www" / "deep" / "1" / "more").write_text("more")
    (srv / "new" / "newer").mkdir(parents=True)
    (srv / "new" / "newer" / "file").write_text("new")
    os.symlink("/etc", srv / "new" / "etc")
    os.link(srv / "new" / "newer" / "file", srv / "www" / "another name")
    srv.chmod(0o777)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_roll_back_leaves_exactly_the_point(world: World, tmp_path: Path, kind: str) -> None:
    with mounted(tmp_path / "new", kind) as new:
        if kind == "btrfs":  # a part of the volume, though its files have another st_dev
            (new / "www").mkdir()
            subprocess.run(["btrfs", "-q", "subvolume", "create", new / "www" / "deep"], check=True)
        world.restore("--to", new, "--on-conflict", "overwrite")
        before = state_of(new)
        spoil(new)
        report = json.loads(world.restore("--to", new, "--exact", "--yes", "--json"))
        assert (report["surplus"], report["removed"], report["problems"]) == (7, 7, [])
        assert state_of(new) == before
        assert Path("/etc/passwd").exists()


def test_a_roll_back_is_listed_and_confirmed(world: World, tmp_path: Path) -> None:
    with mounted(tmp_path / "new", "ext4") as new:
        world.restore("--to", new)
        spoil(new)
        spoiled = state_of(new)
        assert "7 entries" in world.cli.fails("restore", "latest", "--to", new, "--exact", code=2)
        listed = world.restore("--to", new, "--exact", "--dry-run")
        gone = [line.split(None, 1)[1] for line in listed.splitlines() if line.startswith("remove")]
        assert sorted(gone) == sorted([
            "new", "new/etc", "new/newer", "new/newer/file", "www/another name", "www/deep/1", "www/deep/1/more",
        ])  # fmt: skip
        assert state_of(new) == spoiled


def test_a_person_types_yes(world: World, tmp_path: Path) -> None:
    with mounted(tmp_path / "new", "ext4") as new:
        world.restore("--to", new)
        (new / "more").mkdir()
        (new / "more" / "x").write_text("x")
        for answer, code in (("y", 2), ("yes", 0)):
            terminal = Terminal(world.cli, "restore", "latest", "--to", str(new), "--exact", env={})
            terminal.answer('Type "yes"', answer)
            assert terminal.end() == code, terminal.shown
            assert "more  (2 entries, 1 B)" in terminal.shown
            assert (new / "more").exists() == bool(code)


def test_what_rules_left_out_stays_whatever_its_case(tmp_path: Path) -> None:
    """A point does not tell whether its rules ignored case."""
    with mounted(tmp_path / "srv", "ext4") as srv:
        cli = Inside(tmp_path)
        new_vault(LocalStore(cli.vault))
        (srv / "page").write_text("saved")
        (srv / "Notes.BAK").write_text("left out")
        cli.ok(
            "backup",
            "--volume",
            srv,
            "--item",
            "srv",
            "--ignore-case",
            "--exclude",
            "*.bak",
            "--exclude",
            "/lost+found",
        )
        (srv / "new").write_text("goes")
        cli.ok("restore", "latest", "--to", srv, "--exact", "--yes")
        assert sorted(os.listdir(srv)) == ["Notes.BAK", "lost+found", "page"]
        # Of a rule with other bytes than UTF-8, the point has something else.
        (srv / os.fsdecode(b"caf\xe9")).write_text("left out")
        cli.ok("backup", "--volume", srv, "--item", "srv", "--exclude", os.fsdecode(b"caf\xe9"))
        assert "may have stood for other bytes" in cli.fails(
            "restore", "latest", "--to", srv, "--exact", "--yes", code=2
        )


def test_what_is_in_a_folder_that_could_not_be_opened_stays(tmp_path: Path) -> None:
    """The point has such a folder, and it is empty there."""
    with mounted(tmp_path / "srv", "btrfs") as srv:
        cli = Inside(tmp_path)
        new_vault(LocalStore(cli.vault))
        (srv / "page").write_text("saved")
        (srv / "private" / "deep").mkdir(parents=True)
        (srv / "private" / "deep" / "only copy").write_text("not saved")
        # Without its capabilities, root may open no more than others.
        (srv / "private").chmod(0)
        drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        command = [*drop, *cli.command("backup", "--volume", srv, "--item", "srv", "--snapshot", "never")]
        told = subprocess.run(command, env=cli.environ, capture_output=True, text=True, check=False)
        assert told.returncode == 3 and "private: the folder can't be opened" in told.stderr, told
        (srv / "new").write_text("goes")
        cli.run("restore", "latest", "--to", srv, "--exact", "--yes")
        assert (srv / "private" / "deep" / "only copy").read_text() == "not saved"
        assert not (srv / "new").exists()


def test_the_volume_of_the_root(tmp_path: Path) -> None:
    """Of the volume at `/`, whose folders are those of the point's root."""
    vault, source = new_vault(LocalStore(tmp_path / "vault")), tmp_path / "source"
    (source / "etc").mkdir(parents=True)
    (source / "etc" / "file").write_text("text")
    made = back_up(vault, tmp_path, source).point
    assert made is not None
    below = tmp_path / "new" / source.relative_to("/")
    point = replace(made, kind=ItemKind.VOLUME, paths=[b"/"], volumes=[Volume(place=b"/")])
    reader = Reader(vault, memory=TREES, page_memory=PAGES)
    options = Options(os.fsencode(tmp_path / "new"), into=True, exact=True, policy=Policy.OVERWRITE)
    whole = whole_volume(reader, [place_in(reader, "", point, b"")], options)
    assert whole is not None
    work = WholeRestore(vault, reader, options, whole, home=False, spared=set())
    assert [r.is_final for r in work.look().refusals] == [False]  # nothing is mounted there
    work.run(Report(), None)
    assert_same_trees(below, source)
    (below / "etc" / "more").write_text("more")
    before, report = work.look(), Report()
    assert before.surplus is not None and before.surplus.count == 1
    work.run(report, before.surplus)
    assert report.removed == 1 and not report.problems
    assert_same_trees(below, source)
    reader.close()
