"""A far store: walk 20,000 small files and read them all, with a delay on every request."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tools import PASSPHRASE, Rpdrive

DELAY = 0.030  # s on each request
TARGET = 12.0  # s


def measure(folder: Path, source: Path) -> dict[str, Any]:
    """Back `source` up, then read it back through an empty cache over a slow store, in directory order."""
    from cache.disk import DiskCache
    from cache.reader import Reader
    from catalog.format.values import NodeKind
    from catalog.points.choice import choose_point
    from catalog.store.address import open_store
    from catalog.store.delayed import DelayedStore
    from catalog.store.metered import MeteredStore
    from catalog.tree import walk
    from catalog.vault import open_vault

    tool = Rpdrive(folder / "delay")
    tool.start()
    subprocess.run(tool.backup(source), env=tool.environment, check=True, stdout=subprocess.DEVNULL)
    meter = MeteredStore(DelayedStore(open_store(tool.repository.as_uri()), DELAY))
    vault = open_vault(meter, passphrase=PASSPHRASE)
    disk = DiskCache(tool.home / "cold")
    reader = Reader(vault, disk=disk)
    before, began = meter.snapshot(), time.monotonic()
    point = vault.point(choose_point(vault.point_names(), "latest"))
    assert point.root is not None
    files = size = 0
    for _path, found in walk(reader, point.root.subtree()):
        if found.entry.kind == NodeKind.FILE:
            content = reader.open(found.leaf.pieces(found.entry), found.entry.size).read(0, found.entry.size)
            files += 1
            size += len(content)
    seconds, traffic = time.monotonic() - began, meter.snapshot() - before
    reader.close()
    disk.close()
    vault.store.close()
    expected = sum(len(names) for _above, _folders, names in os.walk(source))
    if files != expected:
        raise RuntimeError(f"{files} files came back of {expected}")
    shutil.rmtree(folder / "delay")
    return {
        "delay": DELAY, "files": files, "bytes": size, "seconds": round(seconds, 2),
        "requests": traffic.requests, "received": traffic.received, "target_seconds": TARGET,
    }  # fmt: skip


def text(row: dict[str, Any]) -> str:
    """Markdown."""
    met = "reached" if row["seconds"] < row["target_seconds"] else "missed"
    return (
        f"## {row['delay'] * 1000:.0f} ms of delay on each request\n\n"
        f"Walk {row['files']:,} small files ({row['bytes'] / (1 << 20):.0f} MiB) of a first backup and read each, "
        f"in directory order, with an empty cache: **{row['seconds']:.1f} s**, {row['requests']:,} requests, "
        f"{row['received'] / (1 << 20):.0f} MiB received (to reach: under {row['target_seconds']:.0f} s; {met}).\n"
    )
