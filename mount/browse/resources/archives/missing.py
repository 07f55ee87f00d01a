"""Lists that an archive carries of itself: what it could not take, and names that it had to spell otherwise."""

from __future__ import annotations

LIMIT = 256 << 10  # bytes of one list


class Lines:
    """The text of such a list, bounded. Empty if it has no lines."""

    def __init__(self, heading: str) -> None:
        self._lines = [heading.encode() + b"\r\n\r\n"]
        self._size = 0
        self.count = 0

    def add(self, line: str) -> None:
        self.count += 1
        if self._size < LIMIT:
            self._lines.append(line.encode(errors="replace") + b"\r\n")
            self._size += len(self._lines[-1])

    def text(self) -> bytes:
        if not self.count:
            return b""
        more = self.count - (len(self._lines) - 1)
        last = [b"and %d more\r\n" % more] if more else []
        return b"".join(self._lines + last)


def written(path: bytes) -> str:
    """A path as text that says every byte: `\\xff` for what is not UTF-8 or does not print, and `\\\\`."""
    text = path.replace(b"\\", b"\\\\").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
