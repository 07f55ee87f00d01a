"""The mark of a job that makes snapshots, in memory."""

from __future__ import annotations

import os

from backup.snapshot.marks import JobMark

TAG = "rpdrive-" + "0123456789abcdef" * 2


class FakeMark:
    """A mark that keeps what it was told."""

    tag = TAG

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []
        self.noted: list[tuple[str, str]] = []

    def note(self, provider: str, *names: str) -> None:
        self.names += [(provider, name) for name in names]
        self.noted += [(provider, name) for name in names]

    def forget(self, provider: str, name: str) -> None:
        self.names = [each for each in self.names if each != (provider, name)]


def end_of(mark: JobMark) -> None:
    """The job was killed: nobody holds its file, which is of another start of the machine."""
    path = mark._path
    os.close(mark._file)
    first, _, rest = path.read_text().partition("\n")
    path.write_text(first.replace('"boot":', '"boot": "another", "was":') + "\n" + rest)
