"""Restores by many, led in this process; parts are done here too, or in processes that can be killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from cache.reader import Reader
from catalog.errors import RpdriveError
from catalog.format.records import Point
from catalog.vault import Vault
from mount.fleet.restoring.orders import Result, Task
from mount.fleet.restoring.spans import Limits
from mount.fleet.restoring.together import DoParts, Ended, TogetherReport, TogetherRestore
from mount.fleet.restoring.work import restore_part
from mount.restore.job import PAGES, TREES
from mount.restore.options import Options
from mount.restore.source import place_in

SMALL = Limits(7, 1_000_000)


def parts_here(
    vault: Vault, each: Callable[[int, bytes], None] | None = None, *, backwards: bool = False
) -> DoParts:
    """Does parts one after the other; before each, `each` sees it."""

    def do(_asks: bytes, parts: Iterable[tuple[int, bytes]]) -> Iterator[Ended]:
        for number, body in reversed(list(parts)) if backwards else parts:
            if each is not None:
                each(number, body)
            try:
                restore_part(vault, body, lambda: None)
                yield Ended(number, None)
            except RpdriveError as e:
                yield Ended(number, e)

    return do


def parts_of_nothing(_asks: bytes, parts: Iterable[tuple[int, bytes]]) -> Iterator[Ended]:
    """Does no part, and says that each came to nothing: to measure the one who leads."""
    nothing = msgspec.msgpack.encode(Result({}, {}, {}, [], [], [], [], found=False))
    for number, body in parts:
        task = msgspec.msgpack.decode(body, type=Task)
        (Path(os.fsdecode(task.target)) / os.fsdecode(task.site) / "results" / str(number)).write_bytes(nothing)
        yield Ended(number, None)


def together(
    vault: Vault, point: Point, to: Path, *paths: bytes, do: DoParts | None = None, limits: Limits = SMALL,
    **options: Any,
) -> TogetherReport:  # fmt: skip
    """Restore paths of a stored point (all of it, if none are given) into a folder, in many parts."""
    reader = Reader(vault, memory=TREES, page_memory=PAGES)
    try:
        o = Options(os.fsencode(to), **options)
        run = TogetherRestore(vault, reader, o, do or parts_here(vault), limits=limits)
        run.run([place_in(reader, "", point, path) for path in paths or (b"",)])
        return run.report
    finally:
        reader.close()
