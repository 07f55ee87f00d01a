"""A real drive of a made-up fleet (tests/kit/made), in a process of its own that says what it asked for.

`python -m tests.kit.fleet_drive FOLDER MACHINES POINTS KEPT` mounts it, and answers each line of its input by one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from cache.reader import Reader
from mount.drivers.kernel import listings
from mount.drivers.kernel.drive import Drive
from mount.view.all_points import AllPointsView
from tests.kit.made.fleet import Fleet

_ROOT = Path(__file__).parents[2]


class FleetDrive:
    """The drive, mounted at a folder, as a test uses it. `kept` is for mount.drivers.kernel.listings.KEPT."""

    def __init__(self, folder: Path, machines: int, points: int, kept: int = listings.KEPT) -> None:
        self.folder = folder
        folder.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, folder, str(machines), str(points), str(kept)], cwd=_ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._before = self._ask()

    def spent(self) -> dict[str, int]:
        """The requests since the last question, by kind."""
        before, self._before = self._before, self._ask()
        return {
            kind: n - before[kind]
            for kind, n in self._before.items()
            if kind in ("list", "get", "read") and n != before[kind]
        }

    @property
    def memory(self) -> int:
        """Bytes that the process has for itself alone."""
        return self._ask()["memory"]

    @property
    def nodes(self) -> int:
        """How many nodes are kept for the kernel."""
        return self._ask()["nodes"]

    def _ask(self) -> dict[str, int]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._process.stdout.readline())
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "-l", self.folder], check=False)
        try:
            self._process.communicate(timeout=20)
        finally:
            self._process.kill()


def _memory() -> int:
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) << 10 for row in rows if row.startswith("RssAnon:"))


def _serve(folder: str, machines: int, points: int) -> None:
    fleet = Fleet(machines, points)
    reader = Reader(fleet.opened())
    view = AllPointsView(reader.vault, reader, fresh=1e6)  # renewed never: requests are those of what is looked at

    def answer() -> None:  # requests of each kind, bytes, and nodes that are kept for the kernel
        for _line in sys.stdin:
            spent = fleet.meter.snapshot()
            row = {"list": spent.list.requests, "get": spent.get.requests, "read": spent.read.requests}
            print(json.dumps(row | {"memory": _memory(), "nodes": len(drive._session.nodes)}), flush=True)

    thread = threading.Thread(target=answer, daemon=True)
    drive = Drive(view, reader, ready=thread.start)
    drive.run(folder)


if __name__ == "__main__":
    listings.KEPT = int(sys.argv[4])
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
