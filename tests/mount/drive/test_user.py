"""A drive of a user who is not root: through fusermount3, which is setuid, with a /dev/fuse that everyone may use.

It happens in a mount namespace, where /dev/fuse and /etc/fuse.conf are the test's own.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.drives import ROOT, Home, Maker, add_machine, add_point, eventually, kill, noise
from tests.kit.vaults import make_vault

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_fuse]

NOBODY = 65534
CONTENT = noise(300_000)
# Makes what the user needs visible to all, in this namespace: Python may lie in a home of mode 0700.
# Drives of others that happen to be open would be kept alive by their copies here.
SETUP = """
set -e
findmnt -rno TARGET -t fuse.rpdrive | while read -r other; do umount -l "$(printf '%b' "$other")" || true; done
mknod -m 0666 {folder}/fuse c 10 229
mount --bind {folder}/fuse /dev/fuse
mount --bind {folder}/fuse.conf /etc/fuse.conf
for place in {hidden}; do
    top=/$(echo "$place" | cut -d / -f 2)
    mkdir -p {folder}/kept
    mount --rbind "$place" {folder}/kept
    mount -t tmpfs -o mode=0755 none "$top"
    mkdir -p "$place"
    mount --rbind {folder}/kept "$place"
done
echo ready
exec sleep 1000000
"""


def hidden_places() -> list[str]:
    """Folders with Python and rpdrive that only root can reach."""
    found = []
    for place in {str(Path(sys.base_prefix)), str(ROOT)}:
        parents = Path(place).parents
        if any(not stat.S_IMODE(p.stat().st_mode) & stat.S_IXOTH for p in parents):
            found.append(place)
    assert len(found) < 2, f"{found} can't be made visible to another user by this test"
    return found


class User(Home):
    """Commands of an unprivileged user in the namespace of a process."""

    def __init__(self, folder: Path, vault: Path, process: int) -> None:
        self.prefix = [
            "nsenter", f"--mount=/proc/{process}/ns/mnt", "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
            "--clear-groups", "--inh-caps=-all",
        ]  # fmt: skip
        super().__init__(folder, vault)

    def command(self, *args: str | Path) -> list[str]:
        return [*self.prefix, *super().command(*args)]

    def shell(self, *command: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*self.prefix, *map(str, command)], capture_output=True, check=False)


@pytest.fixture
def user(driver: str) -> Iterator[User]:
    folder = Path(tempfile.mkdtemp(prefix="rpdrive-user-"))
    folder.chmod(0o755)
    (folder / "fuse.conf").write_text("# user_allow_other\n")
    vault = make_vault(folder / "vault")
    add_machine(vault)
    m = Maker(vault)
    mine = m.file(b"file", CONTENT, mode=0o644)
    secret = m.file(b"secret", b"s", mode=0o600)  # of user 1000
    add_point(vault, m.root([mine, secret, m.folder(b"folder", [m.file(b"in it", b"x")])]), 1)
    for path in [folder / "vault", *(folder / "vault").rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    setup = SETUP.format(folder=folder, hidden=" ".join(hidden_places()))
    command = ["unshare", "--mount", "--propagation=private", "bash", "-c", setup]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
            (folder / "own").mkdir()
            os.chown(folder / "own", NOBODY, NOBODY)
            yield User(folder / "own", folder / "vault", holder.pid)
        finally:
            holder.kill()
            holder.wait()
            shutil.rmtree(folder, ignore_errors=True)


def mount_point(user: User, name: str) -> Path:
    path = user.mount_point(name)
    os.chown(path, NOBODY, NOBODY)
    return path


def test_a_user_opens_reads_and_closes_a_drive(user: User) -> None:
    drive = mount_point(user, "a drive")
    user.run("mount", drive, "--point", "latest")
    assert user.shell("cat", drive / "file").stdout == CONTENT
    assert user.shell("ls", drive / "folder").stdout == b"in it\n"
    assert b"Permission denied" in user.shell("cat", drive / "secret").stderr
    assert b"Read-only" in user.shell("touch", drive / "file").stderr
    assert user.shell("stat", "-c", "%u %a", drive / "file").stdout == b"1000 644\n"
    table = user.shell("cat", "/proc/self/mounts").stdout.decode()
    (line,) = [line for line in table.splitlines() if " fuse.rpdrive " in line and str(user.folder) in line]
    assert {"ro", "nosuid", "nodev", f"user_id={NOBODY}"} <= set(line.split()[3].split(","))
    (row,) = user.mounts()
    assert row["answers"] and row["errors"] == 0
    holder = subprocess.Popen([*user.prefix, "bash", "-c", f"cd '{drive}/folder' && exec sleep 1000"])
    try:
        eventually(lambda: os.readlink(f"/proc/{holder.pid}/cwd").endswith("folder"), "somebody is in it")
        assert "in use by sleep" in user.run("unmount", drive, exit_code=10).stderr
    finally:
        holder.kill()
        holder.wait()
    user.run("unmount", drive)
    assert os.fsencode(user.folder) not in user.shell("cat", "/proc/self/mounts").stdout
    assert user.mounts() == []


def test_a_users_drive_closes_by_itself(user: User) -> None:
    drive = mount_point(user, "drive")
    command = user.command("mount", drive, "--foreground", "--idle", "1s")
    with subprocess.Popen(command, env=user.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and " open at " in process.stdout.readline()
        assert process.wait(60) == 0
    assert os.fsencode(user.folder) not in user.shell("cat", "/proc/self/mounts").stdout


def test_the_place_of_a_users_killed_drive_is_free_again(user: User) -> None:
    drive = mount_point(user, "a drive")
    user.run("mount", drive, "--point", "latest")
    inside = subprocess.Popen([*user.prefix, "bash", "-c", f"cd '{drive}/folder' && exec sleep 1000"])
    try:
        eventually(lambda: os.readlink(f"/proc/{inside.pid}/cwd").endswith("folder"), "somebody is in it")
        kill(user.pid())
        mounts = Path(f"/proc/{inside.pid}/mounts")
        eventually(lambda: os.fsencode(user.folder) not in mounts.read_bytes(), "it is taken off")
    finally:
        inside.kill()
        inside.wait()
    user.run("mount", drive, "--point", "latest")
    assert user.shell("cat", drive / "file").stdout == CONTENT
    user.run("unmount", drive)


def test_others_are_let_in_only_where_root_allows_it(user: User) -> None:
    drive = mount_point(user, "drive")
    refusal = user.run("mount", drive, "--allow-other", exit_code=10).stderr
    assert "user_allow_other" in refusal and "/etc/fuse.conf" in refusal
    user.run("mount", drive, "--point", "latest")
    namespace = user.prefix[:2]
    as_root = subprocess.run([*namespace, "ls", drive], capture_output=True, check=False)
    assert b"Permission denied" in as_root.stderr
    user.run("unmount", drive)
    (user.folder.parent / "fuse.conf").write_text("user_allow_other\n")
    user.run("mount", drive, "--point", "latest", "--allow-other")
    as_root = subprocess.run([*namespace, "cat", drive / "file"], capture_output=True, check=False)
    assert as_root.stdout == CONTENT
    user.run("unmount", drive)


def test_a_device_that_the_user_may_not_use(user: User) -> None:
    (user.folder.parent / "fuse").chmod(0o600)
    refusal = user.run("mount", mount_point(user, "drive"), exit_code=10).stderr
    assert "you may not use /dev/fuse" in refusal
