"""The tools compared, each with a repository, a cache and settings of its own, at its defaults."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

PASSPHRASE = "a passphrase for nothing but benchmarks"


class Tool(ABC):
    """One tool. `repository` is the folder that it stores in; `note` says how it is used."""

    name: str
    package: str  # Debian's
    note: str

    def __init__(self, folder: Path) -> None:
        self.repository = folder / f"{self.name}-repository"
        self.home = folder / f"{self.name}-home"  # caches and settings
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("RPDRIVE", "RESTIC", "BORG"))}
        self.count = 0

    def start(self) -> None:
        """An empty repository, empty caches."""
        self.remove()
        self.home.mkdir(parents=True)
        for words in self.init_commands():
            done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
        raise RuntimeError(f"{self.name} can't make a repository: {done.stderr.strip()}")

    def remove(self) -> None:
        for folder in (self.repository, self.home):
            shutil.rmtree(folder, ignore_errors=True)

    def missing(self) -> str:
        """What to install, or nothing."""
        return "" if shutil.which(self.package_command) else f"{self.name} is missing: `apt install {self.package}`"

    @property
    def package_command(self) -> str:
        return self.name

    @abstractmethod
    def init_commands(self) -> list[list[str]]:
        """Commands that make a repository; the first that works counts."""

    @abstractmethod
    def backup(self, source: Path) -> list[str]:
        """The command that backs a folder up."""

    @abstractmethod
    def version(self) -> str: ...


def _first_line(words: list[str]) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[0]


class Rpdrive(Tool):
    name = "rpdrive"
    note = "defaults (zstd, AES-256-GCM)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.command = str(Path(sys.executable).with_name("rpdrive"))
        self.environment |= {
            "RPDRIVE_HOME": str(self.home), "RPDRIVE_VAULT": str(self.repository), "RPDRIVE_PASSPHRASE": PASSPHRASE,
        }  # fmt: skip

    def missing(self) -> str:
        return "" if Path(self.command).exists() else "rpdrive is not installed here: start this by `make bench`"

    def init_commands(self) -> list[list[str]]:
        return [[self.command, "vault", "create"]]

    def backup(self, source: Path) -> list[str]:
        return [self.command, "backup", str(source)]

    def version(self) -> str:
        return _first_line([self.command, "--version"])


class Restic(Tool):
    name = package = "restic"
    note = "defaults (zstd `auto` where repository version 2 is known, AES-256-CTR and Poly1305), own cache"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment |= {
            "RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": PASSPHRASE,
            "RESTIC_CACHE_DIR": str(self.home / "cache"),
        }  # fmt: skip

    def init_commands(self) -> list[list[str]]:
        return [["restic", "init", "--repository-version", "2"], ["restic", "init"]]

    def backup(self, source: Path) -> list[str]:
        return ["restic", "backup", str(source)]

    def version(self) -> str:
        return _first_line(["restic", "version"])


class Borg(Tool):
    name = "borg"
    package = "borgbackup"
    note = "defaults (lz4, AES-256-CTR and HMAC), repokey"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment |= {"BORG_PASSPHRASE": PASSPHRASE, "BORG_BASE_DIR": str(self.home)}

    def init_commands(self) -> list[list[str]]:
        return [["borg", "init", "--encryption", "repokey", str(self.repository)]]

    def backup(self, source: Path) -> list[str]:
        self.count += 1
        return ["borg", "create", f"{self.repository}::{self.count}", str(source)]

    def version(self) -> str:
        return _first_line(["borg", "--version"])


ALL: tuple[type[Tool], ...] = (Rpdrive, Restic, Borg)
