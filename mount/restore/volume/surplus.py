"""What a volume has and a recovery point has not: the list that a roll-back shows, and removes at its end.

Rows are in a spool, since there may be millions. What is in a folder comes before the folder, so that each folder
is empty when its turn comes.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from catalog.format.records import Problem
from catalog.patterns import Rules, rules_of
from mount.restore.disk.base import Disk, Status
from mount.restore.disk.flags import CLOEXEC, DIRECTORY, NOFOLLOW
from mount.restore.spool import Spool
from mount.restore.volume.borders import Borders

_FOLDER = os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC
_DEPTH = 4096  # folders in each other
# How reasons begin that concern what an entry is like. Whatever else a problem of a folder is, what is in it may be
# missing in the point.
_OF_THE_ENTRY = (
    "its extended attribute",
    "its attributes",
    "its stream",
    "its time",
    "its rules",
    "it has too many",
)
_BYTES = re.compile(r"\\x[89a-f][0-9a-f]")  # a byte of a rule that is no UTF-8, as points list it
_LONGEST = 4 << 10  # bytes of a path in a point's problems; the rest of a longer one is cut off
_VAULT = b"vault.json"
# In the configuration and the state folder of whoever made the backup, which left them out: without them, a machine
# that was rolled back from a rescue system would not know its vault.
_HOMES = {b"vaults.json", b"runs.jsonl"}

MOUNTED = "another file system is mounted there"
OWN = "it is a folder of rpdrive"
A_VAULT = "it is a vault"
SUBVOLUME = "it is a subvolume or another file system; remove it with the tools of its file system"
PROBLEM = "the backup could not save it"
EXCLUDED = "the backup left it out"


class Row(NamedTuple):
    """An entry to remove, from the top of the volume, as it was when it was listed. Times in ns, sizes in bytes.

    `changed` is the ctime, or, of a file with several names, the mtime, which does not change with its other names.
    """

    path: bytes
    is_folder: bool
    device: int
    inode: int
    changed: int
    size: int

    @classmethod
    def of(cls, path: bytes, st: Status) -> Row:
        is_folder = stat.S_ISDIR(st.st_mode)
        return cls(
            path, is_folder, st.st_dev, st.st_ino, 0 if is_folder else _changed(st, st.st_nlink > 1), st.st_size
        )

    def is_unchanged(self, st: Status, *, renumbers: bool) -> bool:
        """Whether a status is that of the same entry, as it was. `renumbers`: inode numbers mean nothing."""
        if stat.S_ISDIR(st.st_mode) != self.is_folder or st.st_dev != self.device:
            return False
        if not renumbers and st.st_ino != self.inode:
            return False
        if self.is_folder:
            return True
        return st.st_size == self.size and self.changed in (_changed(st, False), _changed(st, True))


class Top(NamedTuple):
    """An entry that the point has not, in a folder that it has; how many entries go with it, and their size."""

    path: bytes
    entries: int
    size: int


class Kept(NamedTuple):
    """An entry that the point has not, and that stays; and why."""

    path: bytes
    reason: str


def _changed(st: Status, several: bool) -> int:
    return st.st_mtime_ns if several else getattr(st, "st_ctime_ns", st.st_mtime_ns)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


class Surplus:
    """The list. `spared` are folders to leave alone, by device and inode; `left_out` is what no backup saved.

    `tops` are the first ones of what goes, without what is in them; `kept` those that stay though the point has not
    got them. Sizes in bytes.
    """

    def __init__(
        self, disk: Disk, borders: Borders, spared: set[tuple[int, int]], left_out: LeftOut, most: int = 1000
    ) -> None:
        self.count = 0
        self.folders = 0
        self.size = 0
        self.tops: list[Top] = []
        self.kept: list[Kept] = []
        self.kept_count = Counter[str]()
        self._disk, self._borders, self._spared, self._left_out, self._most = disk, borders, spared, left_out, most
        self._spool = Spool()

    def __iter__(self) -> Iterator[Row]:
        return map(_decode, self._spool.records())

    def add(self, folder: int, above: bytes, names: Sequence[bytes]) -> None:
        """List these names of an open folder of the target at the path `above`, and all that is in them."""
        for name in names:
            count, size = self.count, self.size
            self._tree(folder, above, name)
            if self.count > count and len(self.tops) < self._most:
                path = above + b"/" + name if above else name
                self.tops.append(Top(path, self.count - count, self.size - size))

    def keep(self, path: bytes, reason: str) -> None:
        self.kept_count[reason] += 1
        if len(self.kept) < self._most:
            self.kept.append(Kept(path, reason))

    def _tree(self, folder: int, above: bytes, name: bytes) -> None:
        stack: list[_Frame] = []
        try:
            self._meet(stack, folder, above, name)
            while stack:
                frame = stack[-1]
                if frame.names:
                    self._meet(stack, frame.fd, frame.row.path, frame.names.pop())
                    continue
                stack.pop()
                self._disk.close(frame.fd)
                if frame.is_kept:
                    if stack:
                        stack[-1].is_kept = True
                else:
                    self._list(frame.row)
        finally:
            for frame in stack:
                self._disk.close(frame.fd)

    def _meet(self, stack: list[_Frame], folder: int, above: bytes, name: bytes) -> None:
        """List an entry, or open it if it is a folder; or keep it, and with it the folders above it."""
        path = above + b"/" + name if above else name
        try:
            st = self._disk.lstat(name, dir_fd=folder)
            is_folder = stat.S_ISDIR(st.st_mode)
            parent = stack[-1].row.device if stack else self._disk.fstat(folder).st_dev
            why = self._reason(path, st, parent)
            if not why and is_folder:
                fd = self._disk.open(name, _FOLDER, dir_fd=folder)
                try:
                    names = self._disk.names(fd)
                    if (st.st_dev, st.st_ino) != _identity(self._disk.fstat(fd)):
                        why = "it changed while it was listed"
                    elif is_vault(names):
                        why = A_VAULT
                    elif not _HOMES.isdisjoint(names):
                        why = OWN
                    elif len(stack) >= _DEPTH:
                        why = "it has too many folders in each other"
                except BaseException:
                    self._disk.close(fd)
                    raise
                if not why:
                    stack.append(_Frame(Row.of(path, st), fd, sorted(names, reverse=True)))
                    return
                self._disk.close(fd)
        except FileNotFoundError:
            return
        except OSError as e:
            why = f"it can't be read: {e.strerror or e}"
        if why:
            self.keep(path, why)
            if stack:
                stack[-1].is_kept = True
        else:
            self._list(Row.of(path, st))

    def spares(self, st: Status) -> bool:
        """Whether a status is that of a folder of rpdrive."""
        return (st.st_dev, st.st_ino) in self._spared

    def _reason(self, path: bytes, st: Status, parent: int) -> str:
        if self._borders.is_border_path(path):
            return MOUNTED
        if self.spares(st):
            return OWN
        if st.st_dev != parent:
            return SUBVOLUME
        return self._left_out.reason(path, is_folder=stat.S_ISDIR(st.st_mode))

    def _list(self, row: Row) -> None:
        self.count += 1
        self.folders += row.is_folder
        self.size += 0 if row.is_folder else row.size
        self._spool.append(_encode(row))

    def close(self) -> None:
        self._spool.close()


class _Frame:
    """A folder that is being listed. `names` are those still to come, the next one last."""

    __slots__ = ("fd", "is_kept", "names", "row")

    def __init__(self, row: Row, fd: int, names: list[bytes]) -> None:
        self.row, self.fd, self.names = row, fd, names
        self.is_kept = False


def _identity(st: Status) -> tuple[int, int]:
    return st.st_dev, st.st_ino


def is_vault(names: Sequence[bytes]) -> bool:
    """Whether a folder with these names is a vault."""
    return _VAULT in names


class LeftOut:
    """What a backup did not save though it was there: by its rules, and by the problems that the point lists.

    `place` is that of the volume in the point, without a leading slash. Raises UsageError for a malformed rule.
    A point does not say whether its rules ignored case: what either way leaves out was left out.
    """

    def __init__(self, place: bytes, rules: Sequence[str], problems: Sequence[Problem]) -> None:
        plain = [rule for rule in rules if not rule.startswith("#")]
        self._rules = [
            Rules(rules_of(plain, "exclude", ignore_case=fold), ignore_case=fold) for fold in (False, True)
        ]
        self._place = place.strip(b"/")
        top = self._place + b"/" if self._place else b""
        found = [(row.path.strip(b"/") + b"/", row.reason) for row in problems if row.path.strip(b"/")]
        below = [(path[len(top) : -1], reason) for path, reason in found if path.startswith(top)]
        self._problems = {path for path, _reason in below if path}
        self._cut = tuple(path for path, _reason in below if len(top) + len(path) >= _LONGEST - 1)
        self._unseen = {path for path, reason in below if not reason.startswith(_OF_THE_ENTRY)}

    @staticmethod
    def unknown(rules: Sequence[str]) -> str | None:
        """The first rule of which a point does not say all, for people; None if there is none."""
        for rule in rules:
            if rule.startswith("# and "):
                return rule[2:]
            if _BYTES.search(rule):
                return f"{rule}, which may have stood for other bytes"
        return None

    def reason(self, path: bytes, *, is_folder: bool) -> str:
        """Why the backup did not save a path (from the top of the volume); empty if it was not there then."""
        if self._cut and path.startswith(self._cut):
            return PROBLEM
        if path in self._problems or b"" in self._unseen:
            return PROBLEM
        if self._unseen and any(above in self._unseen for above in _above(path)):
            return PROBLEM
        names = (self._place + b"/" + path if self._place else path).split(b"/")
        return EXCLUDED if any(_leave_out(rules, names, is_folder) for rules in self._rules) else ""


def _above(path: bytes) -> Iterator[bytes]:
    """The folders above a path, the nearest first."""
    while path := path.rpartition(b"/")[0]:
        yield path


def _leave_out(rules: Rules, names: list[bytes], is_folder: bool) -> bool:
    if not rules.rules:
        return False
    level = rules.top
    for n, name in enumerate(names):
        last = n + 1 == len(names)
        rule = level.match(name, is_folder=is_folder or not last)
        if rule is not None and not rule.negated:
            return True
        level = level.below(name)
    return False
