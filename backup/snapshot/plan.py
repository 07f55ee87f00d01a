"""Which mounted file systems hold the files of a backup, and which of them need a snapshot. Pure: no I/O.

From the table of mounts: a path belongs to the mount that a lookup of it ends in, which is not always the last line
with the longest prefix, as one mount may hide others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from catalog.mountinfo import PSEUDO, Mount, is_within

_MEMORY = {"tmpfs", "ramfs"}
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "afs", "ncpfs", "coda", "glusterfs", "lustre",
    "gfs2", "ocfs2", "vboxsf", "prl_fs", "davfs", "beegfs", "orangefs", "pvfs2",
}  # fmt: skip
_REMOVED = b"//deleted"  # the end of a place whose folder was removed: no path leads there


class How(Enum):
    """How the files of a mount are to be read."""

    SNAPSHOT = "snapshot"  # if a provider takes it
    LIVE = "live"  # as they are, as nothing can make a snapshot of it
    STILL = "still"  # as they are: nothing can change them
    EXCLUDED = "excluded"  # as they are, as the user wants it


class Area(NamedTuple):
    """A mount whose files are to be saved. `reason` is a phrase that says why there can be no snapshot, or ""."""

    mount: Mount
    how: How
    reason: str


class Mounts:
    """A table of mounts, and which of them a path leads to."""

    def __init__(self, table: Iterable[Mount]) -> None:
        self._table = list(table)
        self._by_number = {mount.number: mount for mount in self._table}
        # By the mount and the place that each is mounted on; of two, the later is on top.
        self._on = {(m.above, m.place): m for m in self._table if m.above != m.number}
        # The mount of "/" is mounted on one that this process can't see, or (in the initial file system) on itself.
        tops = [m for m in self._table if m.above not in self._by_number or m.above == m.number]
        self._top = next((top for top in tops if top.place == b"/"), None)

    def of(self, path: bytes) -> Mount | None:
        """The mount in which an absolute path without symlinks ends. None if the table doesn't say."""
        at = self._top
        if at is None:
            return None
        left = len(self._table)  # as a table may lead in a circle
        for place in _above(path):  # the nearest mount point is passed first
            while left and (on := self._on.get((at.number, place))) is not None:
                at, left = on, left - 1
        return at

    def below(self, path: bytes) -> list[Mount]:
        """The mounts whose places are in a folder, without that of the folder itself, and that nothing hides."""
        inner = [m for m in self._table if m.place != path and is_within(m.place, path)]
        return [m for m in inner if self.of(m.place) is m]

    def is_in_pseudo(self, mount: Mount, above: Mount) -> bool:
        """Whether one of the mounts between two has no files of its own: no walk comes past it."""
        at = self._by_number.get(mount.above)
        while at is not None and at is not above:
            if at.file_system in PSEUDO:
                return True
            at = self._by_number.get(at.above) if at.above != at.number else None
        return False


def _above(path: bytes) -> Iterator[bytes]:
    """The folders above a path, from "/" on, and the path itself."""
    yield b"/"
    end = path.find(b"/", 1)
    while end > 0:
        yield path[:end]
        end = path.find(b"/", end + 1)
    if path != b"/":
        yield path


def planned(
    mounts: Mounts,
    paths: Iterable[bytes],
    *,
    stay: bool,
    excluded: Iterable[bytes],
    skipped: Callable[[bytes], bool],
) -> list[Area]:
    """The mounts with the files of `paths` (absolute, without symlinks), each once, those above before those below.

    With `stay`, only the mounts that the paths themselves are in. `excluded` are mount points of which the user
    wants no snapshot; what is below a folder that is `skipped` is not saved at all. File systems without files of
    their own are left out: they are saved as empty folders.
    """
    live = set(excluded)
    areas: dict[str, Area] = {}
    for path in sorted(paths):
        mount = mounts.of(path)
        if mount is None:
            continue
        _add(areas, mount, live)
        for inner in [] if stay else sorted(mounts.below(path), key=lambda m: m.place):
            if not skipped(inner.place) and not mounts.is_in_pseudo(inner, mount):
                _add(areas, inner, live)
    return sorted(areas.values(), key=lambda area: area.mount.place)


def _add(areas: dict[str, Area], mount: Mount, live: set[bytes]) -> None:
    if mount.number in areas or mount.file_system in PSEUDO or mount.place.endswith(_REMOVED):
        return
    how, reason = _how(mount)
    if mount.place in live:
        how, reason = How.EXCLUDED, ""
    areas[mount.number] = Area(mount, how, reason)


def _how(mount: Mount) -> tuple[How, str]:
    """How to read a mount, and why it can have no snapshot."""
    kind = mount.file_system
    if kind in _NETWORK or kind.partition(".")[0] in ("fuse", "fuseblk"):
        return How.LIVE, f"{kind} is no file system of this machine's disks"
    if kind in _MEMORY:
        return How.LIVE, f"{kind} is in memory"
    if "ro" in mount.super_options.split(","):
        return How.STILL, ""
    if kind == "overlay":
        return How.LIVE, "overlay is made of other file systems"
    return How.SNAPSHOT, ""
