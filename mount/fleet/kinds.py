"""The kinds of pieces, and the function that does each: `do(here, body) -> result`, both bytes.

A function is imported when the first piece of its kind is run. What it raises costs this try of the piece: a fault
of the vault belongs into its result. It must do no harm when it is run twice, or by two workers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TypeAlias

from mount.fleet.here import Here

Do: TypeAlias = Callable[[Here, bytes], bytes]

KINDS = {
    "test": ("mount.fleet.testing", "read_piece"),
    "check-trees": ("mount.fleet.checking", "trees_piece"),
    "check-slices": ("mount.fleet.checking", "slices_piece"),
    "check-names": ("mount.fleet.checking", "names_piece"),
    "prune": ("mount.fleet.pruning", "prune_piece"),
    "restore": ("mount.fleet.restoring.work", "restore"),
    "restore-look": ("mount.fleet.restoring.work", "look"),
}


def function_of(kind: str) -> Do:
    """The function of a kind. Raises ValueError if there is no such kind."""
    if kind not in KINDS:
        raise ValueError(f"there is no piece of kind {kind!r}")
    module, name = KINDS[kind]
    do: Do = getattr(import_module(module), name)
    return do
