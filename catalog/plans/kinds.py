"""What an item is to be, from the words of `rpdrive protect`: files, a volume, the system state or an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from catalog.errors import UsageError
from catalog.format.records import ItemKind


def one_kind(
    paths: Sequence[Path], volume: Path | None, image: Path | None, *, system_state: bool
) -> tuple[ItemKind, list[Path]]:
    """The kind of an item, and its paths. Raises UsageError if the words mean several items, or none."""
    given: list[tuple[ItemKind, list[Path]]] = []
    if paths:
        given.append((ItemKind.FILES, list(paths)))
    if volume is not None:
        given.append((ItemKind.VOLUME, [volume]))
    if image is not None:
        given.append((ItemKind.IMAGE, [image]))
    if system_state:
        given.append((ItemKind.SYSTEM, []))
    if len(given) > 1:
        raise UsageError(
            "paths, --volume, --image and --system-state exclude each other: an item is of one kind",
            "protect each by a command of its own",
        )
    if not given:
        raise UsageError(
            "no path is given", "name what to protect, e.g. `rpdrive protect /home/anna` or `--volume /srv`"
        )
    return given[0]
