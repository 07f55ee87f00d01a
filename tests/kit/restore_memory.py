"""The memory of a restore of very many small files: `python -m tests.kit.restore_memory FILES [OPTION…]`.

Makes a vault of so many files in a folder, then restores it (in a process of its own) to a disk on which nothing
stays, and prints the peak of that process's memory in KiB. Options: `dry` (a dry run), `linked` (each file has two
names), `flat` (one folder), `wide` (10 files in each folder), `small` (little of anything is kept in memory), `led`
(by others: they restore nothing here, and the folders are finished).
"""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cache.reader import Reader
from catalog.format.blocks import PackKind
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import NodeKind, Subtree
from catalog.store.local import LocalStore
from mount.fleet.restoring.together import TogetherRestore
from mount.restore import folder_table, plan, pool, run, writer
from mount.restore.disk.posix import PosixDisk
from mount.restore.job import PAGES, TREES, without_collection
from mount.restore.options import Options
from mount.restore.source import place_in
from tests.kit.restoring import a_point, restore_with
from tests.kit.together import parts_of_nothing
from tests.kit.vaultmaker import OWNER, SMALL_BLOCK, Packer, Trees, open_empty

EACH = 200  # files in a folder


def content(number: int) -> bytes:
    return b"%d" % number


def make(folder: Path, files: int, each: int = EACH, *, linked: bool = False) -> Subtree:
    """A vault in a folder, with `files` tiny files in folders of `each`; `linked`: every two are one."""
    vault = open_empty(LocalStore(folder))
    data, trees = Packer(vault, PackKind.DATA), Trees(vault)
    rng = random.Random(files)
    numbers = iter(range(0, files, 2) if linked else range(files))

    def blocks() -> Iterator[Extent]:
        """The contents of all files, in blocks of the usual size."""
        while True:
            chunks, size = [], 0
            for number in numbers:
                chunks.append(content(number))
                size += len(chunks[-1])
                if size >= SMALL_BLOCK:
                    break
            if not chunks:
                return
            yield from data.block(chunks)

    extents, last = blocks(), None

    def node(number: int) -> Node:
        nonlocal last
        if not linked or number % 2 == 0:
            last = next(extents)
        assert last is not None
        link = number // 2 + 1 if linked else 0
        return Node(
            b"file %08d" % (number % each), NodeKind.FILE, 0o644, OWNER, last.length, 10**18 + number, 10**18,
            number, link=link, nlink=2 if linked else 1, content=[last],
        )  # fmt: skip

    def folders() -> Iterator[Node]:
        for first in range(0, files, each):
            subtree = trees.folder(node(n) for n in range(first, min(first + each, files)))
            trees.forget()
            yield Node(
                b"folder %08d" % first, NodeKind.FOLDER, 0o755, OWNER, 0, 10**18, 10**18, rng.randrange(10**7),
                content=subtree,
            )  # fmt: skip

    root = trees.folder(folders() if each < files else (node(n) for n in range(files)))
    data.finish()
    return trees.root(root)


class NowhereDisk(PosixDisk):
    """A disk of real folders on which no file stays: they have no name, and share one place in memory."""

    def __init__(self, *, linked: bool) -> None:
        self._linked = linked  # the first names of files are there, to be linked to
        self._place = os.memfd_create("nowhere")

    def open(self, name: bytes, flags: int, mode: int = 0, **options: Any) -> int:  # type: ignore[override]
        return os.dup(self._place) if flags & os.O_CREAT else os.open(name, flags, mode, **options)

    def rename_new(self, folder: int, name: bytes, new: bytes) -> None:  # type: ignore[override]
        pass

    def lstat(self, name: bytes, **options: Any) -> os.stat_result:  # type: ignore[override]
        return os.fstat(self._place) if self._linked and name.startswith(b"file") else os.lstat(name, **options)

    def link(self, name: bytes, new: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> None:  # type: ignore[override]
        pass


def peak(files: int, *options: str) -> int:
    """The peak of a restore's memory, in KiB."""
    with tempfile.TemporaryDirectory() as name:
        each = files if "flat" in options else 10 if "wide" in options else EACH
        root = make(Path(name) / "vault", files, each, linked="linked" in options)
        (Path(name) / "root").write_bytes(pickle.dumps(root))
        command = [sys.executable, "-m", "tests.kit.restore_memory", "--restore", name, str(files), *options]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return int(done.stdout)


def _restore(folder: Path, files: int, options: list[str]) -> None:
    trees, pages = TREES, PAGES
    if "small" in options:
        trees, pages = 4 << 20, 1 << 20
        plan.LIMIT = 500_000
        plan.Plan.__init__.__defaults__ = (plan.LIMIT,)
        writer.ROWS, writer.BUDGET, folder_table._RECENT = 1_000, 1 << 20, 100
    pool.useful_helpers = run.useful_helpers = lambda: 0  # type: ignore[attr-defined]
    root: Subtree = pickle.loads((folder / "root").read_bytes())
    vault = open_empty(LocalStore(folder / "vault"))
    reader = Reader(vault, memory=trees, page_memory=pages)
    disk = NowhereDisk(linked="linked" in options)
    if "led" in options:
        with without_collection():
            led = TogetherRestore(vault, reader, Options(os.fsencode(folder / "to")), parts_of_nothing)
            report = led.run([place_in(reader, "", a_point(root), b"")])
        assert report.problem_count == 0 and report.entries == root.totals.entries - root.totals.files, report
        print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
        return
    with without_collection():
        report = restore_with(
            reader, vault, a_point(root), folder / "to", disk=disk, permissions=False, dry_run="dry" in options
        )
    reader.close()
    assert report.problem_count == 0, report.problems[:3]
    assert report.files == files and (report.written == files or "dry" in options), report
    print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    if sys.argv[1] == "--restore":
        _restore(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    else:
        print(peak(int(sys.argv[1]), *sys.argv[2:]), "KiB")
