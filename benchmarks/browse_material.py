"""The vaults that the page is measured on: a wide one, backed up by the command, and a long one of many points."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import zlib
from pathlib import Path

from material import Words
from tools import PASSPHRASE, Rpdrive

from catalog.format.values import Subtree
from catalog.store.address import open_store
from catalog.vault import Vault, open_vault
from tests.kit.drives import add_item, add_machine, add_point
from tests.kit.vaultmaker import SmallFiles

MIB = 1 << 20
DAY = 86_400 * 10**9
FIRST = 1_700_000_000 * 10**9  # ns, of the first point


def png(width: int, height: int) -> bytes:
    """A picture of random pixels, about 3 bytes each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    rng = random.Random(1)
    rows = b"".join(b"\0" + rng.randbytes(3 * width) for _ in range(height))
    head = width.to_bytes(4) + height.to_bytes(4) + bytes((8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    )


class Wide:
    """One point of a folder of many names, many small files, one large file, a text and a picture of 1 MiB."""

    def __init__(self, folder: Path, names: int, small: int, large: int) -> None:
        self.source = folder / "wide"
        self.tool = Rpdrive(folder / "wide-rpdrive")
        self._names, self._small, self._large = names, small, large

    def make(self) -> None:
        """Make the files and back them up. The key is saved, as a user does who wants no prompt."""
        shutil.rmtree(self.source, ignore_errors=True)
        words, rng = Words(), random.Random(2)
        for name in ("names", "small", "seen"):
            (self.source / name).mkdir(parents=True)
        for n in range(self._names):
            (self.source / "names" / f"name {n * 7919 % self._names:06d}.txt").touch()
        for n in range(self._small):
            path = self.source / "small" / f"folder-{n // 100:03d}" / f"file-{n % 100:03d}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(words.text(rng, rng.randint(1 << 10, 16 << 10)))
        with (self.source / "large").open("wb") as file:
            for n in range(self._large // MIB):
                file.write(rng.randbytes(MIB) if n % 2 else words.text(rng, MIB))
        (self.source / "seen" / "text.txt").write_bytes(words.text(rng, MIB))
        (self.source / "seen" / "picture.png").write_bytes(png(600, 580))
        self.tool.start()
        run = [[self.tool.command, "vault", "unlock", "--save"], [*self.tool.backup(self.source), "--item", "wide"]]
        for command in run:
            subprocess.run(command, env=self.tool.environment, check=True, stdout=subprocess.DEVNULL)


class Long:
    """Many points of many files; in each a few folders have all their files changed: one in a hundred."""

    def __init__(self, folder: Path, points: int, folders: int, each: int) -> None:
        self.tool = Rpdrive(folder / "long-rpdrive")
        self._points, self._folders, self._each = points, folders, each

    def make(self) -> None:
        self.tool.start()
        address = self.tool.repository.as_uri()
        vault = open_vault(open_store(address), passphrase=PASSPHRASE)
        add_machine(vault)
        add_item(vault)
        files = _Clustered(vault, self._folders, self._each, 1 << 10)
        for number in range(1, self._points + 1):
            add_point(vault, files.root, number, FIRST + number * DAY)
            if number < self._points:
                files.edit_folders(max(self._folders // 100, 1), number)
        save = [self.tool.command, "vault", "unlock", "--save"]
        subprocess.run(save, env=self.tool.environment, check=True, stdout=subprocess.DEVNULL)


class _Clustered(SmallFiles):
    root: Subtree

    def __init__(self, vault: Vault, folders: int, each: int, largest: int) -> None:
        super().__init__(vault, folders, each, largest)

    def edit_folders(self, count: int, seed: int) -> None:
        """Another state, with all files of some folders edited."""
        names = random.Random(seed).sample(sorted({folder for folder, _name in self.contents}), count)
        keys = [key for key in self.contents if key[0] in set(names)]
        for key in keys:
            self.contents[key] = os.urandom(256)
        self._store(sorted(keys))
        self.root = self._commit()
