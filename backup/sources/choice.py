"""Chooses what a backup reads, and by which calls, by the kind of its item."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from backup.request import Request, own_folders, selected
from backup.selection import Selection
from backup.snapshot.base import Options, Volume
from backup.snapshot.marks import has_left
from backup.snapshot.this import barred, providers
from backup.sources.base import LiveFiles, Source
from backup.sources.staging import remove_left_behind
from backup.sources.wish import NEVER, wish
from backup.systems.base import System
from catalog.access.session import Session
from catalog.format.records import ItemKind


class Prepared(msgspec.Struct):
    """What a backup reads: the paths, the calls that read them, and what has to be made ready before."""

    selection: Selection
    system: System[Any, Any, Any]
    source: Source

    @property
    def is_made(self) -> bool:
        """Whether something may be made for this backup, e.g. snapshots, that has to be removed."""
        return not isinstance(self.source, LiveFiles)


@contextmanager
def prepared(session: Session, request: Request, system: System[Any, Any, Any]) -> Iterator[Prepared]:
    """What a request reads on this system; leaving closes it.

    Raises LocalError if nothing is there, UsageError, and SnapshotFailed if there must be a snapshot and can't be.
    """
    if request.kind == ItemKind.IMAGE:
        from backup.sources.image_choice import prepared_image

        own = {device for device, _inode in own_folders(session, system)}
        with prepared_image(request, session.settings.where("state"), session.address, own) as (
            files,
            images,
            image,
        ):
            yield Prepared(files, images, image)
        return
    volume = None
    if request.kind == ItemKind.VOLUME:
        from backup.sources.volume import volume_of

        volume = volume_of(request, system)
        request = replace(request, one_file_system=True)
    state = session.settings.where("state")
    chosen = selection(request, system)
    if request.kind == ItemKind.SYSTEM and not system.paths_are_native:
        from backup.sources.server_state import prepared_server

        with prepared_server(request, system, state) as server:
            yield Prepared(chosen, system, server)
        return
    source = _files(session, request, chosen, system)
    if volume is not None:
        from backup.sources.volume import VolumeFiles

        source = VolumeFiles(volume, source, why_live=_why_live(source), within=_within)
    remove_left_behind(state, system.lock)
    if request.kind == ItemKind.SYSTEM:
        from backup.sources.system_state import SystemStateSource
        from catalog.inventory.collect import Wanted

        wanted = Wanted(luks_headers=request.luks_headers, verify=request.verify_packages)
        source = SystemStateSource(source, state, system.lock, wanted)
    try:
        yield Prepared(chosen, system, source)
    finally:
        source.close()


def selection(request: Request, system: System[Any, Any, Any]) -> Selection:
    """What a request selects, without `skip`. Raises LocalError if nothing is there; UsageError for a bad rule."""
    if request.kind == ItemKind.SYSTEM and not system.paths_are_native:
        from backup.sources.server_state import server_selection

        return server_selection(request)
    if request.kind == ItemKind.SYSTEM:
        from backup.sources.system_state import system_selection

        return system_selection(request, system)
    if wish(request, barred()).mode == NEVER:
        request = replace(request, snapshot=NEVER)  # what Windows keeps out of snapshots is there
    return selected(request, system)


def _why_live(source: Source) -> list[str]:
    live = getattr(source, "live", [])
    return list(live) or ([f"no snapshot: {barred()}"] if barred() else [])


def _within(volume: Volume) -> list[Volume]:
    """The file systems in a volume that belong to it, though a walk that stays in it does not come there."""
    return [inner for provider in providers(Options()) for inner in provider.within(volume)]


def _files(session: Session, request: Request, selection: Selection, system: System[Any, Any, Any]) -> Source:
    """Files from snapshots where the request wants that, or where earlier jobs left some to be removed."""
    why_not = barred()
    wanted = replace(wish(request, why_not), subvolumes=request.kind == ItemKind.VOLUME)
    state = session.settings.where("state")
    if wanted.mode == NEVER and not has_left(state):
        return LiveFiles()
    if not system.paths_are_native:
        from backup.sources.shadows import shadow_files

        return shadow_files(system, selection, state, wanted, kind=request.kind, dry=request.dry)
    from backup.sources.files import SnapshotFiles

    return SnapshotFiles(
        wanted, selection, partial(providers, wanted.options), state, own_folders(session, system),
        barred=why_not, dry=request.dry,
    )  # fmt: skip
