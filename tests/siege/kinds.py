"""The register of faults. A fault is a function that does its harm to a world and runs what comes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.siege.world import Machine, World


class Kind(NamedTuple):
    """A kind of fault. `strike` returns a short text of what was done, "" if nothing came of it."""

    name: str
    about: str
    needs_root: bool
    strike: Callable[[World, Machine], str]


KINDS: dict[str, Kind] = {}


def fault(
    name: str, *, needs_root: bool = False
) -> Callable[[Callable[[World, Machine], str]], Callable[[World, Machine], str]]:
    """Register a fault; the first line of its docstring says what it is."""

    def register(strike: Callable[[World, Machine], str]) -> Callable[[World, Machine], str]:
        KINDS[name] = Kind(name, (strike.__doc__ or "").splitlines()[0], needs_root, strike)
        return strike

    return register
