"""What opens the same data as a drive: restic, Borg, squashfuse, the plain files; rpdrive is in own_drives.py.

Each is mounted afresh for a step, so that it has nothing in its memory. What it mounts (a vault, a repository, an
image) is made once and used again by the next run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from measured import CommandFailed
from tools import SQUASHFS, Borg, Restic, Squashfs, Tool

_PATIENCE = 600.0  # s for a drive to appear or to go away


class Place(NamedTuple):
    """Where a run works, what it reads, and how many points the second vault has.

    With another `stamp` vaults, repositories and images are made afresh; with another format too, unless `keep`.
    """

    folder: Path
    source: Path
    stamp: str
    points: int
    keep: bool = False

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"


def call(words: Sequence[str | Path], environment: dict[str, str], log: Path) -> str:
    """Run a command to its end; what it printed. Raises CommandFailed."""
    done = subprocess.run(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    with log.open("a") as file:
        file.write(f"\n$ {' '.join(map(str, words))}\n{done.stdout[-10_000:]}{done.stderr[-10_000:]}")
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise CommandFailed(f"{Path(words[0]).name} {words[1]}: {lines[-1] if lines else done.returncode}")
    return done.stdout


class Drive(ABC):
    """One way to the data. `root` is the folder with the files once it is open."""

    name: str
    note: str
    root: Path

    def __init__(self, place: Place) -> None:
        self.place = place
        self.mount_point = place.folder / f"mnt-{self.name}"

    @abstractmethod
    def missing(self) -> str:
        """The package to install if the tool is missing, or an empty text."""

    @abstractmethod
    def version(self) -> str: ...

    def prepare(self) -> None:
        """Make what is mounted, unless it is there and of these data."""
        stamp = [self.place.stamp, self.format()]
        if self.mark.exists():
            found = self.mark.read_text().split("\n")
            if found == stamp or (self.place.keep and found[0] == stamp[0]):
                return
        self.mark.unlink(missing_ok=True)
        self.make()
        self.complete()

    @property
    def mark(self) -> Path:
        """A file that is there while what is mounted is whole and of these data."""
        return self.place.folder / f"{self.stock}-complete"

    def complete(self) -> None:
        """Note that what is mounted is whole."""
        self.mark.write_text("\n".join([self.place.stamp, self.format()]))

    def settle(self) -> None:  # noqa: B027 - most have nothing to do
        """What is to do between a backup and the first mount."""

    @property
    def stock(self) -> str:
        """The name of what is mounted: two drives may share one."""
        return self.name

    def format(self) -> str:
        """The version of its format: if it changes, the repository is made again."""
        return ""

    def make(self) -> None:  # noqa: B027 - plain files are there
        """Make what is mounted."""

    @abstractmethod
    def open(self) -> None:
        """Mount. The drive is ready when this returns. Raises CommandFailed."""

    @abstractmethod
    def close(self) -> None:
        """Unmount, and wait for the end of its process. Does nothing if it isn't open."""

    def status(self) -> dict[str, Any]:
        """While it is open: the `pid` of its process, if any, and the status that it reports."""
        return {}

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Mounted while the context lasts; the root."""
        unmount(self.mount_point)  # what a run that was killed may have left
        self.mount_point.mkdir(parents=True, exist_ok=True)
        try:
            self.open()
            yield self.root
        finally:
            self.close()


class PlainDrive(Drive):
    """The files themselves."""

    name = "plain"
    note = "the files themselves, on the file system of the disk"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.root = place.source

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        words = ["df", "--output=fstype", str(self.place.source)]
        kind = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1]
        return f"plain files ({kind})"

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass


# --- those that stay in the foreground ----------------------------------------------------------------------


class ForegroundDrive(Drive):
    """A process that serves until it is unmounted."""

    _process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def words(self) -> list[str]:
        """The command."""

    @property
    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def open(self) -> None:
        with self.place.log.open("ab") as log:
            log.write(f"\n$ {' '.join(self.words())}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                self.words(), env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        outside = self.mount_point.parent.stat().st_dev
        end = time.monotonic() + _PATIENCE
        while self.mount_point.stat().st_dev == outside:
            if self._process.poll() is not None:
                lines = self.place.log.read_text(errors="replace").strip().splitlines()
                raise CommandFailed(f"{self.name} ended before its drive was open: {lines[-1]}")
            if time.monotonic() > end:
                raise CommandFailed(f"{self.name} did not open its drive within {_PATIENCE:.0f} s")
            time.sleep(0.002)

    def close(self) -> None:
        if self._process is None:
            return
        unmount(self.mount_point)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def status(self) -> dict[str, Any]:
        return {} if self._process is None else {"pid": self._process.pid}


def unmount(mount_point: Path) -> None:
    """Unmount what is mounted there, if anything; lazily if it is busy."""
    root = os.geteuid() == 0
    fusermount = shutil.which("fusermount3") or "fusermount"
    for attempt in range(50):
        if not is_mounted(mount_point):
            return
        lazy = attempt > 20
        words = ["umount", *(["-l"] if lazy else [])] if root else [fusermount, "-u", *(["-z"] if lazy else [])]
        subprocess.run([*words, mount_point], capture_output=True, check=False)
        if is_mounted(mount_point):
            time.sleep(0.1)
    raise CommandFailed(f"{mount_point} can't be unmounted")


def is_mounted(mount_point: Path) -> bool:
    # Not by stat: it waits for a drive that hangs.
    table = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return any(line.split()[4] == str(mount_point).replace(" ", "\\040") for line in table)


class ToolDrive(ForegroundDrive):
    """A drive of a tool that keeps a repository."""

    kind: type[Tool]

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._tool = self.kind(place.folder)
        self.note = self.kind.note

    def missing(self) -> str:
        return self._tool.missing()

    def version(self) -> str:
        return self._tool.version()

    @property
    def environment(self) -> dict[str, str]:
        return self._tool.environment

    def make(self) -> None:
        self._tool.start()
        call(self._tool.backup(self.place.source), self.environment, self.place.log)


class ResticDrive(ToolDrive):
    name = "restic"
    kind = Restic  # with the program that `--restic` names

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.root = self.mount_point / "snapshots/latest" / place.source.relative_to("/")

    def words(self) -> list[str]:
        return [Restic.program, "mount", str(self.mount_point)]


class BorgDrive(ToolDrive):
    name = "borg"
    kind = Borg

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.root = self.mount_point / place.source.relative_to("/")

    def words(self) -> list[str]:
        return ["borg", "mount", "--foreground", f"{self._tool.repository}::1", str(self.mount_point)]


class SquashDrive(ToolDrive):
    name = "squashfuse"
    kind = Squashfs
    stock = "squashfs"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._image = Squashfs(place.folder).image
        self.root = self.mount_point

    def missing(self) -> str:
        if shutil.which(self.name) is None:
            return f"{self.name} is missing: `apt install squashfuse`"
        return super().missing()

    def version(self) -> str:
        words = [self.name, "--help"]  # it has no option for it, and says it there
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return next(iter((done.stderr or done.stdout).splitlines()), self.name)

    def format(self) -> str:
        return " ".join(SQUASHFS)

    def words(self) -> list[str]:
        return [self.name, "-f", str(self._image), str(self.mount_point)]


class SquashLowLevelDrive(SquashDrive):
    """The same image by libfuse's other API, which squashfuse brings along."""

    name = "squashfuse_ll"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.note = "the same image by libfuse's low-level API"
