"""A gate whose time passes only while it holds something back, and a record of what went when."""

from __future__ import annotations

from catalog.store.throttled import Way
from catalog.throttle.gate import Throttle
from catalog.throttle.rates import Limits


class Script:
    """A source of limits by seconds: from each moment on, those limits count."""

    def __init__(self, *rows: tuple[float, Limits]) -> None:
        self.rows = [(0.0, Limits()), *rows]
        self.now_is = 0.0

    def now(self) -> Limits:
        return next(limits for begin, limits in reversed(self.rows) if self.now_is >= begin)

    def of_item(self, name: str) -> None:
        pass

    def pause_text(self) -> str:
        return "paused by the script"


class Recorded(Throttle):
    """A gate over a fake clock. `log` has (seconds, way, bytes) of each piece that it let through."""

    def __init__(self, *rows: tuple[float, Limits], patient: bool = True) -> None:
        self.script = Script(*rows)
        self.lines: list[str] = []
        self.log: list[tuple[float, Way, int]] = []
        super().__init__(
            self.script, patient=patient, tell=self.lines.append,
            clock=lambda: self.script.now_is, pause=self.pass_time,
        )  # fmt: skip

    def pass_time(self, seconds: float) -> None:
        self.script.now_is += seconds

    def take(self, way: Way, length: int) -> None:
        super().take(way, length)
        self.log.append((self.script.now_is, way, length))

    def sent(self, start: float, end: float, way: Way = "up") -> int:
        """Bytes that went in [start, end)."""
        return sum(length for at, other, length in self.log if other == way and start <= at < end)

    def check_rate(self, rate: int, piece: int, way: Way = "up") -> None:
        """In every stretch of time, no more went than the rate allows, and one piece."""
        times = [(at, length) for at, other, length in self.log if other == way]
        for first, (start, _length) in enumerate(times):
            total = 0
            for at, length in times[first:]:
                total += length
                assert total <= rate * (at - start) + piece + 1
