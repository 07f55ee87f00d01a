"""Folders, known vaults, saved keys: what rpdrive stores on this machine, and who can read it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.access.secrets import SavedKeys
from catalog.access.session import Session
from catalog.access.settings import Settings, private_folder, write_private
from catalog.errors import LocalError, UsageError
from catalog.store.address import normal_address

VAULT_ID, OTHER_ID = b"v" * 16, b"o" * 16
MASTER = bytes(range(32))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings({"RPDRIVE_HOME": str(tmp_path / "home")})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- folders ------------------------------------------------------------------------------------------------


def test_one_variable_moves_everything(settings: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert not home.exists()
    folders = [settings.config, settings.state, settings.cache, settings.run]
    assert folders == [home / "config", home / "state", home / "cache", home / "run"]
    assert [mode(folder) for folder in folders] == [0o700] * 4


def test_asking_for_a_path_creates_nothing(settings: Settings, tmp_path: Path) -> None:
    assert settings.where("cache") == tmp_path / "home" / "cache"
    assert settings.known_vaults() == {}
    assert SavedKeys(settings).load(VAULT_ID) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the folders of other platforms are platformdirs'")
def test_the_platforms_folders_otherwise(tmp_path: Path) -> None:
    script = (
        "from catalog.access.settings import *; print(*map(Settings().where, ('config','state','cache','run')))"
    )
    own = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "RPDRIVE_"))}
    own |= {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}

    def where(extra: dict[str, str]) -> list[str]:
        done = subprocess.run([sys.executable, "-c", script], env=own | extra, capture_output=True, check=True)
        return [str(Path(p).relative_to(tmp_path)) for p in done.stdout.decode().split()]

    state = ".local/state/rpdrive"
    assert where({}) == [".config/rpdrive", state, ".cache/rpdrive", f"{state}/run"]
    runtime = tmp_path / "runtime"
    runtime.mkdir(0o700)
    assert where({"XDG_RUNTIME_DIR": str(runtime)})[3] == "runtime/rpdrive"
    assert list(runtime.iterdir()) == []
    # One that others can enter: no folder that all users share, and no warning of a library.
    runtime.chmod(0o755)
    assert where({"XDG_RUNTIME_DIR": str(runtime), "PYTHONWARNINGS": "error"})[3] == f"{state}/run"


def test_a_folder_that_others_could_enter_is_closed(settings: Settings) -> None:
    settings.where("state").mkdir(parents=True)
    settings.where("state").chmod(0o755)
    assert mode(settings.state) == 0o700


@pytest.mark.needs_root
def test_a_folder_of_another_user_is_refused(settings: Settings) -> None:
    os.chown(settings.state, 12345, 12345)
    with pytest.raises(LocalError, match="another user"):
        _ = settings.state


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(LocalError):
        _ = Settings({"RPDRIVE_HOME": str(tmp_path / "home")}).state


def test_private_files_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, b"first")
    path.chmod(0o644)
    write_private(path, b"second")
    assert path.read_bytes() == b"second" and mode(path) == 0o600
    with pytest.raises(LocalError):
        write_private(tmp_path / "missing" / "file", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LocalError):
        write_private(tmp_path / "folder", b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


# --- which vault --------------------------------------------------------------------------------------------


def test_the_vault_is_the_option_then_the_variable_then_the_only_known_one(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no vault"):
        settings.vault_address(None)
    settings.remember_vault("file:///known", VAULT_ID)
    assert settings.vault_address(None) == "file:///known"
    with_variable = Settings({"RPDRIVE_HOME": str(tmp_path / "home"), "RPDRIVE_VAULT": "/from/environment"})
    assert with_variable.vault_address(None) == "file:///from/environment"
    assert with_variable.vault_address("azure://account/container/") == "azure://account/container"
    settings.remember_vault("file:///other", OTHER_ID)
    assert settings.known_vaults() == {"file:///known": VAULT_ID, "file:///other": OTHER_ID}
    with pytest.raises(UsageError, match="2 vaults are known"):
        settings.vault_address(None)
    settings.forget_vault("file:///known")
    settings.forget_vault("file:///known")
    assert settings.vault_address(None) == "file:///other"


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"file:///x": 1}', '{"file:///x": {"id": "zz"}}', "[" * 100_000], ids=str.__len__
)
def test_a_damaged_list_of_vaults(settings: Settings, text: str) -> None:
    write_private(settings.config / "vaults.json", text.encode())
    with pytest.raises(LocalError):
        settings.vault_address(None)
    assert settings.vault_address("/named") == "file:///named"


def test_addresses_have_one_normal_spelling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    here = tmp_path.as_uri()
    assert (
        normal_address("vault")
        == normal_address("./vault/")
        == normal_address(f"{here}/x/../vault")
        == f"{here}/vault"
    )
    assert normal_address("~/vault") == "file:///home/someone/vault"
    assert normal_address("/with space?#") == "file:///with%20space%3F%23"
    assert normal_address(normal_address("/with space?#")) == normal_address("/with space?#")
    for path in ("/with space?#%41", os.fsdecode(b"/no\xfftext")):
        assert Session(vault=path).folder == Path(path)
        assert Session(vault=normal_address(path)).folder == Path(path)
    assert Session(vault="azure://account/container").folder is None
    with pytest.raises(UsageError):
        normal_address("file://server/share")


# --- saved keys ---------------------------------------------------------------------------------------------


def test_a_key_is_kept_until_it_is_deleted(settings: Settings) -> None:
    keys = SavedKeys(settings)
    path = keys.save(VAULT_ID, MASTER)
    assert mode(path) == 0o600 and mode(path.parent) == 0o700
    assert keys.load(VAULT_ID) == MASTER
    assert keys.load(OTHER_ID) is None
    keys.save(VAULT_ID, MASTER[::-1])
    assert keys.load(VAULT_ID) == MASTER[::-1]
    assert keys.delete(VAULT_ID) is True
    assert keys.delete(VAULT_ID) is False
    assert keys.load(VAULT_ID) is None


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777])
def test_a_key_that_others_can_reach_is_refused(settings: Settings, wide: int) -> None:
    keys = SavedKeys(settings)
    path = keys.save(VAULT_ID, MASTER)
    path.chmod(wide)
    with pytest.raises(LocalError, match="open to other users"):
        keys.load(VAULT_ID)
    path.chmod(0o400)
    assert keys.load(VAULT_ID) == MASTER


@pytest.mark.needs_root
def test_a_key_of_another_user_is_refused(settings: Settings) -> None:
    keys = SavedKeys(settings)
    os.chown(keys.save(VAULT_ID, MASTER), 12345, 12345)
    with pytest.raises(LocalError, match="another user"):
        keys.load(VAULT_ID)


def test_a_link_in_the_place_of_a_key_is_refused(settings: Settings) -> None:
    keys = SavedKeys(settings)
    path = keys.save(VAULT_ID, MASTER)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    with pytest.raises(LocalError):
        keys.load(VAULT_ID)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"vault": "00", "master": ""}', b"\xff\xfe", b"[" * 100_000], ids=len
)
def test_a_damaged_key_is_refused(settings: Settings, data: bytes) -> None:
    keys = SavedKeys(settings)
    write_private(keys.save(VAULT_ID, MASTER), data)
    with pytest.raises(LocalError, match="damaged"):
        keys.load(VAULT_ID)


def test_a_folder_in_the_place_of_a_key_is_refused(settings: Settings) -> None:
    keys = SavedKeys(settings)
    path = keys.save(VAULT_ID, MASTER)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(LocalError, match="can't be read: Is a directory"):
        keys.load(VAULT_ID)


def test_a_key_under_the_name_of_another_vault_is_refused(settings: Settings) -> None:
    keys = SavedKeys(settings)
    path = keys.save(VAULT_ID, MASTER)
    path.rename(path.with_name(f"{OTHER_ID.hex()}.json"))
    with pytest.raises(LocalError, match="damaged"):
        keys.load(OTHER_ID)


def test_a_private_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    assert mode(private_folder(tmp_path / "a" / "b")) == 0o700


@pytest.mark.parametrize("folder", ["state", "state/keys", "state/jobs", "config"])
def test_what_killed_processes_left_goes(tmp_path: Path, folder: str) -> None:
    settings = Settings({"RPDRIVE_HOME": str(tmp_path)})
    here = tmp_path / folder
    here.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    old = here / f"b.json.{os.getpid()}.tmp"
    names = [f"a.json.{ended.pid}.tmp", f"c.json.{os.getppid()}.tmp", "user.tmp", "d.tmp.json", old.name]
    for name in names:
        (here / name).write_text("half")
    os.utime(old, (1, 1))
    settings.remove_unfinished()
    assert sorted(p.name for p in here.iterdir()) == sorted(names[1:4])
    others = f"b.json.{ended.pid}.tmp"  # the folder may be the user's
    for name in (names[0], others):
        (here / name).write_text("half")
    write_private(here / "a.json", b"{}")
    assert sorted(p.name for p in here.iterdir()) == sorted(["a.json", others, *names[1:4]])


def test_a_process_of_another_namespace_takes_a_file_for_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process id is no process's there: the file is removed while it is written, and written again."""
    sync = os.fsync
    removed: list[Path] = []

    def swept(descriptor: int) -> None:
        sync(descriptor)
        if len(removed) < 2:
            removed.extend(tmp_path.glob("*.tmp"))
            removed[-1].unlink()

    monkeypatch.setattr(os, "fsync", swept)
    write_private(tmp_path / "a.json", b"{}")
    assert len(removed) == 2 and [p.name for p in tmp_path.iterdir()] == ["a.json"]
