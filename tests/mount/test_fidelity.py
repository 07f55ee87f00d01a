"""A real folder, backed up, mounted, and compared with itself by the programs that people trust for that."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.kit.drives import Home
from tests.kit.restoring import assert_same_attributes, assert_same_trees
from tests.kit.sources import every_kind_and_many
from tests.kit.vaults import make_vault

pytestmark = pytest.mark.needs_root

NOT_MANY = ("--exclude=/many/",)  # the folder of 100,000 names has a test of its own
LINES = "%P|%y|%m|%U|%G|%s|%T@|%C@|%n|%l\\0"


class Backed(Home):
    """A source, its copy as it was at the first of two points, and a drive of each point."""

    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.source = folder / "source"
        every_kind_and_many(self.source)
        self.run("backup", self.source)
        self.before = folder / "before"
        subprocess.run(["cp", "-a", self.source, self.before], check=True)
        self.first_listing = listing(self.source)
        (self.source / "plain" / "small").write_bytes(b"changed\n")
        (self.source / "plain" / "new").write_bytes(b"new\n")
        (self.source / "plain" / "fifo").unlink()
        (self.source / "plain" / "deep").rename(self.source / "plain" / "renamed")
        shutil.rmtree(self.source / "attributed" / "folder")
        os.setxattr(self.source / "attributed" / "file", "user.text", b"another")
        self.run("backup", self.source)

    def open(self, driver: str) -> None:
        below = str(self.source).lstrip("/")
        self.drive = self.mount("--point", "latest", "--driver", driver, name=f"{driver} drive") / below
        points = sorted(p["time"] + " " + p["id"] for p in self.points())
        old = self.mount("--point", points[0].split()[1], "--driver", driver, name=f"{driver} old")
        self.old_drive = old / below

    def points(self) -> list[dict[str, str]]:
        import json

        found = json.loads(self.run("points", "--json").stdout)
        rows: list[dict[str, str]] = found["points"] if isinstance(found, dict) else found
        return rows


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    backed = Backed(tmp_path_factory.mktemp("fidelity"))
    yield backed
    backed.close()


@pytest.fixture(scope="module")
def backed(closed: Backed, driver: str) -> Iterator[Backed]:
    closed.open(driver)
    yield closed
    closed.close()


def output(*command: str | Path, cwd: Path | None = None) -> bytes:
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0 and done.stderr == b"", (command, done.stderr.decode(errors="replace")[:2000])
    return done.stdout


def listing(top: Path) -> list[bytes]:
    """What find tells of everything below, but for what must differ: the number of links of folders."""
    lines: list[bytes] = []
    for kind, form in ((["!", "-type", "d"], LINES), (["-type", "d"], LINES.replace("|%n", ""))):
        found = output("find", top, "-mindepth", "1", *kind, "!", "-path", f"{top}/many/*", "-printf", form)
        lines += found.split(b"\0")
    return sorted(lines)


def test_diff_finds_nothing(backed: Backed) -> None:
    # diff refuses special files of equal names; the others are compared by find and rsync.
    both = (("source", backed.source, backed.drive), ("before", backed.before, backed.old_drive))
    for _which, source, drive in both:
        for part in ("attributed", "plain"):
            done = subprocess.run(
                ["diff", "-r", "--no-dereference", source / part, drive / part], capture_output=True, check=False
            )
            lines = [
                line for line in done.stdout.splitlines()
                if not (line.startswith(b"File ") and b" is a " in line and b" while file " in line)
            ]  # fmt: skip
            assert lines == [] and done.stderr == b""
            for line in done.stdout.splitlines():
                kinds = line.split(b" is a ")
                assert kinds[1].split(b" while file ")[0] == kinds[2], line


def test_find_tells_the_same(backed: Backed) -> None:
    assert listing(backed.drive) == listing(backed.source)
    assert listing(backed.old_drive) == backed.first_listing


def test_the_large_folder_has_every_name(backed: Backed) -> None:
    assert set(os.listdir(backed.drive / "many")) == {f"name {n}" for n in range(100_000)}
    for n in range(0, 100_000, 997):
        ours, theirs = ((top / "many" / f"name {n}").stat() for top in (backed.drive, backed.source))
        assert (ours.st_mode, ours.st_size, ours.st_mtime_ns) == (
            theirs.st_mode,
            theirs.st_size,
            theirs.st_mtime_ns,
        )


@pytest.mark.parametrize("options", ["-aHAXS", "-aHAXSc"])
def test_rsync_finds_nothing_to_do(backed: Backed, options: str) -> None:
    for source, drive in ((backed.source, backed.drive), (backed.before, backed.old_drive)):
        assert_same_trees(drive, source, *NOT_MANY, flags=options)


def test_rsync_would_notice(backed: Backed) -> None:
    assert b"plain/small" in output("rsync", "-aHAXS", "-ni", *NOT_MANY, f"{backed.before}/", f"{backed.drive}/")


def test_attributes_and_acls_are_the_same(backed: Backed) -> None:
    for part in ("attributed", "plain"):
        assert_same_attributes(backed.drive / part, backed.source / part)
    found = output("getfattr", "-hRd", "-m", "-", ".", cwd=backed.drive / "attributed")
    assert b"security.capability" in found and b"system.posix_acl_access" in found and b"trusted.ours" in found


def test_du_tells_the_same(backed: Backed) -> None:
    for options in (["-al", "-B512"], ["-al", "--apparent-size", "-B1"]):
        ours, theirs = (
            sorted(output("du", *options, ".", cwd=top / "plain").splitlines())
            for top in (backed.drive, backed.source)
        )
        assert ours == theirs


def test_a_copy_off_the_drive_is_the_source(backed: Backed, tmp_path: Path) -> None:
    for part in ("plain", "attributed"):
        output("cp", "-a", "--sparse=always", backed.drive / part, tmp_path)
        assert_same_trees(tmp_path / part, backed.source / part)
    assert (tmp_path / "plain" / "only a hole").stat().st_blocks == 0


@cache
def members(top: Path) -> list[bytes]:
    """What tar shows of an archive of everything below, whose contents it reads: a pipe is no /dev/null."""
    command: list[str | Path] = ["tar", "-C", top, "--xattrs", "--acls", "--sort=name", "--warning=no-file-ignored"]
    command += ["-cf", "-", "plain", "attributed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as archive:
        shown = subprocess.run(["tar", "-tvf", "-"], stdin=archive.stdout, capture_output=True, check=True).stdout
        assert archive.stderr is not None and archive.stderr.read() == b""
    assert archive.returncode == 0
    return shown.splitlines()


def test_tar_reads_all_of_it(backed: Backed) -> None:
    assert members(backed.drive) == members(backed.source)
