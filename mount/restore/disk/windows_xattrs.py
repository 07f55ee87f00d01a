"""Restores Windows metadata on other systems, as the extended attributes that a drive shows."""

from __future__ import annotations

from catalog.errors import Damaged, ObjectNotFound
from catalog.format.values import NodeKind, Xattrs
from catalog.format.windows import Stream, Windows, name_bytes
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import PathOf, ReportProblem, Values
from mount.view.windows_xattrs import DOS_ATTRIBUTES, MOST, MOST_NAME, STREAM, dos_attributes


class WindowsXattrs:
    """Converts Windows metadata to extended attributes, and reports what can't be converted.

    `fetch`: read streams (not in a dry run). Without `permissions`, a lost security descriptor is not reported.
    """

    def __init__(self, values: Values, problem: ReportProblem, *, permissions: bool, fetch: bool) -> None:
        self._values, self._problem = values, problem
        self._permissions, self._fetch = permissions, fetch

    def convert(self, a: Attributes, w: Windows, path: PathOf) -> Attributes:
        """The attributes with the extended ones added; a symlink can have none. Raises StoreError."""
        is_link = a.kind == NodeKind.SYMLINK
        xattrs: Xattrs = dict(a.xattrs or {})
        if not is_link:
            xattrs[DOS_ATTRIBUTES] = dos_attributes(w)
        if self._fetch:
            if w.efs is not None:
                self._problem(path(), "it is encrypted (EFS): only Windows can import the export that was restored")
            for stream in w.streams:
                value = self._stream(stream, path, is_link=is_link)
                if value is not None:
                    xattrs[STREAM + name_bytes(stream.name)] = value
        reparse = w.reparse is not None and not is_link
        lost = reparse or w.extended is not None or (w.security is not None and self._permissions)
        return a._replace(xattrs=xattrs or None, incomplete=bool(lost))

    def _stream(self, s: Stream, path: PathOf, *, is_link: bool) -> bytes | None:
        text = s.name.encode(errors="replace").decode()
        if is_link or s.size > MOST or len(STREAM + name_bytes(s.name)) > MOST_NAME:
            self._problem(path(), f"its stream {text} can't be stored here: too large for an extended attribute")
            return None
        try:
            return bytes(self._values.open(s.content, s.size).read(0, s.size))
        except (Damaged, ObjectNotFound) as e:
            self._problem(path(), f"its stream {text} could not be read from the vault: {e}")
            return None
