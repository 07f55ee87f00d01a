"""State that the parts of a planner share: the current point, names, attributes, links, existing files."""

from __future__ import annotations

import stat
from collections.abc import Callable
from itertools import count
from typing import TypeAlias

from catalog.format.pages import Entry, Leaf
from catalog.format.records import Point
from catalog.format.values import NodeKind, Owner, Xattrs
from catalog.names import spelling
from catalog.places import Places
from mount.restore.conflict import Action, Existing, Policy, copy_name, decide
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import ConvertWindows, PathOf, Status
from mount.restore.file_plan import FilePlan
from mount.restore.folder import Folder
from mount.restore.folder_table import FolderTable
from mount.restore.link_table import LinkTable
from mount.restore.options import Options
from mount.restore.plan import Plan
from mount.restore.report import Planned, Report
from mount.restore.target import Target
from mount.restore.twins import Twins
from mount.restore.volume.borders import Borders
from mount.restore.watch import NoWatch, Watch

OwnerIds: TypeAlias = Callable[[Owner, PathOf], tuple[int, int]]
FOREIGN = "the recovery point is of another machine (see --trust-modes)"
_CAPABILITIES = b"security.capability"
_SET_ID = 0o6000


class Planning:
    """The state of one walk. `plan` may be replaced between two sources. `dry`: nothing is made."""

    def __init__(
        self,
        target: Target,
        folders: FolderTable,
        report: Report,
        options: Options,
        convert: ConvertWindows,
        owner_ids: OwnerIds,
        places: Places,
        twins: Twins,
        watch: Watch | None = None,
    ) -> None:
        self.watch = NoWatch() if watch is None else watch
        self.target, self.report, self._options = target, report, options
        self.policy, self.dry, self.into = options.policy, options.dry_run, options.into
        self.into_new = False  # the target is new, or what an earlier run began
        self.borders = Borders(target.top, target.disk.mount_points() if options.into else ())
        self.folders, self.twins = folders, twins
        self.plan = Plan(folders, places)
        self.links = LinkTable(folders)
        self.time = 0  # of the point
        self._point = b""  # its id
        self.number = count(1).__next__  # a number for the next file
        self.permissions = options.permissions
        self.foreign = False  # the point is of another machine, whose modes are not trusted
        self._system, self._convert, self._owner_ids = options.system, convert, owner_ids
        self._leaf: Leaf | None = None  # the page in use, and its owners by their numbers
        self._owners: dict[int, Owner] = {}

    def begin(self, point: Point) -> None:
        """Start a source of this point."""
        self.time, self._point = point.time, point.id
        self.foreign = not self._options.trust_modes and point.machine != self._options.own
        self._spell = spelling(self._system, point.system)

    # --- one entry ----------------------------------------------------------------------------------------------

    def name(self, leaf: Leaf, entry: Entry, folder: Folder) -> bytes:
        """The name to give an entry in a folder: its own if the target can store it. Raises StoreError."""
        name = self.twins.place(self._spell(entry.name), entry.name, folder)
        self.watch.named(folder, name, leaf, entry)
        if name != entry.name:
            self.report.renamed(folder.path(name), entry.name)
        return name

    def leave(self, folder: Folder) -> None:
        """End a folder: no more of its entries will come."""
        self.watch.left(folder)
        self.twins.leave(folder)
        self.folders.settle(folder)

    def refuse(self, folder: Folder, name: bytes, why: str) -> None:
        """Report an entry that is not restored, because something of another kind has its name."""
        if self.watch.blocked(folder, name):
            self.report.blocked += 1
        else:
            self.report.failed(folder.path(name), why)

    def attributes(
        self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes, *, link: bool = False
    ) -> Attributes:
        """The attributes to restore. If the entry is a further `link` of a file, they have no Windows metadata."""
        if leaf is not self._leaf:
            self._leaf, self._owners = leaf, {}
        owner = self._owners.get(entry.owner)
        if owner is None:
            saved = leaf.owner(entry)
            ids = self._owner_ids(saved, lambda: folder.path(name))
            owner = self._owners[entry.owner] = Owner(*ids, saved.user, saved.group)
        xattrs = leaf.xattrs(entry) if entry.xattrs >= 0 else None
        mode = entry.mode & 0o7777
        if self.foreign:
            mode, xattrs = _harmless(entry.kind, mode, xattrs)
        a = Attributes(entry.kind, mode, owner, entry.mtime, xattrs, bool(entry.more))
        if entry.more and not link and (windows := leaf.windows(entry)) is not None:
            return self._convert(a, windows, lambda: folder.path(name))
        return a

    def note_left_out(self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes) -> None:
        """Report what `attributes` leaves out of an entry of a `foreign` point that is going to be written."""
        if self.permissions:
            xattrs = leaf.xattrs(entry) if entry.xattrs >= 0 else None
            if _harmless(entry.kind, entry.mode, xattrs) != (entry.mode, xattrs):
                why = "its set-user-id or set-group-id bit, or its capabilities, were left out"
                self.report.problem(folder.path(name), f"{why}: {FOREIGN}")

    def list_action(self, folder: Folder, name: bytes, action: Action, size: int, final: bytes = b"") -> None:
        """In a dry run, list what would be done. An empty name means the folder itself."""
        if not self.dry or (not name and action is Action.SAME):
            return
        if action in (Action.WRITE, Action.COPY):
            self.watch.made()
        path = folder.path(name) + (b"" if name else b"/")
        note = final if action is Action.COPY else b""
        self.report.planned.append(Planned(path, action.value, size, note))

    # --- what exists --------------------------------------------------------------------------------------------

    def status(self, folder: Folder, name: bytes) -> Status | None:
        """The status of a name in a folder, or None if it is free. Raises OSError."""
        if not folder.exists or folder.fresh:
            return None
        st = self.target.status(folder, name)
        if st is not None:
            self.twins.met(folder, name)
        return st

    def existing(self, folder: Folder, name: bytes, st: Status) -> Existing:
        """The entry that exists at a name, including the target of a symlink. Raises OSError."""
        target = b""
        if stat.S_ISLNK(st.st_mode):
            with self.target.handle(folder) as fd:
                target = self.target.disk.readlink(name, dir_fd=fd)
        return Existing.of(st, target)

    def free_name(self, folder: Folder, name: bytes, wanted: Existing) -> tuple[bytes, Status | None]:
        """A free name for a copy, and None; or a name that already has the wanted entry, and its status."""
        number = 0
        while True:
            number += 1
            copy = copy_name(name, self.time, number)
            st = self.status(folder, copy)
            if st is None:
                return copy, None
            if decide(Policy.COPY, self.existing(folder, copy, st), wanted) is Action.SAME:
                return copy, st

    # --- hard links ---------------------------------------------------------------------------------------------

    def further_link(self, leaf: Leaf, entry: Entry, folder: Folder, name: bytes) -> bool:
        """Whether an entry is a further name of a file that was met before. If so, it is linked after that file."""
        first = self.links.place(self._point, entry.link)
        if first is None:
            return False
        attributes = self.attributes(leaf, entry, folder, name, link=True)
        file = self.link_plan(folder, name, name, attributes, entry)
        self.links.add_further(first, file)
        if self.dry:
            action, final = self._link_action(self.links.first(first), file)
            self.list_action(folder, name, action, 0, final)
        return True

    def _link_action(self, first: FilePlan, file: FilePlan) -> tuple[Action, bytes]:
        """In a dry run, what would be done about a further name of a file, and under which name. As Linker does."""
        there = None
        if first.folder.exists and not first.replace:
            there = self.target.status(first.folder, first.final)
        wanted = Existing(file.attributes.kind, file.size, file.attributes.mtime)
        final, number = file.name, 0
        while True:
            found = self.status(file.folder, final)
            if (
                found is not None
                and there is not None
                and (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino)
            ):
                return Action.SAME, final
            action = decide(self.policy, None if found is None else Existing.of(found), wanted)
            if action is Action.SAME and self.policy is Policy.OVERWRITE:
                action = Action.REPLACE
            if action is not Action.COPY:
                # The copy's name is free, or has what is wanted.
                return (Action.COPY if number and action is Action.WRITE else action), final
            number += 1
            final = copy_name(file.name, file.time, number)

    def first_link(self, file: FilePlan, *, there: bool) -> FilePlan:
        """Record the first name of a file with several; whether it is `there`. Returns what to write."""
        self.links.add_first(self._point, file)
        return file

    def link_plan(self, folder: Folder, name: bytes, final: bytes, a: Attributes, entry: Entry) -> FilePlan:
        """The plan of one name of a file that has several, with no data to fetch."""
        return FilePlan(self.number(), folder, name, final, entry.size, a, False, entry.link, self.time)


def _harmless(kind: int, mode: int, xattrs: Xattrs | None) -> tuple[int, Xattrs | None]:
    """Mode and extended attributes without what gives a program more rights than its user has."""
    if kind == NodeKind.FOLDER:
        return mode, xattrs  # its set-group-id bit only chooses the group of new files
    if xattrs is not None and _CAPABILITIES in xattrs:
        xattrs = {name: value for name, value in xattrs.items() if name != _CAPABILITIES} or None
    return mode & ~_SET_ID, xattrs
