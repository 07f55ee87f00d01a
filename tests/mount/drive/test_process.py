"""A drive's life: the background process, its refusals, its status, and every way it ends."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.drives import (
    Home,
    Maker,
    add_machine,
    add_point,
    alive,
    children,
    eventually,
    kill,
    mount_options,
    noise,
)
from tests.kit.vaults import PASSPHRASE, make_vault

pytestmark = pytest.mark.needs_fuse

CONTENT = noise(500_000)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vault") / "vault"
    vault = make_vault(folder)
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", CONTENT), m.folder(b"folder", [m.file(b"in it", b"x")])]), 1)
    return folder


@pytest.fixture
def home(tmp_path: Path, vault: Path, driver: str) -> Iterator[Home]:
    home = Home(tmp_path, vault)
    yield home
    home.close()


def test_mount_says_how_to_unmount(home: Home) -> None:
    path = home.mount_point("a folder")
    said = home.run("mount", path, "--point", "latest").stdout
    assert said.count("\n") == 1
    assert f"rpdrive unmount '{path}'" in said
    assert (path / "file").read_bytes() == CONTENT
    home.run("unmount", path)
    assert mount_options(path) is None
    assert list(path.iterdir()) == []
    assert home.mounts() == []


def test_unmount_ends_the_process_and_leaves_nothing(home: Home) -> None:
    drive = home.mount()
    pid = home.pid()
    home.run("unmount", drive)
    assert not alive(pid)
    left = [p for p in (home.folder / "home").rglob("*") if p.is_file() or p.is_socket()]
    # The number of vault.json was noted when the vault was opened, and the place where it is.
    assert sorted(p.name.partition("-")[0] for p in left) == ["drive", "number", "places"]


def test_the_status_counts_what_happened(home: Home) -> None:
    drive = home.mount("--point", "latest")
    before = home.mounts()[0]
    assert (drive / "file").read_bytes() == CONTENT
    (row,) = home.mounts()
    assert row["mount_point"] == str(drive)
    assert row["vault"] == home.vault.as_uri()
    assert (row["machine"], row["item"], row["answers"]) == ("box", "home", True)
    assert len(row["point"]) == 32 and row["point_time"].endswith("Z")
    assert alive(row["pid"]) and row["uptime"] >= 0
    assert row["bytes_served"] - before["bytes_served"] == len(CONTENT)
    assert row["store_requests"] == before["store_requests"] + 1
    assert row["bytes_fetched"] > before["bytes_fetched"] + len(CONTENT) * 0.9
    assert row["errors"] == 0
    assert "cache" in row
    text = json.dumps(row)
    assert PASSPHRASE not in text and "master" not in text
    assert str(drive) in home.run("mounts").stdout


def test_a_mount_and_its_first_listing_take_five_requests(home: Home) -> None:
    drive = home.mount("--point", "latest")
    assert sorted(os.listdir(drive)) == ["file", "folder"]
    assert home.mounts()[0]["store_requests"] <= 5


def test_the_passphrase_and_the_key_are_nowhere_to_be_seen(home: Home) -> None:
    home.mount()
    process = Path(f"/proc/{home.pid()}")
    assert PASSPHRASE.encode() not in (process / "environ").read_bytes()
    assert PASSPHRASE.encode() not in (process / "cmdline").read_bytes()
    for path in (home.folder / "home").rglob("*"):
        status = path.lstat()
        private = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(status.st_mode) & ~private == 0, path
        if path.is_file():
            assert PASSPHRASE.encode() not in path.read_bytes()
    assert os.getsid(int(process.name)) == int(process.name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_unmount(home: Home, number: signal.Signals) -> None:
    drive = home.mount()
    kill(home.pid(), number)
    assert mount_options(drive) is None
    assert home.mounts() == []


def test_the_place_of_a_killed_drive_is_free_again(home: Home) -> None:
    """Unmounted at once without a command, although a process is in it."""
    drive = home.mount()
    with subprocess.Popen(["sleep", "1000"], cwd=drive) as sleeper:
        (watcher,) = children(home.pid())
        kill(home.pid())
        eventually(lambda: mount_options(drive) is None, "it is unmounted")
        assert list(drive.iterdir()) == []
        assert home.mounts() == []
        eventually(lambda: not alive(watcher), "what watched over it ends")
        home.run("mount", drive, "--point", "latest")
        assert (drive / "file").read_bytes() == CONTENT
        sleeper.kill()
    home.run("unmount", drive)


def test_what_watches_over_a_drive_ends_with_it(home: Home) -> None:
    drive = home.mount()
    (watcher,) = children(home.pid())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(watcher, number)  # as a service that is stopped gets it
    assert sorted(os.listdir(drive)) == ["box"] and alive(watcher)
    home.run("unmount", drive)
    assert not alive(watcher)


def test_another_drive_in_the_place_of_a_killed_one_is_left_alone(home: Home) -> None:
    drive = home.mount()
    (watcher,) = children(home.pid())
    os.kill(watcher, signal.SIGSTOP)
    kill(home.pid())
    home.run("mount", drive, "--point", "latest")
    os.kill(watcher, signal.SIGCONT)
    eventually(lambda: not alive(watcher), "it ends")
    assert (drive / "file").read_bytes() == CONTENT
    home.run("unmount", drive)


def kill_all(home: Home) -> None:
    """The drive's process and its watcher."""
    pid = home.pid()
    for watcher in children(pid):
        kill(watcher)
    kill(pid)


