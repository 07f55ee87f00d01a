"""Names that a target can't tell apart, e.g. README and readme on exFAT: whose place a name that exists is.

No file system says which names are equal to it, and in ext4 one folder may differ from the next. So nothing is
assumed: if a name is taken, the list of the folder shows whether it is there in another spelling. If the recovery
point has an entry of that spelling in the folder, it is the place of that entry: so a later restore finds it again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from unicodedata import normalize

from catalog.errors import Damaged, MissingData
from catalog.format.values import Subtree
from catalog.names import IGNORE_CASE, apart, folded, true_name
from catalog.tree import PageSource, lookup
from mount.restore.disk.base import Status
from mount.restore.folder import Folder
from mount.restore.target import FOLDER, Target

_ROOT = 1  # the number of an entry does not matter here


class Twins:
    """Gives names to entries whose own name is equal, for the target, to that of another.

    `place` is for the thread that plans; `is_spelled_otherwise` and `apart` are thread-safe.
    """

    def __init__(self, target: Target, pages: PageSource, system: str) -> None:
        self._target, self._pages, self._system = target, pages, system
        self._always = system in IGNORE_CASE
        self._told_apart: tuple[int, bytes] | None = None  # folder and name, if no other spelling of it exists
        # All by the number of a folder of the target.
        self._equal: dict[int, bool] = {}  # whether names that differ in case are equal there
        self._saved: dict[int, Subtree | None] = {}  # the folder of the point that is restored into it
        self._taken: dict[int, dict[str, bytes]] = {}  # names in use, by their keys
        self._spelled: dict[int, dict[str, list[bytes]]] = {}  # names that exist, by their keys

    def enter(self, folder: Folder, saved: Subtree | None) -> None:
        """Begin to give names in a folder, to entries of a folder of the point."""
        self._saved[folder.number] = saved

    def leave(self, folder: Folder) -> None:
        """End a folder: no more of its entries will come."""
        for table in (self._equal, self._saved, self._taken, self._spelled):
            table.pop(folder.number, None)

    def apart(self, name: bytes) -> bytes:
        """A name that is equal to no other, for an entry that can't have its own."""
        return apart(name, self._system)

    # --- while a restore is planned -------------------------------------------------------------------------------

    def place(self, name: bytes, own: bytes, folder: Folder) -> bytes:
        """The name for an entry called `own`: `name`, unless another entry has an equal one. Raises StoreError."""
        if not self._always and (folder.fresh or not self._are_equal(folder, name)):
            return name
        key = self._key(name)
        taken = self._taken.setdefault(folder.number, {})
        if taken.get(key, name) != name or self._is_anothers(folder, name, key):
            name = self.apart(own)
            key = self._key(name)
        taken.setdefault(key, name)
        return name

    def _are_equal(self, folder: Folder, name: bytes) -> bool:
        """Whether names that differ in case are known to be equal in a folder; found out if this one exists."""
        if not folder.exists or folder.fresh:
            return False
        known = self._equal.get(folder.number)
        if known is None:
            others = {other for other in _variants(name) if self._status(folder, other) is not None}
            self._told_apart = None if others else (folder.number, name)
            if not others:
                return False
            if self._status(folder, name) is not None:
                others.add(name)
            names = self._names(folder)
            known = names is not None and not others.issubset(names)
            self._equal[folder.number] = known
        return known

    def met(self, folder: Folder, name: bytes) -> None:
        """Learn that a name exists in a folder. If no other spelling leads to it, none does to any other name."""
        if self._told_apart == (folder.number, name) and name.lower() != name.upper():
            self._equal[folder.number] = False

    def _is_anothers(self, folder: Folder, name: bytes, key: str) -> bool:
        """Whether what exists under a name is the place of another entry of the same folder of the point."""
        if not folder.exists or folder.fresh or self._status(folder, name) is None:
            return False
        same = self._spellings(folder, key)
        if same is not None and name not in same:
            self._spelled.pop(folder.number)  # it may have been made since
            same = self._spellings(folder, key)
        if same is None or name in same:
            return False
        return not same or any(self._is_saved(folder, spelling) for spelling in same)

    def _is_saved(self, folder: Folder, spelling: bytes) -> bool:
        """Whether the folder of the point has an entry of this name."""
        saved = self._saved.get(folder.number)
        names = {spelling, true_name(os.fsdecode(spelling)) or spelling}
        with suppress(Damaged, MissingData):
            return any(lookup(self._pages, saved, _ROOT, name) is not None for name in names)
        return False

    def _spellings(self, folder: Folder, key: str) -> list[bytes] | None:
        """The names with this key in a folder; None if it can't be listed."""
        spelled = self._spelled.get(folder.number)
        if spelled is None:
            names = self._names(folder)
            if names is None:
                return None
            spelled = self._spelled[folder.number] = {}
            for name in names:
                spelled.setdefault(self._key(name), []).append(name)
        return spelled.get(key, [])

    def _key(self, name: bytes) -> str:
        """Equal for names that may be equal to the target; where that is not certain, rather too often."""
        key = folded(os.fsdecode(name))
        return key if self._always or key.isascii() else normalize("NFD", key.casefold())

    def _status(self, folder: Folder, name: bytes) -> Status | None:
        with suppress(OSError):
            return self._target.status(folder, name)
        return None

    def _names(self, folder: Folder) -> list[bytes] | None:
        with suppress(OSError), self._target.handle(folder) as fd:
            return self._listed(fd)
        return None

    def _listed(self, fd: int) -> list[bytes] | None:
        """The names in an open folder; None if it can't be listed."""
        disk = self._target.disk
        with suppress(OSError):
            again = disk.open(b".", FOLDER, dir_fd=fd)  # a descriptor has one position in the list
            try:
                return disk.names(again)
            finally:
                disk.close(again)
        return None

    # --- while it writes ------------------------------------------------------------------------------------------

    def is_spelled_otherwise(self, folder: Folder, fd: int, name: bytes) -> bool:
        """Whether a name that is taken in a folder, open as `fd`, is there in another spelling.

        The folder is listed only if such a spelling leads to something; once, if this run made the folder.
        """
        if folder.fresh and self._equal.get(folder.number):
            return True
        if not any(self._leads_somewhere(fd, other) for other in _variants(name)):
            return False
        names = self._listed(fd)
        otherwise = names is not None and name not in names
        if otherwise:
            self._equal[folder.number] = True
        return otherwise

    def _leads_somewhere(self, fd: int, name: bytes) -> bool:
        try:
            self._target.disk.lstat(name, dir_fd=fd)
        except OSError:
            return False
        return True


def _variants(name: bytes) -> set[bytes]:
    """Spellings of a name that differ in case, Unicode form or what is at its end; such a target has equal ones."""
    text = os.fsdecode(name)
    found = {text.swapcase(), normalize("NFC", text), normalize("NFD", text), text.rstrip(". ")}
    return {os.fsencode(other) for other in found - {text, ""}}
