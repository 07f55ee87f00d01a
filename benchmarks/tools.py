"""The tools compared, each with a repository, a cache and settings of its own, at its defaults."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

PASSPHRASE = "a passphrase for nothing but benchmarks"
SQUASHFS = ("-comp", "zstd", "-Xcompression-level", "3", "-b", "1M")  # rpdrive's level, and about its blocks


class Tool(ABC):
    """One tool. `repository` is the folder that it stores in; `note` says how it is used."""

    name: str
    package: str  # Debian's
    note: str
    increments = True  # it has a second backup of the same folder
    packs = True  # how much it stores is of interest

    def __init__(self, folder: Path) -> None:
        self.repository = folder / f"{self.name}-repository"
        self.home = folder / f"{self.name}-home"  # caches and settings
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("RPDRIVE", "RESTIC", "BORG"))}
        self.count = 0

    def start(self) -> None:
        """An empty repository, empty caches."""
        self.remove()
        self.count = 0
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
    def restore(self, source: Path, target: Path) -> list[str]:
        """The command, to be run in `target`, that restores the newest backup of `source` as `restored` says."""

    @abstractmethod
    def version(self) -> str: ...


def restored(source: Path, target: Path) -> Path:
    """Where a restore into `target` puts `source`."""
    return target / source.relative_to("/")


def add_restic(parser: argparse.ArgumentParser) -> None:
    """The option for another restic than that of $PATH."""
    parser.add_argument(
        "--restic", type=_program, metavar="FILE", help="the program restic (else that of $PATH)", action=_UseRestic
    )


def _program(text: str) -> str:
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is no program")
    return str(Path(found).absolute())


class _UseRestic(argparse.Action):
    def __call__(
        self, _parser: object, namespace: argparse.Namespace, values: object, _option: object = None
    ) -> None:
        namespace.restic = Restic.program = str(values)


def _first_line(words: list[str]) -> str:
    """What a program says first; some end with an error after their version."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return next(iter((done.stdout or done.stderr).splitlines()), words[0])


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

    def restore(self, source: Path, target: Path) -> list[str]:
        return [self.command, "restore", "latest", "--to", str(target)]

    def version(self) -> str:
        return _first_line([self.command, "--version"])


class Restic(Tool):
    program = "restic"  # `--restic` puts another one here
    name = package = "restic"
    note = "defaults (zstd `auto` where repository version 2 is known, AES-256-CTR and Poly1305), own cache"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment |= {
            "RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": PASSPHRASE,
            "RESTIC_CACHE_DIR": str(self.home / "cache"),
        }  # fmt: skip

    @property
    def package_command(self) -> str:
        return self.program

    def init_commands(self) -> list[list[str]]:
        return [[self.program, "init", "--repository-version", "2"], [self.program, "init"]]

    def backup(self, source: Path) -> list[str]:
        return [self.program, "backup", str(source)]

    def restore(self, source: Path, target: Path) -> list[str]:
        return [self.program, "restore", "latest", "--target", str(target)]

    def version(self) -> str:
        return _first_line([self.program, "version"])


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

    def restore(self, source: Path, target: Path) -> list[str]:
        return ["borg", "extract", f"{self.repository}::{self.count or 1}"]

    def version(self) -> str:
        return _first_line(["borg", "--version"])


# --- what is no backup: how fast the machine is -----------------------------------------------------------------


class Yardstick(Tool):
    """Writes all of a folder once."""

    increments = False

    def start(self) -> None:
        self.remove()
        self.repository.mkdir(parents=True)

    def init_commands(self) -> list[list[str]]:
        return []


class Squashfs(Yardstick):
    """mksquashfs and unsquashfs."""

    name = "squashfs"
    package = "squashfs-tools"
    note = f"no encryption; mksquashfs {' '.join(SQUASHFS)}"

    @property
    def package_command(self) -> str:
        return "mksquashfs"

    @property
    def image(self) -> Path:
        return self.repository / "image.squashfs"

    def backup(self, source: Path) -> list[str]:
        return ["mksquashfs", str(source), str(self.image), *SQUASHFS, "-noappend", "-no-progress", "-quiet"]

    def restore(self, source: Path, target: Path) -> list[str]:
        place = restored(source, target)
        if not source.is_dir():  # the root of the image is a folder with the file in it
            place = place.parent
        place.parent.mkdir(parents=True)
        return ["unsquashfs", "-no-progress", "-d", str(place), str(self.image)]

    def version(self) -> str:
        return _first_line(["mksquashfs", "-version"])


class Plain(Yardstick):
    """`cp -a`, there and back."""

    name = "plain"
    package = "coreutils"
    note = "`cp -a` onto the same disk; nothing of it is made durable"
    packs = False

    @property
    def package_command(self) -> str:
        return "cp"

    def backup(self, source: Path) -> list[str]:
        return ["cp", "-a", str(source), str(self.repository)]

    def restore(self, source: Path, target: Path) -> list[str]:
        place = restored(source, target)
        place.parent.mkdir(parents=True)
        return ["cp", "-a", str(source), str(place)]

    def version(self) -> str:
        return _first_line(["cp", "--version"])


ALL: tuple[type[Tool], ...] = (Rpdrive, Restic, Borg, Squashfs, Plain)
