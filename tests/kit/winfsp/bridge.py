"""A WinFsp file system mounted on Linux: /dev/fuse asks the caller, the caller asks the file system.

What programs here see of it is what programs on Windows would, put into POSIX's terms: times to 100 ns, one owner
and mode for all, symbolic links and (as Windows' NFS server stores them) FIFOs, sockets and devices out of reparse
points, alternate data streams as extended attributes `user.ads.<name>`. Handles are the caller's: a file
that is open here is open there. No hard links, no holes: WinFsp knows neither.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("FUSE_LIBRARY_PATH", "libfuse.so.2")  # spares fusepy a search with gcc

import fuse

from tests.kit.winfsp import security
from tests.kit.winfsp.caller import Caller
from tests.kit.winfsp.handle import Handle
from tests.kit.winfsp.reparse import RELATIVE, TAG_MOUNT_POINT, TAG_SYMLINK
from tests.kit.winfsp.status import NtError, Status
from tests.kit.winfsp.values import (
    DIRECTORY_FILE,
    NON_DIRECTORY_FILE,
    OPEN,
    OPEN_REPARSE_POINT,
    OVERWRITE_IF,
    FileInfo,
)

TAG_NFS = 0x80000014
STREAM = "user.ads."
EPOCH = 116444736000000000  # 1970 as FILETIME
LISTING_ROOM = 1 << 16  # bytes
_SPECIAL = {b"FIFO": stat.S_IFIFO, b"SOCK": stat.S_IFSOCK, b"CHR": stat.S_IFCHR, b"BLK": stat.S_IFBLK}
_ERRNO: dict[int, int] = {
    Status.NO_SUCH_FILE: errno.ENOENT,
    Status.OBJECT_NAME_NOT_FOUND: errno.ENOENT,
    Status.OBJECT_PATH_NOT_FOUND: errno.ENOENT,
    Status.OBJECT_NAME_INVALID: errno.ENOENT,
    Status.OBJECT_NAME_COLLISION: errno.EEXIST,
    Status.ACCESS_DENIED: errno.EACCES,
    Status.MEDIA_WRITE_PROTECTED: errno.EROFS,
    Status.NOT_A_DIRECTORY: errno.ENOTDIR,
    Status.FILE_IS_A_DIRECTORY: errno.EISDIR,
    Status.DIRECTORY_NOT_EMPTY: errno.ENOTEMPTY,
    Status.CANNOT_DELETE: errno.EACCES,
    Status.INVALID_PARAMETER: errno.EINVAL,
    Status.REPARSE_POINT_NOT_RESOLVED: errno.ELOOP,
    Status.INSUFFICIENT_RESOURCES: errno.ENOMEM,
    Status.IO_TIMEOUT: errno.ETIMEDOUT,
}


class Names(NamedTuple):
    """How names here become names there and back. None: no name there can be meant."""

    there: Callable[[bytes], str | None]
    here: Callable[[str], bytes]


def _utf8(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


PLAIN = Names(_utf8, lambda name: name.encode(errors="surrogatepass"))


class Link(NamedTuple):
    """What a reparse point is here: type bits of a mode, a target, a device."""

    kind: int
    target: bytes = b""
    device: int = 0


class Bridge(fuse.Operations):  # type: ignore[misc]
    """fusepy's operations. Paths come as bytes decoded as Latin-1."""

    use_ns = True

    def __init__(self, caller: Caller, names: Names = PLAIN, ready: Callable[[], None] = lambda: None) -> None:
        self._caller = caller
        self._names = names
        self.ready = ready
        self._handles: dict[int, Handle] = {}
        self._numbers = itertools.count(1)
        self.failed: list[Exception] = []  # what is no ordinary answer

    @property
    def read_only(self) -> bool:
        return self._caller.volume.parameters.read_only_volume

    def __call__(self, operation: str, *arguments: Any) -> Any:
        if not hasattr(self, operation):
            raise fuse.FuseOSError(errno.ENOSYS)
        try:
            return getattr(self, operation)(*arguments)
        except NtError as error:
            number = _ERRNO.get(error.status)
            if number is None:
                self.failed.append(error)
                number = errno.EIO
            raise fuse.FuseOSError(number) from error
        except OSError:
            raise
        except Exception as error:
            self.failed.append(error)
            raise fuse.FuseOSError(errno.EIO) from error

    # --- names ---

    def _there(self, path: str) -> str:
        parts = [self._names.there(part) for part in path.encode("latin-1").split(b"/") if part]
        if None in parts:
            raise fuse.FuseOSError(errno.ENOENT)
        return "\\" + "\\".join(part for part in parts if part is not None)

    def _here(self, name: str) -> bytes:
        return self._names.here(name)

    def _target(self, target: str) -> bytes:
        return b"/".join(
            self._here(part) if part not in ("", ".", "..") else part.encode() for part in target.split("\\")
        )

    # --- attributes ---

    def init(self, _path: str) -> None:
        self.ready()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if fh is not None:
            handle = self._handles[fh]
            return self._attributes(handle.info(), handle)
        with self._open(path, security.FILE_READ_ATTRIBUTES) as handle:
            return self._attributes(handle.opened_info, handle)

    def _attributes(self, info: FileInfo, handle: Handle) -> dict[str, int]:
        link = self._link(handle) if info.is_reparse_point else None
        kind = stat.S_IFDIR if info.is_directory else stat.S_IFREG
        mode = 0o755 if info.is_directory else 0o644
        size = 4096 if info.is_directory else info.size
        if link is not None:
            kind, size = link.kind, len(link.target)
            mode = 0o777 if kind == stat.S_IFLNK else 0o644
        return {
            "st_ino": info.index,
            "st_mode": kind | mode,
            "st_nlink": 2 if kind == stat.S_IFDIR else 1,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
            "st_rdev": link.device if link is not None else 0,
            "st_size": size,
            "st_blocks": -(-info.allocation_size // 512),
            "st_mtime": (info.written - EPOCH) * 100,
            "st_ctime": (info.changed - EPOCH) * 100,
            "st_atime": (info.accessed - EPOCH) * 100,
        }

    def _link(self, handle: Handle) -> Link | None:
        """None for what has a reparse point that nothing here is like."""
        data = handle.reparse_point()
        tag, length = struct.unpack_from("<IH", data)
        if len(data) != 8 + length:
            raise fuse.FuseOSError(errno.EIO)
        if tag == TAG_NFS:
            kind = data[8:16].rstrip(b"\0")
            device = os.makedev(*struct.unpack_from("<II", data, 16)) if len(data) >= 24 else 0
            return Link(_SPECIAL[kind], device=device)
        if tag not in (TAG_SYMLINK, TAG_MOUNT_POINT):
            return None
        offset, size = struct.unpack_from("<HH", data, 8)
        start = (20 if tag == TAG_SYMLINK else 16) + offset
        target = data[start : start + size].decode("utf-16-le", "surrogatepass")
        if tag == TAG_MOUNT_POINT or not struct.unpack_from("<I", data, 16)[0] & RELATIVE:
            return Link(stat.S_IFLNK, target.encode())
        return Link(stat.S_IFLNK, self._target(target))

    def readlink(self, path: str) -> str:
        with self._open(path, security.FILE_READ_ATTRIBUTES) as handle:
            link = self._link(handle) if handle.opened_info.is_reparse_point else None
        if link is None or link.kind != stat.S_IFLNK:
            raise fuse.FuseOSError(errno.EINVAL)
        return link.target.decode("latin-1")

    def statfs(self, _path: str) -> dict[str, int]:
        info = self._caller.volume_info()
        return {
            "f_bsize": 4096,
            "f_frsize": 4096,
            "f_blocks": -(-info.total // 4096),
            "f_bfree": info.free // 4096,
            "f_bavail": info.free // 4096,
            "f_namemax": 255,
        }

    def listxattr(self, path: str) -> list[str]:
        if not self._caller.volume.parameters.named_streams:
            return []
        with self._open(path, security.FILE_READ_ATTRIBUTES) as handle:
            return [STREAM + stream.name.encode().decode("latin-1") for stream in handle.streams() if stream.name]

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        if not name.startswith(STREAM) or not self._caller.volume.parameters.named_streams:
            raise fuse.FuseOSError(errno.ENODATA)
        stream = name.removeprefix(STREAM).encode("latin-1").decode()
        try:
            with self._caller.open(f"{self._there(path)}:{stream}", options=OPEN_REPARSE_POINT) as handle:
                return handle.read_all()
        except NtError as error:
            if error.status in (Status.OBJECT_NAME_NOT_FOUND, Status.OBJECT_NAME_INVALID):
                raise fuse.FuseOSError(errno.ENODATA) from error
            raise

    # --- folders ---

    def readdir(self, path: str, fh: int) -> list[str]:
        entries = self._handles[fh].entries(length=LISTING_ROOM)  # all at once: an error is the listing's
        names = [self._here(entry.name).decode("latin-1") for entry in entries if entry.name not in (".", "..")]
        return [".", "..", *names]

    def opendir(self, path: str) -> int:
        return self._keep(self._open(path, security.FILE_GENERIC_READ, options=DIRECTORY_FILE))

    def releasedir(self, path: str, fh: int) -> None:
        self._handles.pop(fh).close()

    def mkdir(self, path: str, mode: int) -> None:
        self._caller.make_folder(self._there(path))

    def rmdir(self, path: str) -> None:
        self._caller.delete(self._there(path))

    # --- files ---

    def _open(self, path: str, access: int, disposition: int = OPEN, options: int = 0) -> Handle:
        options |= OPEN_REPARSE_POINT  # links are followed by the kernel here
        return self._caller.open(self._there(path), access=access, disposition=disposition, options=options)

    def _keep(self, handle: Handle) -> int:
        number = next(self._numbers)
        self._handles[number] = handle
        return number

    def open(self, path: str, flags: int) -> int:
        access = security.FILE_GENERIC_READ
        if flags & os.O_ACCMODE != os.O_RDONLY:
            access |= security.FILE_GENERIC_WRITE
        return self._keep(self._open(path, access, options=NON_DIRECTORY_FILE))

    def create(self, path: str, mode: int, fi: object = None) -> int:
        access = security.FILE_GENERIC_READ | security.FILE_GENERIC_WRITE
        return self._keep(self._open(path, access, OVERWRITE_IF, NON_DIRECTORY_FILE))

    def release(self, path: str, fh: int) -> None:
        self._handles.pop(fh).close()

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        try:
            return self._handles[fh].read(offset, size)
        except NtError as error:
            if error.status == Status.END_OF_FILE:
                return b""
            raise

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return self._handles[fh].write(offset, data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        if fh is not None:
            self._handles[fh].set_size(length)
            return
        with self._open(path, security.FILE_GENERIC_WRITE) as handle:
            handle.set_size(length)

    def flush(self, path: str, fh: int) -> None:
        pass

    def unlink(self, path: str) -> None:
        self._caller.delete(self._there(path))

    def rename(self, old: str, new: str) -> None:
        self._caller.rename(self._there(old), self._there(new), replace=True)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        if times is not None:
            with self._open(path, security.FILE_GENERIC_WRITE) as handle:
                handle.set_times(accessed=times[0] // 100 + EPOCH, written=times[1] // 100 + EPOCH)

    def chmod(self, path: str, mode: int) -> None:
        self._refuse_if_read_only()

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._refuse_if_read_only()

    def _refuse_if_read_only(self) -> None:
        if self.read_only:
            raise fuse.FuseOSError(errno.EROFS)

    def _refuse(self, *_arguments: object) -> None:
        raise fuse.FuseOSError(errno.EROFS if self.read_only else errno.EPERM)

    mknod = symlink = link = setxattr = removexattr = _refuse


def serve(bridge: Bridge, mount_point: str, *, allow_other: bool = False, keep: bool = False) -> None:
    """Mount and serve until it is unmounted. `keep`: nothing changes, and the kernel may keep what it has."""
    fuse.FUSE(
        bridge,
        os.fsencode(mount_point).decode("latin-1"),
        encoding="latin-1",
        foreground=True,
        fsname="rpdrive",
        subtype="rpdrive",
        ro=bridge.read_only,
        nosuid=True,
        nodev=True,
        allow_other=allow_other,
        default_permissions=True,
        use_ino=True,
        big_writes=True,
        attr_timeout=3600 if keep else 1,
        entry_timeout=3600 if keep else 1,
        negative_timeout=0,
    )


class Mounted:
    """A bridge in a thread of this process, at a folder. Nothing may be run with its current folder there."""

    def __init__(self, bridge: Bridge, mount_point: Path, *, keep: bool = False) -> None:
        self.bridge = bridge
        self.mount_point = mount_point
        self._ready = threading.Event()
        bridge.ready = self._ready.set
        self._thread = threading.Thread(
            target=serve, args=(bridge, str(mount_point)), kwargs={"keep": keep}, name="bridge", daemon=True
        )

    def __enter__(self) -> Mounted:
        self._thread.start()
        assert self._ready.wait(30), "the bridge was not mounted"
        return self

    def __exit__(self, *_error: object) -> None:
        subprocess.run(["umount", self.mount_point], check=True)
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert self.bridge.failed == []
