"""Planning folders: which exist, which are made, which get the attributes of their entry."""

from __future__ import annotations

import stat

from catalog.errors import Damaged, LocalError
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind
from mount.restore.conflict import Action, Existing, Policy, decide
from mount.restore.disk.base import Status
from mount.restore.planning import Planning
from mount.restore.target import FULL, UNFINISHED, Folder, reason


class FolderPlanner:
    """Makes folders as they are met, except in a dry run. `entered` lists all of them."""

    def __init__(self, planning: Planning) -> None:
        self._planning = planning
        self._target, self._report = planning.target, planning.report
        self.entered: list[Folder] = []

    def enter(
        self, leaf: Leaf, entry: Entry, parent: Folder, *, make: bool = True, passage: bool = False
    ) -> Folder | None:
        """The folder of an entry, made if it is missing (and `make`). None if that fails: the report says why.

        `passage`: it is only on the way to what was asked for; a copy of it would be no help.
        """
        planning = self._planning
        self._report.entries += 1
        name = planning.name(entry, parent)
        try:
            attributes = planning.attributes(leaf, entry, parent, name)
            there = planning.status(parent, name)
            wanted = Existing(int(NodeKind.FOLDER), 0, entry.mtime)
            action = decide(planning.policy, None if there is None else Existing.of(there), wanted)
            if action is Action.COPY and not passage:
                name, there = planning.free_name(parent, name, wanted)
            elif action not in (Action.WRITE, Action.SAME):
                self._report.failed(
                    parent.path(name), "something else stands where this folder should be; it was left alone"
                )
                return None
            folder = self._target.add(parent, name, attributes)
            if there is not None:
                self._meet(folder, there)
            elif make and not self.ensure(folder):
                return None
            self.entered.append(folder)
            planning.list_action(folder, b"", Action.WRITE if there is None else Action.SAME, 0)
            return folder
        except Damaged as e:
            self._report.failed(parent.path(name), str(e), damaged=True)
        except OSError as e:
            self._report.failed(parent.path(name), reason(e))
        return None

    def ensure(self, folder: Folder) -> bool:
        """Make a folder, and those above it, if they are missing. False if that fails: the report says why."""
        if folder.exists or self._planning.dry:
            return True
        if folder.parent is not None and not self.ensure(folder.parent):
            return False
        try:
            self._target.make(folder)
            return True
        except FileExistsError:
            folder.exists = True  # made by another program meanwhile; Target.handle refuses what is no folder
            return True
        except OSError as e:
            if e.errno in FULL:
                raise LocalError(f"{folder.path().decode(errors='replace')} can't be made: {e.strerror}") from e
            self._report.failed(folder.path(), f"the folder could not be made: {reason(e)}")
            return False

    def _meet(self, folder: Folder, st: Status) -> None:
        """Note a folder that existed before. It keeps its attributes unless it is ours or is to be overwritten."""
        folder.exists = True
        a = folder.attributes
        assert a is not None
        unfinished = stat.S_IMODE(st.st_mode) == UNFINISHED and st.st_uid == self._target.disk.geteuid()
        equal = st.st_mtime_ns == a.mtime  # as an earlier restore has left it
        if not (unfinished or equal or self._planning.policy is Policy.OVERWRITE):
            folder.attributes = None
        self._target.look(folder, st)