def test_what_is_left_of_a_killed_drive_is_cleaned_up_by_the_next_mount(home: Home) -> None:
    drive = home.mount()
    drive.stat()
    kill_all(home)
    with pytest.raises(OSError) as error:
        os.listdir(drive)
    assert error.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)  # the latter while it still dies
    assert home.mounts() == []
    home.run("mount", drive, "--point", "latest")
    assert (drive / "file").read_bytes() == CONTENT
    home.run("unmount", drive)
    assert mount_options(drive) is None


def test_what_is_left_of_a_killed_drive_is_cleaned_up_by_unmount(home: Home) -> None:
    drive = home.mount()
    kill_all(home)
    home.run("unmount", drive)
    assert mount_options(drive) is None
    assert list(drive.iterdir()) == []


def test_a_drive_in_use_is_not_unmounted(home: Home) -> None:
    drive = home.mount("--point", "latest")
    with subprocess.Popen(["sleep", "1000"], cwd=drive / "folder") as sleeper:
        refusal = home.run("unmount", drive, exit_code=10).stderr
        assert f"sleep (process {sleeper.pid})" in refusal and "--lazy" in refusal
        assert (drive / "file").read_bytes() == CONTENT
        sleeper.kill()
    home.run("unmount", drive)


def test_lazy_unmount_lets_open_files_be_read_to_the_end(home: Home) -> None:
    drive = home.mount("--point", "latest")
    pid = home.pid()
    with (drive / "file").open("rb") as file:
        home.run("unmount", "--lazy", drive)
        assert mount_options(drive) is None
        assert file.read() == CONTENT
    eventually(lambda: not alive(pid), "the drive ends when its last file is closed")


def test_unmounting_what_is_not_mounted(home: Home) -> None:
    refusal = home.run("unmount", home.mount_point(), exit_code=10).stderr
    assert "no rpdrive drive is mounted" in refusal
    home.run("unmount", "/proc", exit_code=10)


