"""The name of this machine's time zone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from catalog.errors import LocalError
from catalog.retention.policy import zone_named

_LINK, _NAME = Path("/etc/localtime"), Path("/etc/timezone")


def local_zone(environ: Mapping[str, str] = os.environ, link: Path = _LINK, name: Path = _NAME) -> str | None:
    """The IANA name of this machine's time zone; None if nothing here says it, as on Windows."""
    found = [environ.get("TZ", "").removeprefix(":")]
    try:
        target = str(link.readlink())
        found.append(target.partition("zoneinfo/")[2])
    except OSError:
        pass
    try:
        found.append(name.read_text(encoding="ascii", errors="replace").strip())
    except OSError:
        pass
    return next((zone for zone in found if zone and _is_known(zone)), None)


def _is_known(zone: str) -> bool:
    try:
        zone_named(zone)
        return True
    except LocalError:
        return False
