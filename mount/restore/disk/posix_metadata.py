"""Sets POSIX metadata: owners, permissions, times, extended attributes."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from catalog.errors import RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.values import KINDS, NodeKind, OutOfLine, Owner, Xattrs
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import PathOf, ReportProblem, Values, Wrong
from mount.restore.disk.limits import ACLS, MODES, OWNERS, XATTRS
from mount.view.acl import ACCESS, narrowed

_ACLS = (ACCESS, b"system.posix_acl_default")
CAPABILITIES = b"security.capability"
# What an existing file may have beyond the point's, and must not keep. Others belong to the system (SELinux).
_REMOVABLE = (*_ACLS, CAPABILITIES, b"user.", b"trusted.")
_NO_XATTRS = {errno.ENOTSUP, errno.ENOSYS}
_NOT_SUPPORTED = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}  # answers of file systems without such things, to root
_TRIED = 100  # files whose mode is read back: some file systems take any, and keep none
_SPECIAL = 0o7000
_DESCRIPTORS = b"/proc/self/fd"  # on Linux: the entry itself, even if it is a symlink
_AS_OWNER = 0o6000  # set-user-id and set-group-id: never set on a file whose owner could not be restored


class PosixMetadata:
    """Sets owners, modes, times, extended attributes and ACLs (implements Metadata).

    `permissions`: set owners, modes, ACLs and attributes outside `user.`. Without it a file gets the owner and mode
    of a new one (`umask` is the process's), and stays executable. `owners_by_name`: choose owners by their names,
    where these are known here.
    """

    def __init__(
        self,
        values: Values,
        problem: ReportProblem,
        *,
        permissions: bool,
        owners_by_name: bool,
        umask: int,
    ) -> None:
        self._values = values
        self._problem = problem
        self._permissions = permissions
        self._by_name = owners_by_name
        self._own = self._uid, _gid = os.geteuid(), os.getegid()
        self._umask = umask
        self._ids: dict[Owner, tuple[int, int]] = {}
        self._reporting = threading.Lock()
        self._kept_modes = 0

    def first_mode(self, a: Attributes, *, plain: bool) -> int:
        """See Metadata."""
        if not self._permissions:
            return self._own_mode(a)
        if plain and self._is_own(a) and not (a.xattrs and ACCESS in a.xattrs):
            return a.mode & 0o777
        return 0o600  # with an ACL, the group's bits are its mask: not what the group may do

    def _own_mode(self, a: Attributes) -> int:
        whole = 0o777 if a.mode & 0o111 or a.kind == NodeKind.FOLDER else 0o666
        return whole & ~self._umask

    def _is_own(self, a: Attributes) -> bool:
        owner = a.owner
        ids = self.owner_ids(owner) if self._by_name else owner[:2]
        return ids == self._own

    def link_target(self, a: Attributes, target: bytes) -> bytes:
        """See Metadata."""
        return target

    def set_on_file(self, fd: int, a: Attributes, path: PathOf, *, plain: bool) -> None:
        """See Metadata."""
        if self._permissions:
            own = plain and self._is_own(a)
            mode = a.mode if own or self._chown(fd, a, path) else a.mode & ~_AS_OWNER
            if a.xattrs or not plain:
                mode = self._xattrs(fd, a, mode, path, plain=plain)
            if not own or mode & (self._umask | _SPECIAL) or a.xattrs:
                # After chown, which clears the set-user-id bit.
                self._set_mode(lambda: os.fchmod(fd, mode), path, fd, mode)
            else:
                self._check_mode(fd, mode, path)
        elif a.xattrs:
            self._xattrs(fd, a, 0, path, plain=plain)
        if a.incomplete:
            self._problem(path(), "it has metadata of another system that can't be stored here")
        try:
            os.utime(fd, ns=(a.mtime, a.mtime))
        except (OSError, OverflowError, ValueError) as e:
            self._no_time(path, e)

    def set_on_folder(self, fd: int, a: Attributes, path: PathOf, *, plain: bool) -> None:
        """See Metadata. The mode comes last: it shows a later run that the folder is complete."""
        mode = self._own_mode(a)
        if self._permissions:
            mode = a.mode if self._chown(fd, a, path) else a.mode & ~_AS_OWNER
        if a.xattrs or (self._permissions and not plain):
            mode = self._xattrs(fd, a, mode, path, plain=plain)
        if a.incomplete:
            self._problem(path(), "it has metadata of another system that can't be stored here")
        self._set_time(lambda: os.utime(fd, ns=(a.mtime, a.mtime)), path)
        self._set_mode(lambda: os.fchmod(fd, mode), path, fd if self._permissions else None, mode)

    def set_on_name(self, folder: int, name: bytes, a: Attributes, path: PathOf, *, plain: bool) -> None:
        """See Metadata. The entry is held, so that it can't be swapped for another one meanwhile."""
        with _held(folder, name) as at:
            st = os.stat(at.path, **at.options)
            if KINDS.get(stat.S_IFMT(st.st_mode)) != a.kind or st.st_nlink != 1 or st.st_uid != self._uid:
                whose = "it belongs to another user, or something else has taken its place"
                self._problem(path(), f"its metadata could not be set: {whose}")
                return
            self._set_on(at, folder, name, st, a, path, plain=plain)

    def _set_on(
        self, at: _At, folder: int, name: bytes, st: os.stat_result, a: Attributes, path: PathOf, *, plain: bool
    ) -> None:
        is_link = a.kind == NodeKind.SYMLINK
        mode = a.mode if self._permissions else self._own_mode(a)
        if self._permissions:
            uid, gid = self.owner_ids(a.owner, path)
            if (st.st_uid, st.st_gid) != (uid, gid) and not self._attempt_owner(
                lambda u, g: os.chown(at.path, u, g, **at.options), a, uid, gid, path
            ):
                mode &= ~_AS_OWNER
        if a.xattrs or not (plain or is_link):
            named = b"%s/%d/%s" % (_DESCRIPTORS, folder, name)  # setxattr takes no descriptor of a folder
            where = named if at.options else at.path
            mode = self._xattrs(where, a, mode, path, plain=plain or is_link, follow=not at.options)
        if not is_link:
            self._set_mode(lambda: os.chmod(at.path, mode, **at.options), path, None, mode)
        self._set_time(lambda: os.utime(at.path, ns=(a.mtime, a.mtime), **at.options), path)

    # --- what exists --------------------------------------------------------------------------------------

    def compare(self, fd: int, a: Attributes) -> Wrong:
        """See Metadata."""
        st, (uid, gid) = os.fstat(fd), self.owner_ids(a.owner)
        own = _owned(st, uid, gid)
        mode = stat.S_IMODE(st.st_mode)
        wrong, surplus = self._compare_xattrs(fd, a)
        if own and mode == a.mode and not wrong and not surplus:
            return Wrong.NOTHING if st.st_mtime_ns == a.mtime else Wrong.LESS
        if a.mode & _AS_OWNER or CAPABILITIES in wrong:
            return Wrong.PRIVILEGES
        if not own or a.mode & ~mode or ACCESS in wrong or ACCESS in surplus:
            return Wrong.GIVES
        return Wrong.LESS

    def put_back(self, fd: int, a: Attributes, path: PathOf) -> bool:
        """See Metadata."""
        before = os.fstat(fd)
        wrong, surplus = self._compare_xattrs(fd, a)
        self.drop(fd, surplus, path)
        self.set_on_file(fd, a, path, plain=False)
        return bool(wrong or surplus) or _seen(before) != _seen(os.fstat(fd))

    def correct_name(
        self, folder: int, name: bytes, identity: tuple[int, int], a: Attributes, path: PathOf, *, dry: bool
    ) -> bool:
        """See Metadata."""
        with _held(folder, name) as at:
            st = os.stat(at.path, **at.options)
            if (st.st_dev, st.st_ino) != identity:
                raise OSError(errno.ESTALE, "something else has taken its place")
            is_link = a.kind == NodeKind.SYMLINK
            owned = _owned(st, *self.owner_ids(a.owner))
            if owned and (is_link or stat.S_IMODE(st.st_mode) == a.mode) and st.st_mtime_ns == a.mtime:
                return False
            if not dry:
                self._set_on(at, folder, name, st, a, path, plain=False)
            return True

    def _compare_xattrs(self, fd: int, a: Attributes) -> tuple[set[bytes], set[bytes]]:
        """The names of attributes to set, and of those to remove."""
        try:
            there = {os.fsencode(name) for name in os.listxattr(fd)}
        except (OSError, AttributeError):
            there = set()
        wanted = a.xattrs or {}
        wrong = {name for name in wanted if name not in there or not self._has(fd, name, wanted[name])}
        return wrong, {name for name in there - wanted.keys() if name.startswith(_REMOVABLE)}

    def _has(self, fd: int, name: bytes, value: bytes | OutOfLine) -> bool:
        try:
            data = self._values.chunk(PackKind.TREE, value.at) if isinstance(value, OutOfLine) else value
            return os.getxattr(fd, name) == data
        except (OSError, RpdriveError):
            return False

    def drop_surplus(self, fd: int, a: Attributes, path: PathOf) -> None:
        """Remove the extended attributes and ACLs that an existing folder has beyond those of the point."""
        if self._permissions:
            self.drop(fd, self._compare_xattrs(fd, a)[1], path)

    def drop(self, fd: int, names: set[bytes], path: PathOf) -> None:
        for name in sorted(names):
            text = name.decode(errors="replace")
            self._attempt(partial(os.removexattr, fd, name), path, f"its attribute {text} could not be removed")

    def _set_time(self, change: Callable[[], None], path: PathOf) -> None:
        try:
            change()
        except (OSError, OverflowError, ValueError, NotImplementedError) as e:
            self._no_time(path, e)

    def _no_time(self, path: PathOf, e: Exception) -> None:
        self._problem(path(), f"its time could not be set: {_why(e)}")

    # --- owners -------------------------------------------------------------------------------------------

    def owner_ids(self, owner: Owner, path: PathOf | None = None) -> tuple[int, int]:
        """See Metadata."""
        if not self._by_name or owner.uid == -1:  # saved on a system without ids: chown changes nothing
            return owner[0], owner[1]
        found = self._ids.get(owner)
        if found is not None:
            return found
        uid, gid = _uid(owner.user), _gid(owner.group)
        found = (owner.uid if uid is None else uid, owner.gid if gid is None else gid)
        if path is None:
            return found
        with self._reporting:
            if self._ids.setdefault(owner, found) is not found:
                return found  # another thread has reported it
        for what, name, known, number in (
            ("user", owner.user, uid, owner.uid), ("group", owner.group, gid, owner.gid),
        ):  # fmt: skip
            if known is None and name:
                self._problem(path(), f"this system has no {what} {name}: restored with the number {number}")
        return found

    def _chown(self, fd: int, a: Attributes, path: PathOf) -> bool:
        uid, gid = self.owner_ids(a.owner, path)
        if self._uid != 0:
            st = os.fstat(fd)
            if (st.st_uid, st.st_gid) == (uid, gid):
                return True
        return self._attempt_owner(lambda u, g: os.fchown(fd, u, g), a, uid, gid, path)

    def _attempt_owner(
        self, change: Callable[[int, int], None], a: Attributes, uid: int, gid: int, path: PathOf
    ) -> bool:
        try:
            change(uid, gid)
            return True
        except (OSError, OverflowError, ValueError) as e:
            try:
                change(-1, gid)  # allowed for a group of which this user is a member
            except (OSError, OverflowError, ValueError):
                pass
            number = getattr(e, "errno", None)
            if self._uid == 0 and number in _NOT_SUPPORTED:
                self._problem(path(), OWNERS)
                return False
            who = a.owner.user or str(uid)
            why = "this needs root" if number == errno.EPERM else _why(e)
            self._problem(path(), f"its owner {who} could not be set: {why}")
            return False

    # --- extended attributes ----------------------------------------------------------------------------------

    def _xattrs(
        self, at: int | bytes, a: Attributes, mode: int, path: PathOf, *, plain: bool, follow: bool = True
    ) -> int:
        """Set extended attributes. Returns the mode to set: narrower if an ACL that keeps somebody out is lost."""
        wanted = a.xattrs or {}
        if not plain and self._permissions:
            self._drop_inherited(at, wanted, follow)
        for name, value in wanted.items():
            if not self._permissions and not name.startswith(b"user."):
                continue
            text = name.decode(errors="replace")
            data: bytes | None = None
            try:
                data = bytes(self._values.chunk(PackKind.TREE, value.at)) if isinstance(value, OutOfLine) else value
                os.setxattr(at, name, data, follow_symlinks=follow)
            except RpdriveError as e:
                self._problem(path(), f"its attribute {text} could not be read from the vault: {e}")
            except OSError as e:
                if e.errno in _NO_XATTRS:
                    self._problem(path(), ACLS if name in _ACLS else XATTRS)
                else:
                    self._problem(path(), f"its attribute {text} could not be set: {e.strerror}")
            except ValueError as e:
                self._problem(path(), f"its attribute {text} could not be set: {e}")
            except AttributeError:
                self._problem(path(), f"its attribute {text} could not be set: this system stores none")
            else:
                continue
            if name == ACCESS:
                mode = narrowed(mode, data or b"")
        return mode

    def _drop_inherited(self, at: int | bytes, wanted: Xattrs, follow: bool) -> None:
        """Remove ACLs that were inherited from the folder, unless the recovery point has them."""
        for name in _ACLS:
            if name not in wanted:
                try:
                    os.removexattr(at, name, follow_symlinks=follow)
                except (OSError, AttributeError):
                    pass  # none was inherited

    def _set_mode(self, change: Callable[[], None], path: PathOf, fd: int | None, mode: int) -> None:
        """Set the mode of an entry. If it is open as `fd`, look whether it was set, too."""
        try:
            change()
        except (OSError, OverflowError, ValueError) as e:
            if self._uid == 0 and getattr(e, "errno", None) in _NOT_SUPPORTED:
                self._problem(path(), MODES)
            else:
                self._problem(path(), f"its permissions could not be set: {_why(e)}")
            return
        if fd is not None:
            self._check_mode(fd, mode, path)

    def _check_mode(self, fd: int, mode: int, path: PathOf) -> None:
        """Report a mode that was set and is not there. Ends once enough were kept."""
        if self._kept_modes < _TRIED:
            if (os.fstat(fd).st_mode ^ mode) & 0o777:
                self._problem(path(), MODES)
            else:
                self._kept_modes += 1

    def _attempt(self, change: Callable[[], None], path: PathOf, reason: str) -> None:
        try:
            change()
        except (OSError, OverflowError, ValueError) as e:
            self._problem(path(), f"{reason}: {_why(e)}")


def _why(e: Exception) -> object:
    return getattr(e, "strerror", None) or e


def _owned(st: os.stat_result, uid: int, gid: int) -> bool:
    """Whether an owner is right; an id of -1 was saved on a system without ids, and is never set."""
    return uid in (-1, st.st_uid) and gid in (-1, st.st_gid)


def _seen(st: os.stat_result) -> tuple[int, int, int, int]:
    return st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns


class _At(NamedTuple):
    """A path, and the options with which the functions of `os` take it."""

    path: bytes
    options: dict[str, Any]


@contextmanager
def _held(folder: int, name: bytes) -> Iterator[_At]:
    """An entry that must not be opened, by a path that keeps leading to it; by its name where there is none."""
    if not hasattr(os, "O_PATH") or not os.path.isdir(_DESCRIPTORS):
        yield _At(name, {"dir_fd": folder, "follow_symlinks": False})
        return
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield _At(b"%s/%d" % (_DESCRIPTORS, fd), {})
    finally:
        os.close(fd)


def _uid(name: str) -> int | None:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid if name else None
    except KeyError:
        return None


def _gid(name: str) -> int | None:
    import grp

    try:
        return grp.getgrnam(name).gr_gid if name else None
    except KeyError:
        return None
