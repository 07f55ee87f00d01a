"""The static files, read once: a request names one of them, and never a file of this machine."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parents[1] / "static"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_COMMENTS = re.compile(
    rb"^[ \t]*//[^\n]*$|^[ \t]*/\*(?:[^*]|\*(?!/))*\*/[ \t]*$|/\*\* @(?:[^*]|\*(?!/))*\*/ ?", re.MULTILINE
)


class StaticFile(NamedTuple):
    """A file, its type, and its bytes as they are and compressed."""

    type: str
    plain: bytes
    packed: bytes


def static_files(folder: Path = _FOLDER) -> dict[str, StaticFile]:
    """All static files by their names below the folder, with `/`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TYPES and path.is_file():
            data = without_comments(path.suffix, path.read_bytes())
            found[path.relative_to(folder).as_posix()] = StaticFile(
                _TYPES[path.suffix], data, gzip.compress(data, 9, mtime=0)
            )
    return found


def without_comments(suffix: str, data: bytes) -> bytes:
    """A script or sheet without the comments that stand on lines of their own, and types of JSDoc: an eighth of it.

    Lines keep their numbers, for the messages of browsers.
    """
    if suffix == ".svg":
        return data
    return _COMMENTS.sub(lambda found: b"\n" * found[0].count(b"\n"), data)


def hash_of(files: dict[str, StaticFile]) -> str:
    """A part of the files' addresses: another version has other ones, so that each may be cached for ever."""
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(name.encode() + b"\0" + file.plain + b"\0")
    return digest.hexdigest()[:16]
