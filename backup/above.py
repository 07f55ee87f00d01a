"""Folders above the given paths: whether their own metadata differ from the previous point's.

Their times change with everything beside the given paths, and don't count. So what else changed has to be read.
"""

from __future__ import annotations

from contextlib import suppress

from backup.previous import OldEntry
from backup.systems.base import File, Folder, Stat, System
from catalog.format.keys import Keys
from catalog.format.values import OutOfLine


def has_other_metadata(
    system: System[Folder, File, Stat], keys: Keys, old: OldEntry, name: bytes | File, parent: Folder
) -> bool:
    """Whether extended attributes (ACLs among them) or side data of a folder differ. No, if they can't be read.

    `name` is the folder itself if another stands for it (Place).
    """

    def same(then: bytes | OutOfLine | None, now: bytes | OutOfLine | None) -> bool:
        if isinstance(then, OutOfLine) and isinstance(now, bytes):
            return then.at.id == keys.chunk_id(now)
        return then == now

    leaf, entry = old.leaf, old.entry
    with suppress(OSError):
        then, now = leaf.xattrs(entry) or {}, system.xattrs(name, parent)
        if then.keys() != now.keys() or not all(same(then[key], now[key]) for key in now):
            return True
    reader = system.side_data_reader
    if reader is not None:
        with suppress(OSError):
            before, data = leaf.windows(entry), reader.side_data(name, parent)
            after = data.windows([])
            if before is None or (
                not data.problems
                and not (
                    (before.attributes, before.short_name) == (after.attributes, after.short_name)
                    and same(before.security, after.security)
                    and same(before.reparse, after.reparse)
                    and same(before.extended, after.extended)
                )
            ):
                return True
    return False
