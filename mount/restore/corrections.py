"""Existing files whose contents are those of the point: compares their metadata, and puts it back.

Size and time do not prove what a file contains, and whoever owned it may have set both. So a file is given to
another owner, or to more people, only after its contents were compared; one that has other names, or gets special
rights, is written anew instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from mount.restore.conflict import Action, Policy
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import Metadata, PathOf, Status, Wrong
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW, NONBLOCK
from mount.restore.folder import Folder, Identity
from mount.restore.planning import Planning
from mount.restore.target import Swapped

_READ = os.O_RDONLY | NOFOLLOW | CLOEXEC | NONBLOCK


class Corrections:
    """Decides about entries that are there already. With `overwrite` alone, existing metadata is changed."""

    def __init__(self, planning: Planning, metadata: Metadata) -> None:
        self._planning, self._metadata = planning, metadata
        self._disk = planning.target.disk

    @property
    def wanted(self) -> bool:
        return self._planning.policy is Policy.OVERWRITE and self._planning.permissions

    def file(
        self, folder: Folder, name: bytes, there: Status, a: Attributes, holds: Callable[[int], bool]
    ) -> Action:
        """SAME, CORRECT if the metadata had to be put back, or REPLACE. Raises OSError.

        `holds`: whether the open file has the contents of the entry.
        """
        disk = self._disk
        try:
            with self._planning.target.handle(folder) as parent:
                fd = disk.open(name, _READ, dir_fd=parent)
        except PermissionError:
            return Action.REPLACE
        try:
            st = disk.fstat(fd)
            if Identity.of(st) != Identity.of(there):
                raise Swapped("file")
            wrong = self._metadata.compare(fd, a)
            if wrong is Wrong.NOTHING:
                return Action.SAME
            if st.st_nlink > 1 or wrong is Wrong.PRIVILEGES:
                return Action.REPLACE
            if self._planning.dry:
                return Action.CORRECT
            if wrong is Wrong.GIVES and not holds(fd):
                return Action.REPLACE
            changed = self._metadata.put_back(fd, a, lambda: folder.path(name))
            return Action.CORRECT if changed else Action.SAME
        finally:
            disk.close(fd)

    def named(self, folder: Folder, name: bytes, there: Status, a: Attributes) -> Action:
        """As `file`, for an entry that must not be opened."""
        path: PathOf = lambda: folder.path(name)  # noqa: E731 - a type that mypy checks
        with self._planning.target.handle(folder) as parent:
            identity = Identity.of(there)
            wrong = self._metadata.correct_name(parent, name, identity, a, path, dry=self._planning.dry)
        return Action.CORRECT if wrong else Action.SAME
