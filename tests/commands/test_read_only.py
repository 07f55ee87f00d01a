"""A vault on a disk that can only be read, e.g. a copy, or after an error of the disk: what only reads goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catalog.vault import Vault
from tests.kit.cli import Cli


@contextmanager
def only_to_read(folder: Path) -> Iterator[None]:
    """Make a folder one that nobody can write to, root neither."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.needs_root
def test_what_writes_nothing_needs_no_right_to_write(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"contents")
    rpdrive.ok("backup", source)
    with only_to_read(rpdrive.vault):
        assert "the result is not noted in the vault" in rpdrive.ok("check", "--level", "3")
        assert "Dry run" in rpdrive.ok("prune", "--dry-run")
        assert rpdrive.ok("repair", "--dry-run")
        assert "Would forget 1 point" in rpdrive.ok("forget", "latest", "--newest", "--dry-run")
