"""Where the objects of a vault are."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Store(Protocol):
    def get(self, name: str) -> bytes | None: ...
    def read(self, name: str, offset: int, length: int) -> bytes | None: ...
    def names(self, prefix: str) -> list[str]: ...


class Objects:
    """A vault in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get(self, name: str) -> bytes | None:
        return self.objects.get(name)

    def read(self, name: str, offset: int, length: int) -> bytes | None:
        data = self.objects.get(name)
        return None if data is None else data[offset : offset + length]

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.objects if name.startswith(prefix))


class Folder:
    """A vault in a local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if not self.folder.is_dir():
                raise
            return None

    def read(self, name: str, offset: int, length: int) -> bytes | None:
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except (FileNotFoundError, NotADirectoryError):
            if not self.folder.is_dir():
                raise
            return None

    def names(self, prefix: str) -> list[str]:
        above = self.folder / prefix.rpartition("/")[0]
        found = (path.relative_to(self.folder).as_posix() for path in above.rglob("*") if path.is_file())
        return sorted(name for name in found if name.startswith(prefix) and not name.startswith(".rpdrive/"))
