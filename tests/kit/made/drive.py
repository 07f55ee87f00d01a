"""The drive of a made-up vault, in a process of its own that says what each look takes.

`python -m tests.kit.made.drive MOUNT_POINT` opens it by `rpdrive mount --foreground`; with a number KEPT, see
MadeDrive. Once it is open, each line of its input is answered by one: what the process took since the last answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from catalog.vault import open_vault
from tests.kit.made.command import ROOT, Counting, Took, Watch, limit_memory, prepared
from tests.kit.made.store import MadeScheme
from tests.kit.vaults import PASSPHRASE, home_of

if TYPE_CHECKING:
    from mount.drivers.kernel.drive import Drive


class Answer(msgspec.Struct):
    took: Took
    nodes: int  # that are kept for the kernel; 0 for a drive that the command opened


class MadeDrive:
    """The drive at `folder`, for a user whose home is `home`. After `timeout` seconds the process is killed.

    With `kept` (see mount/drivers/kernel/listings.py) it is the view and the driver alone, and nothing is renewed:
    requests are exactly those of what is looked at.
    """

    mounting: Took

    def __init__(self, home: Path, vault: str, *, kept: int | None = None, timeout: float | None = None) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.folder = home.with_name(home.name + "-drive")
        self.folder.mkdir(exist_ok=True)
        self._errors = (home / "errors.txt").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self.folder), *([] if kept is None else [str(kept)])],
            env=os.environ | home_of(home, vault), cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        self._timer = threading.Timer(timeout or 0, self._process.kill)
        if timeout:
            self._timer.start()

    def took(self) -> Took:
        """What the process took since the last time, or since the drive was mounted. Raises RuntimeError."""
        return self._ask().took

    @property
    def nodes(self) -> int:
        return self._ask().nodes

    def _ask(self) -> Answer:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            print(file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._failed() from None
        if row := self._process.stdout.readline():
            return msgspec.json.decode(row, type=Answer)
        raise self._failed()

    def _failed(self) -> RuntimeError:
        self._errors.seek(0)
        return RuntimeError(f"the drive failed: {self._errors.read()[-2000:]}")

    def __enter__(self) -> Self:
        """Wait until the drive is mounted: `mounting` is what that took. Raises RuntimeError."""
        try:
            self.mounting = self.took()
        except BaseException as e:
            self.__exit__(type(e), e, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unmount. Raises RuntimeError if the command fails, unless there is an error already."""
        subprocess.run(["umount", "-l", self.folder], capture_output=True, check=False)
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._timer.cancel()
        with self._errors:
            if self._process.returncode and error is None:
                raise self._failed()


def run(home: Path, vault: str, *paths: str, timeout: float | None = None) -> list[Took]:
    """What a mount takes, and then `ls -l` of each path in the drive. Raises RuntimeError."""
    with MadeDrive(home, vault, timeout=timeout) as drive:
        rows = [drive.mounting]
        for path in paths:
            words = ["ls", "-l", os.path.join(drive.folder, path)]
            listed = subprocess.run(words, capture_output=True, text=True, check=False)
            if listed.returncode:
                raise RuntimeError(listed.stderr)
            rows.append(drive.took())
    return rows


def _view(scheme: MadeScheme, kept: int) -> Drive:
    """The view and the driver alone, without the command around them. Nothing is renewed."""
    from cache.reader import Reader
    from mount.drivers.kernel import drive, listings
    from mount.view.all_points import AllPointsView

    listings.KEPT = kept
    vault = open_vault(Counting(scheme.open(os.environ["RPDRIVE_VAULT"])), passphrase=PASSPHRASE)
    reader = Reader(vault)
    return drive.Drive(AllPointsView(vault, reader, fresh=1e6), reader)


def main() -> None:
    mount_point, *kept = sys.argv[1:]
    limit_memory()
    scheme = prepared()
    import rpdrive

    watch, answers = Watch(scheme), sys.stdout
    drive = _view(scheme, int(kept[0])) if kept else None

    def answer() -> None:
        nonlocal watch
        while not os.path.ismount(mount_point):
            time.sleep(0.05)
        for _line in sys.stdin:
            row = Answer(watch.took(), len(drive._session.nodes) if drive else 0)
            watch = Watch(scheme)
            print(msgspec.json.encode(row).decode(), file=answers, flush=True)

    threading.Thread(target=answer, daemon=True).start()
    if drive is None:
        with redirect_stdout(sys.stderr):
            sys.exit(rpdrive.run(["mount", mount_point, "--foreground"]))
    drive.run(mount_point)


if __name__ == "__main__":
    main()
