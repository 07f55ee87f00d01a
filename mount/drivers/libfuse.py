"""The driver on libfuse 2, through fusepy.

fusepy's own callbacks decode paths to text and turn times into floats; its wrapper for errors breaks on an
OSError without errno. So every callback is replaced here by one that takes libfuse's arguments as they are:
paths stay bytes, times stay ns, and every exception becomes an errno.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable
from typing import Any

from cache.memory import Lru
from cache.openfile import OpenFile
from cache.reader import Reader
from catalog import held
from catalog.errors import MountFailed, NotFound, StoreUnreachable
from mount.drivers.ages import Ages, time_limit
from mount.drivers.base import BLOCK, OpenFolder, Refusal, errno_of
from mount.drivers.errors import Errors, FailedReads
from mount.drivers.signals import broken_pipes_ignored, interrupted_once
from mount.view.nodes import FOREVER, NEGATIVE_SHORT, SHORT, File, Folder, Link, Node, View

# Unless the user has set a path, this name saves fusepy a search through ldconfig and gcc.
_LIBRARY = "FUSE_LIBRARY_PATH"
_LINUX = os.uname().sysname == "Linux"
if _LINUX:
    os.environ.setdefault(_LIBRARY, "libfuse.so.2")
try:
    import fuse
except OSError as e:
    raise MountFailed(
        f"cannot load libfuse 2: {e}", "install it: `apt install libfuse2 fuse3` on Debian and Ubuntu"
    ) from e

READ_BYTES = 1 << 17  # the largest read that a kernel asks of libfuse 2
READAHEAD_BYTES = 1 << 20
_FOLDERS = 8192  # paths of folders whose nodes are kept
_OTHERS = 1024  # paths of files, links and others whose nodes are kept
_FILES = 256  # files being read
_KEPT_THREADS = 64  # about 20 KB each

_thread = threading.local()
_kept_threads = 0


def _keep_thread() -> None:
    """Have Python keep its state of this thread, which is libfuse's, from one callback to the next.

    Otherwise each callback creates and frees that state, mmap and munmap included: half the time of a small call.
    libfuse ends surplus threads without telling Python, which then keeps their state: hence the limit.
    """
    global _kept_threads  # noqa: PLW0603
    _thread.kept = True
    if _kept_threads < _KEPT_THREADS:
        _kept_threads += 1
        ctypes.pythonapi.PyGILState_Ensure()  # never released: the count stays above zero


class Paths:
    """Nodes by their paths. Nodes that can't change are kept, so that most callbacks cost one lookup in a table."""

    def __init__(self, root: Folder) -> None:
        self._root = root
        self._folders: Lru[bytes, Folder] = Lru(_FOLDERS)
        self._others: Lru[bytes, Node] = Lru(_OTHERS)

    def find(self, path: bytes) -> Node:
        """The node at an absolute path. Raises NotFound, Refusal, and as `Folder.lookup`."""
        node = self._known(path)
        if node is not None:
            return node
        parent, _, name = path.rpartition(b"/")
        missing = [name]
        while (node := self._known(parent)) is None:  # a loop: paths are as deep as at the source
            parent, _, name = parent.rpartition(b"/")
            missing.append(name)
        at = parent
        while missing:
            if not isinstance(node, Folder):
                raise Refusal(errno.ENOTDIR)
            name = missing.pop()
            node = node.lookup(name)
            at = at + b"/" + name
            if not node.changes:
                if isinstance(node, Folder):
                    self._folders.put(at, node)
                else:
                    self._others.put(at, node)
        return node

    def _known(self, path: bytes) -> Node | None:
        if path in (b"", b"/"):
            return self._root
        return self._folders.get(path) or self._others.get(path)


class _Operations:
    """Shows fusepy which callbacks exist: it checks for attributes of these names, and never calls them."""

    use_ns = True

    def __init__(self, names: tuple[str, ...]) -> None:
        for name in names:
            setattr(self, name, name)


_READS = (
    "getattr", "readlink", "open", "read", "statfs", "getxattr", "listxattr",
    "opendir", "readdir", "releasedir", "init", "destroy",
)  # fmt: skip
# The kernel refuses these on a read-only mount; the callbacks refuse them after a remount, too.
_WRITES = (
    "mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "chmod", "chown", "truncate", "write",
    "setxattr", "removexattr", "create", "utimens",
)  # fmt: skip


