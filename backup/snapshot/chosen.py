"""Which provider makes the snapshot of which mount, and why none does. Makes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import msgspec

from backup.snapshot.base import OTHER, Provider, Volume
from backup.snapshot.plan import Area, How
from catalog.mountinfo import Mount


class Chosen(msgspec.Struct):
    """A mount to read from, and who is to make its snapshot. Without a provider it is read live.

    `reason` says why there is no snapshot; empty if none is needed. `has_failed`: there was to be one.
    """

    area: Area
    provider: Provider | None = None
    reason: str = ""
    has_failed: bool = False

    @property
    def place(self) -> bytes:
        return self.area.mount.place


def choose(areas: Iterable[Area], providers: Sequence[Provider], barred: str = "") -> list[Chosen]:
    """Which provider is to make the snapshot of each mount. `barred` is why none can be made at all."""
    return [_choose(area, providers, barred) for area in areas]


def _choose(area: Area, providers: Sequence[Provider], barred: str) -> Chosen:
    if area.how is not How.SNAPSHOT:
        return Chosen(area, reason=area.reason)
    if barred:
        return Chosen(area, reason=barred)
    reasons = []
    for provider in providers:
        reason = provider.takes(volume_of(area.mount))
        if not reason:
            return Chosen(area, provider)
        if reason != OTHER:
            reasons.append(reason)
    if reasons:
        return Chosen(area, reason="; ".join(reasons))
    source = os.fsdecode(area.mount.source)
    return Chosen(area, reason=f"{source} has {area.mount.file_system}, and is no logical volume of LVM")


def volume_of(mount: Mount, device: int = 0) -> Volume:
    """A mount as providers know it. `device` is the st_dev of its files, where it is known."""
    return Volume(
        mount.place, device, mount.file_system, mount.source, mount.root, mount.options, number=mount.device
    )
