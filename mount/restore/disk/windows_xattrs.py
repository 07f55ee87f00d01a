"""What a restore on another system keeps of what Windows knew of a file: the attributes that a drive shows."""

from __future__ import annotations

from catalog.errors import Damaged, ObjectNotFound
from catalog.format.values import NodeKind, Xattrs
from catalog.format.windows import Stream, Windows, name_bytes
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import PathOf, ReportProblem, Values
from mount.view.windows_xattrs import DOS_ATTRIBUTES, MOST, MOST_NAME, STREAM, dos_attributes


class WindowsXattrs:
    """Turns what Windows knew into extended attributes. `problem` gets a path and a reason for what can't be kept.

    `fetch`: read streams; a dry run doesn't. Without `permissions` nobody misses a security descriptor.
    """

    def __init__(self, values: Values, problem: ReportProblem, *, permissions: bool, fetch: bool) -> None:
        self._values, self._problem = values, problem
        self._permissions, self._fetch = permissions, fetch

    def convert(self, a: Attributes, w: Windows, path: PathOf) -> Attributes:
        """What an entry gets here. A link can't have such attributes. StoreError."""
        is_link = a.kind == NodeKind.SYMLINK
        xattrs: Xattrs = dict(a.xattrs or {})
        if not is_link:
            xattrs[DOS_ATTRIBUTES] = dos_attributes(w)
        if self._fetch:
            if w.efs is not None:
                self._problem(path(), "it is encrypted by Windows: only Windows can take back what was restored")
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
            self._problem(path(), f"its stream {text} can't be kept here: it is too large for an attribute")
            return None
        try:
            return bytes(self._values.open(s.content, s.size).read(0, s.size))
        except (Damaged, ObjectNotFound) as e:
            self._problem(path(), f"its stream {text} could not be read from the vault: {e}")
            return None
