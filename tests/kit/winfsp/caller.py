"""The layers between a program on Windows and a WinFsp file system: the kernel driver and the DLL.

A `Caller` asks a volume for things as the kernel driver does for a process with a given token, and hands back what
the process would get, or raises NtError. After WinFsp's src/sys (create.c, read.c, dirctl.c, fsctl.c …) and src/dll
(fsop.c, security.c), whose checks, lengths and order of calls are kept:

- Open: GetSecurityByName for every folder on the way (only for tokens that may not just pass) and for the file, the
  check of access, Open. STATUS_REPARSE is resolved and tried again, within the volume.
- Read: exactly what was asked, or, where the kernel caches (`Parameters.cached`), whole pages, up to the one that
  holds the end of the file, and what was asked is cut at the file's size.
- Listing: a request of the length that the kernel computes, its entries copied to a buffer of the program's
  length, the next request from the marker, which is the last name that fitted. Where the volume ignores case, a
  name without wildcards comes in upper case.
- Close: Cleanup, unless the volume wants that only after changes, then Close.

Names are Windows' own: absolute, `\\` between, as UTF-16 can hold them. Win32's rules (no trailing dots, no CON)
are apart, in names.win32_path.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

from tests.kit.winfsp import security
from tests.kit.winfsp.access import Request
from tests.kit.winfsp.bindings import NULL
from tests.kit.winfsp.handle import Handle
from tests.kit.winfsp.layout import types
from tests.kit.winfsp.names import checked, folder_of, wide
from tests.kit.winfsp.opening import Opening
from tests.kit.winfsp.reparse import RELATIVE, TAG_SYMLINK
from tests.kit.winfsp.security import DELETE, FILE_GENERIC_READ, FILE_READ_ATTRIBUTES, Token
from tests.kit.winfsp.status import NtError, Status
from tests.kit.winfsp.values import (
    CREATE,
    DELETE_ON_CLOSE,
    DIRECTORY,
    DIRECTORY_FILE,
    NON_DIRECTORY_FILE,
    OPEN,
    OPEN_IF,
    OPEN_REPARSE_POINT,
    OVERWRITE,
    OVERWRITE_IF,
    REPARSE_POINT,
    SUPERSEDE,
    Entry,
    FileInfo,
    Reparsed,
    VolumeInfo,
)
from tests.kit.winfsp.volume import Kind, Volume

_LINKS_MOST = 63


class Caller:
    """A process with `token` that uses the volume."""

    def __init__(self, volume: Volume, token: Token | None = None) -> None:
        self.volume = volume
        self.token = token or Token()

    # --- opening ---

    def open(
        self,
        path: str,
        *,
        access: int = FILE_GENERIC_READ,
        disposition: int = OPEN,
        options: int = 0,
        attributes: int = 0,
        descriptor: bytes | None = None,
        allocation_size: int = 0,
        user_mode: bool = True,
    ) -> Handle:
        """As NtCreateFile: `access` and `options` are its bits, `descriptor` that of a new file."""
        what = f"open {path}"
        for _ in range(_LINKS_MOST):
            try:
                return self._open(
                    path,
                    security.mapped(access),
                    disposition,
                    options,
                    attributes,
                    descriptor,
                    allocation_size,
                    user_mode,
                )
            except Reparsed as reparsed:
                target = _within_volume(reparsed)
                if target is None:
                    raise
                path = target
        raise NtError(Status.REPARSE_POINT_NOT_RESOLVED, what)

    def _open(
        self,
        path: str,
        access: int,
        disposition: int,
        options: int,
        attributes: int,
        descriptor: bytes | None,
        allocation_size: int,
        user_mode: bool,
    ) -> Handle:
        what = f"open {path}"
        if options & DIRECTORY_FILE and options & NON_DIRECTORY_FILE:
            raise NtError(Status.INVALID_PARAMETER, what)
        parameters = self.volume.parameters
        name, stream, trailing = checked(path, what, parameters.max_component_length, parameters.named_streams)
        if stream and options & DIRECTORY_FILE:
            raise NtError(Status.NOT_A_DIRECTORY, what)
        if name == "\\" and disposition not in (OPEN, OPEN_IF):
            raise NtError(Status.ACCESS_DENIED, what)
        if name == "\\" and options & DELETE_ON_CLOSE:
            raise NtError(Status.CANNOT_DELETE, what)
        attributes &= ~(0x80 | DIRECTORY | REPARSE_POINT)
        if options & DIRECTORY_FILE:
            attributes |= DIRECTORY
        main, colon = None, 0
        if stream:
            main_disposition = OPEN if disposition in (OPEN, OVERWRITE) else OPEN_IF
            main = self._open(
                name, FILE_READ_ATTRIBUTES, main_disposition, 0, attributes, descriptor, 0, user_mode=False
            )
            colon = len(name)
            name, attributes, descriptor = f"{name}:{stream}", 0, None
        request = Request(
            name, access, disposition, options, attributes, descriptor, allocation_size, user_mode, trailing, colon
        )
        opening = Opening(self._invoke, self.token, request, parameters.case_sensitive_search)
        try:
            self.volume.ask(what, Kind.CREATE, opening.run, "shared" if disposition == OPEN else "exclusive")
            if opening.reparse is not None:
                raise Reparsed(what, *opening.reparse)
        except NtError:
            if main:
                main.close()
            raise
        context = self._context(name, opening.context)
        handle = Handle(self.volume, self._invoke, name, opening, context, options, main)
        if opening.replaced:
            handle.overwrite(attributes, allocation_size, disposition == SUPERSEDE)
        return handle

    def _context(self, name: str, context: Any) -> Any:
        """The context that later requests name: this opening's, or, unless the volume says so, the file's first."""
        if self.volume.parameters.um_file_context_is_user_context2:
            return context
        if self.volume.parameters.um_file_context_is_full_context:
            raise NotImplementedError("volumes with full contexts")
        key = name if self.volume.parameters.case_sensitive_search else name.upper()
        return self.volume.nodes.setdefault(key, context)

    # --- the volume ---

    def volume_info(self) -> VolumeInfo:
        raw = types.new("FSP_FSCTL_VOLUME_INFO *")
        self.volume.ask("volume info", Kind.QUERY_VOLUME, lambda: self._invoke("GetVolumeInfo", raw), "shared")
        label = bytes(types.buffer(raw.VolumeLabel))[: raw.VolumeLabelLength]
        return VolumeInfo(raw.TotalSize, raw.FreeSize, label.decode("utf-16-le"))

    def set_volume_label(self, label: str) -> None:
        raw = types.new("FSP_FSCTL_VOLUME_INFO *")
        self.volume.ask(
            "set volume label",
            Kind.SET_VOLUME,
            lambda: self._invoke("SetVolumeLabel", wide(label), raw),
            "exclusive",
        )

    # --- shorter ---

    def stat(self, path: str, *, follow: bool = False) -> FileInfo:
        with self.open(path, access=FILE_READ_ATTRIBUTES, options=0 if follow else OPEN_REPARSE_POINT) as handle:
            return handle.info()

    def list(self, path: str, pattern: str | None = None, length: int = 4096, kind: str = "id_both") -> list[Entry]:
        """All of a folder that matches, `.` and `..` too where the file system gives them."""
        with self.open(path, options=DIRECTORY_FILE) as handle:
            return list(handle.entries(pattern, length, kind))

    def names(self, path: str, pattern: str | None = None, length: int = 4096) -> builtins.list[str]:
        return [entry.name for entry in self.list(path, pattern, length) if entry.name not in (".", "..")]

    def find(self, path: str) -> Entry:
        """As FindFirstFile of a name without wildcards: one entry of the folder it is in."""
        entries = self.list(folder_of(path), path.rpartition("\\")[2])
        if not entries:
            raise NtError(Status.NO_SUCH_FILE, f"find {path}")
        return entries[0]

    def read(self, path: str, chunk: int = 1 << 20) -> bytes:
        with self.open(path) as handle:
            return handle.read_all(chunk)

    def write(self, path: str, content: bytes, chunk: int = 1 << 16) -> None:
        access = FILE_GENERIC_READ | security.FILE_GENERIC_WRITE
        with self.open(path, access=access, disposition=OVERWRITE_IF, options=NON_DIRECTORY_FILE) as handle:
            for offset in range(0, len(content), chunk):
                handle.write(offset, content[offset : offset + chunk])

    def make_folder(self, path: str) -> None:
        self.open(path, disposition=CREATE, options=DIRECTORY_FILE).close()

    def rename(self, path: str, new: str, replace: bool = False) -> None:
        with self.open(path, access=DELETE, options=OPEN_REPARSE_POINT) as handle:
            handle.rename(new, replace)

    def delete(self, path: str) -> None:
        with self.open(path, access=DELETE, options=OPEN_REPARSE_POINT) as handle:
            handle.delete()

    def walk(self, path: str = "\\") -> Iterator[tuple[str, FileInfo]]:
        """Everything below, folders before what is in them; reparse points are not followed."""
        for entry in self.list(path):
            if entry.name in (".", ".."):
                continue
            below = path.rstrip("\\") + "\\" + entry.name
            yield below, entry.info
            if entry.info.is_directory and not entry.info.attributes & REPARSE_POINT:
                yield from self.walk(below)

    def _invoke(self, operation: str, *arguments: Any) -> int:
        """Call an operation in this thread, which has to be one of the dispatcher's."""
        pointer = getattr(self.volume.interface, operation)
        if pointer == NULL:
            return Status.INVALID_DEVICE_REQUEST
        return int(pointer(self.volume.raw, *arguments) or 0)


def _within_volume(reparsed: Reparsed) -> str | None:
    """Where a symbolic link leads, if that is on this volume."""
    if reparsed.tag != TAG_SYMLINK or len(reparsed.data) < 20:
        return None
    offset, length = (int.from_bytes(reparsed.data[at : at + 2], "little") for at in (8, 10))
    if not int.from_bytes(reparsed.data[16:20], "little") & RELATIVE:
        return None
    path = reparsed.data[20 + offset : 20 + offset + length].decode("utf-16-le", "surrogatepass")
    if not path.startswith("\\"):
        raise NtError(Status.REPARSE_POINT_NOT_RESOLVED, f"{reparsed} -> {path}")
    return path
