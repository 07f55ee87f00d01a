"""The mark of a job that makes snapshots, in memory."""

from __future__ import annotations

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
