"""Whether the words of `rpdrive backup` mean one kind of item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from catalog.errors import UsageError


def check_volume(
    volume: Sequence[Path], paths: Sequence[Path], image: Path | None, image_of: Path | None, *, system_state: bool
) -> None:
    """Raise UsageError if something else is to be saved beside a volume."""
    if paths or image is not None or image_of is not None or system_state:
        raise UsageError(
            "--volume stands alone: an item is of one kind", "make an item of each, by a command of its own"
        )
    if len(volume) > 1:
        raise UsageError("an item has one volume", "back each volume up by a command of its own")
