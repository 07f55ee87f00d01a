"""Images of devices, backed up in this process, and what is in the recovery points."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from backup.engine import perform
from backup.mirror import Mirror
from backup.request import Request
from backup.run import Result, Run
from backup.sources.image_choice import image_item, prepared_image
from cache.reader import Reader
from catalog.access.damage import DamagedPacks
from catalog.format.packs import Extent
from catalog.format.records import ItemKind
from catalog.format.values import Paged
from catalog.machines.items import this_item
from catalog.machines.registry import this_machine
from catalog.points.seen import Seen
from catalog.tree import Found, Pieces, lookup
from catalog.vault import Vault
from mount.restore.contents import positions

MIB = 1 << 20


class Machine:
    """A machine whose devices are saved into a vault. `changed` stands for what knows the changed ranges."""

    def __init__(self, vault: Vault, state: Path) -> None:
        self.vault, self.state = vault, state
        self.changed: list[tuple[int, int]] | None = None

    def image(self, path: Path, *, each: Any = None, partial_seconds: float = 900.0, **options: Any) -> Result:
        """One backup of a device or file. `each` is called with the position of each read."""
        request = Request([path], kind=ItemKind.IMAGE, **options)
        machine = this_machine(self.vault, self.state, None)
        mirror, reader = Mirror(self.state / "mirror.sqlite", self.vault.keys), Reader(self.vault)
        try:
            with prepared_image(request, self.state) as (selection, system, source):
                item = this_item(self.vault, self.state, machine, image_item(path), selection.paths)
                if self.changed is not None:
                    system.changed = lambda file, since: iter(self.changed or [])  # type: ignore[method-assign]
                if each is not None:
                    part = system.part

                    def watched(file: int, start: int, length: int) -> bytes:
                        each(start)
                        return part(file, start, length)

                    system.part = watched  # type: ignore[method-assign]
                run = Run(
                    self.vault, reader, mirror, machine, item, selection, system, Seen(self.state, self.vault),
                    DamagedPacks(self.state, self.vault.state_id), source=source, partial_seconds=partial_seconds,
                )  # fmt: skip
                return perform(run, dry=request.dry)
        finally:
            reader.close()
            mirror.close()


class Saved:
    """The image in a recovery point."""

    def __init__(self, vault: Vault, result: Result) -> None:
        self.reader = Reader(vault)
        point = result.point
        assert point is not None
        assert point.root is not None
        self.point = point
        self._top = point.root.subtree()
        (stem,) = {path.rpartition(b".")[0].strip(b"/") for path in point.paths}
        self.image, self.json = self._found(stem + b".img"), self._found(stem + b".json")

    def _found(self, name: bytes) -> Found:
        found = lookup(self.reader, self._top, 1, name)
        assert found is not None
        return found

    def geometry(self) -> Any:
        return msgspec.json.decode(self.read(self.json, 0, 1 << 20))

    def read(self, found: Found, start: int, length: int) -> bytes:
        return bytes(self.reader.open(found.leaf.pieces(found.entry), found.entry.size).read(start, length))

    def data(self, start: int = 0, length: int = 1 << 40) -> bytes:
        return self.read(self.image, start, length)

    def places(self) -> dict[int, bytes]:
        """The chunk ids of the image's pieces, by their positions."""
        content = self.image.leaf.pieces(self.image.entry)
        return {at: piece.id for at, piece in positions(self.reader, content) if isinstance(piece, Extent)}

    def pieces(self) -> int:
        """How many pieces the image has, holes among them."""
        return sum(1 for _ in Pieces(self.reader, self.image.leaf.pieces(self.image.entry)).all())

    def digest(self) -> bytes:
        content = self.image.leaf.pieces(self.image.entry)
        assert isinstance(content, Paged)
        return content.digest

    def close(self) -> None:
        self.reader.close()


def disk_file(path: Path, size: int, *written: int, seed: int = 1) -> Path:
    """A sparse file with 4 KiB of noise at each of the positions `written`."""
    with path.open("wb") as file:
        file.truncate(size)
        for n, at in enumerate(written):
            file.seek(at)
            file.write(random.Random(seed * 1000 + n).randbytes(4096))
    return path


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Change a file or device in place."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def noisy(size: int, seed: int = 1) -> Iterator[bytes]:
    """`size` bytes of noise, a MiB at a time."""
    source = random.Random(seed)
    for _ in range(size // MIB):
        yield source.randbytes(MIB)
