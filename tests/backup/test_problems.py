"""Files that can't be saved are reported and recorded in the point; the rest is saved."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backup.run import Problems, Result
from backup.systems.posix import PosixSystem
from catalog.format.records import Point, Problem, encode_record
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.protected import Protected
from tests.kit.recorded import PointReader, of_source


@pytest.fixture
def machine(tmp_path: Path) -> Protected:
    return Protected(MemoryStore(), tmp_path / "state")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        for n in range(3):
            (folder / name / f"f{n}").write_bytes(f"{name}{n}".encode() * 10)
    return folder


def latest(vault: Vault) -> Point:
    return vault.point(max(vault.point_names(), key=lambda n: n.sequence))


def when_opened(monkeypatch: pytest.MonkeyPatch, name: bytes, act: Callable[[], object]) -> None:
    """Call `act` each time just before the backup opens a file or folder with this name."""

    def instead(original: Callable[..., int]) -> Callable[..., int]:
        def opened(*args: object) -> int:
            if name in args:
                act()
            return original(*args)

        return opened

    monkeypatch.setattr(PosixSystem, "open_file", instead(PosixSystem.open_file))
    monkeypatch.setattr(PosixSystem, "open_folder", staticmethod(instead(PosixSystem.open_folder)))


def reasons(outcome: Result, folder: Path) -> dict[str, str]:
    assert outcome.point is not None
    assert outcome.point.problems == outcome.problems
    assert outcome.point.problem_count == outcome.problem_count == len(outcome.problems)
    own = os.fsencode(folder).strip(b"/") + b"/"
    return {os.fsdecode(p.path.removeprefix(own)): p.reason for p in outcome.problems}


def saved(machine: Protected, outcome: Result, folder: Path) -> dict[bytes, Any]:
    assert outcome.point is not None
    return machine.snapshot(outcome.point, folder).entries


# --- not allowed ----------------------------------------------------------------------------------------------


def as_nobody(cli: Cli, *args: str | Path) -> subprocess.CompletedProcess[bytes]:
    shutil.chown(cli.home, "nobody") if cli.home.exists() else None
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *cli.command(*args)]
    return subprocess.run(command, env=cli.environ, capture_output=True, timeout=120, check=False)


@pytest.fixture
def open_to_all(tmp_path: Path) -> None:
    """Give another user access to the test's folder."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o711)
    tmp_path.chmod(0o777)


