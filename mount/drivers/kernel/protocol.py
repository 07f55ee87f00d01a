"""The FUSE kernel protocol, 7.31 and later: every message that a read-only drive receives or sends, with its size.

Source: include/uapi/linux/fuse.h of Linux. All numbers are in the machine's byte order, without padding
except where it is named. The comment next to each struct gives its size in bytes, which is checked on import.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct

MAJOR, MINOR = 7, 39  # the newest version spoken here
OLDEST_MINOR = 31  # Linux 5.4
ROOT_ID = 1
MIN_READ_BUFFER = 8192  # bytes; the kernel refuses reads into a smaller one
PAGE = 4096  # bytes


class Op(IntEnum):
    LOOKUP = 1
    FORGET = 2  # no reply
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36  # no reply
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41  # no reply
    BATCH_FORGET = 42  # no reply
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52


NO_REPLY = frozenset((Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT, Op.NOTIFY_REPLY))


class Notify(IntEnum):
    """Messages without a request: the `error` of a header whose `unique` is 0."""

    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    PRUNE = 9  # Linux 6.18


class Init(IntFlag):
    """Flags of INIT that matter here."""

    ASYNC_READ = 1 << 0
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    INIT_EXT = 1 << 30


class Opened(IntFlag):
    """Flags of the answer to OPEN and OPENDIR."""

    KEEP_CACHE = 1 << 1
    CACHE_DIR = 1 << 3


SEEK_DATA, SEEK_HOLE = 3, 4
STATX_BASIC_STATS, STATX_BTIME = 0x7FF, 0x800  # of the mask of STATX: which fields are filled in

IN_HEADER = Struct("=IIQQIIIHH")  # 40: len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding
OUT_HEADER = Struct("=IiQ")  # 16: len, error (0 or a negative errno), unique

INIT_IN = Struct("=IIII")  # 16, what 7.31 has of it: major, minor, max_readahead, flags
INIT_OUT = Struct("=IIIIHHIIHHI28x")  # 64: major, minor, max_readahead, flags, max_background,
#   congestion_threshold, max_write, time_gran, max_pages, map_alignment, flags2, unused
_ATTR = "QQQqqqIIIIIIIIII"  # ino, size, blocks, atime, mtime, ctime, their ns, mode, nlink, uid, gid, rdev,
#   blksize, flags
ATTR = Struct("=" + _ATTR)  # 88
_ENTRY = "QQQQII" + _ATTR  # nodeid, generation, entry_valid, attr_valid (seconds), their ns, attr
ENTRY_OUT = Struct("=" + _ENTRY)  # 128
ATTR_OUT = Struct("=QII" + _ATTR)  # 104: attr_valid, its ns, dummy, attr
ATTR_OUT_HEAD = Struct("=QII")  # 16: the same without attr
_DIRENT = "QQII"  # ino, off, namelen, type, and then the name
DIRENT = Struct("=" + _DIRENT)  # 24
DIRENTPLUS = Struct("=" + _ENTRY + _DIRENT)  # 152
GETATTR_IN = Struct("=IIQ")  # 16: getattr_flags, dummy, fh
OPEN_IN = Struct("=II")  # 8: flags, open_flags
OPEN_OUT = Struct("=QII")  # 16: fh, open_flags, padding
RELEASE_IN = Struct("=QIIQ")  # 24: fh, flags, release_flags, lock_owner
READ_IN = Struct("=QQIIQII")  # 40; of READDIR(PLUS), too: fh, offset, size, read_flags, lock_owner, flags
GETXATTR_IN = Struct("=II")  # 8, and then the name; of LISTXATTR too: size, padding
GETXATTR_OUT = Struct("=II")  # 8: size, padding
LSEEK_IN = Struct("=QQII")  # 24: fh, offset, whence, padding
LSEEK_OUT = Struct("=Q")  # 8: offset
STATFS_OUT = Struct("=QQQQQIII28x")  # 80: blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, spare
STATX_IN = Struct("=IIQII")  # 24: getattr_flags, reserved, fh, sx_flags, sx_mask
_SX_TIME = "qI4x"  # seconds, ns
STATX_OUT = Struct("=QII16x" + "IIQIIIHHQQQQ" + 4 * _SX_TIME + "IIII112x")  # 288: attr_valid, its ns, flags; mask,
#   blksize, attributes, nlink, uid, gid, mode, spare, ino, size, blocks, attributes_mask; atime, btime, ctime,
#   mtime; rdev_major, rdev_minor, dev_major, dev_minor
FORGET_IN = Struct("=Q")  # 8: nlookup
BATCH_FORGET_IN = Struct("=II")  # 8: count, dummy; and then as many of
FORGET_ONE = Struct("=QQ")  # 16: nodeid, nlookup
INTERRUPT_IN = Struct("=Q")  # 8: unique of the request
NOTIFY_STORE_OUT = Struct("=QQII")  # 24, and then the data: nodeid, offset, size, padding
NOTIFY_INVAL_ENTRY_OUT = Struct("=QII")  # 16, and then the name and \0: parent, namelen, flags
NOTIFY_INVAL_INODE_OUT = Struct("=Qqq")  # 24: ino, off, len
NOTIFY_PRUNE_OUT = Struct("=IIQ")  # 16: count, padding, spare; and then as many node ids (u64)

SIZES = {
    IN_HEADER: 40, OUT_HEADER: 16, INIT_IN: 16, INIT_OUT: 64, ATTR: 88, ENTRY_OUT: 128, ATTR_OUT: 104,
    ATTR_OUT_HEAD: 16, DIRENT: 24, DIRENTPLUS: 152, GETATTR_IN: 16, OPEN_IN: 8, OPEN_OUT: 16, RELEASE_IN: 24,
    READ_IN: 40, GETXATTR_IN: 8, GETXATTR_OUT: 8, LSEEK_IN: 24, LSEEK_OUT: 8, STATFS_OUT: 80, STATX_IN: 24,
    STATX_OUT: 288, FORGET_IN: 8, BATCH_FORGET_IN: 8, FORGET_ONE: 16, INTERRUPT_IN: 8, NOTIFY_STORE_OUT: 24,
    NOTIFY_INVAL_ENTRY_OUT: 16, NOTIFY_INVAL_INODE_OUT: 24, NOTIFY_PRUNE_OUT: 16,
}  # fmt: skip
for _struct, _size in SIZES.items():
    if _struct.size != _size:  # not assert, which -O removes
        raise AssertionError(f"{_struct.format} takes {_struct.size} bytes, not {_size}")

PADDING = tuple(bytes(-n % 8) for n in range(8))  # after a name of so many bytes (mod 8), in a folder's entries


def name_of(body: memoryview) -> bytes:
    """A name in a request, up to its NUL. Raises ValueError if there is none, or the name is empty."""
    name, nul, _rest = bytes(body).partition(b"\0")
    if not nul or not name:
        raise ValueError("a name has no NUL at its end")
    return name
