"""The real command `rpdrive`, as a process of its own with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from catalog.store.local import LocalStore
from catalog.vault import Vault
from tests.kit import ready
from tests.kit.vaults import home_of, new_vault

ROOT = Path(__file__).parents[2]

SLOW_PACKS = """
import sys, time
from catalog.store.local import LocalStore
import rpdrive
create, packs = LocalStore.create, []
def slow(self, name, *args, **options):
    if name.startswith("packs/"):
        packs.append(name)
        time.sleep(3 if len(packs) > 1 else 0)
    return create(self, name, *args, **options)
LocalStore.create = slow
sys.exit(rpdrive.run(sys.argv[1:]))
"""


class Cli:
    """Runs commands. `environ` is added to an environment without any of ours, and without a terminal."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.vault = folder / "vault"
        foreign = ("RPDRIVE_", "AZURE_", "PYTHONUNBUFFERED")
        own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.environ = own | home_of(self.home, str(self.vault)) | {"PYTHONPATH": str(ROOT), "TZ": "UTC"}

    def command(self, *args: str | Path | bytes) -> list[str | Path | bytes]:
        return [sys.executable, "-m", "rpdrive", *args]

    def slow_command(self, *args: str | Path | bytes) -> list[str | Path | bytes]:
        """The same; storing a data pack takes seconds, but for the first: time to interrupt a backup."""
        return [sys.executable, "-c", SLOW_PACKS, *args]

    def run(
        self, *args: str | Path | bytes, env: Mapping[str, str | None] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end. `env` changes the environment, None takes a variable away."""
        environ = {k: v for k, v in {**self.environ, **(env or {})}.items() if v is not None}
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return ready.run(
            self.command(*args),
            env=environ,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            timeout=120,
            **options,
        )

    def ok(self, *args: str | Path | bytes, env: Mapping[str, str | None] | None = None) -> str:
        """Run a command that must succeed; its stdout."""
        done = self.run(*args, env=env)
        assert done.returncode == 0, done
        return done.stdout.decode(errors="surrogateescape")

    def json(self, *args: str | Path | bytes, env: Mapping[str, str | None] | None = None) -> Any:
        """The same with --json; what it printed."""
        return json.loads(self.ok(*args, "--json", env=env))

    def fails(self, *args: str | Path | bytes, code: int, env: Mapping[str, str | None] | None = None) -> str:
        """Run a command that must fail with this exit code; its one line on stderr."""
        done = self.run(*args, env=env)
        text = done.stderr.decode()
        assert done.returncode == code, done
        assert text.startswith("rpdrive: ") and text.count("\n") == 1 and "Traceback" not in text, text
        return text.strip()


class Terminal:
    """A command of `cli` on a terminal of its own. `shown` is all that stood on it."""

    def __init__(self, cli: Cli, *args: str, env: Mapping[str, str | None]) -> None:
        import fcntl  # not on Windows, where some tests run that need no terminal
        import termios

        self._master, slave = os.openpty()

        def take() -> None:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        environ = {k: v for k, v in {**cli.environ, **env}.items() if v is not None}
        command = cli.command(*args)
        self._process = subprocess.Popen(
            command, env=environ, stdin=slave, stdout=slave, stderr=slave,
            preexec_fn=take,  # noqa: PLW1509
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def answer(self, prompt: str, text: str) -> None:
        """Wait for a prompt, then type a line."""
        self._read_until(prompt)
        os.write(self._master, text.encode() + b"\n")

    def end(self) -> int:
        """Wait for the end; the exit code."""
        self._read_until(None)
        os.close(self._master)
        return self._process.wait(60)

    def _read_until(self, text: str | None) -> None:
        seen = ""
        while text is None or text not in seen:
            try:
                data = os.read(self._master, 4096)
            except OSError:  # EIO: no process has the other side open
                data = b""
            if not data:
                assert text is None, f"ended before it asked {text!r}: {self.shown}"
                return
            seen += data.decode()
            self.shown += data.decode()


@pytest.fixture
def rpdrive(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def vault(rpdrive: Cli) -> Vault:
    """An empty vault at the address that `rpdrive` has in its environment, with keys that cost little to derive."""
    return new_vault(LocalStore(rpdrive.vault))