@pytest.mark.needs_root
@pytest.mark.usefixtures("open_to_all", "vault")
def test_unreadable(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    import json

    for path in (rpdrive.vault, *rpdrive.vault.rglob("*")):
        os.chown(path, 65534, 65534)
    (folder / "a" / "f1").chmod(0)
    (folder / "b").chmod(0)
    (folder / "c").chmod(0o711)  # can be entered, but not listed
    done = as_nobody(rpdrive, "backup", folder, "--json")
    assert done.returncode == 3, done
    row = json.loads(done.stdout)
    own = str(folder).strip("/") + "/"
    problems = {p["path"].removeprefix(own): p["reason"] for p in row["problems"]}
    assert set(problems) == {"a/f1", "b", "c"}
    assert all("Permission denied" in reason for reason in problems.values())
    assert row["problem_count"] == 3
    point = latest(vault)
    assert {p.path.decode().removeprefix(own): p.reason for p in point.problems} == problems
    entries = PointReader(vault).snapshot(point, folder).entries
    assert set(entries) == {b"a", b"a/f0", b"a/f2", b"b", b"c"}
    wanted = of_source(folder).entries
    assert all(entries[path] == wanted[path] for path in entries)

    done = as_nobody(rpdrive, "backup", folder)
    assert done.returncode == 3, done
    shown = done.stdout + done.stderr
    assert all(f"/{own}{path}: ".encode() in shown for path in problems), shown
    assert b"3 problems" in done.stdout
    assert b" 0 new, 0 changed, 0 removed, " in done.stdout, "what can't be read is not new each time"
    job = re.search(rb"`rpdrive jobs ([0-9a-f]{8})`", done.stdout)
    assert job is not None, done
    shown = as_nobody(rpdrive, "jobs", job[1].decode()).stdout
    assert all(path.encode() in shown for path in problems), shown
    listing = json.loads(as_nobody(rpdrive, "points", "--json").stdout)
    assert [p["warnings"] for p in listing["points"]] == [3, 3]

    for path in (folder / "a" / "f1", folder / "b", folder / "c"):
        path.chmod(0o755)
    done = as_nobody(rpdrive, "backup", folder)
    assert done.returncode == 0, done
    assert PointReader(vault).snapshot(latest(vault), folder).entries == of_source(folder).entries


@pytest.mark.needs_root
@pytest.mark.usefixtures("open_to_all", "vault")
def test_a_path_given_that_is_unreadable(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    for path in (rpdrive.vault, *rpdrive.vault.rglob("*")):
        os.chown(path, 65534, 65534)
    (folder / "a" / "f1").chmod(0)
    (folder / "b").chmod(0)
    done = as_nobody(rpdrive, "backup", folder / "a" / "f0", folder / "a" / "f1", folder / "b")
    assert done.returncode == 3 and b"2 problems" in done.stdout, done
    assert done.stdout.startswith(b"Recovery point") and b"\n  1 file, " in done.stdout, done
    assert latest(vault).problem_count == 2


@pytest.mark.usefixtures("vault")
def test_a_path_given_that_is_never_saved(rpdrive: Cli) -> None:
    done = rpdrive.run("backup", "/proc")
    assert done.returncode == 3 and b"/proc: contents not saved: a pseudo file system" in done.stderr, done


def test_all_entries_are_counted(machine: Protected, folder: Path) -> None:
    first = machine.backup(folder)
    assert first.progress.new == first.totals.entries
    (folder / "a" / "f0").write_text("changed")
    second = machine.backup(folder)
    p = second.progress
    assert (p.new, p.removed, p.changed + p.unchanged) == (0, 0, second.totals.entries)


# --- changing under the backup --------------------------------------------------------------------------------


def test_file_that_vanishes(machine: Protected, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "b" / "only").touch()
    when_opened(monkeypatch, b"only", (folder / "b" / "only").unlink)
    outcome = machine.backup(folder)
    assert reasons(outcome, folder) == {"b/only": "it can't be read: No such file or directory"}
    found, wanted = saved(machine, outcome, folder), of_source(folder).entries
    assert found.keys() == wanted.keys()
    assert all(found[path] == wanted[path] for path in wanted if path != b"b")  # its mtime changed


def test_folder_that_vanishes(machine: Protected, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    when_opened(monkeypatch, b"b", lambda: shutil.rmtree(folder / "b"))
    outcome = machine.backup(folder)
    assert reasons(outcome, folder) == {"b": "the folder can't be opened: No such file or directory"}
    found = saved(machine, outcome, folder)
    del found[b"b"]
    assert {k: v for k, v in found.items() if b"/" in k} == {
        k: v for k, v in of_source(folder).entries.items() if b"/" in k
    }


@pytest.mark.parametrize("size", [1_000, 1_000_000])
@pytest.mark.parametrize("kind", ["folder", "fifo", "symlink"])
def test_file_replaced(
    machine: Protected, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, size: int
) -> None:
    path = folder / "b" / "only"
    path.write_bytes(bytes(size))

    def replace() -> None:
        path.unlink()
        match kind:
            case "folder":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "symlink":
                path.symlink_to("/etc/passwd")

    when_opened(monkeypatch, b"only", replace)
    outcome = machine.backup(folder)
    assert list(reasons(outcome, folder)) == ["b/only"]
    assert b"b/only" not in saved(machine, outcome, folder)
    assert b"c/f2" in saved(machine, outcome, folder)
    monkeypatch.undo()
    machine.checked(folder)


@pytest.mark.needs_root
def test_file_replaced_by_anothers(machine: Protected, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Owner, links and content are those of the file that was read, not of the one seen before."""
    path, other = folder / "b" / "only", folder / "other"
    path.write_bytes(b"one's own")
    for n in range(3):
        os.link(path, folder / "c" / f"link{n}")
    other.write_bytes(b"another one's")
    os.chown(other, 1234, 4321)
    when_opened(monkeypatch, b"only", lambda: other.rename(path) if other.exists() else None)
    outcome = machine.backup(folder)
    monkeypatch.undo()
    assert not other.exists()
    found, wanted = saved(machine, outcome, folder), of_source(folder).entries
    for name in (b"b/only", b"c/link0", b"c/link1", b"c/link2"):
        assert found[name] == wanted[name]
    machine.checked(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [(100, 50), (100, 3_000_000), (3_000_000, 10), (3_000_000, 5_000_000), (100, 0), (3_000_000, 0)],
)
def test_size_changed_before_reading(
    machine: Protected, folder: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    rng = random.Random(1)
    path = folder / "b" / "only"
    path.write_bytes(rng.randbytes(before))
    data = rng.randbytes(after)
    when_opened(monkeypatch, b"only", lambda: path.write_bytes(data))
    outcome = machine.backup(folder)
    assert reasons(outcome, folder) == {}
    assert saved(machine, outcome, folder) == of_source(folder).entries


class Restless:
    """Changes an open file whenever the backup reads its status, up to `times` times."""

    def __init__(self, path: Path, times: int, change: Callable[[Path], object]) -> None:
        self.path, self.left, self.change = path, times, change
        self.inode = path.stat().st_ino
        self.original = os.fstat

    def __call__(self, file: int) -> os.stat_result:
        found = self.original(file)
        if found.st_ino == self.inode and self.left:
            self.left -= 1
            self.change(self.path)
        return found


@pytest.mark.parametrize("size", [1_000, 3_000_000])
@pytest.mark.parametrize("times", [1, 2, 99])
@pytest.mark.parametrize("how", ["append", "shrink", "rewrite"])
def test_changed_while_read(
    machine: Protected, folder: Path, monkeypatch: pytest.MonkeyPatch, how: str, times: int, size: int
) -> None:
    """A file that changes once is read again. One that always changes is reported, saved, and read next time."""
    path = folder / "b" / "only"
    path.write_bytes(random.Random(1).randbytes(size))

    def change(path: Path) -> None:
        if how == "append":
            with path.open("ab") as f:
                f.write(b"more" * 100)
        elif how == "shrink":
            os.truncate(path, path.stat().st_size * 9 // 10)
        else:
            with path.open("r+b") as f:
                f.write(os.urandom(20))
            os.utime(path)

    restless = Restless(path, times, change)
    monkeypatch.setattr(PosixSystem, "file_status", staticmethod(restless))
    outcome = machine.backup(folder)
    monkeypatch.undo()
    assert restless.left < times
    found = reasons(outcome, folder)
    if times == 99:
        assert found == {"b/only": "changed while it was read; it was saved as it was read"}
    if not found:
        assert saved(machine, outcome, folder)[b"b/only"].content == of_source(folder).entries[b"b/only"].content
    assert b"b/only" in saved(machine, outcome, folder)
    machine.checked(folder)


@pytest.mark.slow
def test_growing_file(machine: Protected, folder: Path) -> None:
    """A log that is written all the time does not keep the backup from ending."""
    path, stop = folder / "b" / "log", threading.Event()
    path.write_bytes(b"line\n" * 20_000)

    def write() -> None:
        with path.open("ab", buffering=0) as f:
            while not stop.wait(0.0002):  # many times while it is read, and no gigabytes
                f.write(b"line\n" * 2000)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        outcomes = [machine.backup(folder) for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    for outcome in outcomes:
        assert set(reasons(outcome, folder)) <= {"b/log"}
        assert b"b/log" in saved(machine, outcome, folder)
    machine.checked(folder)


# --- no source ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("vault")
def test_source_gone(rpdrive: Cli, folder: Path) -> None:
    text = rpdrive.fails("backup", folder / "no such", code=11)
    assert "no such does not exist" in text
    assert [i.name for i in LocalStore(rpdrive.vault).list("") if not i.name.startswith("vault")] == []
    loop = folder / "loop"
    loop.symlink_to("loop")
    assert "Traceback" not in rpdrive.fails("backup", loop, code=11)


@pytest.mark.usefixtures("vault")
def test_one_of_two_paths_gone(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    done = rpdrive.run("backup", folder / "a", folder / "gone")
    assert done.returncode == 3, done
    assert f"{folder}/gone: it does not exist".encode() in done.stderr
    point = latest(vault)
    assert [(p.path, p.reason) for p in point.problems] == [
        (os.fsencode(folder).strip(b"/") + b"/gone", "it does not exist")
    ]
    assert PointReader(vault).snapshot(point, folder / "a").entries == of_source(folder / "a").entries


def test_more_problems_than_a_point_lists(
    machine: Protected, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wanted: bytes, parent: int) -> int:
        raise PermissionError(13, "Permission denied")

    for n in range(1_200):
        (folder / f"file-{n}").touch()
    monkeypatch.setattr(PosixSystem, "open_file", staticmethod(refuse))
    outcome = machine.backup(folder)
    assert outcome.point is not None
    assert (len(outcome.point.problems), outcome.point.problem_count) == (1000, 1209)


def test_problems_of_a_point_are_bounded() -> None:
    """Names and depth of folders are up to any user; a record of hundreds of megabytes could not be read again."""
    problems = Problems()
    seen: list[Problem] = []
    problems.on_problem = seen.append
    for n in range(450):
        problems.add(b"d/" * 320_000 + b"%d" % n, "it can't be read: " + "x" * 5_000)
    assert problems.count == len(seen) == 450
    assert 100 < len(problems.listed) < 450
    assert sum(len(p.path) + len(p.reason) for p in problems.listed) < 1 << 20
    assert max(len(p.path) for p in seen) == 4096
    problems.add(b"short", "reason")
    assert problems.listed[-1].path != b"short", "a list that ended goes on"
    mark = problems.mark()
    problems.add(b"again", "a name that is no text: \udcff")
    problems.back_to(mark)
    assert problems.count == 451


def test_an_unreadable_file_far_below(machine: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path has 640 KB: the point and the record of the job stay small, and can be read."""
    top = tmp_path / "source"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(150):
        os.mkdir("d" * 255, dir_fd=here)
        below = os.open("d" * 255, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    for n in range(40):
        os.close(os.open(f"f{n}", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)

    def refuse(wanted: bytes, parent: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(PosixSystem, "open_file", staticmethod(refuse))
    outcome = machine.backup(top)
    assert outcome.problem_count == len(outcome.problems) == 40
    assert len(encode_record(latest(machine.vault))) < 200_000
    shutil.rmtree(top)


def test_the_output_is_lost(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    """With any code but 0 and 3 there is no new point."""
    for n, options in enumerate(((), ("--json",)), 1):
        with Path("/dev/full").open("wb") as full:
            done = rpdrive.run("backup", folder, *options, stdout=full)
        assert done.returncode == 3, done
        assert b"was made, but its summary can't be shown: " in done.stderr and done.stderr.count(b"\n") == 1
        assert len(vault.point_names()) == n
    with Path("/dev/full").open("wb") as full:
        assert rpdrive.run("backup", folder, "--dry-run", stdout=full).returncode == 11
        done = rpdrive.run("backup", folder, "/no such", stderr=full)
    assert done.returncode == 3, done
    assert len(vault.point_names()) == 3