def test_foreground_stays_until_it_is_unmounted(home: Home) -> None:
    drive = home.mount_point()
    command = home.command("mount", drive, "--foreground", "--point", "latest")
    with subprocess.Popen(command, env=home.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "is open at" in process.stdout.readline()
        eventually(lambda: mount_options(drive) is not None, "the drive appears")
        assert (drive / "file").read_bytes() == CONTENT
        assert home.pid() == process.pid
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert mount_options(drive) is None
    assert home.mounts() == []


# --- refusals -----------------------------------------------------------------------------------------------


def test_mount_points_that_will_not_do(home: Home) -> None:
    def refusal(path: Path | str) -> str:
        return home.run("mount", path, exit_code=10).stderr

    missing = home.folder / "missing"
    assert f"mkdir {missing}" in refusal(missing)
    assert not missing.exists()
    file = home.folder / "file"
    file.write_text("x")
    assert "not a folder" in refusal(file)
    full = home.folder / "full"
    full.mkdir()
    (full / "x").write_text("x")
    assert "not empty" in refusal(full)
    assert "overlaps the vault" in refusal(home.vault)
    inside = home.vault / "empty"
    inside.mkdir(exist_ok=True)
    assert "overlaps the vault" in refusal(inside)
    link = home.folder / "link"
    link.symlink_to(inside)
    assert "overlaps the vault" in refusal(link)
    assert "overlaps the vault" in refusal(home.vault.parent)
    cache = home.folder / "home" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    assert "overlaps rpdrive's own folder" in refusal(cache)
    assert "another file system" in refusal("/proc")
    drive = home.mount()
    assert "mounted at" in refusal(drive) and "already" in refusal(drive)
    inode = drive.stat().st_ino
    assert inode == 1  # and the drive that was there goes on


def test_reasons_come_back_from_the_background(home: Home, tmp_path: Path) -> None:
    path = home.mount_point()
    cases: list[tuple[list[str], dict[str, str], int, str]] = [
        (["--point", "abcdef0123"], {}, 4, "no recovery point abcdef0123"),
        (["--machine", "nobody"], {}, 4, "no machine 'nobody'"),
        ([], {"RPDRIVE_PASSPHRASE": "quite another passphrase"}, 8, "passphrase"),
        ([], {"RPDRIVE_VAULT": str(tmp_path / "nothing")}, 6, "no vault"),
        (["--cache-size", "much"], {}, 2, "not a size"),
        (["--read-timeout", "soon"], {}, 2, "--read-timeout"),
    ]
    for options, environment, code, words in cases:
        refusal = home.run("mount", path, *options, exit_code=code, **environment).stderr
        assert words in refusal, refusal
        assert "Traceback" not in refusal
        assert mount_options(path) is None
    assert home.mounts() == []


def test_a_missing_libfuse_is_named(home: Home) -> None:
    missing = {"FUSE_LIBRARY_PATH": "libfuse-not-here.so.2"}
    refusal = home.run("mount", home.mount_point(), "--driver", "fuse", exit_code=10, **missing).stderr
    assert "apt install libfuse2 fuse3" in refusal


def test_a_state_folder_that_cannot_be_made(home: Home, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("x")
    home.run("mount", home.mount_point(), exit_code=11, RPDRIVE_HOME=str(tmp_path / "occupied"))


def test_the_socket_works_in_a_folder_of_any_depth(tmp_path: Path, vault: Path) -> None:
    folder = tmp_path.joinpath(*["a folder with quite a long name"] * 8)
    folder.mkdir(parents=True)
    home = Home(folder, vault)
    try:
        home.mount()
        assert home.mounts()[0]["answers"]
    finally:
        home.close()


def test_the_socket_is_private_and_survives_rude_callers(home: Home) -> None:
    home.mount()
    (path,) = (home.folder / "home" / "run").glob("*.sock")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    folder = os.open(path.parent, os.O_RDONLY)
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    assert home.mounts()[0]["answers"]


def test_another_user_may_not_look_in(home: Home) -> None:
    drive = home.mount("--point", "latest")
    for folder in [home.folder, *home.folder.parents[:2]]:  # pytest's own folders, not the one they lie in
        folder.chmod(0o755)
    script = f"import os; os.setuid(65534); os.listdir({str(drive)!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr
