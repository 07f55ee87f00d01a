"""The options of `rpdrive check`, as they were written."""

from __future__ import annotations

from typing import NamedTuple

from catalog.errors import UsageError
from catalog.screen.text import parse_duration

HIGHEST = 3
_BLOCKS = 2  # the level from which packs are read
_SHARE = 1.0  # per cent that level 2 reads unless told otherwise
_ALL = 100.0


class Options(NamedTuple):
    level: int
    percent: float | None
    max_time: str | None

    def check(self, item: str | None) -> None:
        """Raise UsageError if an option is out of range, or options don't fit together."""
        if self.level == HIGHEST + 1:
            raise UsageError("level 4 is a test of restoring", "run `rpdrive test-restore`")
        if not 0 <= self.level <= HIGHEST:
            raise UsageError(
                f"there is no level {self.level} of `rpdrive check`", f"choose one from 0 to {HIGHEST}"
            )
        if self.percent is not None and self.level != _BLOCKS:
            raise UsageError("--percent is for level 2", "level 3 reads all data")
        if self.percent is not None and not 0 < self.percent <= _ALL:
            raise UsageError("--percent is not between 0 and 100", "e.g. --percent 1")
        if self.max_time is not None and self.level < _BLOCKS:
            raise UsageError("--max-time is for levels 2 and 3", "levels 0 and 1 are always run whole")
        if item is not None and self.level >= _BLOCKS:
            raise UsageError("levels 2 and 3 read the packs of whole machines", "use --machine in place of --item")
        self.seconds()

    def seconds(self) -> float | None:
        """The time for reading packs; None: without end."""
        return None if self.max_time is None else parse_duration(self.max_time)

    def share(self) -> float:
        """The per cent to read: without other limits, level 2 reads 1."""
        if self.level > _BLOCKS:
            return _ALL
        return self.percent or (_SHARE if self.max_time is None else _ALL)
