"""Mounting /dev/fuse without a library: mount(2) for root, fusermount3 and a passed descriptor for others."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

from catalog.errors import MountFailed
from catalog.mountinfo import mounted_at
from mount.place.mounted import FILE_SYSTEM

DEVICE = "/dev/fuse"
NAME = "rpdrive"  # the source in the table of mounts
_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_BDI = Path("/sys/class/bdi")


def open_drive(mount_point: str, *, allow_other: bool) -> int:
    """Mount, and return the descriptor that the kernel sends its requests to. Raises MountFailed."""
    if os.geteuid() == 0:
        return _by_mount(mount_point, allow_other)
    return _by_fusermount(mount_point, allow_other)


def _by_mount(mount_point: str, allow_other: bool) -> int:
    try:
        descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        raise MountFailed(
            f"cannot open {DEVICE}: {e.strerror}", "run `modprobe fuse`, or start the container with the device"
        ) from e
    try:
        kind = stat.S_IFMT(os.stat(mount_point).st_mode)
    except OSError as e:
        os.close(descriptor)
        raise MountFailed(
            f"cannot read the mount point {mount_point}: {e.strerror}", "check its permissions"
        ) from e
    options = [
        f"fd={descriptor}", f"rootmode={kind:o}", f"user_id={os.getuid()}", f"group_id={os.getgid()}",
        "default_permissions",
    ]  # fmt: skip
    if allow_other:
        options.append("allow_other")
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(
        NAME.encode(), os.fsencode(mount_point), FILE_SYSTEM.encode(),
        ctypes.c_ulong(_MS_RDONLY | _MS_NOSUID | _MS_NODEV), ",".join(options).encode(),
    )  # fmt: skip
    if done != 0:
        number = ctypes.get_errno()
        os.close(descriptor)
        raise MountFailed(
            f"the kernel refuses to mount at {mount_point}: {os.strerror(number)}",
            "check that this machine or container allows mounts, or use libfuse by `--driver fuse`",
        )
    return descriptor


def _by_fusermount(mount_point: str, allow_other: bool) -> int:
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        raise MountFailed("fusermount3 is not installed", "install it: `apt install fuse3`")
    options = ["ro", "nosuid", "nodev", f"fsname={NAME}", f"subtype={FILE_SYSTEM.partition('.')[2]}"]
    options.append("default_permissions")
    if allow_other:
        options.append("allow_other")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        done = subprocess.run(
            [program, "-o", ",".join(options), "--", mount_point],
            env=os.environ | {"_FUSE_COMMFD": str(theirs.fileno()), "LC_ALL": "C"},
            pass_fds=(theirs.fileno(),), capture_output=True, check=False,
        )  # fmt: skip
        theirs.close()
        descriptors: list[int] = []
        if done.returncode == 0:
            _data, descriptors, _flags, _address = socket.recv_fds(ours, 1, 1)
    if not descriptors:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise MountFailed(
            f"fusermount3 cannot mount at {mount_point}" + (f": {said[-1]}" if said else ""),
            "check that you may use /dev/fuse and the mount point",
        )
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def read_ahead(device: str | None, size: int) -> bool:
    """Have the kernel read `size` bytes of a drive ahead. False if that is not permitted: it takes root."""
    if device is None:
        return False
    try:
        (_BDI / device / "read_ahead_kb").write_text(str(size >> 10))
    except OSError:
        return False
    return True


def device_at(mount_point: str) -> str | None:
    """The device number, e.g. "0:51", of what is mounted there; sends the drive no request."""
    try:
        mounted = mounted_at(os.fsencode(mount_point))
    except OSError:
        return None  # no table of mounts: not Linux
    return mounted.device if mounted is not None else None
