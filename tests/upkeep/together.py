"""Machines that back up, prune, mount and restore at once, as processes of their own, on one vault.

What is hidden stays for `G` seconds instead of 7 days (tests/kit/hasty.py). Each point that is not forgotten must
give back what its machine had: `python -m tests.upkeep.together --minutes 60`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.kit.azurite import running_azurite
from tests.kit.cli import ROOT
from tests.kit.vaults import home_of

FILES, FOLDERS = 40, 4
TOO_LATE = "the time allowed for it is over"
KEPT = 4  # points of a machine; older ones are forgotten, most of them
_State = dict[str, str]  # digests of files, by path below the source


class Faults(Exception):
    """What went wrong, each with the output of the command."""


class Together:
    """All actors, each a thread that starts commands. `report` after `run`."""

    def __init__(self, folder: Path, address: str, seconds: float, g: float, environ: Mapping[str, str]) -> None:
        self._folder, self._address, self._g, self._environ = folder, address, g, dict(environ)
        self._until = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._known: dict[str, _State] = {}  # what points must give back, by id
        self._order: dict[str, list[str]] = {}  # ids of points, oldest first, by machine
        self._used: Counter[str] = Counter()  # points that a reader uses: they are not forgotten
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()

    # --- actors -------------------------------------------------------------------------------------------

    def run(self) -> None:
        self._ok("keeper", "vault", "create")
        actors: list[tuple[Callable[[str], None], str]] = [
            (self._write, "writer-1"), (self._write, "writer-2"), (self._prune, "keeper"), (self._mount, "reader"),
            (self._restore, "restorer"),
        ]  # fmt: skip
        threads = [threading.Thread(target=self._guarded, args=actor) for actor in actors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for point in sorted(self._known):  # all that is left, once more
            self._compare_restored("restorer", point)

    def _guarded(self, actor: Callable[[str], None], name: str) -> None:
        try:
            while time.monotonic() < self._until and not self.faults:
                actor(name)
        except Exception as e:  # noqa: BLE001 - the other actors stop, and it is told
            self.faults.append(f"{name}: {e!r}")

    def _write(self, name: str) -> None:
        source = self._folder / name / "source"
        chance = random.Random()
        if not source.exists():
            for n in range(FILES):
                path = source / f"folder-{n % FOLDERS}" / f"file-{n}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(chance.randbytes(chance.choice((100, 5_000, 200_000))))
        files = sorted(path for path in source.rglob("*") if path.is_file())
        for path in chance.sample(files, 4):
            if chance.random() < 0.5:
                path.write_bytes(chance.randbytes(chance.choice((100, 5_000, 200_000))))
            else:  # what was there before: it may be hidden, and must be stored again
                shutil.copyfile(chance.choice(files), path.with_suffix(".new"))
                path.with_suffix(".new").replace(path)
        done = self._run(name, "backup", str(source), "--machine", name, "--item", "data")
        if done.returncode != 0:
            # With G of seconds, a point must be written within a part of one: a busy machine can be too slow.
            if TOO_LATE in _text(done):
                self.counts["too late"] += 1
            else:
                self.faults.append(_text(done))
            return
        rows = json.loads(self._ok(name, "points", "--machine", name, "--json"))
        point = str(rows["points"][-1]["id"])
        with self._lock:
            self._known[point] = _state_of(source)
            self._order.setdefault(name, []).append(point)
        self.counts["backups"] += 1

    def _prune(self, name: str) -> None:
        for machine in ("writer-1", "writer-2"):
            with self._lock:
                order = self._order.get(machine, [])
                old = [point for point in order[:-KEPT] if not self._used[point] and random.random() < 0.8]
                for point in old:
                    order.remove(point)
                    del self._known[point]
            if old:
                self._ok(name, "forget", *old, "--machine", machine, "--now", "--yes")
                self.counts["forgotten"] += len(old)
        done = self._run(name, "prune", "--json", "--yes")
        if done.returncode != 0:
            self.faults.append(_text(done))
        self.counts["prunes"] += 1
        time.sleep(self._g / 3)

    def _mount(self, name: str) -> None:
        with self._using() as point:
            if point is None:
                return
            drive = self._folder / name / "drive"
            drive.mkdir(parents=True, exist_ok=True)
            self._ok(name, "mount", str(drive), "--point", point, "--cache-size", "1M")
            try:
                self._compare(f"drive of {point}", point, drive)
            finally:
                self._ok(name, "unmount", str(drive))
            self.counts["mounts"] += 1

    def _restore(self, name: str) -> None:
        with self._using() as point:
            if point is not None:
                self._compare_restored(name, point)
                self.counts["restores"] += 1

    def _compare_restored(self, name: str, point: str) -> None:
        target = self._folder / name / "restored"
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(self._folder / name / "home" / "cache", ignore_errors=True)
        self._ok(name, "restore", f"{point}:/", "--to", str(target))
        self._compare(f"restore of {point}", point, target)

    def _compare(self, what: str, point: str, folder: Path) -> None:
        found = {
            str(path).partition("/source/")[2]: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }
        if found != self._known[point]:
            self.faults.append(f"{what}: not what was saved")

    @contextmanager
    def _using(self) -> Any:
        with self._lock:
            points = list(self._known)
            point = random.choice(points) if points else None
            if point is not None:
                self._used[point] += 1
        try:
            if point is None:
                time.sleep(0.5)
            yield point
        finally:
            with self._lock:
                if point is not None:
                    self._used[point] -= 1

    # --- commands -----------------------------------------------------------------------------------------

    def _run(self, name: str, *args: str) -> subprocess.CompletedProcess[bytes]:
        home = self._folder / name / "home"
        environ = self._environ | home_of(home, self._address) | {"PYTHONPATH": str(ROOT), "TZ": "UTC"}
        words = [sys.executable, "-m", "tests.kit.hasty", str(self._g), *args]
        return subprocess.run(
            words, env=environ, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=900, check=False
        )

    def _ok(self, name: str, *args: str) -> str:
        done = self._run(name, *args)
        if done.returncode != 0:
            raise Faults(_text(done))
        return done.stdout.decode()


def _state_of(source: Path) -> _State:
    return {
        str(path.relative_to(source)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in source.rglob("*")
        if path.is_file()
    }


def _text(done: subprocess.CompletedProcess[bytes]) -> str:
    said = (done.stderr + done.stdout)[-2000:].decode(errors="replace")
    return f"{done.args[3:]} ended with {done.returncode}: {said}"


def run_together(seconds: float, g: float, *, azurite: bool = False) -> Together:
    """Run all, in a folder that is removed at the end. Raises Faults."""
    folder = Path(tempfile.mkdtemp(prefix="rpdrive-together-", dir="/var/tmp"))
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("RPDRIVE_", "AZURE_"))}
    try:
        if azurite:
            (folder / "azurite").mkdir()
            with running_azurite(folder / "azurite") as server:
                server.container("together").close()
                address = "azure://devstoreaccount1/together"
                together = Together(folder, address, seconds, g, environ | server.environ)
                together.run()
        else:
            together = Together(folder, str(folder / "vault"), seconds, g, environ)
            together.run()
    finally:
        with suppress(OSError):
            subprocess.run(["umount", "-l", str(folder / "reader" / "drive")], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
    if together.counts["too late"] > together.counts["backups"] / 5:
        together.faults.append(f"too many backups were too late: {dict(together.counts)}")
    if together.faults:
        raise Faults("\n".join(together.faults[:5]))
    return together


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seconds-hidden", type=float, default=2.0, metavar="G")
    parser.add_argument("--azurite", action="store_true")
    options = parser.parse_args()
    together = run_together(options.minutes * 60, options.seconds_hidden, azurite=options.azurite)
    print(dict(together.counts))


if __name__ == "__main__":
    main()
