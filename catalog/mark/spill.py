"""A temporary file for what does not fit into memory. It has no name, and only this user can read it."""

from __future__ import annotations

import tempfile
from types import TracebackType

from catalog.errors import LocalError


class Spill:
    """A file that is removed when it is closed. Not thread-safe. Raises LocalError if the disk can't be used."""

    def __init__(self) -> None:
        with _Translated():
            self._file = tempfile.TemporaryFile(prefix="rpdrive-", buffering=0)  # noqa: SIM115

    def write(self, at: int, data: bytes) -> None:
        """Write bytes at an offset."""
        with _Translated():
            self._file.seek(at)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]

    def read(self, at: int, length: int) -> bytes:
        """Up to `length` bytes from an offset; fewer at the end only. What was never written is zeros."""
        with _Translated():
            self._file.seek(at)
            return self._file.read(length)

    def extend(self, size: int) -> None:
        """Make the file `size` bytes long; the new ones are zeros."""
        with _Translated():
            self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


class _Translated:
    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise LocalError(
                f"a temporary file in {tempfile.gettempdir()} can't be used: {error.strerror}",
                "free some space there, or set TMPDIR to another folder",
            ) from error
