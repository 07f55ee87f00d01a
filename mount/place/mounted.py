"""Mounted drives, by the system's table of mounts: what is mounted at a place, its users, unmounting."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from pathlib import Path

from catalog.errors import MountFailed
from catalog.mountinfo import mounted_at, mounts
from mount.place.base import User

FILE_SYSTEM = "fuse.rpdrive"
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8  # of umount2(2)


def file_system_at(path: Path) -> str | None:
    """The type of the file system mounted at exactly this place; None if there is none. Sends it no request."""
    try:
        mounted = mounted_at(os.fsencode(path))
    except OSError:
        return FILE_SYSTEM if os.path.ismount(path) else None  # no table of mounts: macOS, BSD
    return mounted.file_system if mounted is not None else None


def already_mounted(path: Path) -> MountFailed:
    return MountFailed(f"a drive is mounted at {path} already", f"unmount it first: `rpdrive unmount {path}`")


def is_stale(path: Path) -> bool:
    """Whether the drive mounted at a place has lost its process."""
    try:
        os.statvfs(path)  # not stat: the kernel may answer that from its cache
    except OSError as e:
        return e.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def detach(place: Path) -> None:
    """Unmount a drive at once, even if it is in use or its process is dead. Raises MountFailed."""
    number = unmount(place, lazy=True)
    if number:
        raise MountFailed(f"{place} can't be unmounted: {os.strerror(number)}", f"run `umount -l {place}` as root")


def unmount(place: Path, *, lazy: bool) -> int:
    """Unmount a drive. Returns 0, or an errno: EBUSY if it is in use, unless `lazy`. Raises MountFailed."""
    if os.geteuid() == 0 and os.uname().sysname == "Linux":
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.umount2(os.fsencode(place), UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0))
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
    """Loop devices over images in the drive, and processes with a file or folder of it open, mapped, or to work in.

    Only root sees the processes of other users.
    """
    from catalog.disks.loops import below  # where there are loop devices

    found = [User(0, _shown(loop.path)) for loop in below(os.fsencode(place))]
    for process in Path("/proc").glob("[0-9]*"):
        if process.name != str(os.getpid()) and _uses(process, str(place)):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            found.append(User(int(process.name), name))
    return sorted(found)


def _shown(loop: Path) -> str:
    places = [os.fsdecode(mount.place) for mount in mounts() if mount.source == os.fsencode(loop)]
    return f"{loop}" + f" (mounted at {', '.join(places)})" * bool(places)


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
