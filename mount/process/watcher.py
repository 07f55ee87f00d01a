"""Takes a drive off when its process dies without having done so: killed, out of memory, crashed.

A shell of about 1 MB waits for the end of a pipe, the other end of which is the drive's process alone. It looks at
the table of mounts first: another drive that lies there by then stays.
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

# $1 the drive's device number, $2 its place as the table of mounts spells it, $3 its place; and then what takes it
# off. Numbers come back, so the drive has to be dead as well, which only statfs is sure to tell: much else the
# kernel answers from what it keeps. Signals are passed over: a service that is stopped has them sent to all of its
# processes, and the drive unmounts itself.
_SCRIPT = """\
trap '' HUP INT TERM
read -r _
while read -r _ _ device _ place _; do
    [ "$place" = "$2" ] && there=$device
done < /proc/self/mountinfo
[ "$there" = "$1" ] && ! stat -f "$3" || exit 0
shift 3
exec "$@"
"""


class Watcher:
    """Watches this process from its `start` on. Without a shell, or on other systems, it does nothing."""

    def __init__(self, mount_point: str) -> None:
        self._mount_point = mount_point
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """To be called when the drive is mounted. Raises nothing."""
        place = self._mount_point
        mounted = _mounted_at(place)
        take_off = _take_off() if mounted is not None else None
        if mounted is None or take_off is None:
            return
        try:
            self._process = subprocess.Popen(
                [
                    "/bin/sh", "-c", _SCRIPT, "rpdrive", mounted.device, mounted.place_as_written, place,
                    *take_off, place,
                ],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}, start_new_session=True,
            )  # fmt: skip
        except OSError as e:
            _log.warning("nobody will unmount the drive if it is killed: %s", e)

    def close(self) -> None:
        """The drive has ended. If it is mounted still, it is taken off now."""
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


def _take_off() -> list[str] | None:
    """The command that unmounts at once, though the drive is in use, but for the place."""
    program = shutil.which("umount") if os.geteuid() == 0 else None
    if program is not None:
        return [program, "-l"]
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    return [program, "-u", "-z", "--"] if program is not None else None
