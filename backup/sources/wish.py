"""What is wanted of snapshots: by options, else by settings, else as the user's rights allow."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from backup.request import Request
from backup.snapshot.base import SHARE, TIMEOUT, Options
from catalog.errors import UsageError
from catalog.format.records import ItemKind
from catalog.program import SNAPSHOT
from catalog.screen.text import parse_duration, parse_size

AUTO, ALWAYS, NEVER = "auto", "always", "never"
MODES = (AUTO, ALWAYS, NEVER)
PROVIDERS = ("vss", "wmi")  # of Windows


class Wish(msgspec.Struct, frozen=True):
    """What is wanted of snapshots. `is_asked`: by the user, and not only by default.

    `live` are mount points of which there is to be no snapshot. `subvolumes`: also take the file systems within
    those of the paths (subvolumes of btrfs), though the walk is to stay within these. `provider` is that of
    Windows.
    """

    mode: str = AUTO
    is_asked: bool = False
    live: frozenset[bytes] = frozenset()
    options: Options = Options()
    subvolumes: bool = False
    provider: str = ""


def wish(request: Request, barred: str, environ: Mapping[str, str] = os.environ) -> Wish:
    """What a request wants. `barred` is why this process can make no snapshots. Raises UsageError."""
    asked = request.snapshot or environ.get(SNAPSHOT, "")
    if asked not in ("", *MODES):
        where = "--snapshot" if request.snapshot else SNAPSHOT
        raise UsageError(f"{where} is auto, always or never, not {asked!r}")
    mode = asked or (NEVER if barred else AUTO)
    size, share = room(request.snapshot_size)
    timeout = TIMEOUT if request.snapshot_timeout is None else parse_duration(request.snapshot_timeout)
    if request.snapshot_provider not in ("", *PROVIDERS):
        raise UsageError(f"--snapshot-provider is vss or wmi, not {request.snapshot_provider!r}")
    live = frozenset(os.fsencode(os.path.realpath(path)) for path in request.snapshot_excludes)
    subvolumes = request.kind is ItemKind.VOLUME
    provider = request.snapshot_provider
    return Wish(mode, bool(asked), live, Options(size, share, timeout), subvolumes, provider)


def room(text: str | None) -> tuple[int, float]:
    """The room for a snapshot as Options have it, from e.g. `10%` or `20G`. Raises UsageError."""
    if text is None:
        return 0, SHARE
    number, percent, rest = text.strip().partition("%")
    if not percent:
        return parse_size(text), SHARE
    try:
        share = float(number) / 100
    except ValueError:
        share = 0.0
    if rest or not 0 < share <= 1:
        raise UsageError(f"{text!r} is no share of a volume", "write e.g. 10% or 20G")
    return 0, share
