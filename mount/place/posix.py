"""Mount points on Linux and other POSIX systems: empty folders."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from catalog.errors import MountFailed
from mount.place.base import Identity, check_empty, check_no_overlap
from mount.place.held import HeldFolder
from mount.place.mounted import FILE_SYSTEM, already_mounted, detach, file_system_at, is_stale

_FUSE_CONF = Path("/etc/fuse.conf")


class PosixPlaces:
    """Implements Places on POSIX: a place is an empty folder."""

    def absolute(self, path: Path) -> Path:
        """See Places. The path has no symlinks, as in the table of mounts; the drive's process may be dead."""
        return Path(os.path.realpath(path))

    def is_next_free(self, path: Path) -> bool:
        return False

    def check(self, *, allow_other: bool) -> None:
        """See Places. fusermount would refuse, too, but later and with a worse message."""
        if not allow_other or os.uname().sysname != "Linux" or os.geteuid() == 0:
            return
        try:
            lines = _FUSE_CONF.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        if not any(line.partition("#")[0].strip() == "user_allow_other" for line in lines):
            raise MountFailed(
                f"--allow-other is not allowed here: {_FUSE_CONF} has no line `user_allow_other`",
                "ask root to add it, mount as root, or leave --allow-other out",
            )

    def prepare(self, path: Path, forbidden: Iterable[tuple[str, Path]]) -> Path:
        """See Places. Also unmounts what a killed drive left there."""
        place = self.absolute(path)
        if is_stale(place):
            if file_system_at(place) != FILE_SYSTEM:
                raise MountFailed(f"another file system is broken at {path}", f"unmount it first: `umount {path}`")
            detach(place)
        if not os.path.lexists(place):
            raise MountFailed(f"the mount point {path} does not exist", f"create it first: `mkdir {path}`")
        if not place.is_dir():
            raise MountFailed(f"the mount point {path} is not a folder", "name an empty folder")
        there = file_system_at(place)
        if there == FILE_SYSTEM:
            raise already_mounted(path)
        if there is not None:
            raise MountFailed(f"{path} is the mount point of another file system", "name an empty folder")
        check_no_overlap(place, path, [(what, self.absolute(folder)) for what, folder in forbidden])
        check_empty(place, path)
        return place

    def hold(self, place: Path, identity: Identity | None = None) -> HeldFolder:
        return HeldFolder(place, identity)

    def answers(self, place: Path) -> bool:
        if file_system_at(place) != FILE_SYSTEM:
            return False
        os.statvfs(place)  # unlike stat, this asks the drive whatever the kernel has cached
        return True

    def quoted(self, place: Path) -> str:
        return shlex.quote(str(place))
