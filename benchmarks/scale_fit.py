"""How figures grow with a size: exponents, by least squares on logarithms, and the words for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

CONSTANT, LINEAR, WORSE = 0.15, 0.75, 1.25  # exponents up to which, or from which, growth is called so


def exponent(sizes: Sequence[float], values: Sequence[float], least: float) -> float:
    """The exponent of growth beyond the first size; 0 if no figure is more than `least` above the first one.

    A figure has a part that is always there, e.g. the program itself in memory: the first size is small enough to
    stand for it. So n sizes give n - 1 points of a line. What is less than `least` above is taken for as much.
    """
    rows = [(size - sizes[0], value - values[0]) for size, value in zip(sizes[1:], values[1:], strict=True)]
    if max(more for _size, more in rows) <= least:
        return 0.0
    xs = [math.log(size) for size, _more in rows]
    ys = [math.log(max(more, least)) for _size, more in rows]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    below = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / below


def at(size: float, sizes: Sequence[float], values: Sequence[float], least: float) -> float:
    """What a figure will be at a larger size, if it grows on as it did."""
    power = exponent(sizes, values, least)
    if not power:
        return max(values)
    further: float = ((size - sizes[0]) / (sizes[-1] - sizes[0])) ** power
    return values[0] + (values[-1] - values[0]) * further


def word(power: float) -> str:
    """What an exponent means."""
    if power <= CONSTANT:
        return "constant"
    if power < LINEAR:
        return "less than linear"
    return "linear" if power <= WORSE else "worse than linear"
