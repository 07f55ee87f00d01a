"""Plans folders: which exist, which are made, and which get the attributes of their entries."""

from __future__ import annotations

import errno
import stat

from catalog.errors import Damaged
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind
from mount.restore.conflict import Action, Existing, Policy, decide
from mount.restore.disk.base import Metadata, Status
from mount.restore.folder import Folder
from mount.restore.planning import Planning
from mount.restore.target import Refused, is_unfinished, reason


class FolderPlanner:
    """Makes missing folders during the walk, except in a dry run."""

    def __init__(self, planning: Planning, metadata: Metadata) -> None:
        self._planning, self._metadata = planning, metadata
        self._target, self._report = planning.target, planning.report

    def enter(
        self, leaf: Leaf, entry: Entry, parent: Folder, *, make: bool = True, passage: bool = False
    ) -> Folder | None:
        """The folder of an entry, made if it is missing and `make`. None if that fails; the report has the reason.

        `passage`: the folder only leads to the requested entries, so a copy next to it would be useless.
        """
        planning = self._planning
        self._report.entries += 1
        name = planning.name(leaf, entry, parent)
        try:
            attributes = planning.attributes(leaf, entry, parent, name)
            there = planning.status(parent, name)
            wanted = Existing(int(NodeKind.FOLDER), 0, entry.mtime)
            action = decide(planning.policy, None if there is None else Existing.of(there), wanted)
            if action is Action.COPY and not passage:
                name, there = planning.free_name(parent, name, wanted)
            elif action not in (Action.WRITE, Action.SAME):
                planning.refuse(parent, name, "something else exists where this folder belongs; left unchanged")
                return None
            if there is not None and planning.borders.is_border(parent, name):
                if entry.content is not None:
                    self._report.failed(parent.path(name), "another file system is mounted there; left unchanged")
                return None
            folder = planning.folders.add(parent, name)
            folder.attributes = attributes
            if there is not None:
                self._meet(folder, there)
            elif make and not self.ensure(folder):
                return None
            planning.list_action(folder, b"", Action.WRITE if there is None else Action.SAME, 0)
            return folder
        except Damaged as e:
            self._report.failed(parent.path(name), str(e), damaged=True)
        except OSError as e:
            self._report.failed(parent.path(name), reason(e))
        except (OverflowError, ValueError) as e:  # a number or name that this system doesn't take
            self._report.failed(parent.path(name), f"it could not be written: {e}")
        return None

    def top(self, leaf: Leaf, entry: Entry, folder: Folder) -> None:
        """Give the target itself the attributes of an entry, if it is new, or existing ones are overwritten."""
        planning = self._planning
        if planning.into_new or planning.policy is Policy.OVERWRITE:
            folder.attributes = planning.attributes(leaf, entry, folder, b"")

    def ensure(self, folder: Folder) -> bool:
        """Make a folder and its parents if they are missing. False if that fails; the report has the reason."""
        if folder.exists:
            return True
        missing: list[Folder] = []
        at: Folder | None = folder
        while at is not None and not at.exists and not self._planning.dry:
            missing.append(at)
            at = at.parent
        return all(self._make(folder) for folder in reversed(missing))

    def _make(self, folder: Folder) -> bool:
        try:
            self._target.make(folder)
            return True
        except FileExistsError:
            return self._make_apart(folder) or self._meet_late(folder)
        except OSError as e:
            self._target.check_usable(e)
            self._report.failed(folder.path(), f"the folder could not be made: {reason(e)}")
            return False

    def _make_apart(self, folder: Folder) -> bool:
        """Make a folder under a changed name, if its name is that of another entry to the target."""
        assert folder.parent is not None
        twins, name = self._planning.twins, folder.name
        try:
            with self._target.handle(folder.parent) as parent:
                if not twins.is_spelled_otherwise(folder.parent, parent, name):
                    return False
            folder.name = twins.apart(name)
            self._target.make(folder)
        except OSError:
            return False
        self._report.renamed(folder.path(), name)
        return True

    def _meet_late(self, folder: Folder) -> bool:
        """Record a folder that another program made after it was looked for."""
        assert folder.parent is not None
        try:
            st = self._target.status(folder.parent, folder.name)
            if st is None or not stat.S_ISDIR(st.st_mode):
                raise Refused(errno.ENOTDIR, "a symlink or file is where a folder belongs")
            self._meet(folder, st)
            return True
        except OSError as e:
            self._report.failed(folder.path(), reason(e))
            return False

    def _meet(self, folder: Folder, st: Status) -> None:
        """Record an existing folder. Unless a restore made it, only `overwrite` changes its attributes."""
        folder.exists = True
        a = folder.attributes
        assert a is not None
        owners = self._target.disk.geteuid(), self._metadata.owner_ids(a.owner)[0]
        unfinished = is_unfinished(st) and st.st_uid in owners
        equal = st.st_mtime_ns == a.mtime  # an earlier restore finished it
        if not (unfinished or equal or self._planning.policy is Policy.OVERWRITE):
            folder.attributes = None
        elif not self._planning.dry and stat.S_IMODE(st.st_mode) & 0o700 != 0o700:
            self._target.open_up(folder, st)
        self._target.note_existing(folder, st)
