"""Unmounts a drive whose process died without doing so: killed, out of memory, crashed.

A shell of about 1 MB waits for the end of a pipe, whose other end only the drive's process has open. It reads the
table of mounts first, so that another drive, mounted there by then, stays.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from contextlib import suppress

from catalog.mountinfo import Mount, mounted_at

_END_SECONDS = 5.0
_log = logging.getLogger("rpdrive.drive")

# $1 is the drive's device number, $2 its mount point as the table of mounts spells it, $3 its mount point; the rest
# is the command that unmounts it. It follows no symlinks, or else (busybox) there must be none. Device numbers are
# reused, so the drive must be dead, too. Only statfs shows that reliably: the kernel answers much else from its
# cache. Signals are ignored: when a service is stopped, all its processes get them, and the drive unmounts itself.
_SCRIPT = """\
trap '' HUP INT TERM
read -r _
while read -r _ _ device _ place _; do
    [ "$place" = "$2" ] && there=$device
done < /proc/self/mountinfo
[ "$there" = "$1" ] && ! stat -f "$3" || exit 0
place=$3
shift 3
"$@" "$place" || [ -L "$place" ] || exec umount -l "$place"
"""


class Watcher:
    """Watches this process once started. Does nothing without a shell, or on systems other than Linux."""

    def __init__(self, mount_point: str) -> None:
        self._mount_point = mount_point
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start watching; call it when the drive is mounted. Never raises."""
        place = self._mount_point
        mounted = _mounted_at(place)
        unmount = _unmount_command() if mounted is not None else None
        if mounted is None or unmount is None:
            return
        try:
            self._process = subprocess.Popen(
                [
                    "/bin/sh", "-c", _SCRIPT, "rpdrive", mounted.device, mounted.place_as_written, place, *unmount,
                ],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}, start_new_session=True,
            )  # fmt: skip
        except OSError as e:
            _log.warning("the drive will stay mounted if its process is killed: %s", e)

    def close(self) -> None:
        """Stop watching; call it when the drive has ended. Unmounts the drive if it is still mounted."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)


def _mounted_at(place: str) -> Mount | None:
    try:
        return mounted_at(os.fsencode(place))
    except OSError:
        return None  # no table of mounts: not Linux


def _unmount_command() -> list[str] | None:
    """The command that unmounts a drive, in use or not, up to its last word, the mount point."""
    program = shutil.which("umount") if os.geteuid() == 0 else None
    if program is not None:
        return [program, "-l", "--no-canonicalize"]
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    return [program, "-u", "-z", "--"] if program is not None else None
