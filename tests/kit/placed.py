"""A vault at several places, and commands on machines of their own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import rpdrive as program
from catalog.access.settings import Settings
from catalog.store.local import LocalStore
from catalog.vault import Vault, open_vault
from tests.kit import ready
from tests.kit.vaults import PASSPHRASE, home_of, new_vault


class Places:
    """The vault at A, in a folder, with a machine that backs up `source` there by commands in this process."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, shown: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._shown = folder, patch, shown
        self.a, self.b = folder / "a", folder / "b"
        self.id = new_vault(LocalStore(self.a)).id
        self.source = folder / "source"
        self.source.mkdir()
        self.on("home")
        Settings().remember_vault(self.a.as_uri(), self.id)
        self.out = self.errors = ""

    def on(self, machine: str) -> None:
        """Let commands run on a machine with a home of its own, which finds the vault at A in its environment."""
        for name, value in home_of(self.folder / machine, str(self.a)).items():
            self._patch.setenv(name, value)
        self._patch.setenv("XDG_CONFIG_HOME", str(self.folder / machine / "xdg"))
        self.state = self.folder / machine / "state"

    def by_itself(self) -> None:
        """Let commands use the vault that this machine knows."""
        self._patch.delenv("RPDRIVE_VAULT", raising=False)

    def code(self, *args: str | Path) -> int:
        self._shown.readouterr()
        code = program.run([str(arg) for arg in args])
        self.out, self.errors = self._shown.readouterr()
        return code

    def ok(self, *args: str | Path, code: int = 0) -> str:
        """What a command printed, on stdout and stderr."""
        assert self.code(*args) == code, (self.out, self.errors)
        return self.out + self.errors

    def process(self, *args: str | Path) -> str:
        """The same for a command that leaves a process behind."""
        command = [sys.executable, "-m", "rpdrive", *map(str, args)]
        done = ready.run(command, env=os.environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done
        return str(done.stdout + done.stderr)

    def json(self, *args: str | Path) -> Any:
        assert self.code(*args, "--json") == 0, self.errors
        return json.loads(self.out)

    def fails(self, *args: str | Path, code: int) -> str:
        assert self.code(*args) == code, (self.out, self.errors)
        assert self.errors.startswith("rpdrive: ") and self.errors.count("\n") == 1, self.errors
        return self.errors

    def backup(self, name: str, content: bytes, at: Path | str | None = None) -> int:
        """Back up one more file. Returns the number of the point."""
        (self.source / name).write_bytes(content)
        return self.again(at)

    def again(self, at: Path | str | None = None) -> int:
        assert self.code("--vault", at or self.a, "backup", self.source) == 0, (self.out, self.errors)
        return max(int(point["sequence"]) for point in self.json("--vault", at or self.a, "points")["points"])

    def copy(self) -> None:
        """Copy A to B, or bring B up to date."""
        self.ok("--vault", self.a, "vault", "copy", self.b)

    def opened(self, at: Path) -> Vault:
        return open_vault(LocalStore(at), passphrase=PASSPHRASE)

    def point(self, at: Path, number: int) -> Path:
        """The file of a point."""
        (name,) = [name for name in self.opened(at).point_names() if name.sequence == number]
        return at / str(name)

    def lose_a(self) -> Path:
        """A is away: where its folder lies now."""
        return self.a.rename(self.folder / "away")
