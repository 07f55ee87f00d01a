"""systemd units that open drives: checked by systemd's own verifier, and run as systemd would run them."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import LocalError
from catalog.units.systemd import Unit, check_program, quoted, write
from mount.login.systemd import unit_for, unit_name, unit_text
from tests.kit.drives import Home, Maker, add_machine, add_point, mount_options
from tests.kit.vaults import make_vault

STRANGE = "a 100% $HOME \"quote\" 'n' back\\slash – ü\tend"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", b"content")]), 1)
    home = Home(tmp_path, tmp_path / "vault")
    home.environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    yield home
    home.close()


def verify(path: Path, *options: str) -> None:
    """Fails on what systemd reports about a unit, warnings included."""
    environment = os.environ | {"XDG_RUNTIME_DIR": str(path.parent)}
    done = subprocess.run(
        ["systemd-analyze", *options, "--man=no", "--recursive-errors=no", "verify", path],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def words(path: Path, key: str) -> list[str]:
    """The words of a line, as systemd would unquote them."""
    (line,) = [line for line in path.read_text().splitlines() if line.startswith(f"{key}=")]
    text = line.partition("=")[2].replace("\\x09", "\t")
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(text)]


def the_unit(home: Home) -> Path:
    (path,) = (home.folder / "config" / "systemd" / "user").iterdir()
    return path


@pytest.mark.needs_program("systemd-analyze")
@pytest.mark.needs_fuse
def test_a_unit_for_this_user(home: Home) -> None:
    drive = home.mount_point(STRANGE)
    refusal = home.run("mount", "--at-login", drive, exit_code=8).stderr
    assert "rpdrive vault unlock --save" in refusal
    home.run("vault", "unlock", "--save")
    said = home.run("mount", "--at-login", "--point", "latest", "--idle", "6h", drive).stdout
    unit = the_unit(home)
    assert f"Wrote {unit}" in said
    assert f"systemctl --user enable --now {shlex.quote(unit.name)}" in said  # there is no systemd in the tests
    assert unit.name == unit_name(drive)
    verify(unit, "--user")
    start = words(unit, "ExecStart")
    assert start[4:] == [
        "mount", str(drive), "--foreground", f"--vault={home.vault.as_uri()}", "--point=latest",
        "--read-timeout=60.0", "--idle=6h",
    ]  # fmt: skip
    for secret in (home.environment["RPDRIVE_PASSPHRASE"], "master"):
        assert secret not in unit.read_text()

    # What systemd would do: the unit's environment, its commands, and a socket that hears when it is open.
    lines = [shlex.split(x)[0] for x in unit.read_text().split("\nEnvironment=")[1:]]
    environment = {"PATH": os.environ["PATH"]} | dict(x.replace("%%", "%").split("=", 1) for x in lines)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(home.folder / "notify"))
        systemd.settimeout(60)
        environment["NOTIFY_SOCKET"] = str(home.folder / "notify")
        with subprocess.Popen(start, env=environment, cwd="/") as process:
            try:
                assert systemd.recv(100) == b"READY=1"
                assert (drive / "file").read_text() == "content"
                assert (home.pid(), home.mounts()[0]["idle"]) == (process.pid, 21_600)
                subprocess.run(words(unit, "ExecStop"), env=environment, cwd="/", check=True)
                assert process.wait(30) == 0  # no failure: systemd won't start it again
            finally:
                process.kill()
    assert home.mounts() == []
    assert "Removed" in home.run("unmount", "--at-login", drive).stdout
    assert not unit.exists()
    home.run("unmount", "--at-login", drive, exit_code=10)


@pytest.mark.needs_fuse
def test_removing_a_unit_closes_its_drive(home: Home) -> None:
    home.run("vault", "unlock", "--save")
    drive = home.mount()
    home.run("mount", "--at-login", drive)
    assert home.mounts()[0]["answers"]  # the drive that was open goes on
    home.run("unmount", "--at-login", drive)
    assert mount_options(drive) is None
    assert not list((home.folder / "config" / "systemd" / "user").iterdir())


def test_places_that_will_not_do(home: Home) -> None:
    home.run("vault", "unlock", "--save")
    home.run("mount", "--at-login", home.folder / "missing", exit_code=10)
    home.run("mount", "--at-login", home.vault, exit_code=10)
    home.run("mount", "--at-login", "--service", home.mount_point(), exit_code=2)
    assert not (home.folder / "config").exists()


@pytest.mark.needs_program("systemd-analyze")
def test_a_unit_of_the_system(tmp_path: Path) -> None:
    place = Path("/mnt") / STRANGE
    unit = unit_for(place, system=True)
    assert unit.path.parent == Path("/etc/systemd/system")
    here = Unit(tmp_path / unit.name, True)
    text = unit_text(place, ["--vault=azure://account/container"], system=True, vault=Path("/srv/a vault"))
    write(here, text, "")
    verify(here.path)
    assert "After=network-online.target" in text
    assert words(here.path, "RequiresMountsFor") == [str(place), "/srv/a vault"]
    # What would give the process a view of its own of the file systems, in which alone the drive would show up.
    for key in ("PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectSystem", "ProtectHome", "ReadOnlyPaths"):
        assert key not in text


@pytest.mark.needs_program("systemd-escape")
def test_units_are_named_as_systemd_names_them() -> None:
    for place in ("/mnt/drive", "/mnt/a-b/c d", "/.hidden/ü", f"/mnt/{STRANGE}"):
        escaped = subprocess.run(
            ["systemd-escape", "--path", "--", place], capture_output=True, text=True, check=True
        ).stdout.strip()
        assert unit_name(Path(place)) == f"rpdrive-{escaped}.service"
    long = Path("/mnt") / ("long" * 60) / ("name" * 60)
    assert len(unit_name(long)) < 60 and unit_name(long) != unit_name(long / "x")


def test_words_that_are_not_text() -> None:
    assert quoted("a\nb") == '"a\\x0ab"'
    assert quoted(os.fsdecode(b"\xff%")) == '"\\xff%%"'
    assert quoted("ü$1") == '"ü$$1"'


@pytest.mark.needs_root
def test_roots_unit_runs_only_what_is_roots(tmp_path: Path) -> None:
    """Else the owner of a checkout, or of a Python, becomes root at the next start."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    python = folder / "python"
    python.write_text("#!")
    python.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(folder)
    paths = [str(link / "python"), str(folder / "none"), ""]
    check_program(paths, "use --at-login")

    def refused(path: Path, *, uid: int = 0, mode: int = 0o755) -> None:
        before = path.lstat()
        os.chown(path, uid, 0, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(mode)
        with pytest.raises(LocalError, match=rf"others than root can change \S*/{path.name}$"):
            check_program(paths, "use --at-login")
        os.chown(path, before.st_uid, before.st_gid, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(before.st_mode & 0o7777)

    for path in (python, folder, link, tmp_path):
        refused(path, uid=1234)
    for path in (python, folder, tmp_path):
        refused(path, mode=0o775)
        refused(path, mode=0o757)
    tmp_path.chmod(0o1777)  # as /tmp
    check_program(paths, "use --at-login")
    folder.chmod(0o1777)
    os.chown(python, 1234, 0)
    with pytest.raises(LocalError):
        check_program(paths, "use --at-login")
