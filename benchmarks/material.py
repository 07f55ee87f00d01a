"""The files that are backed up: made from a seed, the same each time; changed, and changed back."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20
_BLOCK = 64 << 10  # bytes; big files alternate between what compresses and what doesn't
_INSERTED = b"inserted at the front; ".ljust(100, b".")
_MARK = "complete"
_VERSION = 2  # of the material: another one is made afresh


class Scale(NamedTuple):
    """The amounts of data. Sizes in bytes; without an image's size there is no image."""

    folders: int
    per_folder: int
    real_files: int
    names: int
    big: int
    image_data: int
    image_size: int


FULL = Scale(200, 100, 18_000, 50_000, 1024 * MIB, 256 * MIB, 1024 * MIB)
QUICK = Scale(20, 100, 1_800, 5_000, 100 * MIB, 26 * MIB, 100 * MIB)
TINY = Scale(8, 10, 30, 300, 3 * MIB, MIB, 4 * MIB)
SCALES = {"full": FULL, "quick": QUICK, "tiny": TINY}


class Material:
    """Files in `root`. `make` before anything else."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.root = folder / "material"
        self._mark = folder / f"material-{_MARK}"
        self.scale = scale
        self._words = Words()

    @property
    def small(self) -> Path:
        return self.root / "small"

    def make(self) -> None:
        """Make everything, unless it is there, whole and unchanged."""
        expected = f"{_VERSION} {self.scale}"
        if self._mark.exists() and self._mark.read_text() == expected:
            return
        self._mark.unlink(missing_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        self._make_small()
        self._make_names()
        self._make_big()
        if self.scale.image_size:
            self._make_image()
        copy_real(self.root / "real", self.scale.real_files)
        self._mark.write_text(expected)

    def _make_small(self) -> None:
        for folder in range(self.scale.folders):
            (self.small / f"folder-{folder:03d}").mkdir(parents=True)
            for number in range(self.scale.per_folder):
                self._small_path(folder, number).write_bytes(self._small_content(folder, number))

    def _small_path(self, folder: int, number: int) -> Path:
        return self.small / f"folder-{folder:03d}" / f"file-{number:03d}.txt"

    def _small_content(self, folder: int, number: int, version: int = 0) -> bytes:
        rng = random.Random(f"small {folder} {number} {version}")
        length = rng.randint(1 << 10, 16 << 10)
        return self._words.text(rng, length) if number % 2 else rng.randbytes(length)

    def _make_names(self) -> None:
        names = self.root / "names"
        names.mkdir()
        for number in range(self.scale.names):
            (names / f"an empty file, number {number:06d}").touch()

    def _make_big(self) -> None:
        with (self.root / "big.bin").open("wb") as file:
            for part in self._half_compressible("big", self.scale.big):
                file.write(part)

    def _make_image(self) -> None:
        """Data in 16 places, holes between them and at the end."""
        with (self.root / "disk.img").open("wb") as file:
            file.truncate(self.scale.image_size)
            each = self.scale.image_data // 16
            for place in range(16):
                file.seek(place * (self.scale.image_size // 16))
                for part in self._half_compressible(f"image {place}", each):
                    file.write(part)

    def _half_compressible(self, name: str, length: int) -> Iterator[bytes]:
        rng = random.Random(name)
        while length > 0:
            part = (rng.randbytes(_BLOCK) + self._words.text(rng, _BLOCK))[:length]
            length -= len(part)
            yield part

    # --- changes --------------------------------------------------------------------------------------------

    def change(self) -> None:
        """Make the changes between two backups: 1 % of the small files, 100 bytes, some files, a folder's name."""
        self._mark.unlink(missing_ok=True)  # until it is changed back
        for folder, number in self._some_small():
            self._small_path(folder, number).write_bytes(self._small_content(folder, number, 1))
        self._rewrite_big(_INSERTED, 0)
        added = self.root / "added"
        added.mkdir()
        for number in range(100):
            (added / f"added-{number:03d}.txt").write_bytes(self._small_content(-1, number))
        (self.small / "folder-007").rename(self.small / "folder-007, renamed")

    def change_back(self) -> None:
        """Restore contents and names; times are new."""
        (self.small / "folder-007, renamed").rename(self.small / "folder-007")
        shutil.rmtree(self.root / "added")
        self._rewrite_big(b"", len(_INSERTED))
        for folder, number in self._some_small():
            self._small_path(folder, number).write_bytes(self._small_content(folder, number))
        self._mark.write_text(f"{_VERSION} {self.scale}")

    def _some_small(self) -> list[tuple[int, int]]:
        count = self.scale.folders * self.scale.per_folder // 100
        every = [(f, n) for f in range(self.scale.folders) for n in range(self.scale.per_folder)]
        return sorted(random.Random("changed").sample(every, count))

    def _rewrite_big(self, front: bytes, skip: int) -> None:
        path, new = self.root / "big.bin", self.root / "big.new"
        with path.open("rb") as old, new.open("wb") as file:
            old.seek(skip)
            file.write(front)
            shutil.copyfileobj(old, file, MIB)
        new.replace(path)

    # --- what it is -----------------------------------------------------------------------------------------

    def measure(self) -> dict[str, int]:
        """Files, their bytes, and the bytes of them that are not holes."""
        files = size = data = 0
        for above, _folders, names in os.walk(self.root):
            for name in names:
                status = os.lstat(os.path.join(above, name))
                files += 1
                size += status.st_size
                data += min(status.st_size, status.st_blocks * 512)
        return {"files": files, "bytes": size, "data_bytes": data}


class Words:
    """Random text that compresses about as well as prose."""

    def __init__(self) -> None:
        rng = random.Random("words")
        letters = "etaoinshrdlucmfwypvbgk"
        words = ["".join(rng.choices(letters, range(22, 0, -1), k=rng.randint(2, 9))) for _ in range(4_000)]
        self._pairs = [f"{a} {b} ".encode() for a, b in zip(words * 8, rng.choices(words, k=32_000), strict=True)]

    def text(self, rng: random.Random, length: int) -> bytes:
        """`length` bytes."""
        return b"".join(rng.choices(self._pairs, k=length // 5 + 1))[:length]


def copy_real(target: Path, count: int) -> None:
    """A real tree: files of this machine's Python and of /usr/share, in order, until there are `count`."""
    done = 0
    sources = [Path(os.__file__).parent, Path("/usr/lib/python3"), Path(sys.prefix), Path("/usr/share")]
    for number, source in enumerate(sources):
        for above, folders, names in os.walk(source):
            folders.sort()
            here = target / str(number) / Path(above).relative_to(source)
            for name in sorted(names):
                path = Path(above, name)
                if done == count:
                    return
                if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
                    continue
                if path.stat().st_size > 32 * MIB:
                    continue
                here.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, here / name)
                done += 1
