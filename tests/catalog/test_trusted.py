"""Files that tell rpdrive what to do, out of reach of other users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalog.access.trusted import read_trusted
from catalog.errors import LocalError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "notify.toml"
    path.write_bytes(b"zone = 'Europe/Berlin'\n")
    path.chmod(0o644)
    return path


def test_own_file_is_read(file: Path) -> None:
    assert read_trusted(file, 100) == b"zone = 'Europe/Berlin'\n"


def test_missing_file_is_none(tmp_path: Path) -> None:
    assert read_trusted(tmp_path / "missing", 100) is None


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(LocalError, match="may be changed by other users"):
        read_trusted(file, 100)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_said_to_be_none(tmp_path: Path, kind: str) -> None:
    (os.mkdir if kind == "folder" else os.mkfifo)(tmp_path / kind)
    with pytest.raises(LocalError, match="is not a file"):
        read_trusted(tmp_path / kind, 100)


@pytest.mark.needs_root
def test_file_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, 12345, 12345)
    with pytest.raises(LocalError, match="may be changed by other users"):
        read_trusted(file, 100)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_secrets_that_others_may_read_are_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    read_trusted(file, 100)
    with pytest.raises(LocalError, match="holds secrets"):
        read_trusted(file, 100, secret=True)


def test_long_file_is_refused(file: Path) -> None:
    with pytest.raises(LocalError, match="longer than 10 bytes"):
        read_trusted(file, 10)


def test_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(LocalError):
        read_trusted(tmp_path / "fifo", 100)


def test_symlink_is_judged_by_the_file_behind_it(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    assert read_trusted(link, 100)
    file.chmod(0o666)
    with pytest.raises(LocalError):
        read_trusted(link, 100)
