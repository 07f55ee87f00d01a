"""Mounts that no table shows: a file system is opened as a descriptor, for this process alone.

The mount ends with its last descriptor, so also when the process is killed: there is nothing to clean up. By
fsopen(2) and fsmount(2), which are in Linux since 5.2; where they are missing or forbidden, in a mount namespace of
a thread that ends at once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from contextlib import suppress

from catalog.errors import SnapshotFailed

_OPEN_TREE, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 430, 431, 432  # the same on all processors
_HERE, _CLONE = -100, 1  # AT_FDCWD, OPEN_TREE_CLONE
_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _NOATIME = 1, 2, 4, 8, 0x10  # attributes of fsmount(2)
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_NOATIME = 1, 2, 4, 8, 1024  # flags of mount(2)
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_NEWNS = 0x20000
_MISSING = {errno.ENOSYS, errno.EPERM}
# What Windows loads has to load without these; nothing is mounted there.
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def mounted(source: bytes, file_system: str, options: dict[str, str], *, read_only: bool) -> int:
    """A descriptor of the root folder of a file system that is mounted for it alone: nosuid, nodev, noexec.

    An option with an empty value is a flag. With `read_only`, so is the file system, if it is not in use elsewhere:
    a journal is still replayed if the device can be written. Raises OSError, with the kernel's own words.
    """
    if read_only:
        options = options | {"ro": ""}
    try:
        return _opened(source, file_system, options, read_only)
    except OSError as e:
        if e.errno not in _MISSING:
            raise
        return _in_a_namespace(source, file_system, options, read_only)


def bare(place: bytes) -> int:
    """A descriptor of a folder on which nothing is mounted: what mounts hide is there. Raises OSError."""
    tree = _call(_OPEN_TREE, _HERE, place, _CLONE | os.O_CLOEXEC)
    try:
        return os.open(b".", _FOLDER, dir_fd=tree)
    finally:
        os.close(tree)


def folder_below(top: int, path: bytes) -> int:
    """A descriptor of the folder `path` below an open one; symlinks are refused at each step. Raises OSError."""
    here = os.open(b".", _FOLDER, dir_fd=top)
    for part in filter(None, path.split(b"/")):
        above = here
        try:
            here = os.open(part, _FOLDER, dir_fd=above)
        finally:
            os.close(above)
    return here


def _opened(source: bytes, file_system: str, options: dict[str, str], read_only: bool) -> int:
    context = _call(_FSOPEN, file_system.encode(), _CLOEXEC)
    try:
        _configure(context, _SET_STRING, b"source", source)
        for name, value in options.items():
            if value:
                _configure(context, _SET_STRING, name.encode(), value.encode())
            else:
                _configure(context, _SET_FLAG, name.encode(), None)
        _configure(context, _CREATE, None, None)
        attributes = _NOSUID | _NODEV | _NOEXEC | _NOATIME | (_RDONLY if read_only else 0)
        place = _call(_FSMOUNT, context, _CLOEXEC, attributes)  # as by O_PATH, which can't be listed
        try:
            return os.open(b".", _FOLDER, dir_fd=place)
        finally:
            os.close(place)
    finally:
        os.close(context)


def _configure(context: int, command: int, key: bytes | None, value: bytes | None) -> None:
    try:
        _call(_FSCONFIG, context, command, key, value, 0)
    except OSError as e:
        said = b""
        with suppress(OSError):  # the kernel's explanation, e.g. b"e ext4: cannot mount with a dirty journal"
            said = os.read(context, 512)
        if said[:2] not in (b"e ", b"w ", b"i "):
            raise
        raise OSError(e.errno, f"{e.strerror} ({said[2:].decode(errors='replace').strip()})") from e


def _call(number: int, *arguments: bytes | int | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


def _in_a_namespace(source: bytes, file_system: str, options: dict[str, str], read_only: bool) -> int:
    """The same by mount(2): in a thread that has left the others' mounts, over a folder that is always there."""
    result: list[int | OSError] = []
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_NOATIME | (_MS_RDONLY if read_only else 0)
    data = ",".join(f"{name}={value}" if value else name for name, value in options.items() if name != "ro")

    def work() -> None:
        libc = ctypes.CDLL(None, use_errno=True)

        def done(failed: int) -> None:
            if failed:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))

        try:
            done(libc.unshare(_NEWNS))  # this thread's own, as the processes' working folders become, too
            done(libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
            done(libc.mount(source, b"/proc", file_system.encode(), ctypes.c_ulong(flags), data.encode()))
            result.append(os.open("/proc", _FOLDER))
        except OSError as e:
            result.append(e)

    thread = threading.Thread(target=work, name="mount")
    thread.start()
    thread.join()
    found = result[0]
    if isinstance(found, OSError):
        raise found
    return found


def why(e: OSError) -> str:
    """What the system says of an error."""
    return e.strerror or str(e)


def failed(what: str, e: OSError) -> SnapshotFailed:
    """The error that says what failed, in one line."""
    return SnapshotFailed(f"{what}: {why(e)}")
