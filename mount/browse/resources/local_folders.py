"""Folders of this machine, to choose where a restore or a drive goes: names only, one folder at a time."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import stat
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from catalog.access.session import Session
from catalog.errors import LocalError, NotFound, UsageError
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import LONGEST_PATH, name_of, path64, path_of
from mount.browse.running.space import free_bytes

MOST_FOLDERS = 5_000  # shown of one folder
_MOST_ENTRIES = 200_000  # looked at
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ON_WINDOWS = os.name == "nt"


class LocalFolder(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A folder in a folder. `symlink`: it is elsewhere, and the name leads there."""

    name: str
    path64: str
    name_bytes: str | None = None
    symlink: bool = False
    hidden: bool = False


class LocalFolders(msgspec.Struct, kw_only=True):
    """A folder of this machine. `refused` says why nothing is restored into it, `unreadable` why it isn't listed.

    `more`: it has more folders than are shown. `free` is None if it is not known.
    """

    path: str
    path64: str
    parent: str | None
    folders: list[LocalFolder]
    more: bool
    writable: bool
    free: int | None
    refused: str | None
    unreadable: str | None


class NewFolder(msgspec.Struct, forbid_unknown_fields=True):
    """A folder to make: `at` is the path64 of the one it is to be in."""

    at: str
    name: str


def local_path(text: str) -> bytes:
    """The absolute path on this machine that a path64 stands for. Raises UsageError if it is malformed."""
    if not _ON_WINDOWS:
        return path_of(text)
    advice = "choose the folder again"
    if len(text) > LONGEST_PATH * 4 // 3 + 4:
        raise UsageError("the path is too long", advice)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        path = os.fsdecode(raw)
    except (ValueError, binascii.Error) as e:
        raise UsageError("the path is malformed", advice) from e
    if not Path(path).is_absolute() or "\0" in path or ".." in Path(path).parts:
        raise UsageError("the path is malformed", advice)
    return os.fsencode(Path(path))


def folders(opened: Opened, at: str) -> LocalFolders:
    """The folders in one, by name; of the home folder if `at` is empty. Raises UsageError and NotFound."""
    return _listed(opened.session, local_path(at) if at else _home())


def make_folder(opened: Opened, wish: NewFolder) -> LocalFolders:
    """Make a folder, and show it. Raises UsageError, NotFound and LocalError."""
    above, name = local_path(wish.at), wish.name
    if not name or name in (".", "..") or any(c in name for c in ("/", "\0", *("\\:" if _ON_WINDOWS else ""))):
        raise UsageError("this is no name for a folder", "write a name without a slash")
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError as e:
        raise UsageError("this is no name for a folder", "write another name") from e
    path = os.path.join(above, raw)
    refused = refusal(opened.session, path)
    if refused is not None:
        raise UsageError(refused, "choose another folder")
    try:
        os.mkdir(path)
    except OSError as e:
        if e.errno == errno.ENOENT:
            raise NotFound("the folder that it is to be in is gone", "choose another one") from e
        raise LocalError(f"the folder can't be made: {e.strerror}", "choose another name or place") from e
    return _listed(opened.session, path)


def refusal(session: Session, path: bytes) -> str | None:
    """Why nothing is restored into a folder; None if it may be. As `rpdrive restore` says it."""
    real = Path(os.path.realpath(os.fsdecode(path)))
    for what, folder in session.own_folders():
        if real.is_relative_to(os.path.realpath(folder)):
            return f"it is in {what}"
    return None


def _home() -> bytes:
    """The home folder; the root if there is none."""
    home = os.fsencode(os.path.expanduser("~"))
    return home if os.path.isabs(home) and os.path.isdir(home) else os.fsencode(Path(os.sep).absolute())


def _listed(session: Session, path: bytes) -> LocalFolders:
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise NotFound("this is no folder", "choose another one")
    except OSError as e:
        if e.errno in (errno.EACCES, errno.EPERM):
            return _shown(session, path, [], False, f"it can't be opened: {e.strerror}")
        words = "it leads in a circle" if e.errno == errno.ELOOP else "there is no such folder"
        raise NotFound(words, "choose another one") from e
    found: list[LocalFolder] = []
    more, unreadable = False, None
    try:
        with os.scandir(path) as entries:
            for entry in islice(entries, _MOST_ENTRIES):
                with suppress(OSError):  # a symlink in a circle
                    if entry.is_dir():
                        found.append(_folder(path, entry))
            more = next(entries, None) is not None
    except OSError as e:
        unreadable = f"it can't be listed: {e.strerror}"
    found.sort(key=lambda folder: (folder.hidden, folder.name.casefold(), folder.path64))
    return _shown(session, path, found[:MOST_FOLDERS], more or len(found) > MOST_FOLDERS, unreadable)


def _folder(above: bytes, entry: os.DirEntry[bytes]) -> LocalFolder:
    name, raw = name_of(entry.name)
    return LocalFolder(
        name=name, name_bytes=raw, path64=path64(os.path.join(above, entry.name)), symlink=entry.is_symlink(),
        hidden=entry.name.startswith(b"."),
    )  # fmt: skip


def _shown(
    session: Session, path: bytes, found: list[LocalFolder], more: bool, unreadable: str | None
) -> LocalFolders:
    above = os.path.dirname(path)
    free: int | None = None
    with suppress(OSError):
        free = free_bytes(path)
    if _ON_WINDOWS and above == path:
        found += [LocalFolder(name=f"{c}:\\", path64=path64(f"{c}:\\".encode())) for c in _letters(path)]
    return LocalFolders(
        path=path.decode(errors="replace"), path64=path64(path), parent=None if above == path else path64(above),
        folders=found, more=more, writable=os.access(path, os.W_OK | os.X_OK), free=free,
        refused=refusal(session, path), unreadable=unreadable,
    )  # fmt: skip


def _letters(here: bytes) -> list[str]:
    """The other drive letters, which are shown beside the folders of one's root."""
    return [c for c in _LETTERS if here[:1].upper() != c.encode() and os.path.exists(f"{c}:\\")]
