"""The folder that a drive is mounted on: whether it will do, what is on it, and how to get that off again."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from catalog.errors import MountFailed
from catalog.mountinfo import mounted_at

FILE_SYSTEM = "fuse.rpdrive"
_FUSE_CONF = Path("/etc/fuse.conf")
_MNT_DETACH = 2


def absolute(path: Path) -> Path:
    """Without symlinks, as the kernel's table of mounts has it. Works on a drive whose process is dead, too."""
    return Path(os.path.realpath(path))


def file_system_at(path: Path) -> str | None:
    """Type of what is mounted right there; None if nothing is. Doesn't touch it."""
    try:
        mounted = mounted_at(os.fsencode(path))
    except OSError:
        return FILE_SYSTEM if os.path.ismount(path) else None  # no table of mounts: macOS, BSD
    return mounted.file_system if mounted is not None else None


def is_stale(path: Path) -> bool:
    """Whether a drive is mounted there whose process is gone."""
    try:
        os.statvfs(path)  # not stat: the kernel may answer that from what it keeps
    except OSError as e:
        return e.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def prepare(path: Path, forbidden: Iterable[tuple[str, Path]]) -> Path:
    """The folder to mount on; what a killed drive left on it is taken off. MountFailed says what is wrong.

    `forbidden` are folders (and what they are) that the drive itself reads from or writes to: a mount over or
    inside one would make the drive wait for itself.
    """
    place = absolute(path)
    if is_stale(place):
        if file_system_at(place) != FILE_SYSTEM:
            raise MountFailed(f"another file system is broken at {path}", f"take it off first: `umount {path}`")
        detach(place)
    if not os.path.lexists(place):
        raise MountFailed(f"the mount point {path} does not exist", f"make it first: `mkdir {path}`")
    if not place.is_dir():
        raise MountFailed(f"the mount point {path} is not a folder", "name an empty folder")
    there = file_system_at(place)
    if there == FILE_SYSTEM:
        raise MountFailed(f"a drive is mounted at {path} already", f"unmount it first: `rpdrive unmount {path}`")
    if there is not None:
        raise MountFailed(f"{path} is the mount point of another file system", "name an empty folder")
    for what, folder in forbidden:
        other = absolute(folder)
        if place == other or other in place.parents or place in other.parents:
            raise MountFailed(f"the mount point {path} overlaps {what} ({folder})", "name another folder")
    try:
        with os.scandir(place) as entries:
            empty = next(entries, None) is None
    except OSError as e:
        raise MountFailed(f"the mount point {path} can't be opened: {e.strerror}") from e
    if not empty:
        raise MountFailed(f"the mount point {path} is not empty", "name an empty folder")
    return place


def check_allow_other() -> None:
    """MountFailed if this user may not let others into a drive: fusermount would say so later, and less well."""
    if os.uname().sysname != "Linux" or os.geteuid() == 0:
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


# --- unmounting ---------------------------------------------------------------------------------------------


class User(NamedTuple):
    """A process that uses a drive."""

    pid: int
    name: str


def unmount(path: Path, *, lazy: bool = False) -> Path:
    """Take the drive off. `lazy`: at once, though files on it are open. MountFailed, also if it is in use."""
    place = absolute(path)
    if file_system_at(place) != FILE_SYSTEM:
        raise MountFailed(f"no drive of rpdrive is mounted at {path}", "see `rpdrive mounts`")
    if lazy or is_stale(place):
        detach(place)
        return place
    number = take_off(place, lazy=False)
    if number == errno.EBUSY:
        users = users_of(place)
        shown = ", ".join(f"{u.name} (process {u.pid})" for u in users[:5]) or "a process that can't be seen"
        more = f" and {len(users) - 5} more" if len(users) > 5 else ""
        raise MountFailed(
            f"the drive at {path} is in use by {shown}{more}",
            "leave it and try again, or detach it at once with --lazy",
        )
    if number:
        raise MountFailed(f"{path} can't be unmounted: {os.strerror(number)}", "only who mounted it, or root, may")
    return place


def detach(place: Path) -> None:
    """Take a drive off at once, dead or not. MountFailed."""
    number = take_off(place, lazy=True)
    if number:
        raise MountFailed(f"{place} can't be unmounted: {os.strerror(number)}", f"as root: `umount -l {place}`")


def take_off(place: Path, *, lazy: bool) -> int:
    """0, or an errno: EBUSY if it is in use and not to be taken off `lazy`. MountFailed without fusermount."""
    if os.geteuid() == 0 and os.uname().sysname == "Linux":
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.umount2(os.fsencode(place), _MNT_DETACH if lazy else 0)
        return ctypes.get_errno() if done != 0 else 0
    for tool in ("fusermount3", "fusermount"):
        program = shutil.which(tool)
        if program is not None:
            break
    else:
        raise MountFailed("fusermount is not on this machine", "install it: `apt install fuse3`")
    options = ["-u", "-z"] if lazy else ["-u"]
    run = subprocess.run(
        [program, *options, "--", place], env=os.environ | {"LC_ALL": "C"}, capture_output=True, check=False
    )
    if run.returncode == 0:
        return 0
    return errno.EBUSY if b"busy" in run.stderr.lower() else errno.EPERM


def users_of(place: Path) -> list[User]:
    """Processes with a file or folder of the drive open, mapped, or as their working folder. Of other users
    only root sees them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name != str(os.getpid()) and _uses(process, str(place)):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            found.append(User(int(process.name), name))
    return sorted(found)


def _uses(process: Path, place: str) -> bool:
    # readlink of these does not touch the drive.
    links = [process / "cwd", process / "root", process / "exe"]
    try:
        links += (process / "fd").iterdir()
    except OSError:
        pass
    for link in links:
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target == place or target.startswith(place + "/"):
            return True
    try:
        maps = (process / "maps").read_text(errors="surrogateescape")
    except OSError:
        return False
    return f" {place}/" in maps
