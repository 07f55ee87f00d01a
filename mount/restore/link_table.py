"""The names of files that have several: the first is restored, and the others are linked to it afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from mount.restore.file_plan import FilePlan, LinkPlan
from mount.restore.folder_table import FolderTable
from mount.restore.spill import pack_file, unpack_file
from mount.restore.spool import Numbers, Spool

_NUMBER = 8  # bytes of a position, before a further name


class LinkTable:
    """First and further names, by link number, in spools: there may be millions."""

    def __init__(self, folders: FolderTable) -> None:
        self._folders = folders
        self._firsts, self._further = Spool(), Spool()
        self._places: dict[bytes, Numbers] = {}  # by point: positions of first names, by link number
        self._linked = 0  # further names up to this position are linked

    def place(self, point: bytes, link: int) -> int | None:
        """Where the first name of a file is; None if none was met. A number in two points means two files."""
        numbers = self._places.get(point)
        return None if numbers is None else numbers.get(link)

    def add_first(self, point: bytes, file: FilePlan) -> None:
        self._places.setdefault(point, Numbers())[file.link] = self._firsts.append(pack_file(file))

    def first(self, place: int) -> FilePlan:
        """The first name that `place` returned."""
        return unpack_file(self._firsts.read(place), self._folders.get)

    def add_further(self, place: int, file: FilePlan) -> None:
        self._further.append(place.to_bytes(_NUMBER, "big") + pack_file(file))

    def pairs(self) -> Iterator[LinkPlan]:
        """The further names since the last call, each with its first name, in the order of the walk."""
        start, self._linked = self._linked, self._further.end
        first: FilePlan | None = None
        at = -1
        for record in self._further.records(start, self._linked):
            place = int.from_bytes(record[:_NUMBER], "big")
            if first is None or place != at:
                first, at = unpack_file(self._firsts.read(place), self._folders.get), place
            yield LinkPlan(first, unpack_file(record[_NUMBER:], self._folders.get))

    def close(self) -> None:
        self._firsts.close()
        self._further.close()
