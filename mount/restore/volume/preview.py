"""A walk before the restore of a volume: what it needs, and what a roll-back would remove. Writes nothing."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from catalog.errors import Damaged
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind
from catalog.names import folded
from mount.restore.conflict import Action
from mount.restore.disk.flags import CLOEXEC, DIRECTORY, NOFOLLOW
from mount.restore.folder import Folder, Identity
from mount.restore.target import KEPT_NAMES, Target
from mount.restore.volume.needs import Needs
from mount.restore.volume.surplus import A_VAULT, OWN, Surplus, is_vault

_FOLDER = int(NodeKind.FOLDER)
_LISTED = DIRECTORY | NOFOLLOW | CLOEXEC
UNKNOWN = "what the recovery point has there can't be read"
UNSEEN = "it is in a subvolume or another file system that the backup did not see"


class Preview:
    """A Watch of the walk. `surplus` is None unless what the point has not is to be listed.

    `tells_twins`: count names of one folder that differ only in case. Damaged entries count nothing here: the
    restore reports them.
    """

    def __init__(self, target: Target, needs: Needs, surplus: Surplus | None, *, tells_twins: bool) -> None:
        self._target, self.needs, self.surplus, self._tells_twins = target, needs, surplus, tells_twins
        self._names: dict[
            int, dict[bytes, bool]
        ] = {}  # by number of a folder that exists: name -> whether a folder
        self._keys: dict[int, set[str]] = {}
        self._unknown: set[int] = set()

    def named(self, folder: Folder, name: bytes, leaf: Leaf, entry: Entry) -> None:
        if self.surplus is not None and folder.exists:
            self._names.setdefault(folder.number, {})[name] = entry.kind == _FOLDER
        if self._tells_twins:
            keys, key = self._keys.setdefault(folder.number, set()), folded(name.decode(errors="replace"))
            if key in keys:
                self.needs.twins += 1
                self.needs.twin = self.needs.twin or folder.path(name)
            keys.add(key)
        with suppress(Damaged):
            self.needs.named(folder, name, leaf, entry)

    def wrote(self, action: Action, folder: Folder, name: bytes, leaf: Leaf, entry: Entry, there: int) -> None:
        self.needs.wrote(action, leaf, entry, there)

    def made(self) -> None:
        self.needs.entries += 1

    def unknown(self, folder: Folder) -> None:
        self._unknown.add(folder.number)

    def blocked(self, folder: Folder, name: bytes) -> bool:
        return self.surplus is not None

    def left(self, folder: Folder) -> None:
        """List what a folder has beyond the names that the point has in it."""
        self._keys.pop(folder.number, None)
        known = self._names.pop(folder.number, {})
        if self.surplus is None or not folder.exists or folder.fresh:
            return
        path = folder.path()
        disk = self._target.disk
        try:
            with self._target.handle(folder) as itself:
                fd = disk.open(b".", _LISTED, dir_fd=itself)
            try:
                names = disk.names(fd)
                more = [name for name in names if self._is_surplus(folder, fd, name, known)]
                if known and any(name not in known for name in more):
                    more = self._without_spellings(fd, more, known)
                why = UNKNOWN if folder.number in self._unknown else self._is_another(folder, fd, known)
                if is_vault(more) or self.surplus.spares(disk.fstat(fd)):
                    why = A_VAULT if is_vault(more) else OWN
                if why:
                    for name in more:
                        self.surplus.keep(path + b"/" + name if path else name, why)
                else:
                    self.surplus.add(fd, path, sorted(more))
            finally:
                disk.close(fd)
        except OSError as e:
            self.surplus.keep(path, f"it can't be listed: {e.strerror or e}")

    def _is_another(self, folder: Folder, fd: int, known: dict[bytes, bool]) -> str:
        """Why an empty folder of the point may say nothing of what is there: a backup that can't see a subvolume
        saves one in its place."""
        if known or folder.parent is None:
            return ""
        with self._target.handle(folder.parent) as above:
            return UNSEEN if self._target.disk.fstat(above).st_dev != self._target.disk.fstat(fd).st_dev else ""

    def _is_surplus(self, folder: Folder, fd: int, name: bytes, known: dict[bytes, bool]) -> bool:
        if name not in known:
            return folder.parent is not None or name not in KEPT_NAMES
        try:
            is_folder = stat.S_ISDIR(self._target.disk.lstat(name, dir_fd=fd).st_mode)
        except OSError:
            return False
        return is_folder != known[name]

    def _without_spellings(self, fd: int, more: list[bytes], known: dict[bytes, bool]) -> list[bytes]:
        """These names without those that the file system takes for a known one in another spelling."""
        spelled: dict[str, list[bytes]] = {}
        for name in known:
            spelled.setdefault(folded(os.fsdecode(name)), []).append(name)

        def is_known(name: bytes) -> bool:
            others = () if name in known else spelled.get(folded(os.fsdecode(name)), ())
            try:
                st = self._target.disk.lstat(name, dir_fd=fd)
                return any(Identity.of(st) == self._identity(fd, other) for other in others)
            except OSError:
                return True  # it is gone

        return [name for name in more if not is_known(name)]

    def _identity(self, fd: int, name: bytes) -> Identity | None:
        with suppress(FileNotFoundError):
            return Identity.of(self._target.disk.lstat(name, dir_fd=fd))
        return None
