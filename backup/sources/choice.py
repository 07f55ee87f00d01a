"""Chooses what a backup reads, and by which calls, by the kind of its item."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from backup.request import Request, selected
from backup.selection import Selection
from backup.sources.base import LiveFiles, Source
from backup.systems.base import System
from catalog.access.session import Session


class Prepared(msgspec.Struct):
    """What a backup reads: the paths, the calls that read them, and what has to be made ready before."""

    selection: Selection
    system: System[Any, Any, Any]
    source: Source


@contextmanager
def prepared(_session: Session, request: Request, system: System[Any, Any, Any]) -> Iterator[Prepared]:
    """What a request reads on this system; leaving closes it. Raises LocalError if nothing is there, UsageError."""
    source = LiveFiles()
    try:
        yield Prepared(selected(request, system), system, source)
    finally:
        source.close()
