"""The lines that differ between two texts, in a time that is bounded whatever they are.

Lines at the begin and the end that are the same are set aside; then lines that both texts have once each, in the
same order, divide them ("patience"); what lies between is compared by Myers's algorithm (Algorithmica 1, 1986), as
far as the work that is allowed goes. After that, what is left counts as changed as a whole: the result is always
right, and the shortest only where it was cheap.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

WORK = 1_500_000  # steps; about 0.2 us each
_DEPTH = 30  # divisions of a part within another


class Match:
    """Finds which lines of one text are lines of the other, in order."""

    def __init__(self, before: Sequence[int], after: Sequence[int], work: int = WORK) -> None:
        self._a, self._b = before, after
        self._work = work
        self.pairs: list[tuple[int, int]] = []  # places of equal lines, ascending in both
        self._part(0, len(before), 0, len(after), 0)

    def _part(self, a: int, a_end: int, b: int, b_end: int, depth: int) -> None:
        before, after, pairs = self._a, self._b, self.pairs
        while a < a_end and b < b_end and before[a] == after[b]:
            pairs.append((a, b))
            a, b = a + 1, b + 1
        tail = 0
        while a < a_end - tail and b < b_end - tail and before[a_end - tail - 1] == after[b_end - tail - 1]:
            tail += 1
        a_end, b_end = a_end - tail, b_end - tail
        if a < a_end and b < b_end:
            dividers = self._dividers(a, a_end, b, b_end) if depth < _DEPTH else []
            for x, y in dividers:
                self._part(a, x, b, y, depth + 1)
                pairs.append((x, y))
                a, b = x + 1, y + 1
            if dividers:
                self._part(a, a_end, b, b_end, depth + 1)
            else:
                self._shortest(a, a_end, b, b_end)
        pairs.extend((a_end + n, b_end + n) for n in range(tail))

    def _dividers(self, a: int, a_end: int, b: int, b_end: int) -> list[tuple[int, int]]:
        """Lines that are there once in each part, of those the most that are in the same order in both."""
        self._work -= a_end - a + b_end - b
        if self._work < 0:
            return []
        once = _once(self._a, a, a_end)
        other = _once(self._b, b, b_end)
        common = [(x, other[line]) for line, x in once.items() if line in other]
        # The longest ascending run by patience sorting: the least end of a run of each length, and who is before.
        ends: list[int] = []
        places: list[int] = []
        previous: list[int] = []
        for n, (_x, y) in enumerate(common):
            length = bisect_left(ends, y)
            previous.append(places[length - 1] if length else -1)
            if length == len(ends):
                ends.append(y)
                places.append(n)
            else:
                ends[length], places[length] = y, n
        chosen: list[tuple[int, int]] = []
        n = places[-1] if places else -1
        while n >= 0:
            chosen.append(common[n])
            n = previous[n]
        return chosen[::-1]

    def _shortest(self, a: int, a_end: int, b: int, b_end: int) -> None:
        """The fewest changes between two parts, unless that takes too long."""
        before, after = self._a, self._b
        n, m = a_end - a, b_end - b
        # For d changes, how far each diagonal k = -d, -d + 2, … d gets, in lines of the first part; -1: nowhere.
        history: list[array[int]] = []
        last = array("i", [0])
        for d in range(n + m + 1):
            self._work -= d + 1
            if self._work < 0:
                return
            now = array("i", bytes(4 * (d + 1)))
            for place in range(d + 1):
                x, k = _step(last, place, d), 2 * place - d
                y = x - k
                if x < 0 or x > n or y > m:
                    now[place] = -1
                    continue
                start = x
                while x < n and y < m and before[a + x] == after[b + y]:
                    x, y = x + 1, y + 1
                self._work -= x - start
                now[place] = x
                if x == n and y == m:
                    self._back(history, a, b, n, m)
                    return
            history.append(now)
            last = now

    def _back(self, history: list[array[int]], a: int, b: int, x: int, y: int) -> None:
        """Follow the shortest way back, and note the lines that are equal on it."""
        found: list[tuple[int, int]] = []
        for d in range(len(history), 0, -1):
            last, k = history[d - 1], x - y
            place = (k + d) // 2
            start = _step(last, place, d)
            while x > start:
                x, y = x - 1, y - 1
                found.append((a + x, b + y))
            # One change: a line of the second part more (the diagonal above), or one of the first.
            x, y = (x, y - 1) if place < d and last[place] == start else (x - 1, y)
        while x > 0:
            x, y = x - 1, y - 1
            found.append((a + x, b + y))
        self.pairs += found[::-1]


def _step(last: array[int], place: int, d: int) -> int:
    """Where a diagonal begins after d changes, from where its neighbours got with one less; -1: nowhere."""
    if d == 0:
        return 0
    down = last[place] if place < d else -1
    right = last[place - 1] if place else -1
    if right < down:
        return down
    return right + 1 if right >= 0 else -1


def _once(lines: Sequence[int], start: int, end: int) -> dict[int, int]:
    """The lines that are there once, and where, in order."""
    places: dict[int, int] = {}
    again: set[int] = set()
    for n in range(start, end):
        line = lines[n]
        if line in places:
            again.add(line)
        else:
            places[line] = n
    return {line: n for line, n in places.items() if line not in again}


def changes(before: Sequence[str], after: Sequence[str], work: int = WORK) -> Iterator[tuple[int, int, int, int]]:
    """The parts that differ: lines a to a_end of one text are replaced by lines b to b_end of the other."""
    numbers: dict[str, int] = {}
    coded = [[numbers.setdefault(line, len(numbers)) for line in lines] for lines in (before, after)]
    a = b = 0
    for x, y in [*Match(coded[0], coded[1], work).pairs, (len(before), len(after))]:
        if x > a or y > b:
            yield a, x, b, y
        a, b = x + 1, y + 1
