"""The command as a process: killed, interrupted, on a full disk, twice at once, on another machine."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from catalog.format.blocks import PackKind
from catalog.store.local import LocalStore
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.protected import extents_of
from tests.kit.recorded import PointReader, assert_equal, assert_whole, of_source
from tests.kit.vaults import new_vault

UPLOADS = 3  # packs that are uploaded at a time
# A backup that is killed a moment after the vault has so many data packs, however busy the machine is.
KILLED = """
import os, sys, threading
from pathlib import Path
from catalog.store.local import LocalStore
import rpdrive
count, moment, vault = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
create = LocalStore.create
def counted(self, name, *args, **options):
    size = create(self, name, *args, **options)
    if name.startswith("packs/") and sum(path.is_file() for path in (vault / "packs").rglob("*")) >= count:
        threading.Timer(moment, os.kill, (os.getpid(), 9)).start()
    return size
LocalStore.create = counted
sys.exit(rpdrive.run(sys.argv[4:]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """More than one pack of data that can't be compressed."""
    folder, rng = tmp_path / "source", random.Random(3)
    for n in range(20):
        (folder / f"d{n:02d}").mkdir(parents=True)
        for m in range(50):
            (folder / f"d{n:02d}" / f"f{m:02d}").write_bytes(rng.randbytes(8_000))
        (folder / f"d{n:02d}" / "large").write_bytes(rng.randbytes(9 << 20))
    return folder


def start(command: Sequence[str | Path | bytes], cli: Cli) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=cli.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def packs(vault: Vault) -> set[str]:
    return {info.name for info in vault.store.list("packs/")}


def when_packs(vault: Vault, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the vault has so many data packs."""
    while process.poll() is None and len(packs(vault)) < count:
        time.sleep(0.005)


def check(vault: Vault, folder: Path) -> None:
    """The newest point equals the folder."""
    point = vault.point(max(vault.point_names(), key=lambda n: n.sequence))
    assert point.problem_count == 0
    assert_equal(PointReader(vault).snapshot(point, folder), of_source(folder))


def sent_twice(vault: Vault) -> int:
    """Raw bytes of chunks that are in the vault more than once, without their first copies."""
    counts = Counter((e.id, e.length) for extents in extents_of(vault, PackKind.DATA).values() for e in extents)
    return sum((count - 1) * length for (_id, length), count in counts.items())


def acknowledged(cli: Cli) -> set[str]:
    """The names of the data packs that the machine knows to be in the store."""
    (path,) = (cli.home / "state").glob("index-*.sqlite")
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT id FROM packs WHERE kind = ?", (PackKind.DATA,)).fetchall()
    return {row[0].hex() for row in rows}


@pytest.mark.slow
def test_killed_again_and_again(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    """Data that the store had acknowledged before a kill is never sent again."""
    rng, killed, under_way = random.Random(7), 0, set[str]()
    for attempt in range(5):
        how: list[str | Path] = [
            sys.executable,
            "-c",
            KILLED,
            f"{2 * attempt + 1}",
            f"{rng.random() * 0.1}",
            rpdrive.vault,
        ]
        process = start([*how, "backup", folder], rpdrive)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert_whole(vault)
        unknown = {name for name in packs(vault) if name.rsplit("/", 1)[1] not in acknowledged(rpdrive)}
        assert len(unknown - under_way) <= UPLOADS
        under_way |= unknown
    assert killed >= 3
    known = packs(vault) - under_way
    assert len(known) >= 3
    rpdrive.ok("backup", folder)
    check(vault, folder)
    # Only packs whose arrival a kill kept from being recorded may be sent again.
    again = sum(
        e.length for name, extents in extents_of(vault, PackKind.DATA).items() if name in under_way for e in extents
    )
    assert sent_twice(vault) <= again
    row = rpdrive.json("backup", folder)
    assert (row["new_bytes"], row["data_bytes"]) == (0, 0)
    assert list((rpdrive.vault / ".rpdrive").glob("writing-*")) == []


@pytest.mark.slow
def test_interrupted(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    for _ in range(2):
        process = start(rpdrive.slow_command("backup", folder), rpdrive)
        when_packs(vault, len(packs(vault)) + 1, process)
        process.send_signal(signal.SIGINT)
        _out, error = process.communicate(timeout=60)
        assert process.returncode == 130, error
        assert error.count(b"\n") == 1
        assert error.startswith(b"rpdrive: interrupted")
    assert vault.point_names() == []
    assert len(packs(vault)) >= 2
    rpdrive.ok("backup", folder)
    check(vault, folder)
    assert sent_twice(vault) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    at = tmp_path / "disk"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", at], check=True)
    yield at
    subprocess.run(["umount", at], check=True)


@pytest.mark.needs_root
@pytest.mark.slow
def test_disk_full(rpdrive: Cli, small_disk: Path, folder: Path) -> None:
    rpdrive.vault = small_disk / "vault"
    rpdrive.environ["RPDRIVE_VAULT"] = str(rpdrive.vault)
    vault = new_vault(LocalStore(rpdrive.vault))
    for _ in range(2):
        text = rpdrive.fails("backup", folder, code=5)
        assert "free some space" in text
        assert assert_whole(vault) == 0
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    before = packs(vault)
    assert len(before) >= 2
    rpdrive.ok("backup", folder)
    check(vault, folder)
    assert before <= packs(vault)
    assert sent_twice(vault) == 0
    vault.store.close()  # or the disk is busy


@pytest.mark.needs_root
@pytest.mark.slow
@pytest.mark.usefixtures("vault")
def test_state_disk_full(rpdrive: Cli, tmp_path: Path, folder: Path, small_disk: Path) -> None:
    """A full disk under the mirror is reported as such, not as a fault of the vault."""
    rpdrive.home = small_disk / "home"
    rpdrive.environ["RPDRIVE_HOME"] = str(rpdrive.home)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(bytes(free - (128 << 10)))
    text = rpdrive.fails("backup", folder, code=11)
    assert "full" in text or "No space" in text
    (small_disk / "ballast").unlink()
    rpdrive.ok("backup", folder)


@pytest.mark.needs_root
@pytest.mark.usefixtures("vault")
def test_state_folder_that_is_read_only(rpdrive: Cli, folder: Path) -> None:
    rpdrive.ok("backup", folder / "d00")
    state = rpdrive.home / "state"
    subprocess.run(["mount", "--bind", state, state], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", state], check=True)
        assert "Read-only file system" in rpdrive.fails("backup", folder / "d00", code=11)
    finally:
        subprocess.run(["umount", state], check=True)


@pytest.mark.slow
def test_no_second_backup_at_once(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    process = start(rpdrive.command("backup", folder), rpdrive)
    when_packs(vault, 1, process)
    process.send_signal(signal.SIGSTOP)  # so that it can't end before the other begins
    try:
        assert process.poll() is None
        assert "another backup into this vault is running" in rpdrive.fails("backup", folder, code=11)
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 0
    process.communicate()
    rpdrive.ok("backup", folder)
    check(vault, folder)


@pytest.mark.slow
def test_two_machines_at_once(rpdrive: Cli, vault: Vault, folder: Path, tmp_path: Path) -> None:
    other = Cli(tmp_path / "other")
    other.environ["RPDRIVE_VAULT"] = str(rpdrive.vault)
    both = [
        start(rpdrive.command("backup", folder, "--machine", "one"), rpdrive),
        start(other.command("backup", folder, "--machine", "two"), other),
    ]
    for process in both:
        _out, error = process.communicate(timeout=100)
        assert process.returncode == 0, error
    points = vault.points(vault.point_names())
    assert sorted(p.machine_name for p in points) == ["one", "two"]
    for point in points:
        assert_equal(PointReader(vault).snapshot(point, folder), of_source(folder))
    for cli in (rpdrive, other):
        assert cli.json("backup", folder)["data_bytes"] == 0


# --- which machine --------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "file").write_bytes(os.urandom(300_000))
    return tmp_path / "tiny"


@pytest.mark.needs_root
def test_machine_is_kept(rpdrive: Cli, vault: Vault, tiny: Path) -> None:
    first = rpdrive.json("backup", tiny, "--machine", "web")
    # Another host name, as `hostname` would set it.
    other = ["unshare", "--uts", "sh", "-c", 'hostname renamed && exec "$@"', "sh"]
    done = subprocess.run(
        [*other, *rpdrive.command("backup", str(tiny))], env=rpdrive.environ, capture_output=True, check=False
    )
    assert done.returncode == 0, done
    points = vault.points(vault.point_names())
    assert [(p.machine_name, p.sequence) for p in points] == [("web", 1), ("web", 2)]
    assert [p.hostname == "renamed" for p in points] == [False, True]
    assert len({p.machine for p in points}) == len(vault.machines()) == 1
    assert first["machine"] == "web"


@pytest.mark.needs_root
def test_machine_is_taken_over(rpdrive: Cli, vault: Vault, tiny: Path) -> None:
    rpdrive.ok("backup", tiny, "--machine", "web")
    rpdrive.home.rename(rpdrive.home.with_name("lost"))
    row = rpdrive.json("backup", tiny, "--machine", "web")
    assert (row["sequence"], row["data_bytes"], row["new_bytes"]) == (2, 0, 0)
    assert len(vault.machines()) == len(vault.all_items()) == 1
    # A third home without --machine is another machine, even with the same name.
    rpdrive.home.rename(rpdrive.home.with_name("lost too"))
    assert rpdrive.json("backup", tiny)["sequence"] == 1
    assert len(vault.machines()) == 2


def test_short_name_is_no_prefix_of_an_id(rpdrive: Cli, vault: Vault, tiny: Path) -> None:
    rpdrive.ok("backup", tiny, "--machine", "web")
    short = next(iter(vault.machines())).hex()[:2]
    rpdrive.home.rename(rpdrive.home.with_name("lost"))
    assert rpdrive.json("backup", tiny, "--machine", short)["sequence"] == 1
    assert sorted(m.name for m in vault.machines().values()) == sorted(["web", short])
    rpdrive.home.rename(rpdrive.home.with_name("lost too"))
    whole = next(i for i, m in vault.machines().items() if m.name == "web").hex()
    assert rpdrive.json("backup", tiny, "--machine", whole)["sequence"] == 2
