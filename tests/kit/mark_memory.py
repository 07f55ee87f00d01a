"""The memory and CPU of a mark of very many files: `python -m tests.kit.mark_memory FOLDER FILES [EACH]`.

Makes a vault of so many files in folders of EACH (20), every file in a block of its own that touches no other, then
marks it in a process of its own. Prints that process's peak of memory (MiB), CPU (s), pages, entries and requests,
for a first mark and for one with nothing new.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import NodeKind
from catalog.mark.last import LastMark, mark_on
from catalog.mark.roots import find_roots
from catalog.store.local import LocalStore
from catalog.store.metered import MeteredStore
from catalog.vault import open_vault
from tests.kit.drives import add_machine, add_point
from tests.kit.peak import peak
from tests.kit.vaultmaker import MACHINE, OWNER, Trees
from tests.kit.vaults import PASSPHRASE, new_vault

TIME = 1_700_000_000 * 10**9
BLOCK, APART = 1 << 20, 1200 << 10  # bytes of a block, and from one to the next


def make(folder: Path, files: int, each: int) -> None:
    """A vault with one point of so many files. Their data packs don't exist: a mark doesn't read them."""
    vault = new_vault(LocalStore(folder))
    add_machine(vault)
    trees, rng = Trees(vault), random.Random(1)
    groups, some, pack = list[Node](), list[Node](), b""
    for n in range(files // each):
        nodes = []
        for m in range(each):
            number = n * each + m
            if number % 26 == 0:
                pack = MACHINE[:4] + b"\0" + rng.randbytes(11)
            at = Extent(pack, 8 + number % 26 * APART, BLOCK, 0, BLOCK, rng.randbytes(16))
            name = b"file-%07d" % number
            nodes.append(Node(name, NodeKind.FILE, 0o644, OWNER, BLOCK, TIME, TIME, number, content=[at]))
        tree = trees.folder(nodes)
        some.append(Node(b"folder-%07d" % n, NodeKind.FOLDER, 0o755, OWNER, 0, TIME, TIME, n, content=tree))
        if len(some) == 1000 or n == files // each - 1:
            group = trees.folder(some)
            name = b"group-%05d" % len(groups)
            groups.append(Node(name, NodeKind.FOLDER, 0o755, OWNER, 0, TIME, TIME, n, content=group))
            some = []
            trees.forget()
            trees.finish()
    add_point(vault, trees.root(trees.folder(groups)), 1)


def one(folder: Path) -> None:
    """Mark the vault, and print what it took."""
    meter = MeteredStore(LocalStore(folder))
    vault = open_vault(meter, passphrase=PASSPHRASE)
    roots = find_roots(vault)
    kept = LastMark(folder.with_name(f"{folder.name}-state"), vault, [MACHINE])
    began, reads = time.process_time(), meter.snapshot().read.requests
    with mark_on(kept, vault, roots, 1) as marked:
        cpu = time.process_time() - began
        row = {
            "memory": peak() >> 10,
            "cpu": round(cpu, 2),
            "pages": marked.pages,
            "entries": marked.entries,
            "reads": meter.snapshot().read.requests - reads,
            "faults": len(marked.faults),
        }
    print(json.dumps(row))


def measure(folder: Path, files: int, each: int = 20) -> list[dict[str, int]]:
    """What the first mark takes, and one with nothing new."""
    make(folder, files, each)
    command = [sys.executable, "-m", "tests.kit.mark_memory", "one", str(folder)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(2)]
    return [json.loads(run.stdout) for run in runs]


if __name__ == "__main__":
    if sys.argv[1] == "one":
        one(Path(sys.argv[2]))
    else:
        for row in measure(Path(sys.argv[1]), int(sys.argv[2]), *map(int, sys.argv[3:4])):
            print(row)