class Drive(fuse.FUSE):  # type: ignore[misc]
    """A `Driver` on any Unix: `run` returns after an unmount, or on SIGTERM, SIGINT or SIGHUP."""

    name = "fuse"
    closable = None
    windows_names = False

    def __init__(
        self, view: View, reader: Reader, *, ready: Callable[[], None] = lambda: None, read_timeout: float = 60.0
    ) -> None:
        """`ready` is called once the drive is mounted. `read_timeout`: what a request waits for the store (s)."""
        # Not FUSE.__init__: that is what mounts.
        self.view = view
        self.errors = Errors()
        self.served = 0  # bytes
        self.calls = 0
        self.statfs_calls = 0
        self._ready = ready
        self._reader = reader
        self._read_timeout = read_timeout
        self._failed = FailedReads()
        # Only libfuse can answer a request, so one that is overdue is logged and counted, no more.
        self._ages = Ages(time_limit(read_timeout), self.errors.note_overdue)
        self._paths = Paths(view.root)
        # If nothing in the view has extended attributes, one ENOSYS stops the kernel from asking for them; `ls -l`
        # would cause two requests for each name. (Listing them still works: getfattr is silent, as at the source.)
        self._plain = not view.has_xattrs()
        # By path, shared by all readers: an OpenFile knows how far reading in sequence has come, and holds no data.
        self._files: Lru[bytes, OpenFile] = Lru(_FILES)
        self._listings: dict[int, OpenFolder] = {}
        self._next_handle = itertools.count(1)
        self._loop: int | None = None  # libfuse's, from `init` to `destroy`
        self._loop_lock = threading.Lock()

    def status(self) -> dict[str, Any]:
        return {"waiting": len(self._ages), "oldest": self._ages.oldest()}

    def run(self, mount_point: str, *, allow_other: bool = False, at: str | None = None) -> None:
        # libfuse 2 has one timeout for all names of a drive.
        keep = SHORT if self.view.changes else FOREVER
        options: dict[str, Any] = {
            "fsname": "rpdrive",
            "subtype": "rpdrive",
            "ro": True,
            "nosuid": True,  # setuid bits are shown, without effect
            "nodev": True,
            "default_permissions": True,
            "use_ino": True,
            "readdir_ino": True,
            # The data at a path never changes, `latest` being a symlink: the kernel may keep it.
            "kernel_cache": True,
            "entry_timeout": keep,
            "attr_timeout": keep,
            "ac_attr_timeout": keep,
            "negative_timeout": NEGATIVE_SHORT if self.view.changes else FOREVER,
            "max_read": READ_BYTES,
            "max_readahead": READAHEAD_BYTES,
        }
        if allow_other:
            options["allow_other"] = True
            self.view.narrow()  # libfuse 2 has no way to have the kernel check ACLs
        try:
            with broken_pipes_ignored(), interrupted_once(self._is_over):
                super().__init__(
                    _Operations(_READS + _WRITES),
                    os.fsencode(at or mount_point).decode("latin-1"),
                    encoding="latin-1",
                    foreground=True,
                    **options,
                )
        except RuntimeError as e:
            raise MountFailed(f"libfuse cannot mount at {mount_point}", mount_advice(allow_other)) from e
        finally:
            self._ages.close()

    # --- callbacks: take libfuse's arguments, return a count of bytes or 0 ---------------------------------

    def _wrapper(self, function: Callable[..., int | None], *args: Any) -> int:
        self.calls += 1
        if not hasattr(_thread, "kept"):
            _keep_thread()
        path = args[0] if args and isinstance(args[0], bytes) else b""
        self._ages.begin(function.__name__, path)
        try:
            with self._reader.giving_up_at(held.clock() + self._read_timeout):
                return function(*args) or 0
        except (Refusal, NotFound) as e:
            return -errno_of(e)
        except BaseException as e:  # noqa: BLE001 - nothing may pass into libfuse
            try:
                self.errors.note(path, e)
            except Exception:  # noqa: BLE001 - a full log disk must not fail a read
                pass
            return -errno_of(e)
        finally:
            self._ages.end()

    def init(self, connection: Any) -> int:
        with self._loop_lock:
            self._loop = fuse._libfuse.fuse_get_context().contents.fuse
        self._ages.start()
        self._ready()
        return 0

    def destroy(self, _private: Any) -> int:
        with self._loop_lock:
            self._loop = None
        return 0

    def _is_over(self) -> bool:
        """Whether a signal has ended libfuse's loop, which may still sleep."""
        with self._loop_lock:
            return self._loop is not None and bool(fuse._libfuse.fuse_exited(ctypes.c_void_p(self._loop)))

    def fgetattr(self, path: bytes, buffer: Any, info: Any) -> int:
        a = self._paths.find(path).attributes
        ctypes.memset(buffer, 0, ctypes.sizeof(fuse.c_stat))
        st = buffer.contents
        st.st_ino, st.st_mode, st.st_nlink = a.inode, a.mode, a.nlink
        st.st_uid, st.st_gid, st.st_rdev = a.uid & 0xFFFFFFFF, a.gid & 0xFFFFFFFF, a.rdev
        st.st_size, st.st_blocks, st.st_blksize = a.size, a.blocks, READ_BYTES
        modified, changed = st.st_mtimespec, st.st_ctimespec
        modified.tv_sec, modified.tv_nsec = divmod(a.mtime, 10**9)
        changed.tv_sec, changed.tv_nsec = divmod(a.ctime, 10**9)
        st.st_atimespec = modified  # backups have no access times
        return 0

    def getattr(self, path: bytes, buffer: Any) -> int:
        return self.fgetattr(path, buffer, None)

    def readlink(self, path: bytes, buffer: Any, size: int) -> int:
        node = self._paths.find(path)
        if not isinstance(node, Link):
            raise Refusal(errno.EINVAL)
        target = node.target[: size - 1] + b"\0"
        ctypes.memmove(buffer, target, len(target))
        return 0

    def open(self, path: bytes, info: Any) -> int:
        if info.contents.flags & os.O_ACCMODE != os.O_RDONLY:
            raise Refusal(errno.EROFS)
        if _LINUX:
            # Since 3.16 the kernel takes this to mean that files need no opening, and sends neither OPEN nor
            # RELEASE again: half the calls for a small file. It checks permissions itself.
            raise Refusal(errno.ENOSYS)
        self._file(path)
        return 0

    def _file(self, path: bytes) -> OpenFile:
        node = self._paths.find(path)
        if not isinstance(node, File):
            raise Refusal(errno.EISDIR if isinstance(node, Folder) else errno.EINVAL)
        return node.open()

    def read(self, path: bytes, buffer: Any, size: int, offset: int, info: Any) -> int:
        if self._failed.repeats(path, offset, size):
            return -errno.EIO
        try:
            data = self._file_to_read(path, offset, size).read(offset, size)
        except StoreUnreachable as e:
            self._failed.note(path, offset, size, e)
            raise
        length = len(data)
        if length:
            ctypes.memmove(buffer, data if isinstance(data, bytes) else bytes(data), length)
            self.served += length
        return length

    def _file_to_read(self, path: bytes, offset: int, size: int) -> OpenFile:
        file = self._files.get(path)
        if file is None:
            file = self._file(path)
            if offset or size < file.size:  # else this read is the whole file
                self._files.put(path, file)
        return file

    def opendir(self, path: bytes, info: Any) -> int:
        node = self._paths.find(path)
        if not isinstance(node, Folder):
            raise Refusal(errno.ENOTDIR)
        handle = next(self._next_handle)
        self._listings[handle] = OpenFolder(node)
        info.contents.fh = handle
        return 0

    def readdir(self, path: bytes, buffer: Any, filler: Any, offset: int, info: Any) -> int:
        listing = self._listings[info.contents.fh]
        st = fuse.c_stat()
        here = ctypes.pointer(st)
        if offset < 2:
            for n, name in enumerate((b".", b"..")):
                st.st_ino, st.st_mode = listing.folder.attributes.inode, stat.S_IFDIR
                if offset <= n and filler(buffer, name, here, n + 1):
                    return 0
        # With a position for each entry, libfuse answers as soon as its buffer is full: a folder of a million
        # names is never held as a whole, here or there.
        for place, page, n in listing.from_position(max(offset - 2, 0)):
            st.st_ino, st.st_mode = page.kind(n)
            if filler(buffer, page.names[n], here, place + 2):
                break
        return 0

    def releasedir(self, path: bytes, info: Any) -> int:
        self._listings.pop(info.contents.fh, None)
        return 0

    def statfs(self, path: bytes, buffer: Any) -> int:
        self.statfs_calls += 1
        totals = self.view.totals()
        st = buffer.contents
        st.f_bsize = st.f_frsize = BLOCK
        st.f_blocks = (totals.bytes + BLOCK - 1) // BLOCK
        st.f_bfree = st.f_bavail = st.f_ffree = st.f_favail = 0
        st.f_files = totals.entries
        st.f_namemax = 255
        return 0

    def getxattr(self, path: bytes, name: bytes, buffer: Any, size: int, *_position: int) -> int:
        if self._plain:
            raise Refusal(errno.ENOSYS)
        value = self._paths.find(path).xattr(name)
        if value is None:
            raise Refusal(errno.ENODATA)
        return _fill(bytes(value), buffer, size)

    def listxattr(self, path: bytes, buffer: Any, size: int) -> int:
        names = self._paths.find(path).xattr_names()
        return _fill(b"".join(name + b"\0" for name in names), buffer, size)

    def _refuse(self, *args: Any) -> int:
        return -errno.EROFS

    mknod = mkdir = unlink = rmdir = symlink = rename = link = chmod = chown = truncate = ftruncate = _refuse
    write = setxattr = removexattr = create = utimens = _refuse


def _fill(value: bytes, buffer: Any, size: int) -> int:
    """Answer getxattr or listxattr; a size of 0 asks only for the length."""
    if size == 0:
        return len(value)
    if len(value) > size:
        raise Refusal(errno.ERANGE)
    ctypes.memmove(buffer, value, len(value))
    return len(value)


def mount_advice(allow_other: bool) -> str:
    """Advice after a failed mount: the parts that may be missing on this machine."""
    if allow_other and os.geteuid() != 0:
        return "--allow-other needs the line `user_allow_other` in /etc/fuse.conf, or root"
    return "check that fusermount is there (`apt install fuse3`) and that you may use /dev/fuse and the mount point"
