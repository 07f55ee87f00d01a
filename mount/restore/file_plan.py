"""The plans for files: names to write, and the pieces of data that files consist of."""

from __future__ import annotations

from typing import NamedTuple

from mount.restore.disk.attributes import Attributes
from mount.restore.folder import Folder, Identity


class FilePlan:
    """A file to write. `name` is the entry's, `final` its name in `folder`.

    `whole`: it is a single piece. `todo`: bytes to fetch. `temporary`: the name and identity of the file that an
    earlier run has left of it.
    `link`: the same number for all names of a file, 0 if it has one. `time` (ns, UTC) is the point's, for the name
    of a copy.
    """

    __slots__ = (
        "attributes", "final", "folder", "link", "name", "number", "replace", "size", "temporary", "time", "todo",
        "whole",
    )  # fmt: skip

    def __init__(
        self, number: int, folder: Folder, name: bytes, final: bytes, size: int, attributes: Attributes,
        replace: bool, link: int, time: int, whole: bool = True, todo: int = 0,
        temporary: tuple[bytes, Identity] | None = None,
    ) -> None:  # fmt: skip
        self.number = number
        self.folder = folder
        self.name = name
        self.final = final
        self.size = size
        self.attributes = attributes
        self.replace = replace
        self.link = link
        self.time = time
        self.whole = whole
        self.todo = todo
        self.temporary = temporary

    def path(self) -> bytes:
        return self.folder.path(self.final)


class Row(NamedTuple):
    """One piece of a file. Rows sort by place in the vault; no two are equal before `file`.

    `pack`: the pack's number in its Plan. `offset` and `stored` are the block's place in the pack, `inner` and
    `length` the piece's place in the decoded block, `position` its place in the file (bytes); `chunk` is its id.
    """

    pack: int
    offset: int
    stored: int
    inner: int
    length: int
    chunk: bytes
    number: int  # FilePlan.number
    position: int
    file: FilePlan


class LinkPlan(NamedTuple):
    """A further name of a file that has several, and the name that is restored first."""

    first: FilePlan
    file: FilePlan
