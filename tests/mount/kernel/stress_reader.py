"""One of many readers of a drive: compares it with its source, in random steps, until it is killed.

    python -m tests.mount.kernel.stress_reader DRIVE SOURCE COUNTERS NUMBER

Its NUMBER-th counter (8 bytes each) in the file COUNTERS grows with each step. Ends with 1 if something differs.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path


class Reader:
    def __init__(self, drive: Path, source: Path, seed: int) -> None:
        self.drive, self.source, self.rng = drive, source, random.Random(seed)
        self.folders = sorted(path for path in source.iterdir() if path.is_dir())
        self.big = source / "big"
        self.steps: list[Callable[[], None]] = [
            self.names, self.attributes, self.contents_in_order, self.some_contents, self.pieces_of_big,
            self.what_is_not_there, self.mapped,
        ]  # fmt: skip

    def step(self) -> None:
        self.rng.choice(self.steps)()

    def shown(self, path: Path) -> Path:
        return self.drive / path.relative_to(self.source)

    def names(self) -> None:
        folder = self.rng.choice(self.folders)
        same(sorted(os.listdir(self.shown(folder))), sorted(os.listdir(folder)), folder)

    def attributes(self) -> None:
        """As `ls -lU` does it."""
        folder = self.rng.choice(self.folders)
        with os.scandir(self.shown(folder)) as entries:
            found = {entry.name: summary(entry.stat(follow_symlinks=False)) for entry in entries}
        with os.scandir(folder) as entries:
            same(found, {entry.name: summary(entry.stat(follow_symlinks=False)) for entry in entries}, folder)

    def contents_in_order(self) -> None:
        """In the order of names, so that the following ones are pushed; not always after a listing."""
        folder = self.rng.choice(self.folders)
        names = sorted(os.listdir(folder))
        start = self.rng.randrange(len(names))
        for name in names[start : start + 40]:
            self.same_contents(folder / name)

    def some_contents(self) -> None:
        folder = self.rng.choice(self.folders)
        for name in self.rng.sample(os.listdir(folder), 5):
            self.same_contents(folder / name)

    def same_contents(self, path: Path) -> None:
        if path.is_symlink():
            same(os.readlink(self.shown(path)), os.readlink(path), path)
        elif path.is_file():
            same(self.shown(path).read_bytes(), path.read_bytes(), path)

    def pieces_of_big(self) -> None:
        with self.shown(self.big).open("rb") as ours, self.big.open("rb") as theirs:
            for _n in range(10):
                offset = self.rng.randrange(self.big.stat().st_size)
                wanted = os.pread(theirs.fileno(), 100_000, offset)
                same(os.pread(ours.fileno(), 100_000, offset), wanted, self.big)

    def mapped(self) -> None:
        with self.shown(self.big).open("rb") as file, self.big.open("rb") as theirs:
            offset = self.rng.randrange(self.big.stat().st_size)
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as ours:
                same(ours[offset : offset + 5000], os.pread(theirs.fileno(), 5000, offset), self.big)

    def what_is_not_there(self) -> None:
        folder = self.shown(self.rng.choice(self.folders))
        for n in range(5):
            same((folder / f"nothing {n} {self.rng.randrange(50)}").exists(), False, folder)


def summary(status: os.stat_result) -> tuple[int, int, int]:
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return status.st_mode, size, status.st_mtime_ns


def same(found: object, wanted: object, where: Path) -> None:
    if found != wanted:
        print(f"{where}: {found!r:.200} instead of {wanted!r:.200}", file=sys.stderr)
        os._exit(1)


def main() -> None:
    drive, source, counters, number = sys.argv[1:]
    signal.signal(signal.SIGUSR1, lambda *_: None)
    reader = Reader(Path(drive), Path(source), int(number))
    with open(counters, "r+b") as file, mmap.mmap(file.fileno(), 0) as rows:  # noqa: PTH123
        for step in range(1, 1 << 60):
            reader.step()
            struct.pack_into("=Q", rows, 8 * int(number), step)


if __name__ == "__main__":
    main()
